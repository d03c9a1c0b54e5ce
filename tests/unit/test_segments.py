"""Names and numbers of WAL segments, and which are missing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from entrypoint import segments

SIZE = 16 * 1024**2
SIZES = st.sampled_from([1024**2 << power for power in range(11)])


@given(st.integers(1, 2**32 - 1), SIZES, st.data())
def test_names_and_numbers_are_one_to_one(timeline: int, size: int, data: st.DataObject) -> None:
    """For every segment size from 1 MB to 1 GB."""
    count = data.draw(st.integers(0, 2**64 // size - 1))
    name = segments.name(timeline, count, size)
    assert 24 == len(name)
    assert (count, timeline) == (segments.number(name, size), int(name[:8], 16))


def test_the_segment_of_an_lsn() -> None:
    """An LSN at the end of a segment belongs to the next one, unless it is an end."""
    assert "000000010000000000000002" == segments.of_lsn(1, "0/2000000", SIZE)
    assert "000000010000000000000001" == segments.of_lsn(1, "0/2000000", SIZE, end=True)
    assert "0000000300000005000000FF" == segments.of_lsn(3, "5/FF000028", SIZE)


def _between(first: int, last: int, timeline: int = 1) -> list[str]:
    return [segments.name(timeline, count, SIZE) for count in range(first, last + 1)]


@given(st.sets(st.integers(0, 40)))
def test_every_missing_segment_is_in_one_run(lost: set[int]) -> None:
    """Runs are as long as they can be, in order, and hold what is missing and nothing else."""
    names = _between(250, 290)  # over the border of two upper halves
    present = {name for name in names if names.index(name) not in lost}
    found = segments.gaps(present, names[0], names[-1], (), SIZE)
    told = [
        count
        for first, last in found
        for count in range(segments.number(first, SIZE), segments.number(last, SIZE) + 1)
    ]
    assert sorted(250 + each for each in lost) == told
    ends = [(segments.number(first, SIZE), segments.number(last, SIZE)) for first, last in found]
    assert all(one[1] + 1 < other[0] for one, other in pairwise(ends))


def test_a_history_is_followed() -> None:
    """Segments of an old timeline beyond its end count for nothing; the one with the fork is on the new one."""
    forks = segments.parse_history("1\t0/5000028\tno recovery target specified\n\n2\t0/8000000\tx\n")
    assert [(1, 0x5000028), (2, 0x8000000)] == forks
    whole = {*_between(2, 5), *_between(5, 7, 2), *_between(8, 9, 3)}
    first, last = segments.name(1, 2, SIZE), segments.name(3, 9, SIZE)
    assert [] == segments.gaps(whole, first, last, forks, SIZE)
    lost = segments.name(2, 6, SIZE)
    beyond = {*(whole - {lost}), segments.name(1, 6, SIZE)}
    assert [(lost, lost)] == segments.gaps(beyond, first, last, forks, SIZE)


def test_without_a_history_any_timeline_will_do() -> None:
    """A command that runs alone does not know it, and must not cry wolf."""
    whole = {*_between(2, 4), *_between(5, 7, 2)}
    first, last = segments.name(1, 2, SIZE), segments.name(2, 7, SIZE)
    assert [] == segments.gaps(whole, first, last, (), SIZE)
