"""When a backup or a drill is due."""

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
    """The syntax is that of cron; with six fields, the first one is seconds."""
    assert [] == cron.check(text, "Europe/Berlin", "BACKUP_SCHEDULE")


@pytest.mark.parametrize("text", [*cron.ALIASES, "@Daily", "@WEEKLY"])
def test_the_names_of_cron(text: str) -> None:
    """`@daily` and similar names are repeating schedules."""
    assert [] == cron.check(text, "UTC", "BACKUP_SCHEDULE")
    found = Schedule(text, "UTC", 0, "1")
    assert (found.previous(NOON) or 0) <= NOON < (found.next(NOON) or 0)


def test_daily_is_at_midnight() -> None:
    """Midnight is in the time zone of the schedule."""
    assert _at("2026-11-22T00:00:00+01:00") == Schedule("@daily", "Europe/Berlin", 0, "1").previous(NOON)


@pytest.mark.parametrize("text", ["@reboot", "@every 1h", "@", "@nightly"])
def test_names_that_are_no_schedule(text: str) -> None:
    """A name that is not a time of day is refused, and the hint lists the names that are schedules."""
    (problem,) = cron.check(text, "UTC", "BACKUP_SCHEDULE")
    assert "is not a schedule" in problem.what
    assert "@daily" in problem.hint


@pytest.mark.parametrize(
    ("text", "timezone", "expected"),
    [
        ("0 25 * * *", "UTC", "BACKUP_SCHEDULE=0 25 * * * is not a schedule: Bad hour"),
        ("daily", "UTC", "BACKUP_SCHEDULE=daily is not a schedule: Wrong number of fields"),
        ("0 0 30 2 *", "UTC", "BACKUP_SCHEDULE=0 0 30 2 * is not a schedule: Bad day-of-month"),
        ("0 3 * * *", "Mars/Olympus", "BACKUP_TIMEZONE=Mars/Olympus is not a time zone"),
        ("0 3 * * *", "../etc/passwd", "BACKUP_TIMEZONE=../etc/passwd is not a time zone"),
        ("0 3 * * *", "Europe", "BACKUP_TIMEZONE=Europe is not a time zone"),
    ],
)
def test_bad_schedules(text: str, timezone: str, expected: str) -> None:
    """The message contains cronsim's reason."""
    assert [expected] == [problem.what for problem in cron.check(text, timezone, "BACKUP_SCHEDULE")]


def test_the_moments_around() -> None:
    """A moment that equals now has passed and is not the next one."""
    assert (THREE, THREE + DAY) == (NIGHTLY.previous(NOON), NIGHTLY.next(NOON))
    assert (THREE, THREE + DAY) == (NIGHTLY.previous(THREE), NIGHTLY.next(THREE))
    assert (THREE - DAY, THREE) == (NIGHTLY.previous(THREE - 1), NIGHTLY.next(THREE - 1))


def test_the_time_zone_counts() -> None:
    """Three in the morning in Berlin is two in UTC, and one in summer."""
    berlin = Schedule("0 3 * * *", "Europe/Berlin", 0, "1")
    assert _at("2026-11-22T02:00:00+00:00") == berlin.previous(NOON)
    assert _at("2026-07-01T01:00:00+00:00") == berlin.previous(_at("2026-07-01T12:00:00+00:00"))


@given(st.integers(0, 10**9), st.integers(0, 7200), st.text(max_size=20))
def test_jitter_is_bounded_and_always_the_same(seconds: int, jitter: int, cluster: str) -> None:
    """The jitter limits a moment's delay; neither a restart nor a later question moves that moment."""
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


def test_clusters_do_not_start_together() -> None:
    """Two clusters with the same schedule have different moments, and so do two nights of one cluster."""
    one, other = (Schedule("0 3 * * *", "UTC", 3600, cluster) for cluster in ("1", "2"))
    assert one.next(NOON) != other.next(NOON)
    late = {(one.next(NOON + DAY * night) or 0) % DAY for night in range(5)}
    assert len(late) > 1


def test_the_first_is_due_at_once() -> None:
    """It is due at once even if the schedule's first moment is far ahead."""
    assert NOON == due(NIGHTLY, NOON, None, None, 0)


def test_missed_moments_are_due_at_once_and_only_once() -> None:
    """One backup makes up for all moments that passed while nothing ran."""
    assert NOON == due(NIGHTLY, NOON, THREE - 9 * DAY, None, 0)
    assert THREE + DAY == due(NIGHTLY, NOON, NOON - 60, None, 0)
    assert THREE + DAY == due(NIGHTLY, NOON, THREE, None, 0)


@pytest.mark.parametrize(
    ("failures", "minutes"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60), (999, 60)]
)
def test_a_failed_backup_is_tried_again_later(failures: int, minutes: int) -> None:
    """The next attempt is 1, 2, 4 … up to 60 minutes after its end."""
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
    """They are sorted newest first and include the current moment."""
    assert [THREE, THREE - DAY] == NIGHTLY.passed(THREE, 2)
    assert [THREE - DAY] == NIGHTLY.passed(THREE - 1, 1)


def test_what_is_overdue() -> None:
    """The last success is older than two periods: the job of the last moment may still be running."""
    schedule = Schedule("0 * * * *", "UTC", 0, "1")
    assert [False, False, True] == [schedule.is_overdue(7300, last) for last in (7250, 3600, 3599)]
