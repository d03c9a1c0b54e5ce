"""A stand-in for Patroni's REST interface."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from entrypoint.settings.failing_over import Failover
from unit import made
from unit.failover.test_configuration import NODE

__all__ = ["LEADER", "NOW", "http", "node", "says", "served"]

NOW = time.time() + 3600
"""Not over before the tests are."""
LEADER: Mapping[str, Any] = {
    "state": "running",
    "role": "primary",
    "timeline": 3,
    "dcs_last_seen": int(NOW),
    "patroni": {"version": "4.0.7", "scope": "shop", "name": "db1"},
}


def node(port: int, **more: str) -> Failover:
    """A node whose Patroni listens at this port."""
    found = made.load({**NODE, "PATRONI_RESTAPI_LISTEN": f"0.0.0.0:{port}", **more})[0].failover
    assert found is not None
    return found


@contextmanager
def served(answer: Callable[[socket.socket, bytes], None]) -> Iterator[int]:
    """Answer each connection by a function, which gets the request; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                with taken:
                    try:
                        answer(taken, taken.recv(65536))
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def says(answers: Mapping[bytes, bytes]) -> Callable[[socket.socket, bytes], None]:
    """Answer by the path."""

    def answer(taken: socket.socket, request: bytes) -> None:
        taken.sendall(answers[request.split(b" ")[1]])

    return answer


def http(value: object, status: int = 200) -> bytes:
    """Patroni's answer with a JSON text."""
    return f"HTTP/1.0 {status} OK\r\nContent-Type: application/json\r\n\r\n{json.dumps(value)}".encode()
