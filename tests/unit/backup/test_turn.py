"""Jobs on backups run one at a time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint import log
from entrypoint.backup import turn


class Impatient(Exception):
    """The waiting process has waited long enough."""


def _context(folder: Path, pauses: list[float]) -> Any:
    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 2:
            raise Impatient

    return SimpleNamespace(runtime_folder=str(folder), children=SimpleNamespace(pause=pause))


def test_a_job_that_does_not_wait(tmp_path: Path) -> None:
    """The error names the running job; afterwards the lock is free again."""
    context = _context(tmp_path, [])
    with turn.alone(context, "a manual backup (full)", wait=False):
        with pytest.raises(turn.Busy) as busy, turn.alone(context, "the scheduled drill", wait=False):
            pytest.fail("another job is running")
        assert f"{busy.value}".startswith("a manual backup (full) since 20")
    with turn.alone(context, "the scheduled drill", wait=False):
        assert (tmp_path / turn.LOCK).read_text().startswith("the scheduled drill since 20")


def test_a_job_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job it waits for is logged once, however long the wait lasts."""
    told: list[str] = []
    monkeypatch.setattr(log, "info", told.append)
    pauses: list[float] = []
    context = _context(tmp_path, pauses)
    with turn.alone(context, "the scheduled backup", wait=True):
        assert [] == told
        with pytest.raises(Impatient), turn.alone(context, "a manual retention run", wait=True):
            pytest.fail("another job is running")
    assert (3, 1) == (len(pauses), len(told))
    assert told[0].startswith("waiting for another job to finish: the scheduled backup since ")
