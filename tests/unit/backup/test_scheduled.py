"""When a backup is due, from the record of earlier runs; the clock may have been ahead."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint import log, own
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup
from entrypoint.backup import scheduled, turn
from entrypoint.backup.schedule import Schedule
from entrypoint.errors import Failure, Problem

URL = "file:///archive"


def _iso(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def _due(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    noted: list[float],
    archived: list[float],
    *,
    failover: object = None,
    outcome: str = "ok",
) -> float | None:
    """Return the seconds until a yearly backup is due, with runs and backups this many days from now."""
    rows = [
        {"kind": "full", "started": _iso(day), "why": "schedule", "outcome": outcome, "url": URL}
        for day in noted
    ]
    (folder / own.BACKUPS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    listed = [
        Backup(
            f"b{day}", "full", _iso(day), _iso(day), 1, "0/1", "0/2", permanent=False, system_identifier="1"
        )
        for day in archived
    ]
    monkeypatch.setattr(scheduled, "own_backups", lambda *_: listed)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    schedule = Schedule(f"0 0 {yesterday.day} {yesterday.month} *", "UTC", 0, "")
    monkeypatch.setattr(scheduled, "schedule_of", lambda *_: schedule)
    settings: Any = SimpleNamespace(
        data_folder=str(folder), backup=SimpleNamespace(schedule="x"), failover=failover
    )
    archive: Any = SimpleNamespace(storage=SimpleNamespace(url=URL))
    context: Any = SimpleNamespace(settings=settings)
    when = scheduled._due(OpenedArchive(context, archive))
    return None if when is None else when - time.time()


@pytest.mark.parametrize(
    ("noted", "archived"),
    [([365], [365]), ([365], []), ([-400, 365], [-400, 365]), ([0.1], [0.1]), ([], [365])],
)
def test_dates_in_the_future_delay_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: list[float], archived: list[float]
) -> None:
    """A run dated by a clock that was ahead does not count as an earlier backup."""
    found = _due(tmp_path, monkeypatch, noted, archived)
    assert found is not None
    assert found < 1


@pytest.mark.parametrize(("noted", "archived"), [([-0.001], [-0.001]), ([0.0001], [0.0001]), ([], [-0.001])])
def test_a_backup_that_was_just_taken_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: list[float], archived: list[float]
) -> None:
    """It counts even if the clock was some seconds ahead."""
    found = _due(tmp_path, monkeypatch, noted, archived)
    assert found is not None
    assert found > 60


@pytest.mark.parametrize(("noted", "outcome"), [(-400, "ok"), (-0.5, "failed"), (-0.5, "running")])
def test_another_node_has_taken_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: float, outcome: str
) -> None:
    """Under Patroni, the archive knows of it, and this node's record does not."""
    found = _due(tmp_path, monkeypatch, [noted], [-400, -0.001], failover=object(), outcome=outcome)
    assert found is not None
    assert found > 60


def _attempt(
    folder: Path, monkeypatch: pytest.MonkeyPatch, do: Callable[[int], bool], due: float | None
) -> tuple[int | None, list[str]]:
    """Attempt a job due in `due` seconds; return the seconds until the next look, and the messages."""
    told: list[str] = []
    monkeypatch.setattr(log, "info", told.append)
    monkeypatch.setattr(log, "problem", lambda problem: told.append(problem.what))
    when = None if due is None else time.time() + due
    job = scheduled.Job("the scheduled drill", do, lambda: when, 3600)
    context: Any = SimpleNamespace(runtime_folder=str(folder))
    return scheduled.attempt(context, job), told


def _fail(_: int) -> bool:
    raise Failure(Problem("the storage is unreachable", "wait"), Problem("and more", "look"))


@pytest.mark.parametrize(
    ("do", "due", "expected"),
    [
        (lambda _: True, 100.5, (101, [])),
        (lambda _: True, -100, (1, [])),
        (lambda _: True, 86400, (3600, [])),
        (lambda _: True, None, (None, [])),
        (lambda _: False, -100, (60, [])),
        (_fail, -100, (60, ["the storage is unreachable", "and more"])),
        (_fail, 1000.5, (1001, ["the storage is unreachable", "and more"])),
    ],
)
def test_when_the_next_look_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    do: Callable[[int], bool],
    due: float | None,
    expected: tuple[int | None, list[str]],
) -> None:
    """It depends on when the job is due next; a failure is logged, and not tried again within a minute."""
    assert expected == _attempt(tmp_path, monkeypatch, do, due)


def test_a_job_waits_for_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another job is running it does not begin, and the next look is in a minute."""
    context: Any = SimpleNamespace(runtime_folder=str(tmp_path))
    with turn.alone(context, "a manual backup (full)", wait=False):
        seconds, told = _attempt(tmp_path, monkeypatch, lambda _: pytest.fail("it began"), -100)
    assert 60 == seconds
    assert told[0].startswith(
        "the scheduled drill waits for another job to finish: a manual backup (full) since "
    )
