"""When a backup or a drill is due; pure.

But for the system's time zone data. Times are seconds since 1970.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from entrypoint.settings.cron import in_fields, zone

RETRY_FIRST = 60
RETRY_LAST = 3600
"""Seconds after which a failed run is tried again: 1, 2, 4 … up to 60 minutes."""
ASK_AGAIN = 3600
"""Seconds after which we look again at the latest: machines are suspended, and clocks are set."""


class Schedule:
    """The moments of a schedule, each late by a jitter that is always the same."""

    def __init__(self, text: str, timezone: str, jitter: int, cluster: str) -> None:
        self.text = in_fields(text)
        self.zone = zone(timezone) or UTC
        self.jitter = jitter
        """Seconds."""
        self.cluster = cluster
        """What tells this cluster from others: its system identifier."""

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
        """Return the last moments that are not after `now`, the newest first."""
        found: list[float] = []
        # One second later, since cronsim's iteration leaves the moment itself out.
        for moment in self._moments(now + 1, back=True):
            if moment <= now:
                found.append(moment)
            if len(found) == count:
                break
        return found

    def is_overdue(self, now: float, last_good: float) -> bool:
        """Tell whether what was done last, and well, is older than two periods."""
        slots = self.passed(now, 2)
        return len(slots) > 1 and last_good < slots[1]

    def next(self, now: float) -> float | None:
        """Return the first moment after `now`."""
        # A slot that has passed may be late enough to be still to come.
        moments = self._moments(now - self.jitter - 1, back=False)
        return next((moment for moment in moments if moment > now), None)


def at_once(now: float, last_failure: float | None, failures: int) -> float:
    """Return when a backup that is due is taken: now, or some time after the last of the failed ones."""
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
    """Return when the next backup is due; not after `now` means at once.

    `last_success` is when the last good backup ended, by any hand, so that a moment that passed while one
    was taken is not caught up; None: there is none, so the first one is due at once. After `failures`
    failed ones in a row, the last of which ended at `last_failure`, it waits 1, 2, 4 … up to 60 minutes.
    """
    missed = schedule.previous(now)
    if last_success is None or (missed is not None and last_success < missed):
        return at_once(now, last_failure, failures)
    upcoming = schedule.next(now)
    return now + ASK_AGAIN if upcoming is None else upcoming
