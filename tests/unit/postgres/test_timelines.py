"""Which timeline in an archive belongs to a server that was promoted later, and where it diverged from ours."""

from __future__ import annotations

import itertools
import random

import pytest

from entrypoint.postgres.segments import lsn_text
from entrypoint.postgres.timelines import Rival, diverged, find, numbers, parse_dump

FORK, LATER = 0x5000148, 0x7000060


def _text(*forks: tuple[int, int]) -> str:
    return "".join(f"{timeline}\t{lsn_text(lsn)}\tno recovery target specified\n" for timeline, lsn in forks)


@pytest.mark.parametrize(
    ("mine", "ours", "found", "expected"),
    [
        pytest.param(1, (), {}, None, id="nothing there"),
        pytest.param(1, (), {2: _text((1, FORK))}, Rival(2, 1, FORK), id="promoted from ours"),
        pytest.param(2, ((1, FORK),), {2: _text((1, FORK))}, None, id="our own"),
        pytest.param(
            3,
            ((1, LATER),),
            {2: _text((1, FORK)), 3: _text((1, LATER))},
            None,
            id="an older one that was given up",
        ),
        pytest.param(
            1,
            (),
            {2: _text((1, FORK)), 3: _text((1, FORK), (2, LATER))},
            Rival(3, 1, FORK),
            id="promoted twice",
        ),
        pytest.param(
            2, ((1, FORK),), {3: _text((1, FORK), (2, LATER))}, Rival(3, 2, LATER), id="there and back again"
        ),
        pytest.param(
            2, ((1, FORK),), {3: _text((1, LATER))}, Rival(3, 1, FORK), id="the old one took its place back"
        ),
        pytest.param(
            2, ((1, LATER),), {3: _text((1, FORK))}, Rival(3, 1, FORK), id="restored to before ours"
        ),
        pytest.param(1, (), {5: None}, Rival(5, 0, 0), id="segments without a history"),
        pytest.param(1, (), {2: ""}, None, id="an empty history"),
        pytest.param(1, (), {2: "no history at all\n"}, None, id="no history"),
        pytest.param(1, (), {3: _text((2, FORK))}, None, id="of another cluster"),
        pytest.param(1, (), {2: _text((1, FORK), (2, LATER))}, None, id="its own ancestor"),
        pytest.param(1, (), {3: _text((1, LATER), (2, FORK))}, None, id="ends that go back"),
        pytest.param(1, (), {3: _text((2, FORK), (1, LATER))}, None, id="ancestors that go back"),
        pytest.param(
            1, (), {9: "nonsense", 2: _text((1, FORK))}, Rival(2, 1, FORK), id="nonsense hides nothing"
        ),
        pytest.param(2, (), {3: _text((1, FORK))}, Rival(3, 0, 0), id="our own history is lost"),
    ],
)
def test_find(
    mine: int, ours: tuple[tuple[int, int], ...], found: dict[int, str | None], expected: Rival | None
) -> None:
    """The newest timeline counts that is newer than ours and branches off our history."""
    assert expected == find(mine, ours, found)


def _grow(seed: int) -> dict[int, tuple[tuple[int, int], ...]]:
    """Histories as promotions create them: each new timeline leaves an existing one after its beginning."""
    chance = random.Random(seed)
    known: dict[int, tuple[tuple[int, int], ...]] = {1: ()}
    for timeline in range(2, 2 + chance.randint(1, 6)):
        parent = chance.choice(sorted(known))
        begin = known[parent][-1][1] if known[parent] else 0
        known[timeline] = (*known[parent], (parent, begin + chance.randint(0, 9)))
    return known


@pytest.mark.parametrize("seed", range(40))
def test_only_the_newest_timeline_finds_no_rival(seed: int) -> None:
    """In any family of timelines with all histories archived, only the newest one finds no newer one."""
    known = _grow(seed)
    found: dict[int, str | None] = {each: _text(*forks) for each, forks in known.items() if forks}
    newest = max(known)
    for timeline, forks in known.items():
        rival = find(timeline, forks, found)
        assert (None if timeline == newest else newest) == (rival.timeline if rival else None)


@pytest.mark.parametrize("seed", range(40))
def test_where_two_timelines_diverged(seed: int) -> None:
    """The result is the same from either side, is on both histories, and is never after the end of what they share."""
    known = _grow(seed)
    for (one, ours), (other, theirs) in itertools.combinations(known.items(), 2):
        where = diverged(ours, one, theirs, other)
        assert where == diverged(theirs, other, ours, one)
        assert where is not None
        timeline, lsn = where
        for number, forks in ((one, ours), (other, theirs)):
            assert timeline == number or lsn <= dict(forks)[timeline]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("00000002.history", {2}),
        ("00000002.history.lz4", {2}),
        ("000000020000000000000007.zst", {2}),
        ("000000020000000000000007.partial", {2}),
        ("000000020000000000000007-a7a566ee25e4b92e2700f47e02fab01a3e2e5f14.gz", {2}),
        ("000000020000000000000007.00000028.backup.lz4", {2}),
        ("0000000200000000", {2}),
        ("00000002", set()),
        ("0000000200000000000000071", set()),
        ("archive.info", set()),
        ("cluster.json", set()),
        ("../00000002.history", set()),
    ],
)
def test_numbers(name: str, expected: set[int]) -> None:
    """The names of either archiver's WAL files and folders contain a timeline; other names do not."""
    assert expected == numbers([name])


def test_a_dump_that_was_cut_short() -> None:
    """Without the end of the WAL, the numbers are minimums; without a transaction, there is no time."""
    line = "rmgr: Transaction len (rec/tot): 34/34, tx: 731, lsn: 0/05000200, prev 0/050001C8, desc: {} 2026-11-29 {} UTC\n"
    text = line.format("COMMIT", "05:00:00.1") + line.format("ABORT", "05:00:01.2").replace("0200,", "0300,")
    found = parse_dump(text, "", FORK)
    assert (0x1B8, 1, "2026-11-29 05:00:00 UTC", False) == (
        found.bytes,
        found.transactions,
        found.last,
        found.whole,
    )
    assert (0, 0, "", "", False) == tuple(parse_dump("", "pg_waldump: error: could not find file", FORK))
