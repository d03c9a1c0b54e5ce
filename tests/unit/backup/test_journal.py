"""The journal of backups and drills."""

from __future__ import annotations

import pytest

from entrypoint.backup import journal, runs
from entrypoint.backup.runs import Run
from entrypoint.errors import Failure, Problem, Stopped

FIRST = "2026-11-22T03:00:00+00:00"


def _run(number: int, outcome: journal.Outcome = "failed", *, verified: bool = False) -> Run:
    return Run("full", f"{number}", "schedule", outcome=outcome, verified=verified)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Stopped(15), ("stopped", "a stop was requested")),
        (
            Failure(Problem("the storage is unreachable", "wait"), Problem("more", "")),
            ("failed", "the storage is unreachable"),
        ),
        (KeyError("x"), ("failed", "the entrypoint itself failed")),
    ],
)
def test_how_it_ended(error: BaseException, expected: tuple[str, str]) -> None:
    """A stop is not a failure, and an unforeseen error is the entrypoint's own."""
    assert expected == journal.ended_by(error)


def test_which_entries_are_kept() -> None:
    """The last hundred entries are kept, and the newest of each lasting kind if that one is older."""
    found = [_run(0, "ok"), _run(1, "ok"), _run(2, verified=True), *(_run(each) for each in range(3, 103))]
    lasting = [lambda run: run.outcome == "ok", lambda run: run.verified]

    def kept(entries: list[Run]) -> list[str]:
        return [run.started for run in runs.parse(journal.write(entries, lasting))]

    assert ["1", "2", "3"] == kept(found)[:3]
    assert 102 == len(kept(found))
    newer = [*found, _run(103, "ok", verified=True)]
    assert ["4", "103"] == [kept(newer)[0], kept(newer)[-1]]
    assert 100 == len(kept(newer))


def test_when_it_was() -> None:
    """Times are in seconds since 1970; entries dated by a clock that was ahead are left out."""
    run = Run("full", FIRST, "schedule", seconds=90.5)
    assert 90.5 == journal.ended(run) - journal.began(run)
    assert 1795316400.0 == journal.began(run)
    assert [run] == journal.believed([run], journal.began(run) + 1)
    assert [] == journal.believed([run], journal.began(run) - 86400)
