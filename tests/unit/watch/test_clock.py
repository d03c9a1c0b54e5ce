"""When the watch looks, and how it foresees a full filesystem."""

from __future__ import annotations

from entrypoint.watch import forecast
from entrypoint.watch.clock import Clock
from entrypoint.watch.forecast import Point


def test_quick_and_whole_looks() -> None:
    """The first look is a whole one, after one interval; then one in 60 is."""
    clock = Clock(60)
    clock.begin(1000.0)
    assert clock.due(1059.0) is None
    made = [clock.due(1060.0 + 60 * number) for number in range(121)]
    assert [0, 60, 120] == [number for number, due in enumerate(made) if due == "whole"]
    assert None not in made


def test_a_whole_look_that_is_asked_for() -> None:
    """It is made at once, but never twice within one interval."""
    clock = Clock(60)
    clock.begin(0.0)
    assert "whole" == clock.due(60.0)
    clock.ask(70.0)
    assert "quick" == clock.due(70.0)
    assert "whole" == clock.due(130.0)
    assert "quick" == clock.due(190.0)


def test_whole_looks_are_more_frequent_while_one_has_found_something() -> None:
    """Somebody who has repaired a fault wants to hear of its end."""
    clock = Clock(60)
    clock.begin(0.0)
    made = [clock.due(60.0 + 60 * number, worried=number < 25) for number in range(100)]
    assert [0, 10, 20, 80] == [number for number, due in enumerate(made) if due == "whole"]


def test_sizes_are_measured_every_ten_minutes() -> None:
    """They cost a walk through the files of each database."""
    clock = Clock(60)
    assert [True, False, False, True] == [clock.sizes(now) for now in (0.0, 60.0, 599.0, 600.0)]


def _points(free: list[int]) -> tuple[Point, ...]:
    points: tuple[Point, ...] = ()
    for number, each in enumerate(free):
        points = forecast.add(points, Point(60.0 * number, each))
    return points


def test_a_filesystem_that_fills_up() -> None:
    """The time until it is full follows from the rate; what was before the last hour does not count."""
    steady = _points([10_000 - 10 * number for number in range(200)])
    assert len(steady) <= 62
    found = forecast.seconds_until_full(steady)
    assert found is not None
    assert abs(found - 60 * steady[-1].free / 10) < 60
    assert forecast.seconds_until_full(_points([1000, 900, 800])) is None, "too few points"


def test_a_few_minutes_are_no_forecast_for_tomorrow() -> None:
    """What is written within ten minutes says nothing about the next ten hours."""
    assert forecast.seconds_until_full(_points([100_000 - 100 * number for number in range(11)])) is None
    assert forecast.seconds_until_full(_points([10_000 - 100 * number for number in range(11)])) is not None


def test_space_that_somebody_has_freed() -> None:
    """A quarter of an hour later there is no forecast any longer."""
    filled = [10_000 - 200 * number for number in range(45)]
    assert forecast.seconds_until_full(_points(filled)) is not None
    assert forecast.seconds_until_full(_points([*filled, *[10_000] * 16])) is None


def test_what_goes_up_and_down_is_not_a_forecast() -> None:
    """WAL is written and recycled all the time."""
    waves = [1000 - 100 * (number % 7) for number in range(60)]
    assert forecast.seconds_until_full(_points(waves)) is None
    assert forecast.seconds_until_full(_points([500 + number for number in range(60)])) is None


def test_frequent_looks_keep_few_points() -> None:
    """Looks every second keep one point for each half a minute, with the least that was free."""
    points: tuple[Point, ...] = ()
    for number in range(3600):
        points = forecast.add(points, Point(float(number), 10**5 - number))
    assert len(points) < 140
    assert abs(10**5 - 3599 - (forecast.seconds_until_full(points) or 0)) < 60


def test_a_look_in_a_hurry() -> None:
    """When PID 1 reports another level of a full disk, a look is due at once; it need not be a whole one."""
    clock = Clock(60)
    clock.begin(0)
    assert "whole" == clock.due(60)
    assert clock.due(70) is None
    clock.hurry(71)
    assert "quick" == clock.due(71)
    assert clock.due(72) is None
