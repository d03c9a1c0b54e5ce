"""The window of the moments that can be restored, as a band and in words, and times with their ages; pure."""

from __future__ import annotations

from entrypoint.light import re
from entrypoint.shown import ago, iso

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.backup.window import Window

_LEAST = 20
"""A shorter band shows nothing."""


def band(window: Window, now: float, width: int) -> str:
    """Return the window as a band of this width; empty: there is no room for it.

    Backups are `+`, those that a drill has restored `o`, and a gap is blank.
    """
    left = f"{iso(window.start)[:16].replace('T', ' ')} |"
    late = ago(now - window.end)
    right = "| now" if late == "now" else f"| {late}"
    cells = width - len(left) - len(right)
    span = window.end - window.start
    if cells < _LEAST or span <= 0:
        return ""

    def place(moment: float) -> int:
        return max(0, min(cells - 1, round((moment - window.start) / span * (cells - 1))))

    drawn = ["-"] * cells
    for gap in window.gaps:
        if gap.end is not None:
            begin = min(place(gap.start) + 1, cells - 2)
            for cell in range(begin, max(begin + 1, place(gap.end))):
                drawn[cell] = " "
    for tick in window.ticks:
        cell = place(tick.moment)
        drawn[cell] = "o" if tick.proven or drawn[cell] == "o" else "+"
    return left + "".join(drawn) + right


def describe(window: Window, now: float) -> list[str]:
    """Return the window in words: a line for all of it, and one for each gap."""
    end = "now" if now - window.end < 1 else iso(window.end)
    lines = [f"from {iso(window.start)} to {end}"]
    for gap in window.gaps:
        missing = gap.first if gap.first == gap.last else f"{gap.first} to {gap.last}"
        until = "the next backup" if gap.end is None else iso(gap.end)
        lines.append(f"between {iso(gap.start)} and {until}: {gap.why or f'the archive lacks {missing}'}")
    return lines


_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?[+-]\d\d:\d\d")


def with_ages(text: str, now: float) -> str:
    """Return a text in which each time is followed by its age.

    >>> with_ages("last: 2001-09-09T01:46:40+00:00, 2 segments", 1e9 + 7200)
    'last: 2001-09-09T01:46:40+00:00 (2 hours ago), 2 segments'
    """
    return _TIME.sub(lambda found: f"{found[0]}{_age(found[0], now)}", text)


def _age(moment: str, now: float) -> str:
    from datetime import datetime

    try:
        return f" ({ago(now - datetime.fromisoformat(moment).timestamp())})"
    except ValueError:
        return ""  # 2026-02-31: somebody else wrote it
