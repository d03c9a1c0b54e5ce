"""Names and numbers of WAL segments, and gaps between them; pure.

A name has three groups of eight hexadecimal digits: the timeline, the upper half of the LSN, and the segment
in it.
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
    "stopped_at_target",
]

NAME = re.compile(r"[0-9A-F]{24}")
_ARCHIVED = re.compile(r"([0-9A-F]{24}|[0-9A-F]{8}\.history)(-[0-9a-f]{40})?(\.(?!partial$)[a-z0-9]+)?")


class Others(NamedTuple):
    """What another cluster has written into an archive since a restored cluster left its old timeline."""

    segment: str | None
    """The newest segment of the old timeline with WAL from after the fork."""
    timelines: tuple[int, ...]
    """Timelines that are at least as high as this cluster's and not this cluster's own."""


def number(segment: str, segment_bytes: int) -> int:
    """Return the number of a segment; it is the same on every timeline.

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
    """Return an LSN, as PostgreSQL writes it, as a number.

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
    """Return the segment that contains an LSN; with `end`, the segment of the last byte before it."""
    return name(timeline, (parse_lsn(lsn) - end) // segment_bytes, segment_bytes)


def size_by(segment: str, lsn: str) -> int:
    """Return a cluster's segment size in bytes, from one of its segments and an LSN in it.

    >>> size_by("000000010000000000000002", "0/2000028") // 1024**2
    16
    """
    sizes = (1024**2 * 2**power for power in range(11))
    default = 16 * 1024**2
    return next(
        (size for size in (default, *sizes) if of_lsn(int(segment[:8], 16), lsn, size) == segment), default
    )


def proof(timeline: int, last: str) -> str:
    """Return the PROOF of shims/fetch-segment: for a recovery of this timeline, whose archived end is `last`.

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


def stopped_at_target(text: str) -> bool:
    r"""Return whether the last timeline in a `.history` file ended at a target, not at the end of the WAL.

    >>> stopped_at_target("1\t0/5000000\tno recovery target specified\n")
    False
    >>> stopped_at_target("1\t0/5000000\tno recovery target specified\n\n2\t0/6000128\tafter LSN 0/60000A0\n")
    True
    """
    reasons = re.findall(r"^\s*[0-9]{1,10}\s+[0-9A-F]{1,8}/[0-9A-F]{1,8}[ \t]+(.*)$", text, re.MULTILINE)
    return bool(reasons) and reasons[-1].strip() != _AT_THE_END


_AT_THE_END = "no recovery target specified"
"""PostgreSQL's reason for a timeline that began at the end of the WAL; it is not translated."""


def archived(path: str) -> str | None:
    """Return the segment or `.history` file in an archived file; None: it is neither, or is incomplete.

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
    stopped: bool = False,
) -> Others:
    """Return what in an archive is neither this cluster's own nor older than its timeline.

    If the cluster was restored from all WAL in the archive, the segment that contains the fork itself proves
    nothing. If the recovery has `stopped` at a target within that segment, the rest of the segment is WAL
    that the cluster lacks. A segment after it may be no more than the rest of a record that a crash cut off.
    It counts nevertheless, because a writer that is alive and has not archived the end of its record looks
    the same. `ours` means that this cluster itself archived the segments of its own timeline; before its
    first write they belong to another copy, whose segments would have the same names.
    """
    names = list(present)
    parent, lsn = forks[-1] if forks else (0, 0)
    if stopped:
        lsn -= lsn % segment_bytes
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
    r"""Return the LSN at which a timeline began, from its `.history` file; the first timeline has none.

    >>> begin("1\t0/5000000\treason\n2\t0/7000128\treason\n"), begin("")
    (117440808, 0)
    """
    forks = parse_history(history)
    return forks[-1][1] if forks else 0


def later(missing: str, present: Iterable[str], begin_lsn: int, segment_bytes: int) -> str | None:
    """Return the first segment after a missing one on its timeline; if there is one, the WAL has a gap.

    Each timeline is looked at separately, for two reasons. A newer timeline may have ended at an earlier LSN
    than an older one. And on a newer timeline PostgreSQL also looks for segments from before it began
    (`begin_lsn`), which are on an older one.
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
    """Return the runs of missing segments between two segments, along the history of the last one.

    The segment in which a timeline ended is expected on the next timeline, which begins with a copy of it. If
    the history is not known, any timeline will do.
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
    """Numbers of existing segments, last first, for jumping over long gaps: a name can be anything."""
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
"""After this many missing segments in a row, jump to the next existing segment."""


def runs(missing: Iterable[tuple[str, str]], segment_bytes: int) -> list[tuple[str, str]]:
    """Join adjacent runs; each run is a pair of its first and last name, and they are in order."""
    found: list[tuple[str, str]] = []
    for first, last in missing:
        if found and number(found[-1][1], segment_bytes) + 1 == number(first, segment_bytes):
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found
