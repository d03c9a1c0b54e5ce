"""When a backup is due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.backup.schedule import Schedule, due
from entrypoint.settings import cron

DAY = 86400


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


NIGHTLY = Schedule("0 3 * * *", "UTC", 0, "1")
NOON = _at("2026-11-22T12:00:00+00:00")
THREE = _at("2026-11-22T03:00:00+00:00")


@pytest.mark.parametrize(
    "text", ["0 3 * * *", "*/5 * * * *", "0 0 1 1 *", "0 3 * * SUN", "30 0 3 * * *", "0 0 L * *"]
)
def test_good_schedules(text: str) -> None:
    """The syntax of cron, with seconds in front where there are six fields."""
    assert [] == cron.check(text, "Europe/Berlin", "BACKUP_SCHEDULE")


@pytest.mark.parametrize("text", [*cron.ALIASES, "@Daily", "@WEEKLY"])
def test_the_names_of_cron(text: str) -> None:
    """`@daily` and its kin are schedules, which come back."""
    assert [] == cron.check(text, "UTC", "BACKUP_SCHEDULE")
    found = Schedule(text, "UTC", 0, "1")
    assert (found.previous(NOON) or 0) <= NOON < (found.next(NOON) or 0)


def test_daily_is_at_midnight() -> None:
    """In the time zone of the schedule."""
    assert _at("2026-11-22T00:00:00+01:00") == Schedule("@daily", "Europe/Berlin", 0, "1").previous(NOON)


@pytest.mark.parametrize("text", ["@reboot", "@every 1h", "@", "@nightly"])
def test_no_names_of_cron(text: str) -> None:
    """What is no time of the clock is refused, and the names that are schedules are told."""
    (problem,) = cron.check(text, "UTC", "BACKUP_SCHEDULE")
    assert "is no schedule" in problem.what
    assert "@daily" in problem.hint


@pytest.mark.parametrize(
    ("text", "timezone", "expected"),
    [
        ("0 25 * * *", "UTC", "BACKUP_SCHEDULE=0 25 * * * is no schedule: Bad hour"),
        ("daily", "UTC", "BACKUP_SCHEDULE=daily is no schedule: Wrong number of fields"),
        ("0 0 30 2 *", "UTC", "BACKUP_SCHEDULE=0 0 30 2 * is no schedule: Bad day-of-month"),
        ("0 3 * * *", "Mars/Olympus", "BACKUP_TIMEZONE=Mars/Olympus is no time zone"),
        ("0 3 * * *", "../etc/passwd", "BACKUP_TIMEZONE=../etc/passwd is no time zone"),
        ("0 3 * * *", "Europe", "BACKUP_TIMEZONE=Europe is no time zone"),
    ],
)
def test_bad_schedules(text: str, timezone: str, expected: str) -> None:
    """What is wrong is said with the words of cronsim."""
    assert [expected] == [problem.what for problem in cron.check(text, timezone, "BACKUP_SCHEDULE")]


def test_the_moments_around() -> None:
    """A moment itself has passed, and is not the next one."""
    assert (THREE, THREE + DAY) == (NIGHTLY.previous(NOON), NIGHTLY.next(NOON))
    assert (THREE, THREE + DAY) == (NIGHTLY.previous(THREE), NIGHTLY.next(THREE))
    assert (THREE - DAY, THREE) == (NIGHTLY.previous(THREE - 1), NIGHTLY.next(THREE - 1))


def test_the_time_zone_counts() -> None:
    """Three in the morning in Berlin is two in UTC, in summer one."""
    berlin = Schedule("0 3 * * *", "Europe/Berlin", 0, "1")
    assert _at("2026-11-22T02:00:00+00:00") == berlin.previous(NOON)
    assert _at("2026-07-01T01:00:00+00:00") == berlin.previous(_at("2026-07-01T12:00:00+00:00"))


@given(st.integers(0, 10**9), st.integers(0, 7200), st.text(max_size=20))
def test_jitter_is_bounded_and_always_the_same(seconds: int, jitter: int, cluster: str) -> None:
    """A moment is late by at most the jitter, and a restart or another time of asking does not move it."""
    hourly = Schedule("0 * * * *", "UTC", jitter, cluster)
    now = NOON + seconds
    upcoming = hourly.next(now)
    assert upcoming is not None
    assert upcoming > now
    assert upcoming == Schedule("0 * * * *", "UTC", jitter, cluster).next(now)
    before = hourly.previous(now)
    assert before is not None
    assert before <= now
    assert now - before <= 3600 + jitter


def test_clusters_do_not_come_together() -> None:
    """Two clusters with one schedule have different moments, and so have two nights of one."""
    one, other = (Schedule("0 3 * * *", "UTC", 3600, cluster) for cluster in ("1", "2"))
    assert one.next(NOON) != other.next(NOON)
    late = {(one.next(NOON + DAY * night) or 0) % DAY for night in range(5)}
    assert len(late) > 1


def test_the_first_is_due_at_once() -> None:
    """Long before the first moment of the schedule."""
    assert NOON == due(NIGHTLY, NOON, None, None, 0)


def test_what_was_missed_is_due_at_once_and_only_once() -> None:
    """One backup for all moments that passed while nothing ran."""
    assert NOON == due(NIGHTLY, NOON, THREE - 9 * DAY, None, 0)
    assert THREE + DAY == due(NIGHTLY, NOON, NOON - 60, None, 0)
    assert THREE + DAY == due(NIGHTLY, NOON, THREE, None, 0)


@pytest.mark.parametrize(
    ("failures", "minutes"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60), (999, 60)]
)
def test_a_failed_one_is_tried_again_later(failures: int, minutes: int) -> None:
    """After 1, 2, 4 … up to 60 minutes, counted from its end."""
    assert NOON + 60 * minutes == due(NIGHTLY, NOON + 1, THREE - DAY, NOON, failures)
    assert NOON + 60 * minutes == due(NIGHTLY, NOON + 1, None, NOON, failures)


@given(st.integers(0, 400) | st.none(), st.integers(0, 400), st.integers(0, 20))
def test_it_is_never_late(days: int | None, failed: int, failures: int) -> None:
    """Whatever happened before, the next backup is due within a day and an hour."""
    last = None if days is None else NOON - days * DAY
    failure = NOON - failed * 600 if failures else None
    assert due(NIGHTLY, NOON, last, failure, failures) <= NOON + DAY + 3600


def test_utc_needs_no_time_zone_data() -> None:
    """The default works in an image without tzdata."""
    assert UTC is cron.zone("UTC")


def test_the_last_moments() -> None:
    """The newest first; the present one counts."""
    assert [THREE, THREE - DAY] == NIGHTLY.passed(THREE, 2)
    assert [THREE - DAY] == NIGHTLY.passed(THREE - 1, 1)


def test_what_is_overdue() -> None:
    """What was done last is older than two periods: the last moment may just be at work."""
    schedule = Schedule("0 * * * *", "UTC", 0, "1")
    assert [False, False, True] == [schedule.is_overdue(7300, last) for last in (7250, 3600, 3599)]
