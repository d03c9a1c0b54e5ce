"""WAL that was given up because the disk was nearly full, and the gaps that it leaves in an archive; pure.

Within a gap, nothing can be restored: not after the first missing segment, however many later ones are there,
and before the end of the next full backup. A gap belongs to a cluster and a timeline.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple, re
from entrypoint.postgres import segments
from entrypoint.shown import inline, iso
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from entrypoint.archivers.terms import Backup


class Record(NamedTuple):
    """What shims/archive-segment has recorded in the data folder."""

    ranges: tuple[tuple[str, str], ...] = ()
    """The first and the last segment of each run that was given up; some were archived after all."""
    kept: frozenset[str] = frozenset()
    """Those."""
    later: tuple[str, ...] = ()
    """Histories that have yet to be archived."""
    begun: float = 0
    """When the first one was given up, in seconds since 1970."""
    reached: float = 0
    """When the last segment before was archived."""
    why: str = ""
    """The archiver's words."""

    def holds(self, segment: str) -> bool:
        """Return whether a segment was given up."""
        return segment not in self.kept and any(
            first <= segment <= last and first[:8] == segment[:8] for first, last in self.ranges
        )


class Gap(NamedTuple):
    """A gap in an archive; all moments are in seconds since 1970."""

    url: str = ""
    """The archive."""
    cluster: str = ""
    """The system identifier."""
    first: str = ""
    last: str = ""
    """The first and the last segment that was given up."""
    segments: int = 0
    bytes: int = 0
    begun: float = 0
    """When the first segment was given up."""
    ended: float = 0
    """When the last one was."""
    why: str = ""
    """The archiver's words."""
    reached: float = 0
    """When the last transaction before the gap ended, as far as known: a restore comes to just before it."""
    lsn: str = ""
    """The last record before the gap; empty: not known."""
    xid: int = 0
    """The newest transaction with a record shortly before the gap; 0: not known."""
    next_xid: int = 0
    """Each transaction with a lower ID had ended before the backup that follows began; 0: not known."""
    backup: str = ""
    """The full backup that follows; empty: there is none yet."""
    back: float = 0
    """The first moment that can be restored from that backup."""
    back_lsn: str = ""
    """The first LSN that can be restored from it."""
    stored: bool = False
    """Whether the archive has this record; only in the data folder."""

    @property
    def timeline(self) -> int:
        """The timeline of its segments."""
        return int(self.first[:8], 16)

    @property
    def segment_bytes(self) -> int:
        """The size of a segment; at least that of the smallest, whatever the record says."""
        return max(self.bytes // max(self.segments, 1), 1024**2)

    @property
    def is_open(self) -> bool:
        """Whether no full backup has followed yet."""
        return not self.backup

    def holds(self, segment: str) -> bool:
        """Return whether a segment is in this gap."""
        return self.first <= segment <= self.last and segment[:8] == self.first[:8]

    def hides(self, moment: float) -> bool:
        """Return whether a restore cannot come to a moment."""
        return moment >= self.reached and (self.is_open or moment < self.back)


def parse_record(text: str) -> Record:
    r"""Parse the record; half a line, which a full disk or a crash left, says nothing.

    >>> parse_record("\ndrop 000000010000000000000003 000000010000000000000005\ndrop 00000001000000").ranges
    (('000000010000000000000003', '000000010000000000000005'),)
    """
    ranges: dict[tuple[str, str], None] = {}
    kept: set[str] = set()
    later: dict[str, None] = {}
    begun, reached, why = 0.0, 0.0, ""
    for line in text.split("\n"):
        word, _, rest = line.partition(" ")
        if word == "drop" and (found := _RANGE.fullmatch(rest)) and found[1] <= found[3]:
            ranges[found[1], found[3]] = None
            # It was archived after all, and then given up after all: what was recorded last counts.
            kept -= {each for each in kept if found[1] <= each <= found[3]}
        elif word == "kept" and segments.NAME.fullmatch(rest):
            kept.add(rest)
        elif word == "later" and _HISTORY.fullmatch(rest):
            later[rest] = None
        elif word == "begin" and not ranges:
            when, _, rest = rest.partition(" ")
            until, _, words = rest.partition(" ")
            if when.isdecimal() and until.isdecimal() and max(len(when), len(until)) < _DIGITS:
                begun, reached, why = float(when), float(until), inline(words)[:_LONGEST]
    return Record(tuple(sorted(ranges)), frozenset(kept), tuple(later), begun, reached, why)


def is_whole(line: str) -> bool:
    """Return whether the last line of a record is complete: it has no line break at its end."""
    word, _, rest = line.partition(" ")
    return bool(
        not line
        or (word == "drop" and _RANGE.fullmatch(rest))
        or (word == "kept" and segments.NAME.fullmatch(rest))
        or (word == "later" and _HISTORY.fullmatch(rest))
        or (word == "end" and len(rest) >= _SECONDS)
    )


_SECONDS = 10
"""Digits of the present time."""
_RANGE = re.compile(r"(([0-9A-F]{8})[0-9A-F]{16}) (\2[0-9A-F]{16})")
_HISTORY = re.compile(r"[0-9A-F]{8}\.history|[0-9A-F]{24}\.[0-9A-F]{8}\.backup")
_DIGITS = 12
_LONGEST = 300
"""Characters of the archiver's words."""


def gaps_of(record: Record, url: str, cluster: str, segment_bytes: int, ended: float) -> list[Gap]:
    """Return the gaps that a record makes, one for each timeline."""
    found = []
    for timeline in dict.fromkeys(first[:8] for first, _ in record.ranges):
        kept = {segments.number(each, segment_bytes) for each in record.kept if each.startswith(timeline)}
        lost: list[range] = []
        for first, last in record.ranges:
            if first.startswith(timeline):
                begin = segments.number(first, segment_bytes)
                begin = max(begin, lost[-1].stop if lost else 0)
                lost.append(range(begin, max(begin, segments.number(last, segment_bytes) + 1)))
        first_lost = next((each for run in lost for each in run if each not in kept), None)
        if first_lost is None:
            continue
        last_lost = next(each for run in reversed(lost) for each in reversed(run) if each not in kept)
        count = sum(len(run) for run in lost) - sum(any(each in run for run in lost) for each in kept)
        found.append(
            Gap(
                url=url,
                cluster=cluster,
                first=segments.name(int(timeline, 16), first_lost, segment_bytes),
                last=segments.name(int(timeline, 16), last_lost, segment_bytes),
                segments=count,
                bytes=count * segment_bytes,
                begun=record.begun or ended,
                ended=ended,
                why=record.why,
                reached=record.reached or record.begun or ended,
            )
        )
    return found


def merged(known: Sequence[Gap], new: Iterable[Gap]) -> list[Gap]:
    """Return all gaps; new segments extend the open gap of their timeline, in which no backup lies."""
    result = list(known)
    for gap in new:
        if any(each.holds(gap.first) and each.holds(gap.last) for each in result if _same(each, gap)):
            continue  # read once more after a crash
        place = next((n for n, each in enumerate(result) if _same(each, gap) and each.is_open), None)
        if place is None:
            result.append(gap)
            continue
        there = result[place]
        earlier = there if there.first <= gap.first else gap
        result[place] = there._replace(
            first=earlier.first,
            last=max(there.last, gap.last),
            segments=there.segments + gap.segments,
            bytes=there.bytes + gap.bytes,
            ended=gap.ended,
            reached=earlier.reached,
            lsn=earlier.lsn,
            xid=earlier.xid,
            next_xid=0,
            stored=False,
        )
    return sorted(result, key=lambda each: (each.begun, each.first))


def _same(one: Gap, other: Gap) -> bool:
    """Return whether two gaps are in the same timeline of a cluster's archive."""
    return (one.url, one.cluster, one.timeline) == (other.url, other.cluster, other.timeline)


def closed(gap: Gap, backup: Backup, finished: float) -> Gap:
    """Return a gap after this backup, if it is a full one that has begun behind it."""
    size = gap.segment_bytes
    begins = segments.parse_lsn(backup.start_lsn) // size
    # On its own timeline, the other server may have given up more after the fork.
    behind = backup.timeline > gap.timeline or (
        backup.timeline == gap.timeline and begins > segments.number(gap.last, size)
    )
    if not gap.is_open or not behind or backup.kind != "full" or backup.damaged:
        return gap
    # The tools report whole seconds.
    return gap._replace(backup=backup.name, back=finished + 1, back_lsn=backup.stop_lsn, stored=False)


def is_needed(gap: Gap, backups: Iterable[Backup]) -> bool:
    """Return whether a gap still lies behind one of these backups: without one, nobody can come to it."""
    return any(_is_before(each, gap) for each in backups)


def united(here: Sequence[Gap], there: Sequence[Gap]) -> list[Gap]:
    """Return what is known next to the data and in the archive; of one gap, what is known later."""
    result = [each._replace(stored=False) for each in here]
    for gap in there:
        place = next((n for n, each in enumerate(result) if _overlap(each, gap)), None)
        if place is None:
            result.append(gap._replace(stored=True))
        elif result[place].is_open and not gap.is_open:
            result[place] = gap._replace(stored=True)
        elif result[place]._replace(stored=gap.stored) == gap:
            result[place] = result[place]._replace(stored=True)
    return result


def _overlap(one: Gap, other: Gap) -> bool:
    return _same(one, other) and one.first <= other.last and other.first <= one.last


def _is_before(backup: Backup, gap: Gap) -> bool:
    size = gap.segment_bytes
    ends = (segments.parse_lsn(backup.stop_lsn) - 1) // size
    return backup.timeline <= gap.timeline and ends < segments.number(gap.first, size)


def on_the_way(
    gaps: Iterable[Gap], timeline: int, forks: Sequence[tuple[int, int]], segment_bytes: int
) -> list[Gap]:
    """Return the gaps in the history of a timeline; a fork leaves its parent's later gaps behind."""
    ends = dict(forks)
    return [
        each
        for each in gaps
        if each.timeline == timeline
        or segments.number(each.first, segment_bytes) * segment_bytes < ends.get(each.timeline, 0)
    ]


def unrecorded(holes: Iterable[tuple[str, str]], gaps: Collection[Gap]) -> list[tuple[str, str]]:
    """Return the runs of missing segments that are in none of the gaps."""
    return [
        (first, last)
        for first, last in holes
        if not any(gap.holds(first) and gap.holds(last) for gap in gaps)
    ]


def in_words(gap: Gap) -> str:
    """Return what a gap is, and why.

    >>> made = Gap(first="000000010000000000000003", last="000000010000000000000003", segments=1, begun=9.0)
    >>> in_words(made)
    '000000010000000000000003 was given up at 1970-01-01T00:00:09+00:00, because the disk was nearly full'
    """
    what = f"{gap.first} was" if gap.segments == 1 else f"{gap.first} to {gap.last} were"
    why = f" and archiving failed: {gap.why}" if gap.why else ""
    return f"{what} given up at {iso(gap.begun)}, because the disk was nearly full{why}"


def parse(text: str) -> list[Gap]:
    """Parse the gaps; raises ValueError. Fields of later versions are ignored."""
    with guest.Reading("the list of gaps"):
        rows = guest.parse_json(text)["gaps"]
        return [_checked(row) for row in rows[:_MOST]]


_MOST = 10000


def _checked(row: dict[str, object]) -> Gap:
    gap: Gap = guest.typed(Gap(**{name: row[name] for name in Gap._fields if name in row}))  # type: ignore[arg-type]
    good = segments.NAME.fullmatch(gap.first) and segments.NAME.fullmatch(gap.last) and gap.holds(gap.last)
    if not good or not all(0 <= each < _LARGE for each in (gap.begun, gap.ended, gap.reached, gap.back)):
        raise ValueError(f"{inline(gap.first[:30])} is not the begin of a gap")
    guest.identifier(gap.cluster)
    for name in filter(None, (gap.lsn, gap.back_lsn)):
        guest.lsn(name)
    if gap.backup:
        guest.word(gap.backup)
    return gap._replace(why=inline(gap.why[:_LONGEST]))


_LARGE = 2**36
"""No moment is that late: the year 4147."""


def write(gaps: Sequence[Gap], **others: object) -> str:
    """Return the text of the list."""
    import json

    return json.dumps({"gaps": [each._asdict() for each in gaps], **others}, indent=1) + "\n"
