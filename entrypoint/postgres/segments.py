"""Names and numbers of WAL segments, and which are missing; pure.

A name is eight hexadecimal digits each of the timeline, of the LSN's upper half, and of the segment in it.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple, re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = [
    "Others",
    "begin",
    "gaps",
    "later",
    "lsn_text",
    "name",
    "number",
    "of_lsn",
    "others",
    "parse_history",
    "parse_lsn",
    "proof",
    "runs",
    "size_by",
]

NAME = re.compile(r"[0-9A-F]{24}")
_ARCHIVED = re.compile(r"([0-9A-F]{24}|[0-9A-F]{8}\.history)(-[0-9a-f]{40})?(\.(?!partial$)[a-z0-9]+)?")


class Others(NamedTuple):
    """What somebody else has written into an archive since a restored cluster left its old timeline."""

    segment: str | None
    """The newest segment of the old timeline that starts at or after the fork."""
    timelines: tuple[int, ...]
    """Timelines that are as high as this cluster's or higher, and not this cluster's."""


def number(segment: str, segment_bytes: int) -> int:
    """Return the number of a segment, the same on every timeline.

    >>> number("000000010000000200000003", 16 * 1024**2)
    515
    """
    return int(segment[8:16], 16) * (2**32 // segment_bytes) + int(segment[16:24], 16)


def name(timeline: int, count: int, segment_bytes: int) -> str:
    """Return the name of a segment.

    >>> name(1, 515, 16 * 1024**2)
    '000000010000000200000003'
    """
    high, low = divmod(count, 2**32 // segment_bytes)
    return f"{timeline:08X}{high:08X}{low:08X}"


def parse_lsn(text: str) -> int:
    """Return the number of an LSN as PostgreSQL writes it.

    >>> parse_lsn("0/F2000128")
    4060086568
    """
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(number: int) -> str:
    """Return an LSN as PostgreSQL writes it.

    >>> lsn_text(4060086568)
    '0/F2000128'
    """
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def of_lsn(timeline: int, lsn: str, segment_bytes: int, *, end: bool = False) -> str:
    """Return the segment that an LSN is in; with `end` the one whose last byte is before it."""
    return name(timeline, (parse_lsn(lsn) - end) // segment_bytes, segment_bytes)


def size_by(segment: str, lsn: str) -> int:
    """Return the size of a cluster's segments, by one of them and an LSN in it, in bytes.

    >>> size_by("000000010000000000000002", "0/2000028") // 1024**2
    16
    """
    sizes = (1024**2 * 2**power for power in range(11))
    default = 16 * 1024**2
    return next(
        (size for size in (default, *sizes) if of_lsn(int(segment[:8], 16), lsn, size) == segment), default
    )


def proof(timeline: int, last: str) -> str:
    """Return what shims/fetch-segment calls PROOF: a recovery of this timeline, of which `last` is archived.

    >>> proof(1, "000000010000000000000007")
    '00000002.history/0000000000000007'
    """
    return f"{timeline + 1:08X}.history/{last[8:]}"


def parse_history(text: str) -> list[tuple[int, int]]:
    r"""Return the timelines of a `.history` file and the LSNs where they ended, oldest first.

    >>> parse_history("1\t0/5000000\tno recovery target specified\n")
    [(1, 83886080)]
    """
    found = re.findall(r"^\s*([0-9]{1,10})\s+([0-9A-F]{1,8}/[0-9A-F]{1,8})", text, re.MULTILINE)
    return [(int(timeline), parse_lsn(lsn)) for timeline, lsn in found]


def archived(path: str) -> str | None:
    """Return the segment or `.history` file that a file of an archive holds; None: neither, or not whole.

    >>> archived("000000010000000000000002-a7a566ee25e4b92e2700f47e02fab01a3e2e5f14.lz4")
    '000000010000000000000002'
    >>> archived("00000002.history.lz4"), archived("000000010000000000000005.00000028.backup.lz4")
    ('00000002.history', None)
    """
    found = _ARCHIVED.fullmatch(path.rpartition("/")[2])
    return found[1] if found else None


def others(
    present: Iterable[str],
    timeline: int,
    forks: Sequence[tuple[int, int]],
    segment_bytes: int,
    *,
    ours: bool,
) -> Others:
    """Return what in an archive is neither this cluster's nor from before its timeline began.

    A segment that holds the fork itself proves nothing: the cluster was restored from it. One after it may be
    no more than the rest of a record that a crash cut off; whether its writer lives and has not archived its
    end yet looks the same, so it counts. `ours` tells that
    what is there of the cluster's own timeline was archived by itself; before its first write it is
    another copy's, whose segments would have the same names.
    """
    names = list(present)
    parent, lsn = forks[-1] if forks else (0, 0)
    newest = max(
        (
            each
            for each in names
            if NAME.fullmatch(each)
            and int(each[:8], 16) == parent
            and number(each, segment_bytes) * segment_bytes >= lsn
        ),
        default=None,
    )
    found = {int(each[:8], 16) for each in names}
    return Others(newest, tuple(sorted(each for each in found if each >= timeline + ours)))


def begin(history: str) -> int:
    r"""Return the LSN where a timeline began, by its `.history` file; the first timeline has none.

    >>> begin("1\t0/5000000\treason\n2\t0/7000128\treason\n"), begin("")
    (117440808, 0)
    """
    forks = parse_history(history)
    return forks[-1][1] if forks else 0


def later(missing: str, present: Iterable[str], begin_lsn: int, segment_bytes: int) -> str | None:
    """Return the first segment after a missing one, if there is one on its timeline: then it is a hole.

    Timelines are looked at apart. A newer one may have ended earlier than an older one went on to, and on a
    newer one PostgreSQL also looks for what came before it began (`begin_lsn`), which is on an older one.
    """
    if number(missing, segment_bytes) < begin_lsn // segment_bytes:
        return None
    return min((each for each in present if each[:8] == missing[:8] and each > missing), default=None)


def gaps(
    present: Collection[str],
    first: str,
    last: str,
    forks: Sequence[tuple[int, int]],
    segment_bytes: int,
) -> list[tuple[str, str]]:
    """Return the runs of segments that are missing between two, along the history of the last one.

    The segment in which a timeline ended is looked for on the next one, which begins with a copy of it. Where
    that history is not known, any timeline will do.
    """
    timeline = int(last[:8], 16)
    if not forks and first[:8] != last[:8]:
        present = {f"{last[:8]}{each[8:]}" for each in present if first[:8] <= each[:8] <= last[:8]}

    def wanted(count: int) -> str:
        here = next((old for old, lsn in forks if count < lsn // segment_bytes), timeline)
        return name(here, count, segment_bytes)

    missing = []
    count, end = number(first, segment_bytes), number(last, segment_bytes)
    ahead: list[int] | None = None
    """Numbers that are there, the last one first: over a long gap we jump, since a name can be any."""
    since = count
    while count <= end:
        if wanted(count) in present:
            since = count + 1
            count += 1
            continue
        upto = count
        if count - since >= _LONG:
            if ahead is None:
                ahead = sorted({number(each, segment_bytes) for each in present}, reverse=True)
            while ahead and ahead[-1] <= count:
                ahead.pop()
            upto = min(end, ahead[-1] - 1 if ahead else end)
        missing.append((wanted(count), wanted(upto)))
        count = upto + 1
    return runs(missing, segment_bytes)


_LONG = 1000
"""Segments that are missing in a row before it is looked where the next one is."""


def runs(missing: Iterable[tuple[str, str]], segment_bytes: int) -> list[tuple[str, str]]:
    """Join neighbours, of runs in order: each is told by its first and its last name."""
    found: list[tuple[str, str]] = []
    for first, last in missing:
        if found and number(found[-1][1], segment_bytes) + 1 == number(first, segment_bytes):
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found
