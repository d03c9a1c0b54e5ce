"""The window of the moments that can be restored, as people see it."""

from __future__ import annotations

from entrypoint.backup.window import Gap, Tick, Window
from entrypoint.cli import picture

START = 1_000_000_000.0
"""2001-09-09T01:46:40+00:00"""


def _window(end: float, *ticks: Tick, gaps: tuple[Gap, ...] = ()) -> Window:
    return Window(START, START + end, gaps, ticks)


def test_the_band() -> None:
    """Backups are ticks, a rehearsed one is marked, a gap is blank; without room there is no band."""
    ticks = (Tick("a", START), Tick("b", START + 300), Tick("c", START + 700, proven=True))
    gap = Gap("1", "1", START + 500, START + 700)
    window, now = _window(960, *ticks, gaps=(gap,)), START + 960 + 125
    assert "2001-09-09 01:46 |+-------+------    o-------| 2 minutes ago" == picture.band(window, now, 60)
    assert "" == picture.band(window, now, 50)


def test_a_gap_is_never_invisible() -> None:
    """A gap that is shorter than a cell of the band takes one, and a tick is drawn over nothing but its own cell."""
    gap = Gap("1", "1", START + 50000, START + 50001)
    found = picture.band(_window(100000, Tick("a", START), gaps=(gap,)), START + 100000, 70)
    assert 1 == found.partition("|")[2].count(" -")


def test_a_window_without_length() -> None:
    """A single moment has no band."""
    assert "" == picture.band(_window(0, Tick("a", START)), START, 80)


def test_in_words() -> None:
    """The range comes first, then one line for each gap."""
    gaps = (Gap("5", "7", START + 1, START + 2), Gap("9", "9", START + 3, None))
    assert [
        "from 2001-09-09T01:46:40+00:00 to 2001-09-09T01:47:40+00:00",
        "between 2001-09-09T01:46:41+00:00 and 2001-09-09T01:46:42+00:00: the archive lacks 5 to 7",
        "between 2001-09-09T01:46:43+00:00 and the next backup: the archive lacks 9",
    ] == picture.describe(_window(60, gaps=gaps), START + 100)
    assert ["from 2001-09-09T01:46:40+00:00 to now"] == picture.describe(_window(60), START + 60)


def test_a_time_that_does_not_exist_has_no_age() -> None:
    """A text from elsewhere may look like a time."""
    text = "2026-02-31T00:00:00+00:00 9999-99-99T99:99:99+99:99"
    assert text == picture.with_ages(text, START)
