"""Computes when a backup or a drill is due; pure.

The only input from outside is the system's time zone data. Times are seconds since 1970.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from entrypoint.settings.cron import in_fields, zone

RETRY_FIRST = 60
RETRY_LAST = 3600
"""Shortest and longest seconds before a failed run is tried again: 1, 2, 4 … up to 60 minutes."""
ASK_AGAIN = 3600
"""Seconds within which the due time is computed again: machines are suspended, and clocks are set."""


class Schedule:
    """The moments of a schedule; each is delayed by a jitter that is always the same for that moment."""

    def __init__(self, text: str, timezone: str, jitter: int, cluster: str) -> None:
        self.text = in_fields(text)
        self.zone = zone(timezone) or UTC
        self.jitter = jitter
        """Maximum delay, in seconds."""
        self.cluster = cluster
        """The system identifier, which makes the jitter differ between clusters."""

    def _moments(self, now: float, *, back: bool) -> Iterator[float]:
        from cronsim import CronSim

        begin = datetime.fromtimestamp(now, self.zone)
        for moment in CronSim(self.text, begin, reverse=back):
            slot: float = moment.timestamp()
            yield slot + self._late(slot)

    def _late(self, slot: float) -> int:
        import zlib

        return zlib.crc32(f"{self.cluster} {slot:.0f}".encode()) % (self.jitter + 1)

    def previous(self, now: float) -> float | None:
        """Return the last moment that is not after `now`."""
        return next(iter(self.passed(now, 1)), None)

    def passed(self, now: float, count: int) -> list[float]:
        """Return the last `count` moments that are not after `now`, the newest first."""
        found: list[float] = []
        # One second later, since cronsim's iteration excludes the moment itself.
        for moment in self._moments(now + 1, back=True):
            if moment <= now:
                found.append(moment)
            if len(found) == count:
                break
        return found

    def is_overdue(self, now: float, last_good: float) -> bool:
        """Return whether the last success is older than two periods."""
        slots = self.passed(now, 2)
        return len(slots) > 1 and last_good < slots[1]

    def next(self, now: float) -> float | None:
        """Return the first moment after `now`."""
        # A slot that has passed may have a jitter that puts it after `now`.
        moments = self._moments(now - self.jitter - 1, back=False)
        return next((moment for moment in moments if moment > now), None)


def at_once(now: float, last_failure: float | None, failures: int) -> float:
    """Return when to start a job that is due: now, or after a pause if the last attempts failed."""
    if failures and last_failure is not None:
        return last_failure + min(RETRY_LAST, RETRY_FIRST << min(failures - 1, 6))
    return now


def due(
    schedule: Schedule,
    now: float,
    last_success: float | None,
    last_failure: float | None,
    failures: int,
) -> float:
    """Return when the next backup is due; a time that is not after `now` means immediately.

    `last_success` is when the last good backup ended, scheduled or manual. A moment that passed while that
    backup was taken is not caught up. None: there is no backup, so the first one is due immediately. After
    `failures` failed backups in a row, the last of which ended at `last_failure`, the next attempt waits 1,
    2, 4 … up to 60 minutes.
    """
    missed = schedule.previous(now)
    if last_success is None or (missed is not None and last_success < missed):
        return at_once(now, last_failure, failures)
    upcoming = schedule.next(now)
    return now + ASK_AGAIN if upcoming is None else upcoming
