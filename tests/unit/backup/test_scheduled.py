"""When a backup is due, by what is noted of earlier ones; a clock may have been ahead."""

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
    folder: Path, monkeypatch: pytest.MonkeyPatch, noted: list[float], archived: list[float]
) -> float | None:
    """In how many seconds a yearly backup is due, with runs and backups so many days from now."""
    rows = [
        {"kind": "full", "started": _iso(day), "why": "schedule", "outcome": "ok", "url": URL}
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
    settings: Any = SimpleNamespace(data_folder=str(folder), backup=SimpleNamespace(schedule="x"))
    archive: Any = SimpleNamespace(storage=SimpleNamespace(url=URL))
    context: Any = SimpleNamespace(settings=settings)
    when = scheduled._due(OpenedArchive(context, archive))
    return None if when is None else when - time.time()


@pytest.mark.parametrize(
    ("noted", "archived"),
    [([365], [365]), ([365], []), ([-400, 365], [-400, 365]), ([0.1], [0.1]), ([], [365])],
)
def test_the_future_puts_nothing_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: list[float], archived: list[float]
) -> None:
    """What a clock that was ahead has noted is no backup of before now."""
    found = _due(tmp_path, monkeypatch, noted, archived)
    assert found is not None
    assert found < 1


@pytest.mark.parametrize(("noted", "archived"), [([-0.001], [-0.001]), ([0.0001], [0.0001]), ([], [-0.001])])
def test_what_was_just_taken_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: list[float], archived: list[float]
) -> None:
    """Also by a clock that is some seconds ahead."""
    found = _due(tmp_path, monkeypatch, noted, archived)
    assert found is not None
    assert found > 60


def _attempt(
    folder: Path, monkeypatch: pytest.MonkeyPatch, do: Callable[[int], bool], due: float | None
) -> tuple[int | None, list[str]]:
    """Attempt a job that is next due in so many seconds; return when it is looked again, and what was told."""
    told: list[str] = []
    monkeypatch.setattr(log, "info", told.append)
    monkeypatch.setattr(log, "problem", lambda problem: told.append(problem.what))
    when = None if due is None else time.time() + due
    job = scheduled.Job("the scheduled drill", do, lambda: when, 3600)
    context: Any = SimpleNamespace(runtime_folder=str(folder))
    return scheduled.attempt(context, job), told


def _fail(_: int) -> bool:
    raise Failure(Problem("the storage is away", "wait"), Problem("and more", "look"))


@pytest.mark.parametrize(
    ("do", "due", "expected"),
    [
        (lambda _: True, 100.5, (101, [])),
        (lambda _: True, -100, (1, [])),
        (lambda _: True, 86400, (3600, [])),
        (lambda _: True, None, (None, [])),
        (lambda _: False, -100, (60, [])),
        (_fail, -100, (60, ["the storage is away", "and more"])),
        (_fail, 1000.5, (1001, ["the storage is away", "and more"])),
    ],
)
def test_when_it_is_looked_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    do: Callable[[int], bool],
    due: float | None,
    expected: tuple[int | None, list[str]],
) -> None:
    """By what is due next; a failure is told, and not tried again within a minute."""
    assert expected == _attempt(tmp_path, monkeypatch, do, due)


def test_a_job_waits_for_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else is at work it is not begun, and looked again in a minute."""
    context: Any = SimpleNamespace(runtime_folder=str(tmp_path))
    with turn.alone(context, "a manual backup (full)", wait=False):
        seconds, told = _attempt(tmp_path, monkeypatch, lambda _: pytest.fail("it is begun"), -100)
    assert 60 == seconds
    assert told[0].startswith("the scheduled drill waits for its turn: a manual backup (full) since ")
