"""What the probes answer, from what PID 1 has written and what a server says; nothing waits for the server."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from entrypoint.noted.seen import Seen, Server
from entrypoint.pid1 import ready, status
from entrypoint.pid1.lifecycle import KnownHelper
from entrypoint.pid1.status import Known
from entrypoint.volume import room
from entrypoint.web import live, probes
from entrypoint.web.exchange import Request, Response
from entrypoint.web.live import Live
from entrypoint.web.probes import Probes

if TYPE_CHECKING:
    from entrypoint.pid1.lifecycle import HelperState
    from entrypoint.volume.room import Level

SINCE = 1_795_364_442


class Scene:
    """A data folder, what PID 1 reports, a server's socket, and the probes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: Known | None = None
        self.selector = selectors.DefaultSelector()
        self.live = Live(self.selector, str(folder))
        self.lag: int | None = None
        self.probes = Probes(self.live, lambda then: then(self.lag))
        self.server: socket.socket | None = None

    def serve(
        self, role: str = "primary", word: str = "ready", helpers: dict[str, KnownHelper] | None = None
    ) -> None:
        """Begin to serve."""
        self.known = Known("serving", SINCE, None, 16, helpers or {})
        lines = (16, "/data", SINCE, 5432, self.folder, "*", "1 2", word, "")
        (self.folder / "postmaster.pid").write_text("\n".join(map(str, lines)))
        if role == "standby":
            (self.folder / "standby.signal").touch()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(self.folder / ".s.PGSQL.5432"))
        self.server.listen(0)

    def turn(self) -> None:
        """Run the loop once."""
        due = self.live.due()
        for key, mask in self.selector.select(0 if due is None else max(min(due - time.monotonic(), 0.1), 0)):
            key.data(mask)
        self.live.on_time(time.monotonic())

    def ask(self, path: str, query: dict[str, str] | None = None) -> list[Response]:
        """Ask, and return the list to which the answer is added."""
        got: list[Response] = []
        self.probes.answer(Request(path, query or {}), got.append)
        return got

    def answer(self, path: str, query: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """Return the answer, for which the server answers if it is asked."""
        got = self.ask(path, query)
        if not got:
            assert self.server is not None
            taken, _ = self.server.accept()
            taken.sendall(b"N")
            while not got:
                self.turn()
            taken.close()
        return got[0].code, json.loads(got[0].body)

    def later(self) -> None:
        """Let the answer of the server become old."""
        self.live._until = 0


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A folder without a server."""
    made = Scene(tmp_path)
    monkeypatch.setattr(status, "read", lambda _: made.known)
    yield made
    made.live._close()
    made.selector.close()
    if made.server:
        made.server.close()


PATHS = ("/live", "/ready", "/primary", "/standby", "/healthz", "/livez", "/readyz", "/startupz")


def _codes(scene: Scene) -> list[int]:
    return [scene.answer(path)[0] for path in PATHS]


@pytest.mark.parametrize("phase", ["boot", "init", "restore", "recovery", "stopping"])
def test_a_phase_without_a_server(scene: Scene, phase: str) -> None:
    """Only the liveness probes are content, and the body has the phase."""
    scene.known = Known(phase, SINCE, None, None, {})
    assert [200, 503, 503, 503, 200, 200, 503, 503] == _codes(scene)
    shown = {"phase": phase, "role": None, "ready": False, "reason": f"the phase is {phase}"}
    assert (503, shown) == scene.answer("/ready")
    assert (200, {"live": True, "phase": phase}) == scene.answer("/live")


def test_no_entrypoint(scene: Scene) -> None:
    """Without a PID 1 that reports anything, the phase is unknown; the process that answers is alive."""
    code, shown = scene.answer("/ready")
    assert (503, None, "no server: the entrypoint is not running here") == (
        code,
        shown["phase"],
        shown["reason"],
    )
    assert (200, {"live": True, "phase": None}) == scene.answer("/live")


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("primary", [200, 200, 200, 503, 200, 200, 200, 200]),
        ("standby", [200, 200, 503, 200, 200, 200, 200, 200]),
    ],
)
def test_a_server(scene: Scene, role: str, expected: list[int]) -> None:
    """A server that accepts connections is ready, and has one role."""
    scene.serve(role)
    assert expected == _codes(scene)
    shown = {"phase": "serving", "role": role, "ready": True, "read_only": role == "standby"}
    assert (200, shown) == scene.answer("/ready")
    other = "standby" if role == "primary" else "primary"
    assert f"it is a {role}" == scene.answer(f"/{other}")[1]["reason"]


@pytest.mark.parametrize(
    ("level", "guarded", "expected"),
    [
        (room.FULL, True, True),
        (room.FULL, False, False),
        (room.TIGHT, True, False),
        (room.NORMAL, True, False),
    ],
)
def test_a_server_that_refuses_writes(scene: Scene, level: Level, guarded: bool, expected: bool) -> None:
    """It stays ready, and the primary: reads are answered, and no other server would take the writes."""
    scene.live._guarded = guarded
    scene.serve()
    assert scene.known is not None
    scene.known = scene.known._replace(level=level, level_since=SINCE)
    for path in ("/ready", "/primary"):
        code, shown = scene.answer(path)
        assert (200, expected) == (code, shown["read_only"])


@pytest.mark.parametrize(
    ("word", "state", "phase"), [("starting", "ended", "recovery"), ("ready", "running", "startdb")]
)
def test_a_server_that_is_not_ready(scene: Scene, word: str, state: HelperState, phase: str) -> None:
    """A server that recovers, and one whose start is not over, are not ready, although PID 1 says `serving`."""
    scene.serve(word=word, helpers={"startdb": KnownHelper("startdb", state, 0, 0, None)})
    assert (503, phase) == (scene.answer("/ready")[0], scene.answer("/ready")[1]["phase"])
    assert (200, {"live": True, "phase": phase}) == scene.answer("/live")
    assert 503 == scene.answer("/startupz")[0]


def test_a_start_is_over_once(scene: Scene) -> None:
    """`/startupz` stays 200 when the server is no longer ready; `/ready` does not."""
    scene.serve()
    assert 200 == scene.answer("/startupz")[0]
    scene.later()
    scene.known = Known("stopping", SINCE, "fast", None, {})
    assert [200, 503] == [scene.answer(path)[0] for path in ("/startupz", "/readyz")]


def test_a_server_that_does_not_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many probes ask it once and wait together; `/live` is answered meanwhile, and in the end all get 503."""
    monkeypatch.setattr(ready, "SECONDS", 0.5)
    scene.serve()
    got = [scene.ask("/ready") for _ in range(5)]
    assert 200 == scene.answer("/live")[0]
    assert [[]] * 5 == got
    while not got[0]:
        scene.turn()
    assert [
        (503, {"phase": "serving", "role": None, "ready": False, "reason": "no answer: Connection timed out"})
    ] * 5 == [(each[0].code, json.loads(each[0].body)) for each in got]
    assert scene.server is not None
    scene.server.settimeout(0)
    scene.server.accept()[0].close()
    with pytest.raises(BlockingIOError):
        scene.server.accept()
    assert {} == scene.selector.get_map()


def test_a_full_queue(scene: Scene) -> None:
    """While the queue of the server's socket is full, it is tried again."""
    scene.serve()
    assert scene.server is not None
    filler = socket.socket(socket.AF_UNIX)
    filler.connect(str(scene.folder / ".s.PGSQL.5432"))
    got = scene.ask("/ready")
    scene.turn()
    assert ([], {}) == (got, scene.selector.get_map())
    scene.server.accept()[0].close()
    while not scene.selector.get_map():
        scene.turn()
    taken = scene.server.accept()[0]
    taken.sendall(b"S")
    while not got:
        scene.turn()
    assert 200 == got[0].code
    taken.close()
    filler.close()


def test_a_closed_socket(scene: Scene) -> None:
    """A server that has gone is reported with the reason of the kernel."""
    scene.serve()
    assert scene.server is not None
    scene.server.close()
    got = scene.ask("/ready")
    while not got:
        scene.turn()
    assert "no answer: Connection refused" == json.loads(got[0].body)["reason"]


def test_one_question_a_second(scene: Scene) -> None:
    """An answer counts for a second, for all probes together."""
    scene.serve()
    scene.answer("/ready")
    scene.ask("/ready")
    assert {} == scene.selector.get_map()
    scene.later()
    scene.ask("/ready")
    assert {} != scene.selector.get_map()


@pytest.mark.parametrize(
    ("lag", "text", "code"),
    [
        (16 * 1024**2, "16MB", 200),
        (16 * 1024**2 + 1, "16MB", 503),
        (None, "1TB", 503),
        (0, "0", 200),
        (7, "7B", 200),
    ],
)
def test_the_lag_of_a_standby(scene: Scene, lag: int | None, text: str, code: int) -> None:
    """A standby that lags by more is not ready, and neither is one whose lag is not known."""
    scene.serve("standby")
    scene.lag = lag
    for path in ("/ready", "/standby", "/readyz"):
        found, shown = scene.answer(path, {"lag": text})
        assert (code, lag) == (found, shown["lag_bytes"])
    assert 200 == scene.answer("/standby")[0]


def test_a_primary_does_not_lag(scene: Scene) -> None:
    """So one probe can be used for all servers."""
    scene.serve()
    scene.lag = 99
    found, shown = scene.answer("/ready", {"lag": "0"})
    assert (200, 0) == (found, shown["lag_bytes"])


@pytest.mark.parametrize("text", ["", "x", "-1", "10s", "16mb", "1" * 99, "1 MB", "\n", "٣"])
def test_a_wrong_lag(scene: Scene, text: str) -> None:
    """It is refused with an example of a right one, in every phase."""
    found, shown = scene.answer("/ready", {"lag": text})
    assert (400, True) == (found, "/ready?lag=16MB" in shown["error"])


def test_a_lag_that_nobody_answers(scene: Scene) -> None:
    """It is asked for once at a time; after a while those who wait get 503, and it is asked for again."""
    scene.serve("standby")
    scene.answer("/ready")
    asked: list[Callable[[int | None], None]] = []
    scene.probes = Probes(scene.live, asked.append)
    first, second = scene.ask("/ready", {"lag": "1"}), scene.ask("/ready", {"lag": "1"})
    assert ([], [], 1) == (first, second, len(asked))
    scene.probes._asked_at -= 2 * probes._PATIENCE
    third = scene.ask("/ready", {"lag": "1"})
    assert (503, 503, [], 2) == (first[0].code, second[0].code, third, len(asked))
    asked[1](1)
    assert 200 == third[0].code


@pytest.mark.parametrize(("age", "expected"), [(5, 42), (15, None), (-5, None)])
def test_the_lag_of_the_last_look(age: float, expected: int | None) -> None:
    """It counts only while it is recent."""
    server = Server("standby", "17.1", "1", 1, 0.0, 0.0, (), 42, ())
    got: list[int | None] = []
    for seen in (Seen(time.time() - age, server=server), Seen(time.time()), None):
        probes.recently_seen(lambda seen=seen: seen)(got.append)  # type: ignore[misc]
    assert [expected, None, None] == got


def test_phases_are_those_of_pid1() -> None:
    """Every phase that PID 1 and `ready` report is known here, in the order of a container's life."""
    start = ("boot", "upgrade", "init", "restore", "recovery", "startdb")
    assert (*start, "serving", "stopping") == live.PHASES
