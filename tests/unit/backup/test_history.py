"""The history of backups and drills in files next to the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint import log, own
from entrypoint.backup.history import RUNS, last_runs
from entrypoint.backup.runs import Run
from entrypoint.drill import rehearsals
from entrypoint.drill.drills import Drill
from entrypoint.volume import notes
from unit import made

WORDS = "it was killed before it finished"


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> str:
    return str(made.cluster(tmp_path))


def test_a_run_begins_and_ends(data: str) -> None:
    """A run is one entry, and the last one."""
    run = Run("full", "1", "schedule")
    RUNS.note(data, run)
    assert run == last_runs(data).running
    good = run._replace(outcome="ok", name="b1")
    RUNS.note(data, good)
    assert [good] == RUNS.read(data)


def test_a_killed_run(data: str) -> None:
    """The next run marks it as interrupted, and only the newer run counts as running."""
    RUNS.note(data, Run("full", "1", "schedule"))
    RUNS.note(data, Run("full", "2", "command"))
    first, second = RUNS.read(data)
    assert ("interrupted", WORDS, "running") == (first.outcome, first.words, second.outcome)
    RUNS.settle(data)
    assert ["interrupted", "interrupted"] == [each.outcome for each in RUNS.read(data)]


def test_a_copy_of_a_data_folder(data: str) -> None:
    """The backup that made the copy never ends there, and does not count as a failure."""
    good = Run("full", "1", "schedule", outcome="ok")
    RUNS.note(data, good)
    RUNS.note(data, Run("full", "2", "schedule"))
    RUNS.forget_running(data)
    assert [good] == RUNS.read(data)


def test_a_full_disk_fails_nothing(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning names what could not be recorded."""
    told: list[str] = []

    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(notes, "write", write)
    monkeypatch.setattr(log, "warning", lambda what, *_: told.append(what))
    RUNS.note(data, Run("full", "1", "schedule"))
    rehearsals.note(data, Drill("1", "command"))
    assert [
        f"cannot record the backup in {data}: No space left on device",
        f"cannot record the drill in {data}: No space left on device",
    ] == told


def test_nothing_is_recorded_in_an_empty_data_folder(tmp_path: Path) -> None:
    """A drill of an empty volume leaves it empty."""
    rehearsals.note(str(tmp_path), Drill("1", "command"))
    assert not (tmp_path / own.DRILLS).exists()
