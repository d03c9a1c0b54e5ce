"""Timelines of one cluster: whether another server writes on a newer one than ours; pure.

PostgreSQL gives a new timeline the next number after the highest one that it finds. So the highest number in
an archive belongs to the server that was promoted last, and a restore follows that timeline.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple, re
from entrypoint.postgres.segments import parse_history, parse_lsn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Rival", "Written", "diverged", "find", "numbers", "parse_dump"]

_OPEN = 2**64
"""The end of a timeline that has not ended."""
_NAME = re.compile(r"([0-9A-F]{8})(?:\.history|[0-9A-F]{8}(?![0-9A-F])|[0-9A-F]{16}(?![0-9A-F]))")


class Rival(NamedTuple):
    """A timeline on which another server writes."""

    timeline: int
    left: int
    """The last timeline that both servers share; 0: not known."""
    lsn: int
    """Where their timelines diverged."""


class Written(NamedTuple):
    """What a cluster has written since another cluster's history diverged from its own."""

    bytes: int
    """Of WAL."""
    transactions: int
    first: str
    """When the first transaction was committed, as pg_waldump writes it; empty: there is none."""
    last: str
    whole: bool
    """The end of the WAL was reached; otherwise the numbers are minimums."""


def numbers(names: Iterable[str]) -> set[int]:
    """Return the timelines of the names in an archive's WAL folder.

    These are names of histories, of segments, and of pgBackRest's folders of segments.

    >>> sorted(numbers(["00000003.history.lz4", "000000010000000000000002-a7.lz4", "0000000200000000", "x"]))
    [1, 2, 3]
    """
    return {int(found[1], 16) for name in names if (found := _NAME.match(name))}


def find(mine: int, ours: Sequence[tuple[int, int]], found: Mapping[int, str | None]) -> Rival | None:
    r"""Return the newest timeline that branches off this cluster's history, if newer than the cluster's own.

    `ours` is the history of the cluster's own timeline `mine`. `found` maps the timelines in the archive to
    the texts of their histories; None: the timeline has segments but no history. Lower numbers belong to
    servers that were promoted before this one. A text that is no history of its timeline, or that has nothing
    in common with ours, is ignored.

    >>> find(1, [], {2: "1\t0/5000148\tno recovery target specified\n"})
    Rival(timeline=2, left=1, lsn=83886408)
    >>> find(3, [(1, 83886408)], {2: "1\t0/4000000\treason\n"}) is None
    True
    """
    for timeline in sorted((each for each in found if each > mine), reverse=True):
        text = found[timeline]
        if text is None or (mine > 1 and not ours):
            return Rival(timeline, 0, 0)
        theirs = parse_history(text)
        where = diverged(ours, mine, theirs, timeline) if _is_proper(theirs, timeline) else None
        if where is not None:
            return Rival(timeline, *where)
    return None


def _is_proper(forks: Sequence[tuple[int, int]], timeline: int) -> bool:
    """Return whether this can be a timeline's history: its ancestors are older, and they ended in order."""
    chain = [*(number for number, _ in forks), timeline]
    ends = [lsn for _, lsn in forks]
    return bool(forks) and chain == sorted(set(chain)) and ends == sorted(ends)


def diverged(
    ours: Sequence[tuple[int, int]], mine: int, theirs: Sequence[tuple[int, int]], timeline: int
) -> tuple[int, int] | None:
    """Return the last timeline that two histories share, and the LSN where they diverged; None: none.

    >>> diverged([(1, 100)], 2, [(1, 100), (2, 200)], 3), diverged([(1, 150)], 3, [(1, 100)], 2)
    ((2, 200), (1, 100))
    """
    common = None
    both = zip([*ours, (mine, _OPEN)], [*theirs, (timeline, _OPEN)], strict=False)
    for (one, one_end), (other, other_end) in both:
        if one != other:
            break
        common = one, min(one_end, other_end)
        if one_end != other_end:
            break
    return common


def parse_dump(text: str, errors: str, lsn: int) -> Written:
    r"""Return what was written since an LSN.

    `text` is pg_waldump's list of transactions from there on, `errors` its message at the end of the WAL.

    >>> parse_dump(
    ...     "rmgr: Transaction len (rec/tot): 34/34, tx: 731, lsn: 0/05000200, prev 0/050001C8, "
    ...     "desc: COMMIT 2026-11-29 05:00:00.123456 UTC\n",
    ...     "pg_waldump: error: error in WAL record at 0/5000200: invalid record length at 0/5000248: got 0",
    ...     0x5000148,
    ... )[:4]
    (256, 1, '2026-11-29 05:00:00 UTC', '2026-11-29 05:00:00 UTC')
    """
    commits = re.findall(r"(?m)desc: COMMIT\S* (?:[0-9]+: )?(\S+ \d+:\d+:\d+)(?:\.\d+)? ([^\s;]+)", text)
    times = [f"{moment} {zone}" for moment, zone in commits]
    ended = re.findall(r" at ([0-9A-F]+/[0-9A-F]+)", errors)
    seen = re.findall(r"lsn: ([0-9A-F]+/[0-9A-F]+)", text)
    end = max((parse_lsn(each) for each in (*ended, *seen[-1:])), default=lsn)
    first, last = (times[0], times[-1]) if times else ("", "")
    return Written(max(0, end - lsn), len(times), first, last, bool(ended))
