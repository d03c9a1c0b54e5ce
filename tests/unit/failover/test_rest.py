"""How this node's Patroni is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from entrypoint.failover import rest
from entrypoint.settings.failing_over import Failover
from unit import made
from unit.failover.test_configuration import NODE


class Rest(BaseHTTPRequestHandler):
    """Patroni's REST interface, which has status 503 for a node that is not running."""

    answer = b""

    def do_GET(self) -> None:
        """Answer each request in the same way."""
        self.send_response(503)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _node(port: int) -> Failover:
    found = made.settings({**NODE, "PATRONI_RESTAPI_LISTEN": f"0.0.0.0:{port}"}).failover
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("answer", "found"),
    [(json.dumps({"state": "starting"}).encode(), {"state": "starting"}), (b"<html>", None), (b"[]", None)],
)
def test_asking(answer: bytes, found: Mapping[str, Any] | None) -> None:
    """Any status is an answer; what is not Patroni's is none."""
    with HTTPServer(("127.0.0.1", 0), Rest) as server:
        Rest.answer = answer
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert found == rest.ask(_node(server.server_port))
        thread.join()


def test_nobody_listens() -> None:
    """That is no answer."""
    with HTTPServer(("127.0.0.1", 0), Rest) as server:
        port = server.server_port
    assert rest.ask(_node(port)) is None


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([{"name": "db1", "role": "replica"}, {"name": "db2", "role": "leader"}], "db2"),
        ([{"name": "db1", "role": "replica"}], ""),
        ("all", ""),
        ([1], ""),
    ],
)
def test_who_leads(members: object, expected: str) -> None:
    """The leader is one of the cluster's members; an odd answer names none."""
    with HTTPServer(("127.0.0.1", 0), Rest) as server:
        Rest.answer = json.dumps({"members": members}).encode()
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert expected == rest.leader(_node(server.server_port)).get("name", "")
        thread.join()
