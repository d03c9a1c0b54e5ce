"""The record of backup runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from entrypoint.backup import journal, runs
from entrypoint.backup.runs import Run

RUNS = st.builds(
    Run,
    kind=st.sampled_from(["full", "incremental"]),
    started=st.just("2026-11-22T03:00:00+00:00"),
    why=st.just("schedule"),
    outcome=st.sampled_from(
        [journal.OK, journal.FAILED, journal.INTERRUPTED, journal.STOPPED, journal.DAMAGED, journal.RUNNING]
    ),
    seconds=st.integers(0, 10**6).map(float),
    words=st.text(),
    holes=st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple),
    broken=st.dictionaries(st.text(), st.text(), max_size=2),
    verified=st.booleans(),
)


@given(st.lists(RUNS, max_size=5))
def test_it_is_read_as_it_was_written(found: list[Run]) -> None:
    """A run survives writing and parsing, whatever the tool's output contains."""
    assert found == runs.parse(runs.write(found))


@given(st.lists(RUNS, max_size=5))
def test_the_last_success_and_verification_outlive_the_rest(found: list[Run]) -> None:
    """A hundred failures do not push out the last good backup, nor the backups known to be broken."""
    bad = [Run("full", "", "schedule", outcome=journal.FAILED, words=str(number)) for number in range(120)]
    kept = runs.parse(runs.write([*found, *bad]))
    assert bad[-journal.KEPT :] == kept[-journal.KEPT :]
    assert len(kept) <= journal.KEPT + 2
    assert runs.last(found).success == runs.last(kept).success
    assert runs.last(found).verified == runs.last(kept).verified


def test_a_torn_line_does_no_harm() -> None:
    """Lines of another version and invalid lines are skipped."""
    text = runs.write([Run("full", "a", "command"), Run("full", "b", "command")])
    assert ["a", "b"] == [
        run.started for run in runs.parse('{"kind": "full"}\n[]\n7\n{\n' + text + '{"kind":')
    ]


def test_what_matters_now() -> None:
    """A failure counts until the next success; a run stopped with its container is not a failure."""
    good = Run("full", "1", "schedule", outcome=journal.OK)
    bad = Run("full", "2", "schedule", outcome=journal.FAILED)
    killed = Run("full", "3", "schedule", outcome=journal.INTERRUPTED)
    stopped = Run("full", "4", "schedule", outcome=journal.STOPPED)
    assert (good, killed) == runs.last([bad, good, bad, killed, stopped])[:2]
    assert (good, None) == runs.last([bad, good])[:2]
    assert (None, None, None, None) == runs.last([])
    assert 2 == runs.failures_in_a_row([bad, good, bad, killed, stopped])
    assert 0 == runs.failures_in_a_row([bad, good])
