"""When to look, and at what; pure.

Looks that query neither the archive nor each database are made every interval, whole ones every 60 intervals,
or every 10 while one of them has found something, and when something has asked for one: after a start, and
when the journal of backups or drills has changed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Due = Literal["quick", "whole"]

_WHOLE = 60
_WORRIED = 10
"""Intervals between two whole looks, and while something is wrong that only they see."""
_SIZES = 600.0
"""Seconds between two measurements of the sizes of all databases."""


class Clock:
    """When the next look is due, in seconds of a clock that is never set."""

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self._next = 0.0
        self._whole: float | None = None
        self._sizes: float | None = None
        self._asked = True

    def begin(self, now: float) -> None:
        """Begin with a whole look after one interval, in which a start takes the first backup."""
        self._next, self._asked = now + self.interval, True

    def ask(self, now: float) -> None:
        """Ask for a whole look as soon as possible."""
        self._next, self._asked = min(self._next, now), True

    def hurry(self, now: float) -> None:
        """Ask for a look of any kind as soon as possible."""
        self._next = min(self._next, now)

    def due(self, now: float, *, worried: bool = False) -> Due | None:
        """Return what is due now; the caller then looks. `worried`: a whole look has found something."""
        if now < self._next:
            return None
        self._next = now + self.interval
        since = None if self._whole is None else (now - self._whole) / self.interval
        if since is None or since >= (_WORRIED if worried else _WHOLE) or (self._asked and since >= 1):
            self._whole, self._asked = now, False
            return "whole"
        return "quick"

    def sizes(self, now: float) -> bool:
        """Return whether the sizes of the databases are due now; the caller then measures them."""
        if self._sizes is not None and now - self._sizes < _SIZES:
            return False
        self._sizes = now
        return True
