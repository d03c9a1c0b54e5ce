"""A child that is started again whenever it ends, as `Children` and the hand-over see it; pure."""

from __future__ import annotations

from entrypoint.light import Protocol


class Kept(Protocol):
    """A child that is started again whenever it ends."""

    pid: int
    """0: it is not running."""

    def look(self, ended: dict[int, int]) -> None:
        """Start it again if it is among those that have ended, and remove it from them."""

    def at_most(self, seconds: float | None) -> float | None:
        """Return how long to wait at most, if nothing but this child is due earlier."""

    def handed(self) -> tuple[list[str], list[int]]:
        """Return what the second half of PID 1 needs to continue."""
