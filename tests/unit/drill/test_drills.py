"""The records of drills, and the settings of their server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.backup import journal
from entrypoint.drill import drills
from entrypoint.drill.drills import Drill, LastDrills

if TYPE_CHECKING:
    from entrypoint.backup.journal import Outcome

ALL = st.builds(
    Drill,
    started=st.just("2026-11-22T03:00:00+00:00"),
    why=st.sampled_from(["schedule", "command"]),
    outcome=st.sampled_from(
        [journal.OK, journal.FAILED, journal.INTERRUPTED, journal.STOPPED, journal.RUNNING]
    ),
    last_transaction=st.none() | st.just("2026-11-22T02:59:00+00:00"),
    checks=st.lists(st.text()).map(tuple),
    words=st.text(),
    fetch_seconds=st.just(0.5),
    replay_seconds=st.just(1.5),
    check_seconds=st.just(0.1),
    seconds=st.just(2.1),
)


def _ended(*outcomes: Outcome) -> list[Drill]:
    return [Drill(str(number), "schedule", outcome=each) for number, each in enumerate(outcomes)]


@given(st.lists(ALL, max_size=5))
def test_the_records_are_read_as_they_were_written(found: list[Drill]) -> None:
    """A tool's output may contain anything; torn lines are skipped."""
    assert found == drills.parse(f"7\n[]\n{{\n{drills.write(found)}" + '{"why":')


@given(st.lists(ALL, max_size=5))
def test_the_last_good_drill_is_kept(found: list[Drill]) -> None:
    """More than a hundred failures do not push it out."""
    kept = drills.parse(drills.write([*found, *_ended(*[journal.FAILED] * 120)]))
    assert len(kept) <= journal.KEPT + 1
    assert drills.last(found).success == drills.last(kept).success


def test_only_the_last_drills_matter() -> None:
    """A failure counts until the next good drill; a stopped drill counts for nothing."""
    first, second, third = _ended(journal.OK, journal.FAILED, journal.STOPPED)
    assert LastDrills(first, second, None) == drills.last([first, second, third])
    assert LastDrills(first, None, None) == drills.last([second, first, third])
    (running,) = _ended(journal.RUNNING)
    assert LastDrills(None, None, running) == drills.last([running])
    assert [journal.INTERRUPTED] == [each.outcome for each in journal.settled([running])]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], 0),
        ([journal.FAILED], 0),
        ([journal.INTERRUPTED, journal.STOPPED], 2),
        ([journal.STOPPED, journal.OK, journal.INTERRUPTED], 1),
    ],
)
def test_interrupted_drills_are_counted(outcomes: list[Outcome], expected: int) -> None:
    """Drills that proved nothing are tried again, after a growing pause."""
    assert expected == drills.interrupted_in_a_row(_ended(*outcomes))


def test_there_may_be_no_transaction_after_the_backup() -> None:
    """The server's log then names none."""
    assert drills.last_transaction("LOG:  redo done at 0/3000060") is None


def test_the_server_has_room_for_the_originals_transactions() -> None:
    """The original's prepared transactions and locks fit; the server is closed and archives nothing."""
    control = {"max_prepared_xacts setting": "200", "max_locks_per_xact setting": "128"}
    made = drills.server_settings(control, "/run/drill", "fetch", 3)
    assert ("200", "128", "3") == (
        made["max_prepared_transactions"], made["max_locks_per_transaction"], made["recovery_target_timeline"]
    )  # fmt: skip
    assert ("", "off", "") == (made["listen_addresses"], made["archive_mode"], made["archive_command"])
    assert "64" == drills.server_settings({}, "/run/drill", "fetch", 1)["max_prepared_transactions"]
