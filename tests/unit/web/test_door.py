"""The HTTP server in a process of its own, with clients that behave well and clients that do not."""

from __future__ import annotations

import errno
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import rude
from entrypoint.settings.watching import Address
from entrypoint.web import door, listening

ROOT = Path(door.__file__).parents[2]

SERVE = """
import json, selectors, signal, sys, time
sys.path.insert(0, sys.argv[1])
from entrypoint.settings.watching import Address
from entrypoint.web.door import Door, Limits
from entrypoint.web.exchange import Response

later = []
loop = [True]
signal.signal(signal.SIGTERM, lambda *_: loop.clear())

def answer(request, reply):
    if request.path == "/later":
        later.append((time.monotonic() + 0.2, reply))
    elif request.path != "/never":
        body = b"x" * (1024**2) if request.path == "/big" else json.dumps(request.query).encode()
        reply(Response(200, "text/plain", body))
        reply(Response(200, "text/plain", b"twice"))

selector = selectors.DefaultSelector()
door = Door(selector, Address(*json.loads(sys.argv[2])), answer, Limits(**json.loads(sys.argv[3])))
while loop:
    due = min([t for t in (door.due(), *(t for t, _ in later)) if t is not None], default=1e9)
    for key, mask in selector.select(min(max(due - time.monotonic(), 0), 1)):
        key.data(mask)
    now = time.monotonic()
    door.on_time(now)
    for each in [each for each in later if each[0] <= now]:
        later.remove(each)
        each[1](Response(200, "text/plain", b"late"))
door.close()
"""


class Served:
    """The process, and how to reach it."""

    def __init__(self, process: subprocess.Popen[str], host: str, port: int) -> None:
        self.process, self.host, self.port = process, host, port

    def connect(self) -> socket.socket:
        """Return a connection."""
        return socket.create_connection((self.host, self.port), timeout=30)

    def ask(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Return the code and the body of an answer."""
        client = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            client.request(method, path, headers=headers or {})
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    def send(self, data: bytes, *, half_close: bool = False) -> bytes:
        """Return everything that comes back for these bytes."""
        with self.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return _all(connection)

    @property
    def descriptors(self) -> int:
        """Number of open descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def memory(self) -> int:
        """Kilobytes of memory that are its own."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def _all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def _code(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def _until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def _process(address: tuple[str, int, str], limits: dict[str, float]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", SERVE, str(ROOT), json.dumps(address), json.dumps(limits)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _serving(host: str = "", *, client: str = "127.0.0.1", **limits: float) -> Iterator[Served]:
    """Serve at a free port; what it logs after it was ended must be nothing but its first line."""
    port = _free_port()
    with _process((host, port, ""), limits) as process:
        assert process.stderr is not None
        assert "HTTP is served at" in process.stderr.readline()
        yield Served(process, client, port)
        process.send_signal(signal.SIGTERM)
        assert ("", 0) == (process.communicate(timeout=30)[1], process.returncode)


def test_answers() -> None:
    """GET and HEAD are answered, now or later, once; the connection ends with the answer."""
    with _serving() as served:
        assert (200, b'{"a": "1"}') == served.ask("/live?a=1")
        assert (200, b"") == served.ask("/live", "HEAD")
        assert (200, b"late") == served.ask("/later")
        assert (200, b"x" * 1024**2) == served.ask("/big")
        assert (405, 413) == (
            served.ask("/live", "POST")[0],
            _code(served.send(b"GET / HTTP/1.1\nContent-Length: 9\n\n")),
        )
        answer = served.send(b"GET /live HTTP/1.0\r\n\r\nGET /live HTTP/1.0\r\n\r\n" + b"junk" * 10000)
        assert (200, 1) == (_code(answer), answer.count(b"HTTP/1.1"))
        assert 405 == _code(served.send(b"POST / HTTP/1.1\r\n\r\n" + b"x" * 200_000))
        assert 200 == _code(served.send(b"GET /later HTTP/1.1\r\n\r\n", half_close=True))
        assert b"" == served.send(b"GET /live HTTP/1.1\r\n", half_close=True)


def test_time_limits() -> None:
    """A request that is not whole, an answer that does not come, and an answer that is not read: each ends."""
    with _serving(request=0.3, answer=0.3, sending=0.3) as served:
        before = served.descriptors
        assert b"" == served.send(b"GET /live HT")
        answer = served.send(b"GET /never HTTP/1.1\r\n\r\n")
        assert (503, True) == (_code(answer), b"\r\nRetry-After: " in answer)
        with served.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET /big HTTP/1.1\r\n\r\n")
            assert b"HTTP/1.1 200" == connection.recv(12)
            _until(lambda: served.descriptors == before, "the connection is dropped")


@pytest.mark.parametrize(
    ("host", "clients"),
    [
        ("", ["127.0.0.1", "::1"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("localhost", ["127.0.0.1"]),
    ],
)
def test_addresses(host: str, clients: list[str]) -> None:
    """Without a host, IPv4 and IPv6 are served by one port."""
    with _serving(host) as served:
        for client in clients:
            served.host = client
            assert 200 == served.ask("/live")[0]


def test_an_address_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is served at those of its addresses that exist; without any, and with a taken one, it is not served."""
    here, missing = (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("192.0.2.1", 0))
    names = {
        "half": [missing, here],
        "none": [missing],
        "half-taken": [here, (socket.AF_INET, ("127.0.0.1", -1))],
    }
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        names["half-taken"][1] = (socket.AF_INET, taken.getsockname())

        def resolve(host: str, _port: int, **_more: int) -> list[tuple[Any, ...]]:
            return [(family, 0, 0, "", where) for family, where in names[host]]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        (found,) = listening.listen(Address("half", 1))
        with found:
            assert "127.0.0.1" == found.getsockname()[0]
        for host, code in (("none", errno.EADDRNOTAVAIL), ("half-taken", errno.EADDRINUSE)):
            with pytest.raises(OSError, match="ddress") as raised:
                listening.listen(Address(host, 1))
            assert code == raised.value.errno


def _ask_unix(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(b"GET /live HTTP/1.1\r\n\r\n")
        return _code(_all(connection))


def test_a_unix_socket(tmp_path: Path) -> None:
    """Everybody may connect who reaches its folder; a killed process's socket is replaced; an end removes it."""
    path = tmp_path / "http"
    for end in (signal.SIGKILL, signal.SIGTERM):
        with _process(("", 0, str(path)), {}) as process:
            assert process.stderr is not None
            assert f"served at unix:{path}" in process.stderr.readline()
            assert (200, 0o666) == (_ask_unix(path), path.stat().st_mode & 0o777)
            process.send_signal(end)
            process.wait(30)
            assert (end == signal.SIGKILL) == path.exists()


@pytest.mark.parametrize("kind", ["file", "living socket", "port"])
def test_a_place_that_is_taken(tmp_path: Path, kind: str) -> None:
    """It is left alone, reported once with what to do, and tried again until it is free."""
    path = tmp_path / "http"
    with ExitStack() as stack:
        port = 0
        if kind == "file":
            path.write_text("kept")
            hint = f"remove {path}, which is not our socket, or set STATUS_LISTEN to another path"
        else:
            family = socket.AF_INET if kind == "port" else socket.AF_UNIX
            other = stack.enter_context(socket.socket(family))
            other.bind(("127.0.0.1", 0) if kind == "port" else str(path))
            other.listen()
            port = other.getsockname()[1] if kind == "port" else 0
            hint = f"STATUS_LISTEN=:{port + 1}" if kind == "port" else "STATUS_LISTEN=unix:/path"
        process = stack.enter_context(_process(("", port, "" if port else str(path)), {"again": 0.1}))
        assert process.stderr is not None
        assert "entrypoint: warning: HTTP cannot be served at" in process.stderr.readline()
        assert hint in process.stderr.readline()
        assert "docs: check-health" in process.stderr.readline()
        time.sleep(0.5)  # several attempts, which say nothing
        if kind == "file":
            assert "kept" == path.read_text()
        else:
            other.close()
        path.unlink(missing_ok=True)
        assert "info: HTTP is served at" in process.stderr.readline()


def test_chaos() -> None:
    """Random, slow, silent, greedy and many clients together neither end it, nor grow it, nor stop a probe."""
    with _serving(request=60.0, sending=60.0) as served:
        descriptors = served.descriptors
        assert [200] * 20 == [served.ask("/big")[0] for _ in range(20)]
        memory = served.memory
        for seed in range(500):
            rude.misbehave(served.host, served.port, seed, "/big")
        with rude.occupied(served.host, served.port, 150, "/big"):  # more than there are places
            assert 200 == served.ask("/live")[0]
            assert [200] * 200 == rude.crowd(served.host, served.port, 200, "/live")
            assert served.memory < memory + 8 * 1024
            assert served.descriptors <= descriptors + 64
        _until(lambda: served.descriptors == descriptors, "all connections are closed")
        assert 200 == served.ask("/live")[0]


def test_no_descriptors() -> None:
    """A process without a free descriptor does not run in circles, and continues when one is free."""
    with _serving() as served, ExitStack() as stack:
        count = served.descriptors + 3
        resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (count, count))
        waiting = [stack.enter_context(served.connect()) for _ in range(6)]
        _until(lambda: served.descriptors == count, "all descriptors are used")
        before = _cpu(served.process.pid)
        time.sleep(1)
        assert _cpu(served.process.pid) - before < 20
        for each in waiting:
            each.close()
        assert 200 == served.ask("/live")[0]


def _cpu(pid: int) -> int:
    """Return hundredths of a second of processor time."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])
