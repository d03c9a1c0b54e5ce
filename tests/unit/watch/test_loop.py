"""What the watch makes of its looks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from entrypoint.watch.forecast import Point
from entrypoint.watch.loop import Watch


def test_each_filesystem_has_a_forecast_of_its_own() -> None:
    """The archive fills up, the data does not; on a third disk the inodes are used up before the bytes."""

    def falling(start: int, step: int) -> tuple[Point, ...]:
        return tuple(Point(60.0 * number, start - step * number) for number in range(20))

    watch: Any = SimpleNamespace(
        points={
            ("/data", "bytes"): falling(1000, 0),
            ("/archive", "bytes"): falling(1000, 10),
            ("/fast", "bytes"): falling(1000, 10),
            ("/fast", "inodes"): falling(500, 10),
        }
    )
    assert {"/archive": 4860, "/fast": 1860} == Watch._forecast(watch)
