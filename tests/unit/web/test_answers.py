"""Which path has which answer, who may see it, and what `/status.json` shows."""

from __future__ import annotations

import json
import selectors
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from entrypoint.archivers.terms import Backup
from entrypoint.backup.runs import Run
from entrypoint.backup.window import Gap, Tick, Window
from entrypoint.drill.drills import Drill
from entrypoint.full_disk import parts
from entrypoint.noted.conditions import Condition, Event, Found
from entrypoint.noted.seen import Seen, Server
from entrypoint.pid1 import status
from entrypoint.pid1.lifecycle import KnownHelper
from entrypoint.pid1.status import Known
from entrypoint.shown import iso
from entrypoint.volume.facts import ArchiveState, Volume
from entrypoint.web import status_json
from entrypoint.web.answers import Answers
from entrypoint.web.exchange import Request, Response, as_json
from entrypoint.web.live import Live, State

if TYPE_CHECKING:
    from entrypoint.web.exchange import Reply

AT = 1_795_364_442.5
STATE = State("serving", 1_795_000_000, ready=True, role="primary")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Everything below the loop, in a container that still restores."""
    monkeypatch.setattr(status, "read", lambda _: Known("restore", int(AT), None, None, {}))

    def page(request: Request, state: State, reply: Reply) -> None:
        reply(as_json(200, [request.query, state.phase]))

    def broken(_request: Request, _state: State, _reply: Reply) -> None:
        raise ValueError("a mistake")

    live = Live(selectors.DefaultSelector(), "/nowhere")
    return Answers("secret", live, lambda: Seen(AT), lambda then: then(None), {"/": page, "/metrics": broken})


def _ask(answers: Answers, path: str, authorization: str = "Bearer secret") -> tuple[int, Any]:
    got: list[Response] = []
    answers(Request(path, {"a": "b"}, authorization), got.append)
    return got[0].code, json.loads(got[0].body)


def test_paths(answers: Answers) -> None:
    """Each path has its own answer, given the state of this moment; all others lead nowhere."""
    assert (200, [{"a": "b"}, "restore"]) == _ask(answers, "/")
    code, shown = _ask(answers, "/status.json")
    assert (200, "restore") == (code, shown["phase"])
    for path in ("//", "/../etc/passwd", "/live/", "/\0", "/LIVE", "*", ""):
        code, shown = _ask(answers, path)
        assert (404, True) == (code, {"/", "/live", "/metrics", "/status.json"} < {*shown["paths"]})


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/", 401),
        ("/status.json", 401),
        ("/metrics", 401),
        ("/live", 200),
        ("/ready", 503),
        ("/nowhere", 404),
    ],
)
def test_who_has_no_token(answers: Answers, path: str, code: int) -> None:
    """Probes never need the token; everything else is for those who have it."""
    assert code == _ask(answers, path, "Bearer wrong")[0]


def test_a_mistake_ends_nothing(answers: Answers, capfd: pytest.CaptureFixture[str]) -> None:
    """An answer that raises an error is a 500 and one warning."""
    assert [500, 500] == [_ask(answers, "/metrics")[0] for _ in range(2)]
    expected = "entrypoint: warning: the answer to a request for /metrics failed: ValueError('a mistake')"
    assert 1 == capfd.readouterr().err.count(expected)


def _iso(offset: float) -> str:
    return iso(AT + offset)


SEEN = Seen(
    AT,
    whole_at=AT - 60,
    server=Server("primary", "17.1", "7", 2, AT - 100, AT - 100, (), None, ({"application_name": "a"},)),
    findings=(Found("disk", "warning", "nearly full", "make room", "keep-backups", "", AT),),
    conditions=(
        Condition("archive", "error", AT - 9, "it fails", "look"),
        Condition("disk", "warning", AT - 5, "nearly full"),
    ),
    events=(Event(1, AT - 9, "began", "archive", "error", "it fails", AT - 9),),
    archive=ArchiveState(
        *("pgbackrest", "s3://bucket/db", 3, 48, _iso(-30), 30, 0.0, "000000010000000000000001", _iso(-90)),
        *(_iso(-60), "no route", True, None, None, None, None, None),
    ),
    runs=(
        Run("full", _iso(-1000), "schedule", "ok", 100, 5000, "b1"),
        Run("full", _iso(-500), "schedule", "failed", 1, words="no space"),
    ),
    drills=(Drill(_iso(-700), "schedule", "ok", seconds=50),),
    backups=(
        Backup(
            "b1", "full", _iso(-1000), _iso(-900), 1, "0/1", "0/2", permanent=False, system_identifier="7"
        ),
    ),
    next_backup=AT + 60,
    volumes=(Volume("data", "/data", 100, 50, None), Volume("wal", "/wal", 1000, 25, 3600, 100, 4)),
    filling={"/wal": (parts.kept(900, 3),)},
    reserve_missing=False,
    window=Window(AT - 900, AT - 90, (Gap("1", "2", AT - 500, AT - 400),), (Tick("b1", AT - 900),)),
    helpers=(KnownHelper("backups", "waiting", 0, 1, 1),),
)


def test_the_values_at_the_top() -> None:
    """Widgets find single values, and alarms find what is wrong."""
    shown = status_json.show(SEEN, STATE, AT + 10)
    flat = {name: value for name, value in shown.items() if not isinstance(value, (list, dict))}
    assert {
        "ok": False,
        "errors": 1,
        "warnings": 1,
        "looked_at": _iso(0),
        "look_age_seconds": 10,
        "all_checked_at": _iso(-60),
        "phase": "serving",
        "ready": True,
        "role": "primary",
        "reason": None,
        "writes_refused": False,
        "writes_refused_since": None,
        "free_inodes_percent": 4.0,
        "reserve_missing": False,
        "since": "2026-11-18T11:06:40+00:00",
        "version": "17.1",
        "system_identifier": "7",
        "timeline": 2,
        "server_started_at": _iso(-100),
        "lag_bytes": None,
        "standby_count": 1,
        "archive_failing": True,
        "archive_backlog_segments": 3,
        "archive_backlog_bytes": 48,
        "archive_backlog_age_seconds": 30,
        "archive_given_up_at": None,
        "archive_awaits_full_backup": False,
        "last_archived_at": _iso(-90),
        "last_archived_age_seconds": 100,
        "last_backup_at": _iso(-900),
        "backup_age_seconds": 910,
        "backup_seconds": 100,
        "backup_bytes": 5000,
        "backup_failed": True,
        "backup_running": False,
        "backup_count": 1,
        "next_backup_at": _iso(60),
        "last_drill_at": _iso(-650),
        "drill_age_seconds": 660,
        "drill_seconds": 50,
        "drill_failed": False,
        "next_drill_at": None,
        "free_percent": 2.5,
        "free_bytes": 25,
        "full_in_seconds": 3600,
        "unsent_messages": 0,
        "failed_sends": 0,
        "restorable_from": _iso(-900),
        "restorable_to": _iso(-90),
        "restorable_gaps": 1,
        "following": None,
        "patroni": None,
    } == flat


def test_the_lists() -> None:
    """Everything that the watch saw is there, with times that programs can read."""
    shown = json.loads(json.dumps(status_json.show(SEEN, STATE, AT)))
    assert [("archive", _iso(-9), "look"), ("disk", _iso(-5), "")] == [
        (each["check"], each["since"], each["hint"]) for each in shown["conditions"]
    ]
    assert ["nearly full"] == [each["found"] for each in shown["findings"]]
    assert [(_iso(-9), "began")] == [(each["at"], each["kind"]) for each in shown["events"]]
    assert [_iso(-900), _iso(-499)] == [each["ended"] for each in shown["backup_runs"]]
    assert (_iso(-900), [_iso(-500)]) == (
        shown["window"]["from"],
        [gap["from"] for gap in shown["window"]["gaps"]],
    )
    assert "no route" == shown["archive"]["last_error"]
    assert (["b1"], ["data", "wal"], [None], [{"application_name": "a"}], 1) == (
        [each["name"] for each in shown["backups"]],
        [each["name"] for each in shown["volumes"]],
        [each["pid"] for each in shown["helpers"]],
        shown["standbys"],
        len(shown["drills"]),
    )


def test_writes_that_are_refused() -> None:
    """Since when, and what fills which disk, by name."""
    refused = STATE._replace(refused_since=1_795_000_000)
    shown = json.loads(json.dumps(status_json.show(SEEN, refused, AT)))
    assert (True, "2026-11-18T11:06:40+00:00") == (shown["writes_refused"], shown["writes_refused_since"])
    (part,) = shown["filling"]
    assert ("wal", "wal", 900) == (part["volume"], part["kind"], part["bytes"])
    standby = status_json.show(SEEN, STATE._replace(role="standby"), AT)
    assert standby["writes_refused"] is None


def test_nothing_is_known() -> None:
    """Before the first look, what is not known is null, and never 0; the keys are the same."""
    shown = status_json.show(None, STATE._replace(ready=False, role=None, reason="the phase is init"), AT)
    assert status_json.show(SEEN, STATE, AT).keys() == shown.keys()
    assert {"phase", "since", "reason", "ready", "backup_running"} == {
        name for name, value in shown.items() if value is not None and value != []
    }


@pytest.mark.parametrize(
    ("change", "ok"),
    [
        (lambda seen: seen, True),
        (lambda seen: seen._replace(conditions=SEEN.conditions[1:]), True),
        (lambda seen: seen._replace(conditions=SEEN.conditions[:1]), False),
    ],
)
def test_all_is_well(change: Callable[[Seen], Seen], ok: bool) -> None:
    """`ok` means: no check is in error, and the server is ready."""
    assert ok == status_json.show(change(Seen(AT)), STATE, AT)["ok"]
    assert not status_json.show(change(Seen(AT)), STATE._replace(ready=False), AT)["ok"]
