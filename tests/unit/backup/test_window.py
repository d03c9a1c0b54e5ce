"""Which moments can be restored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.archive import given_up
from entrypoint.archivers.terms import Backup, Verification
from entrypoint.backup import window
from entrypoint.backup.window import Coverage, Gap, Tick, Window
from entrypoint.shown import iso
from entrypoint.volume.facts import ArchiveState

URL = "file:///archive"
NOW = 1_000_000.0
HOUR = 3600.0


def _backup(name: str, hours_ago: float, segment: int, *, timeline: int = 1, kind: str = "full") -> Backup:
    """Return a backup whose WAL is in one segment."""
    first = f"{timeline:08X}00000000{segment:08X}"
    at = iso(NOW - hours_ago * HOUR)
    return Backup(
        name,
        "full" if kind == "full" else "incremental",
        at,
        at,
        1,
        f"0/{segment:X}000028",
        f"0/{segment:X}000100",
        permanent=False,
        system_identifier="1",
        timeline=timeline,
        first_segment=first,
    )


def _segment(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}00000000{number:08X}"


BACKUPS = [_backup("a", 3, 2), _backup("b", 2, 5), _backup("c", 1, 9)]
A, B, C = (NOW - hours * HOUR + 1 for hours in (3, 2, 1))


def _cover(found: Verification | None = None, backups: list[Backup] | None = None) -> Coverage:
    return window.cover(URL, BACKUPS if backups is None else backups, found or Verification())


def test_the_window_begins_with_the_oldest_backup_and_ends_where_the_archive_does() -> None:
    """Every moment since the end of the oldest backup is there, as far as WAL is archived."""
    found = window.window(_cover(), NOW - 60, NOW, proven={"b"})
    assert Window(A, NOW - 60, (), (Tick("a", A), Tick("b", B, proven=True), Tick("c", C))) == found
    nowhere = window.window(_cover(), None, NOW)
    assert nowhere is not None
    assert C == nowhere.end  # the newest backup itself can be restored
    assert window.window(_cover(backups=[]), NOW, NOW) is None


@pytest.mark.parametrize(
    ("first", "last", "gap"),
    [
        (6, 7, Gap(_segment(6), _segment(7), B, C)),
        (3, 6, Gap(_segment(3), _segment(6), A, C)),
        (10, 11, Gap(_segment(10), _segment(11), C, None)),
        (0, 1, None),
    ],
)
def test_a_gap_is_between_the_backups_around_it(first: int, last: int, gap: Gap | None) -> None:
    """Missing WAL is a gap from the backup before it to the next one; without a next one, the window ends."""
    found = window.window(_cover(Verification(holes=((_segment(first), _segment(last)),))), NOW - 60, NOW)
    assert found is not None
    assert (() if gap is None else (gap,)) == found.gaps
    assert (C if gap is not None and gap.end is None else NOW - 60) == found.end


def test_gaps_between_the_same_backups_are_one() -> None:
    """Several runs of missing segments between two backups are one gap; names that are no segments do not count."""
    holes = (("x", "y"), (_segment(6), _segment(6)), (_segment(8), _segment(8)))
    assert (Gap(_segment(6), _segment(8), B, C),) == _cover(Verification(holes=holes)).gaps


def test_backups_that_do_not_restore_do_not_count() -> None:
    """A broken backup, and an increment without its parent, cover nothing."""
    found = _cover(Verification(broken={"a": "a file is missing"}))
    assert ["b", "c"] == [each.name for each in found.ticks]
    assert () == _cover(backups=[_backup("d", 1, 3, kind="incremental")]).ticks


def test_another_timeline_does_not_end_a_gap() -> None:
    """A backup of an older timeline was taken before the gap, whatever its LSN is."""
    backups = [_backup("a", 3, 2), _backup("old", 2, 9), _backup("new", 1, 8, timeline=2)]
    found = _cover(Verification(holes=((_segment(5, 2), _segment(5, 2)),)), backups)
    assert (A, NOW - HOUR + 1) == found.gaps[0][2:4]


def test_a_clock_that_was_ahead() -> None:
    """A backup that is dated in the future does not count until that time, and is no end of the window."""
    found = window.window(_cover(backups=[*BACKUPS, _backup("later", -24, 12)]), NOW - 60, NOW)
    assert found is not None
    assert (["a", "b", "c"], NOW - 60) == ([each.name for each in found.ticks], found.end)
    assert window.window(_cover(backups=[_backup("later", -24, 12)]), NOW, NOW) is None


STATE = ArchiveState(
    tool="pgbackrest",
    url=URL,
    backlog_segments=0,
    backlog_bytes=0,
    oldest_ready=None,
    oldest_ready_seconds=None,
    archived_per_minute=0,
    last_archived=_segment(9),
    last_archived_at=iso(NOW - 5 * HOUR),
    failing_since=None,
    last_error=None,
    prepared=True,
    fork_refused=None,
    fork_hint=None,
    fork_docs=None,
    free_bytes=None,
    seconds_until_full=None,
)


@pytest.mark.parametrize(
    ("state", "timeout", "reached"),
    [
        (STATE._replace(idle=True), "1min", NOW),
        (STATE._replace(idle=True), "0", NOW),
        (STATE, "1min", NOW - 60),
        (STATE, "0", NOW - 5 * HOUR),
        (STATE._replace(last_archived_at=iso(NOW - 20)), "60", NOW - 20),
        (STATE._replace(backlog_segments=9, oldest_ready_seconds=600), "60s", NOW - 660),
        (STATE._replace(oldest_ready_seconds=5, failing_since=iso(NOW - HOUR)), "60", NOW - HOUR - 60),
        (STATE._replace(last_archived_at=iso(NOW + HOUR)), "60", None),
        (STATE._replace(last_archived_at=None), "60", None),
    ],
)
def test_how_far_the_archive_reaches(state: ArchiveState, timeout: str, reached: float | None) -> None:
    """An idle server reaches to now; what waits is no older than archive_timeout; no wrong clock is believed."""
    assert reached == window.reach(state, timeout, NOW)


NAMES = st.text(max_size=5)
MOMENTS = st.floats(0, 2**35)
GAPS = st.builds(Gap, NAMES, NAMES, MOMENTS, st.none() | MOMENTS, why=st.just(""))


@given(
    st.builds(
        Coverage,
        NAMES,
        st.lists(st.builds(Tick, NAMES, MOMENTS, proven=st.just(value=False))).map(tuple),
        st.lists(GAPS).map(tuple),
    )
)
def test_the_note_is_read_as_it_was_written(found: Coverage) -> None:
    """What is noted next to the data is what is read later."""
    assert found == window.parse(window.write(found))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"url": "x"}',
        '{"url": 1, "ticks": [["a", 1e99]], "gaps": []}',
        '{"url": "x", "ticks": [["a"]]}',
    ],
)
def test_a_note_that_somebody_changed(text: str) -> None:
    """Anything else is refused with a ValueError."""
    with pytest.raises(ValueError, match=r"."):
        window.parse(text)


def test_for_machines() -> None:
    """Times are in ISO 8601; a gap that is still open has no end."""
    found = window.as_json(Window(A, C, (Gap("1", "2", C, None),), ()))
    gap = {"from": iso(C), "to": None, "first": "1", "last": "2", "why": None}
    assert {"from": iso(A), "to": iso(C), "gaps": [gap]} == found


MADE = given_up.Gap(
    first=_segment(6),
    last=_segment(8),
    segments=3,
    bytes=48 * 1024**2,
    begun=B + 300,
    ended=B + 400,
    reached=B + 100.5,
)
"""A gap that was made on purpose, after the second backup."""


@pytest.mark.parametrize(("back", "end", "last"), [(0.0, None, B + 100), (C, C, NOW)])
def test_a_gap_that_was_made_on_purpose(back: float, end: float | None, last: float) -> None:
    """It begins with the last transaction before it, ends with the full backup, and replaces the hole that it left."""
    made = MADE._replace(backup="c" if back else "", back=back)
    ticks = BACKUPS if back else BACKUPS[:2]
    covered = _cover(Verification(holes=((_segment(6), _segment(8)),)), ticks)
    found = window.window(covered, NOW, NOW, recorded=[made])
    assert found is not None
    assert (last, [Gap(_segment(6), _segment(8), B + 100, end, given_up.in_words(made))]) == (
        found.end,
        [*found.gaps],
    )


def test_a_gap_before_all_backups_is_not_shown() -> None:
    """No restore comes near it."""
    found = window.window(_cover(backups=BACKUPS[2:]), NOW, NOW, recorded=[MADE._replace(backup="c", back=C)])
    assert found is not None
    assert () == found.gaps
