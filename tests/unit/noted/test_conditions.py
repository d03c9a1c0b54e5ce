"""What begins and what ends between two looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from entrypoint.noted.conditions import BEGAN, ENDED, Found, Noted, judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.finding import Level


def _found(level: Level, check: str = "archive backlog") -> Found:
    return Found(check, level, f"it is {level}", "fix it", "fix-archiving", "it matters", 0.0)


def _told(*levels: Level | None) -> list[tuple[float, str, str]]:
    """Return the events after one look for each level; None: the check could not look."""
    noted = Noted()
    for now, level in enumerate(levels):
        noted = judge(noted, [] if level is None else [_found(level)], float(now))
    return [(each.at, each.kind, each.level) for each in noted.events]


def test_a_condition_begins_once_and_ends_with_the_second_good_look() -> None:
    """What lasts is reported once; what a look could not see changes nothing."""
    levels: list[Level | None] = ["ok", "error", "error", None, "error", "ok", None, "ok", "ok"]
    assert [(1.0, BEGAN, "error"), (7.0, ENDED, "error")] == _told(*levels)


def test_what_comes_and_goes_is_one_condition() -> None:
    """One good look between bad ones ends nothing."""
    assert [(0.0, BEGAN, "error")] == _told("error", "ok", "error", "ok", "error")


def test_a_check_that_is_made_rarely() -> None:
    """One good look ends its condition: the next one may be an hour away."""
    noted = judge(Noted(), [_found("error")._replace(rare=True)], 1.0)
    noted = judge(noted, [_found("ok")._replace(rare=True)], 2.0)
    assert [BEGAN, ENDED] == [each.kind for each in noted.events]


def test_a_warning_becomes_an_error_at_once() -> None:
    """It begins again, since somebody who gets errors only has not heard of it."""
    assert [(0.0, BEGAN, "warning"), (1.0, BEGAN, "error")] == _told("warning", "error", "error")


def test_an_error_that_becomes_a_warning_has_ended() -> None:
    """Whoever gets errors only must not wait for the end of the warning."""
    expected = [
        (0.0, BEGAN, "error"),
        (2.0, ENDED, "error"),
        (2.0, BEGAN, "warning"),
        (4.0, ENDED, "warning"),
    ]
    assert expected == _told("error", "warning", "warning", "ok", "ok")


def test_a_condition_keeps_its_begin_and_shows_the_last_finding() -> None:
    """Since when it is, is what people ask first; the text follows what is found now."""
    noted = judge(Noted(), [_found("warning")], 1.0)
    noted = judge(noted, [_found("error")._replace(found="worse")], 2.0)
    noted = judge(noted, [_found("error")._replace(found="worst")], 3.0)
    (condition,) = noted.conditions
    assert (1.0, "error", "worst") == (condition.since, condition.level, condition.found)
    assert [1, 2] == [each.number for each in noted.events]


def _shared(elsewhere: Sequence[bool | None]) -> list[tuple[float, str, bool]]:
    """Return the events of a condition that another node also sees, look by look; None: all is well."""
    noted = Noted()
    for now, each in enumerate(elsewhere):
        found = _found("ok") if each is None else _found("error")._replace(elsewhere=each)
        noted = judge(noted, [found], now * 10.0)
    return [(each.at / 10, each.kind, each.elsewhere) for each in noted.events]


def test_another_node_reports_it() -> None:
    """This one only logs it, as long as the other one sees it."""
    assert [(0.0, BEGAN, True), (4.0, ENDED, False)] == _shared([True, True, True, None, None])


def test_the_other_node_no_longer_sees_it() -> None:
    """After half a minute it begins again, here: it does not end everywhere at the same moment."""
    assert [(0.0, BEGAN, True), (4.0, BEGAN, False)] == _shared([True, True, False, False, False, False])
    assert [(0.0, BEGAN, True)] == _shared([True, False, False, True, False, False, True])


def test_this_node_reports_it_to_the_end() -> None:
    """If another node sees it later, nothing changes."""
    assert [(0.0, BEGAN, False), (4.0, ENDED, False)] == _shared([False, True, True, None, None])


LEVELS = st.sampled_from(["ok", "warning", "error", None])


@given(st.lists(st.tuples(LEVELS, LEVELS), max_size=60))
def test_each_end_has_its_begin(looks: list[tuple[Level | None, Level | None]]) -> None:
    """For each check and level, begins and ends take turns, and what has begun and not ended is a condition."""
    noted = Noted()
    for now, levels in enumerate(looks):
        found = [_found(level, name) for name, level in zip("ab", levels, strict=True) if level]
        noted = judge(noted, found, float(now))
    for name in "ab":
        kinds = [(each.kind, each.level) for each in noted.events if each.name == name]
        open_now: str | None = None
        for kind, level in kinds:
            if kind == BEGAN:
                assert open_now is None or (open_now, level) == ("warning", "error")
                open_now = level
            else:
                assert level == open_now
                open_now = None
        assert (
            [open_now] if open_now else [] == [each.level for each in noted.conditions if each.check == name]
        )
    assert noted.total == len(noted.events) or len(noted.events) == 100
