"""The band of the moments that can be restored, as shapes to draw; pure.

Places are percentages of the band's width, so that the drawing fits every screen and no text is scaled.
"""

from __future__ import annotations

from entrypoint.backup import journal
from entrypoint.light import NamedTuple
from entrypoint.web.times import at, minute, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from entrypoint.backup.window import Window
    from entrypoint.noted.seen import Seen

    Shape = Literal["full", "incremental", "good drill", "failed drill", "timeline"]

_HOUR, _DAY = 3600, 86400
_STEPS = (
    *(60, 300, 900, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 3 * _DAY, 5 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 91 * _DAY, 365 * _DAY),
)
_LABELS = 5
"""The most labels below the band."""
_APART = 0.15
"""Marks of one kind that are nearer than this, in percent, are drawn as one."""


class Mark(NamedTuple):
    """Something that happened at a moment."""

    shape: Shape
    place: float
    words: str


class Part(NamedTuple):
    """A part of the band: what can be restored, or a gap."""

    place: float
    width: float
    words: str


class Label(NamedTuple):
    """A date or time below the band."""

    place: float
    words: str


class Band(NamedTuple):
    """The drawing."""

    good: Part
    gaps: tuple[Part, ...]
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...]
    words: str
    """The same for those who do not see it."""
    picked: float | None
    """The place of the moment that was picked."""


class _Scale(NamedTuple):
    """Where moments are in the drawing."""

    start: float
    end: float

    def place(self, moment: float) -> float:
        """Return a moment's place; a moment outside is at the edge."""
        share = (moment - self.start) / (self.end - self.start)
        return round(100 * min(max(share, 0), 1), 2)

    def part(self, start: float, end: float, words: str) -> Part:
        """Return the part between two moments; it is never too thin to be seen."""
        first = self.place(start)
        return Part(first, max(round(self.place(end) - first, 2), 0.3), words)


def draw(seen: Seen, window: Window, now: float, picked: float | None) -> Band:
    """Return the drawing of the moments that can be restored, from the first of them until now."""
    scale = _Scale(window.start, max(now, window.end, window.start + 60))
    gaps = [
        scale.part(
            gap.start,
            window.end if gap.end is None else gap.end,
            f"WAL was given up from {minute(gap.start)} on"
            if gap.why
            else f"WAL is missing from {minute(gap.start)} on",
        )
        for gap in window.gaps
    ]
    first, last = minute(window.start), minute(window.end)
    count = len(window.ticks)
    words = f"Moments from {first} to {last} can be restored, from {count} backup{'' if count == 1 else 's'}"
    if gaps:
        words += f", but for {len(gaps)} gap{'' if len(gaps) == 1 else 's'}"
    return Band(
        scale.part(window.start, window.end, f"can be restored: {first} to {last}"),
        tuple(gaps),
        tuple(_thinned([*_timelines(seen, scale), *_backups(seen, window, scale), *_drills(seen, scale)])),
        tuple(_labels(scale)),
        words + ".",
        None if picked is None else scale.place(picked),
    )


def _backups(seen: Seen, window: Window, scale: _Scale) -> Iterator[Mark]:
    kinds = {each.name: each.kind for each in seen.backups or ()}
    for tick in window.ticks:
        kind = kinds.get(tick.name, "full")
        proven = ", restored in a drill" if tick.proven else ""
        words = f"{kind} backup {tick.name}, {minute(tick.moment)}{proven}"
        yield Mark("incremental" if kind == "incremental" else "full", scale.place(tick.moment), words)


def _timelines(seen: Seen, scale: _Scale) -> Iterator[Mark]:
    """Yield where the first backup of each later timeline is."""
    known: int | None = None
    for each in seen.backups or ():
        moment = at(each.finished)
        if moment is None:
            continue
        if known is not None and each.timeline > known and moment > scale.start:
            yield Mark("timeline", scale.place(moment), f"timeline {each.timeline}, {minute(moment)}")
        known = max(each.timeline, known or 0)


def _drills(seen: Seen, scale: _Scale) -> Iterator[Mark]:
    for each in seen.drills:
        moment = at(each.started)
        if moment is None or moment < scale.start or each.outcome not in (journal.OK, journal.FAILED):
            continue
        good = each.outcome == journal.OK
        shape: Shape = "good drill" if good else "failed drill"
        words = f"drill {'succeeded' if good else 'failed'}, {minute(moment)}"
        yield Mark(shape, scale.place(moment), words)


def _thinned(marks: list[Mark]) -> Iterator[Mark]:
    """Yield the marks without those that would hide behind another one."""
    last: dict[Shape, float] = {}
    for mark in sorted(marks, key=lambda each: each.place):
        if mark.place - last.get(mark.shape, -1) >= _APART:
            last[mark.shape] = mark.place
            yield mark


def _labels(scale: _Scale) -> Iterator[Label]:
    """Yield the dates or times below the band, at round moments."""
    length = scale.end - scale.start
    step = next((step for step in _STEPS if length / step <= _LABELS), length / _LABELS)
    form = "%d %b" if step >= _DAY else "%H:%M"
    first = scale.start // step + 1
    for moment in ((first + number) * step for number in range(_LABELS + 1)):
        place = scale.place(moment)
        if 5 <= place <= 95:
            yield Label(place, written(moment, form))
