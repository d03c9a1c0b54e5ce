"""Patroni is asked without waiting; a probe under it needs the leader key, and a scrape gets its metrics."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from entrypoint.failover import rest
from entrypoint.failover.member import Member
from entrypoint.noted.seen import Sample, Seen
from entrypoint.web import metrics, passing, status_json
from entrypoint.web.companion import Companion
from entrypoint.web.exchange import Request, Response
from entrypoint.web.live import Live, State
from entrypoint.web.probes import Probes
from unit.patroni_stub import LEADER, NOW, http, node, says, served

SERVING = State("serving", 1, ready=True, role="primary")
STANDBY = SERVING._replace(role="standby")
OF_STANDBY: Mapping[str, Any] = {**LEADER, "role": "replica"}


class Scene:
    """Probes of a server in a state, next to a Patroni."""

    def __init__(self, port: int, state: State) -> None:
        self.selector = selectors.DefaultSelector()
        self.companion = Companion(self.selector, node(port))
        live = Live(self.selector, "/nowhere")
        live._state, live._until = state, time.monotonic() + 1000
        self.lag: int | None = None
        self.asked = 0
        self.probes = Probes(live, self._ask, self.companion)

    def _ask(self, then: Callable[[int | None], None]) -> None:
        self.asked += 1
        then(self.lag)

    def until(self, got: list[Any]) -> None:
        """Run the loop until there is an answer."""
        self.turn_until(lambda: bool(got))

    def turn_until(self, condition: Callable[[], bool]) -> None:
        """Run the loop until this is true."""
        while not condition():
            due = self.companion.due()
            for key, mask in self.selector.select(None if due is None else max(0, due - time.monotonic())):
                key.data(mask)
            self.companion.on_time(time.monotonic())

    def answer(self, path: str, lag: str = "") -> tuple[int, dict[str, Any]]:
        """Return the answer of a probe."""
        got: list[Response] = []
        self.probes.answer(Request(path, {"lag": lag} if lag else {}), got.append)
        self.until(got)
        return got[0].code, json.loads(got[0].body)


@contextmanager
def _scene(answers: Mapping[bytes, bytes], state: State) -> Iterator[Scene]:
    with served(says(answers)) as port:
        scene = Scene(port, state)
        yield scene
        assert ({}, {}) == (dict(scene.selector.get_map()), scene.companion._asked)
        scene.selector.close()


def test_the_leader() -> None:
    """It is the primary, and does not lag."""
    with _scene({b"/primary": http(LEADER)}, SERVING) as scene:
        assert 200 == scene.answer("/primary")[0]
        assert (200, 0) == (scene.answer("/ready", "1MB")[0], scene.answer("/ready", "1MB")[1]["lag_bytes"])
        assert 503 == scene.answer("/standby")[0]


def test_a_server_without_the_leader_key() -> None:
    """It takes writes until Patroni has stopped it, but no load balancer may send any."""
    with _scene({b"/primary": http(LEADER, 503)}, SERVING) as scene:
        for path, lag in (("/primary", ""), ("/ready", "1GB")):
            code, shown = scene.answer(path, lag)
            assert (503, "it does not have the leader key, as Patroni says") == (code, shown["reason"])
        assert 200 == scene.answer("/ready")[0], "it accepts connections"


def test_a_leader_that_is_not_promoted_yet() -> None:
    """The key alone is not enough."""
    with _scene({}, STANDBY) as scene:
        assert (503, "it is a standby") == (
            scene.answer("/primary")[0],
            scene.answer("/primary")[1]["reason"],
        )


def test_patroni_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody can say that this node still has the key; the answer comes in time all the same."""
    monkeypatch.setattr(rest, "SECONDS", 0.3)
    with served(lambda *_: time.sleep(2)) as port:
        scene = Scene(port, SERVING)
        begun = time.monotonic()
        code, shown = scene.answer("/primary")
        assert (503, "Patroni does not answer") == (code, shown["reason"])
        assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("found", "status", "lag", "code", "asked"),
    [
        (OF_STANDBY, 200, None, 200, 0),
        (OF_STANDBY, 503, None, 503, 1),
        (OF_STANDBY, 503, 5, 200, 1),
        ({**OF_STANDBY, "dcs_last_seen": int(NOW) - 10000}, 200, None, 503, 1),
        ({**OF_STANDBY, "dcs_last_seen": int(NOW) - 10000}, 200, 5, 200, 1),
        ({**OF_STANDBY, "cluster_unlocked": True}, 200, None, 503, 1),
        ({**OF_STANDBY, "failsafe_mode_is_active": True}, 200, None, 503, 1),
    ],
)
def test_the_lag(found: Mapping[str, Any], status: int, lag: int | None, code: int, asked: int) -> None:
    """Patroni is asked first; what it remembers from before the DCS was away is not believed."""
    with _scene({b"/replica?lag=1048576": http(found, status)}, STANDBY) as scene:
        scene.lag = lag
        for path in ("/ready", "/standby"):
            assert code == scene.answer(path, "1MB")[0]
        assert asked * 2 == scene.asked


def test_one_question_a_second() -> None:
    """Those who ask at the same time wait for the same answer, which counts for a second."""
    count = []

    def answer(taken: socket.socket, request: bytes) -> None:
        count.append(request)
        taken.sendall(http(LEADER))

    with served(answer) as port:
        scene = Scene(port, SERVING)
        got: list[Member] = []
        for _ in range(50):
            scene.companion.member(got.append)
        scene.until(got)
        scene.companion.member(got.append)
        assert (51, 1) == (len(got), len(count))
        keys: list[str] = []
        for number in range(1, 4):
            scene.companion.is_primary(keys.append)
            scene.companion.is_primary(keys.append)
            scene.turn_until(lambda number=number: len(keys) == 2 * number)  # type: ignore[misc]
        assert ([""] * 6, 4) == (keys, len(count)), "the leader key may be gone in the next moment"
        lags: list[bool] = []
        for most in range(50):
            scene.companion.is_near(most, lags.append)
        assert [False] * 42 == lags, "not each of them opens a connection"
        scene.companion.on_time(time.monotonic() + 1000)
        assert [False] * 50 == lags


TEXT = """# HELP patroni_version Patroni semver without periods.
# TYPE patroni_version gauge
patroni_version{scope="shop",name="db1"} 040007
# TYPE patroni_xlog_location counter
patroni_xlog_location{scope="shop",name="db1"} 50331904
patroni_postgres_server_version {scope="shop",name="db1"} 170002
patroni_postmaster_start_time{scope="shop",name="db1"} 1733040000.123
"""


def test_metrics_are_passed_on() -> None:
    """Under their own names and labels, also the one with a blank before its labels."""
    labels = (("name", "db1"), ("scope", "shop"))
    found = passing.read(TEXT.encode())
    assert {
        "patroni_version": ("gauge", 40007.0),
        "patroni_xlog_location": ("unknown", 50331904.0),
        "patroni_postgres_server_version": ("unknown", 170002.0),
        "patroni_postmaster_start_time": ("unknown", 1733040000.123),
    } == {each.name: (each.kind, each.samples[0].value) for each in found}
    assert {labels} == {each.samples[0].labels for each in found}
    _, text = metrics.expose(Seen(NOW), SERVING, "", found)
    assert 'patroni_version{name="db1",scope="shop"} 40007.0' in text.decode().splitlines()
    assert "nixpg_patroni_up 1.0" in text.decode().splitlines()
    _, text = metrics.expose(Seen(NOW), SERVING, "", ())
    assert "nixpg_patroni_up 0.0" in text.decode().splitlines()
    assert b"patroni" not in metrics.expose(Seen(NOW), SERVING, "")[1]


@pytest.mark.parametrize(
    "text",
    [
        "pg_up 0",
        "nixpg_ready 7",
        "patroni_a 1 1234567890",
        "patroni_a NaN",
        "patroni_a +Inf",
        'patroni_a{x="\\"} 1',
        'patroni_a{x="a\n"} 1',
        "patroni_a_total 1",
        "patroni_a\x00 1",
        "patroni_" + "a" * 100 + " 1",
        "\xff\xfe",
        "patroni_a{" + 'x="",' * 5000 + "} 1",
    ],
)
def test_hostile_metrics(text: str) -> None:
    """What is not Patroni's, or no number, is left out; nothing takes long."""
    begun = time.monotonic()
    assert () == passing.read(text.encode("latin-1"))
    assert time.monotonic() - begun < 0.5


def test_too_many_metrics() -> None:
    """They have an end, and a repeated value counts once."""
    many = "".join(f"patroni_a{number} 1\n" for number in range(5000))
    assert 200 == len(passing.read(many.encode()))
    values = "".join(f'patroni_a{{n="{number}"}} 1\n' for number in range(5000))
    assert 200 == len(passing.read(values.encode())[0].samples)
    assert (Sample("patroni_a", (), 1.0),) == passing.read(b"patroni_a 1\npatroni_a 2\n")[0].samples


def test_fetching_metrics(tmp_path: Path) -> None:
    """Patroni's answer is passed on as it is; an error is none."""
    with served(says({b"/metrics": b"HTTP/1.0 200 OK\r\n\r\n" + TEXT.encode()})) as port:
        scene = Scene(port, SERVING)
        got: list[bytes | None] = []
        scene.companion.metrics(got.append)
        scene.until(got)
        assert [TEXT.encode()] == got
    with served(says({b"/metrics": http({}, 500)})) as port:
        scene = Scene(port, SERVING)
        got = []
        scene.companion.metrics(got.append)
        scene.until(got)
        assert [None] == got


def test_status_json() -> None:
    """The place in the cluster is of this moment, but for what only a look knows."""
    before = Member("shop", "db1", answers=True, role="standby", leader="db2", lag_bytes=5)
    now = Member("shop", "db1", answers=True, role="sync standby", dcs_seen=NOW - 3)
    seen = Seen(NOW, member=before)
    shown = status_json.show(seen, STANDBY, NOW, now)["patroni"]
    assert isinstance(shown, dict)
    assert ("sync standby", "db2", 5, 3) == tuple(
        shown[each] for each in ("role", "leader", "behind_leader_bytes", "dcs_age_seconds")
    )
    assert status_json.show(None, STANDBY, NOW, now)["patroni"]
    assert status_json.show(seen, STANDBY, NOW)["patroni"]
    assert status_json.show(Seen(NOW), STANDBY, NOW)["patroni"] is None
