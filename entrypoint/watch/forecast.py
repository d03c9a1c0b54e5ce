"""When a filesystem will be full, from what was free at the last looks; pure.

WAL is recycled and checkpoints come in waves, so what is free goes up and down. The lowest point of the first
half of the time is compared with that of the last quarter.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple

SPAN = 3600.0
"""Seconds that are looked at."""
_FEWEST = 10
"""Points that make a forecast."""
_AHEAD = 36
"""A forecast looks this many times as far ahead as back: a day and a half after an hour."""
_MOST = 120
"""Points that are kept."""


class Point(NamedTuple):
    """What was free at a moment."""

    at: float
    """Seconds of a clock that is never set."""
    free: int
    """Bytes."""


def add(points: tuple[Point, ...], point: Point) -> tuple[Point, ...]:
    """Return the points of the last hour, with one more; points that are close to the last are left out."""
    recent = tuple(each for each in points if point.at - each.at <= SPAN)
    if len(recent) >= _FEWEST and recent[-1].at - recent[-3].at < SPAN / _MOST:
        recent = (*recent[:-2], min(recent[-2:], key=lambda each: each.free)._replace(at=recent[-1].at))
    return (*recent, point)


def seconds_until_full(points: tuple[Point, ...]) -> int | None:
    """Return after how many seconds nothing is free; None if that is not foreseeable.

    >>> seconds_until_full(tuple(Point(60.0 * number, 1000 - 10 * number) for number in range(20)))
    4860
    >>> seconds_until_full(tuple(Point(60.0 * number, 1000 - 10 * (number % 3)) for number in range(20)))
    """
    if len(points) < _FEWEST:
        return None
    middle = (points[0].at + points[-1].at) / 2
    late = (middle + points[-1].at) / 2
    first = min((each for each in points if each.at <= middle), key=lambda each: (each.free, each.at))
    second = min((each for each in points if each.at > late), key=lambda each: (each.free, -each.at))
    if second.free >= first.free:
        return None
    rate = (first.free - second.free) / (second.at - first.at)
    left = points[-1].free / rate
    return int(left) if left <= _AHEAD * (points[-1].at - points[0].at) else None
