"""The band has its parts where the moments are."""

from __future__ import annotations

from itertools import pairwise

import watched
from entrypoint.backup.window import Tick, Window
from entrypoint.web import band
from watched import DAY, NOW


def test_parts_and_marks() -> None:
    """What can be restored ends before now; gaps, backups, drills and timelines are within it."""
    seen = watched.broken()
    assert seen.window is not None
    drawn = band.draw(seen, seen.window, NOW, NOW - 6 * DAY)
    assert 0 == drawn.good.place
    assert 99 < drawn.good.width < 100
    (gap,) = drawn.gaps
    assert (56, 65) == (int(gap.place), int(gap.place + gap.width))
    assert 51 == int(drawn.picked or 0)
    shapes = [each.shape for each in drawn.marks]
    assert (3, 10, 2, 1) == tuple(
        shapes.count(each) for each in ("full", "incremental", "good drill", "timeline")
    )
    assert (
        "Moments from 2026-11-17 03:02 to 2026-11-29 08:24 can be restored, from 13 backups, but for 1 gap."
        == drawn.words
    )


def test_labels_are_few_and_apart() -> None:
    """Whatever the length, a phone has room for the labels."""
    seen = watched.well()
    for length in (60, 3000, DAY, 40 * DAY, 4000 * DAY):
        start = NOW - length
        drawn = band.draw(seen, Window(start, NOW, (), (Tick("a", start),)), NOW, None)
        places = [each.place for each in drawn.labels]
        assert len(places) <= 5
        assert [] == [pair for pair in pairwise(places) if pair[1] - pair[0] < 15]


def test_many_backups() -> None:
    """A backup every five minutes for years is not drawn a million times."""
    seen = watched.well()
    ticks = tuple(Tick(f"{number}", NOW - 300 * number) for number in range(100_000, 0, -1))
    drawn = band.draw(seen, Window(ticks[0].moment, NOW, (), ticks), NOW, None)
    assert len(drawn.marks) < 700
