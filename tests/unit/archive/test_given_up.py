"""WAL that was given up: the record, the gaps that it makes, and what leads over them."""

from __future__ import annotations

import pytest

from entrypoint.archive import given_up
from entrypoint.archive.given_up import Gap, Record
from unit.made import backup

SIZE = 16 * 1024**2


def _name(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}00000000{number:08X}"


def _gap(first: int = 5, last: int = 7, **fields: object) -> Gap:
    made = Gap(
        url="u",
        cluster="1",
        first=_name(first),
        last=_name(last),
        segments=last - first + 1,
        bytes=(last - first + 1) * SIZE,
        begun=50.0,
        reached=40.0,
    )
    return made._replace(**fields)  # type: ignore[arg-type]


def test_the_record() -> None:
    """What a crash cut off says nothing, what was archived after all is not given up, and the first begin counts."""
    text = "\n".join(
        [
            "",
            "begin 50 40 no route",
            f"drop {_name(5)} {_name(6)}",
            "later 00000002.history",
            "later ../../x",
            "end 60",
            f"kept {_name(6)}",
            "begin 70 65 other",
            f"drop {_name(7)} {_name(7)}",
            f"partial {_name(8)}.partial",
            f"drop {_name(9)} {_name(9, 2)}",
            f"drop {_name(9)} {_name(10)[:12]}",
        ]
    )
    found = given_up.parse_record(text)
    ranges = ((_name(5), _name(6)), (_name(7), _name(7)))
    assert Record(ranges, frozenset([_name(6)]), ("00000002.history",), 50.0, 40.0, "no route") == found
    assert [5, 7] == [each for each in range(12) if found.holds(_name(each))]
    assert given_up.parse_record(f"{text}\ndrop {_name(6)} {_name(6)}").holds(_name(6))
    assert [True, True, False, False] == [
        given_up.is_whole(each)
        for each in (f"kept {_name(6)}", "", f"drop {_name(9)} {_name(10)[:12]}", "begin 1 2 x")
    ]


def test_a_gap_for_each_timeline() -> None:
    """A gap belongs to a timeline."""
    ranges = ((_name(4), _name(6)), (_name(5), _name(7)), (_name(6, 2), _name(6, 2)))
    record = Record(ranges, frozenset([_name(4), _name(7), _name(9)]), (), 50.0, 40.0, "why")
    one, two = given_up.gaps_of(record, "u", "1", SIZE, 60.0)
    assert (_name(5), _name(6), 2, 2 * SIZE) == (one.first, one.last, one.segments, one.bytes)
    assert (_name(6, 2), 2) == (two.first, two.timeline)
    nothing = Record(((_name(4), _name(4)),), frozenset([_name(4)]))
    assert [] == given_up.gaps_of(nothing, "u", "1", SIZE, 60.0)


def test_later_segments_extend_an_open_gap() -> None:
    """There is no backup in between; behind a closed gap, a new one begins; what is read twice changes nothing."""
    (wide,) = given_up.merged([_gap(lsn="0/4000028", stored=True)], [_gap(9, 9, reached=90.0)])
    assert (_name(5), _name(9), 4, "0/4000028", 40.0, False) == (
        *(wide.first, wide.last, wide.segments, wide.lsn, wide.reached, wide.stored),
    )
    done = _gap(backup="b8", back=100.0)
    assert 2 == len(given_up.merged([done], [_gap(9, 9)]))
    assert [done] == given_up.merged([done], [_gap(5, 6)])


def test_only_a_full_backup_behind_a_gap_ends_it() -> None:
    """It must begin behind the last segment, on the same or a later timeline."""
    for each in (
        backup(7, cluster="1"),
        backup(8, kind="incremental", cluster="1"),
        backup(4, cluster="1"),
        backup(8, cluster="1")._replace(damaged=True),
    ):
        assert given_up.closed(_gap(), each, 100.0).is_open
    done = given_up.closed(_gap(), backup(8, cluster="1"), 100.0)
    assert ("b8", 101.0, "0/8000100", False) == (done.backup, done.back, done.back_lsn, done.stored)
    assert [True, True, True, False] == [done.hides(each) for each in (40.0, 70.0, 100.5, 101.0)]
    assert [False, True] == [_gap().hides(39.9), _gap().hides(9e9)]


def test_a_gap_nobody_comes_to() -> None:
    """Without a backup before it, a gap is of no interest."""
    assert given_up.is_needed(_gap(), [backup(8, cluster="1"), backup(4, cluster="1")])
    assert not given_up.is_needed(_gap(), [backup(8, cluster="1")])


def test_a_fork_leaves_later_gaps_behind() -> None:
    """A timeline that forked before a gap has no gap."""
    gaps = [_gap(), _gap(2, 2)]
    assert gaps[1:] == given_up.on_the_way(gaps, 2, [(1, 5 * SIZE)], SIZE)
    assert gaps == given_up.on_the_way(gaps, 2, [(1, 5 * SIZE + 1)], SIZE)
    assert gaps == given_up.on_the_way(gaps, 1, [], SIZE)


def test_of_one_gap_the_later_state_counts() -> None:
    """A gap that another server has closed stays closed; one that only the archive knows is taken over."""
    done = _gap(backup="b8", back=100.0)
    assert [True] == [not each.is_open for each in given_up.united([_gap()], [done])]
    assert [(False, False)] == [(each.is_open, each.stored) for each in given_up.united([done], [_gap()])]
    assert [_gap(stored=True)] == given_up.united([], [_gap()])
    assert [_gap(stored=True)] == given_up.united([_gap()], [_gap()])


def test_holes_that_nobody_made() -> None:
    """A recorded gap is not reported as missing WAL a second time."""
    holes = [(_name(5), _name(6)), (_name(2), _name(2)), (_name(6), _name(9))]
    assert holes[1:] == given_up.unrecorded(holes, [_gap()])


def test_the_list_is_read_back() -> None:
    """It comes from the archive, so nothing in it is trusted."""
    gap = _gap(lsn="0/4000028", why="no\nroute")
    text = given_up.write([gap], read=5)
    assert [gap._replace(why="no\\nroute")] == given_up.parse(text)
    for wrong in (
        *(
            "",
            "[]",
            '{"gaps": [{}]}',
            '{"gaps": 1}',
            text.replace(_name(5), "x"),
            text.replace("50.0", '"a"'),
        ),
        *(text.replace("0/4000028", "0/4; rm"), text.replace('"cluster": "1"', '"cluster": "a"')),
        text.replace("40.0", "1e99"),
    ):
        with pytest.raises(ValueError, match=r"."):
            given_up.parse(wrong)
