"""When a backup is due, by what is noted of earlier ones; a clock may have been ahead."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint import own
from entrypoint.archivers.terms import Backup
from entrypoint.backup import scheduled
from entrypoint.backup.schedule import Schedule

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
    when = scheduled._due(context, archive)
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
