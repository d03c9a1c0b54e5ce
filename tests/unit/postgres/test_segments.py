"""Names and numbers of WAL segments, and gaps between them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.postgres import segments

SIZE = 16 * 1024**2
SIZES = st.sampled_from([1024**2 << power for power in range(11)])


@given(st.integers(1, 2**32 - 1), SIZES, st.data())
def test_names_and_numbers_are_one_to_one(timeline: int, size: int, data: st.DataObject) -> None:
    """This holds for every segment size from 1 MB to 1 GB."""
    count = data.draw(st.integers(0, 2**64 // size - 1))
    name = segments.name(timeline, count, size)
    assert 24 == len(name)
    assert (count, timeline) == (segments.number(name, size), int(name[:8], 16))


def test_the_segment_of_an_lsn() -> None:
    """An LSN at the end of a segment belongs to the next segment, unless it is an end."""
    assert "000000010000000000000002" == segments.of_lsn(1, "0/2000000", SIZE)
    assert "000000010000000000000001" == segments.of_lsn(1, "0/2000000", SIZE, end=True)
    assert "0000000300000005000000FF" == segments.of_lsn(3, "5/FF000028", SIZE)


def _between(first: int, last: int, timeline: int = 1) -> list[str]:
    return [segments.name(timeline, count, SIZE) for count in range(first, last + 1)]


@given(st.sets(st.integers(0, 40)))
def test_every_missing_segment_is_in_exactly_one_run(lost: set[int]) -> None:
    """Runs are maximal and in order, and contain the missing segments and nothing else."""
    names = _between(250, 290)  # across the border of two upper halves
    present = {name for name in names if names.index(name) not in lost}
    found = segments.gaps(present, names[0], names[-1], (), SIZE)
    numbers = [
        count
        for first, last in found
        for count in range(segments.number(first, SIZE), segments.number(last, SIZE) + 1)
    ]
    assert sorted(250 + each for each in lost) == numbers
    ends = [(segments.number(first, SIZE), segments.number(last, SIZE)) for first, last in found]
    assert all(one[1] + 1 < other[0] for one, other in pairwise(ends))


def test_a_history_is_followed() -> None:
    """Segments of an old timeline beyond its end do not count; the segment with the fork is on the new timeline."""
    forks = segments.parse_history("1\t0/5000028\tno recovery target specified\n\n2\t0/8000000\tx\n")
    assert [(1, 0x5000028), (2, 0x8000000)] == forks
    whole = {*_between(2, 5), *_between(5, 7, 2), *_between(8, 9, 3)}
    first, last = segments.name(1, 2, SIZE), segments.name(3, 9, SIZE)
    assert [] == segments.gaps(whole, first, last, forks, SIZE)
    lost = segments.name(2, 6, SIZE)
    beyond = {*(whole - {lost}), segments.name(1, 6, SIZE)}
    assert [(lost, lost)] == segments.gaps(beyond, first, last, forks, SIZE)


def test_without_a_history_any_timeline_counts() -> None:
    """A command that runs alone does not know the history, and must not raise a false alarm."""
    whole = {*_between(2, 4), *_between(5, 7, 2)}
    first, last = segments.name(1, 2, SIZE), segments.name(2, 7, SIZE)
    assert [] == segments.gaps(whole, first, last, (), SIZE)


@given(st.integers(1, 5), st.integers(1, 60), st.integers(0, SIZE - 1), st.integers(0, 60), SIZES)
def test_an_old_timeline_that_grew(parent: int, count: int, offset: int, last: int, size: int) -> None:
    """It has grown if one of its segments begins at or after the fork; the segment with the fork is not enough."""
    lsn = count * size + offset % size
    present = {segments.name(parent, each, size) for each in range(last + 1)}
    found = segments.others(present, parent + 1, [(parent, lsn)], size, ours=False)
    grown = last * size >= lsn
    assert (segments.name(parent, last, size) if grown else None, ()) == found


@given(st.integers(1, 5), st.integers(1, 60), st.integers(0, SIZE - 1), st.integers(0, 60), SIZES)
def test_a_target_leaves_the_rest_of_its_segment(
    parent: int, count: int, offset: int, last: int, size: int
) -> None:
    """After a stop at a target, the segment with the fork counts too, unless the fork is its very end."""
    present = {segments.name(parent, each, size) for each in range(last + 1)}
    forks = [(parent, count * size + offset % size)]
    found = segments.others(present, parent + 1, forks, size, ours=False, stopped=True)
    assert (segments.name(parent, last, size) if last >= count else None, ()) == found


@pytest.mark.parametrize(
    ("reason", "stopped"),
    [
        ("no recovery target specified", False),
        ("before 2026-11-22 13:02:00.000000+00", True),
        ("after transaction 741", True),
        ('at restore point "no recovery target specified"', True),
        ("reached consistency", True),
    ],
)
def test_why_a_timeline_ended(reason: str, *, stopped: bool) -> None:
    """PostgreSQL writes the reason into the history; those of older timelines do not matter."""
    for before in ("", "1\t0/3000000\tno recovery target specified\n\n", "1\t0/3000000\tbefore LSN 0/1\n\n"):
        assert stopped == segments.stopped_at_target(f"{before}2\t0/5000028\t{reason}\n")
    assert not segments.stopped_at_target("")


@given(st.sets(st.integers(1, 9)), st.integers(2, 8), st.booleans())
def test_timelines_that_another_cluster_has_taken(taken: set[int], timeline: int, ours: bool) -> None:
    """Our own number counts only before our first write; a lower one never does, because we came after it."""
    forks = [(timeline - 1, 5 * SIZE)]
    present = {f"{each:08X}.history" for each in taken if each % 2}
    present |= {segments.name(each, 4, SIZE) for each in taken if not each % 2}
    expected = {each for each in taken if each > timeline or (each == timeline and not ours)}
    found = segments.others(present, timeline, forks, SIZE, ours=ours)
    assert (None, tuple(sorted(expected))) == found


def test_only_the_last_fork_counts() -> None:
    """Segments beyond an older fork were known when the cluster was restored."""
    present = {segments.name(1, 9, SIZE), segments.name(2, 7, SIZE), "00000002.history"}
    forks = [(1, 5 * SIZE), (2, 8 * SIZE)]
    assert (None, ()) == segments.others(present, 3, forks, SIZE, ours=False)


def test_names_of_archived_files() -> None:
    """Complete segments and histories under any compression; no backup labels, no partial or torn files."""
    name = "000000010000000000000005"
    for path in (name, f"{name}.zst", f"15-1/0000000100000000/{name}-{'0f' * 20}.gz", f"{name}-{'0f' * 20}"):
        assert name == segments.archived(path), path
    for ending in (
        ".partial",
        ".partial.lz4",
        ".00000028.backup",
        ".lz4.tmp.20261122T000000Z-0f0f",
        "_delta.lz4",
    ):
        assert None is segments.archived(f"{name}{ending}"), ending


HISTORY = "1\t0/5000028\tno recovery target specified\n\n2\t0/8000000\tbefore 2026-01-01\n"
"""The history of timeline 3: the first timeline ended within segment 5, the second with segment 7."""


def _named(timeline: int, *counts: int) -> list[str]:
    return [segments.name(timeline, count, SIZE) for count in counts]


PRESENT = [*_named(1, 3, 4, 5, 7), *_named(2, 5, 6, 7, 9), *_named(3, 8, 10)]
"""Another server has continued both the first timeline and the second."""


@pytest.mark.parametrize(
    ("timeline", "count", "expected"),
    [
        (1, 2, (1, 3)),  # before everything: the segments that a backup from then needs are gone
        (1, 6, (1, 7)),
        (1, 8, None),
        (2, 4, None),  # the second timeline begins with 5, so this segment is on the first
        (2, 8, (2, 9)),
        (2, 10, None),
        (3, 5, None),
        (3, 7, None),
        (3, 9, (3, 10)),
        (3, 11, None),
    ],
)
def test_a_gap_has_a_later_segment_on_its_timeline(
    timeline: int, count: int, expected: tuple[int, int] | None
) -> None:
    """Newer timelines come first: segments from before they began are not a gap in them."""
    begin = {1: 0, 2: segments.parse_lsn("0/5000028"), 3: segments.begin(HISTORY)}[timeline]
    (missing,) = _named(timeline, count)
    wanted = _named(*expected)[0] if expected else None
    assert wanted == segments.later(missing, PRESENT, begin, SIZE)


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 16 * 1024**2 - 1), st.integers(0, 5)), max_size=4),
    st.data(),
)
def test_every_gap_and_no_other_is_found(forks: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """For any timelines, a complete archive has no gap, and every lost segment but the last is one."""
    present: list[str] = []
    begins = {1: 0}
    previous = 0
    for timeline, (length, offset, more) in enumerate([*forks, (3, 0, 0)], 1):
        first = begins[timeline] // SIZE
        fork = max(begins[timeline], previous) + length * SIZE + offset
        begins[timeline + 1] = previous = fork
        # An old primary may have continued to archive after the fork.
        present += _named(timeline, *range(first, fork // SIZE + more))
    for timeline, begin in begins.items():
        count = data.draw(st.integers(0, previous // SIZE + 7))
        (asked,) = _named(timeline, count)
        if asked not in present:
            assert segments.later(asked, present, begin, SIZE) is None
    if present:
        lost = data.draw(st.sampled_from(present))
        rest = [each for each in present if each != lost]
        after = next((each for each in sorted(rest) if each > lost and each[:8] == lost[:8]), None)
        assert after == segments.later(lost, rest, begins[int(lost[:8], 16)], SIZE)
