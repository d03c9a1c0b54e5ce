"""Which ping is due: the heartbeat, and the begin and end of each backup and drill; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple
from entrypoint.notify import outbox, pings, wording
from entrypoint.notify.pings import BACKUP, DRILL, FAILURE, HEARTBEAT, SUCCESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.backup.runs import Run
    from entrypoint.drill.drills import Drill
    from entrypoint.noted.conditions import Condition
    from entrypoint.notify.outbox import Mark, Outbox
    from entrypoint.notify.pings import Request, Signal
    from entrypoint.notify.wording import Origin
    from entrypoint.settings.watching import Watching

_MOST_RETRIES = 8
"""Attempts of each report, within an hour; then it is given up. Doctor still says that the target fails."""
_LONGEST_PAUSE = 900.0
"""Seconds between two attempts of a report."""
_LOOKS = 3
_STALE = 300.0
"""Without a look for 300 s and 3 intervals, nobody knows how the server is, so no heartbeat is sent."""


class Ping(NamedTuple):
    """A request that is due, and what it is about."""

    variable: str
    request: Request
    mark: Mark | None = None
    """What is reported with it; None: the heartbeat."""
    signal: Signal = SUCCESS
    is_late: bool = False
    """The begin of a run that has ended; see `pings.Report`."""


class Pinger:
    """What is known of the pings; `now` is always in seconds since 1970."""

    def __init__(self, watching: Watching, origin: Origin, secrets: Sequence[str]) -> None:
        self._watching = watching
        self._urls = pings.addresses(watching)
        self.origin = origin
        self._secrets = secrets
        self._entries: dict[str, Sequence[Run | Drill]] = {}
        self._looked = float("-inf")
        self._beat = float("-inf")
        """When the last heartbeat was requested."""
        self._last: Signal | None = None
        """What the last heartbeat said."""
        self._tries: dict[str, tuple[Mark, int]] = {}
        """The report of a variable that was not taken, and how often."""
        self._without_begin: dict[str, Mark] = {}
        """The late begin of a variable that was just refused: the end is sent next, without it."""

    def looked(self, now: float) -> None:
        """Note that a look has ended."""
        self._looked = now

    def journals(self, box: Outbox, runs: Sequence[Run], drills: Sequence[Drill]) -> Outbox:
        """Take the journals; return what is remembered: what had ended before the first time is no news."""
        self._entries = {BACKUP: runs, DRILL: drills}
        new = {
            name: pings.first_mark(entries)
            for name, entries in self._entries.items()
            if self._urls[name] and name not in box.marks
        }
        return box._replace(marks={**box.marks, **new}) if new else box

    def due(self, box: Outbox, errors: Sequence[Condition], now: float) -> Ping | None:
        """Return the next ping that is due now."""
        for name in (BACKUP, DRILL):
            if self._urls[name] and not _waits(box, name, now):
                found = self._report(box, name)
                if found is not None:
                    return found
        return self._heartbeat(box, errors, now)

    def _report(self, box: Outbox, name: str) -> Ping | None:
        if name not in box.marks:
            return None
        for each in pings.due(self._entries.get(name, ()), box.marks[name], self._secrets):
            body = f"{each.body}\n{self.origin.name}"
            run = f"{self.origin.identifier} {name} {each.mark.started}"
            made = pings.request(self._urls[name], each.signal, body, run=run, seconds=each.seconds)
            if made is not None and each.mark != self._without_begin.get(name):
                return Ping(name, made, each.mark, each.signal, each.is_late)
        return None

    def _heartbeat(self, box: Outbox, errors: Sequence[Condition], now: float) -> Ping | None:
        if not self._urls[HEARTBEAT] or self._looked < now - _LOOKS * self._watching.interval - _STALE:
            return None
        signal = FAILURE if errors else SUCCESS
        is_due = (
            signal != self._last or not self._beat <= now < self._beat + self._watching.heartbeat_interval
        )
        if HEARTBEAT in box.failing:
            is_due = not _waits(box, HEARTBEAT, now)
        if not is_due:
            return None
        body = wording.findings(errors, self.origin, self._secrets)
        made = pings.request(self._urls[HEARTBEAT], signal, body if errors else "OK")
        return Ping(HEARTBEAT, made, None, signal) if made is not None else None

    def sent(self, box: Outbox, ping: Ping, words: str, now: float) -> Outbox:
        """Return what is remembered after an attempt; `words` is empty if the service has taken the ping."""
        name = ping.variable
        if ping.mark is None:
            self._beat, self._last = now, ping.signal
            longest = float(self._watching.heartbeat_interval)
            return outbox.failed(box, name, words, now, longest) if words else outbox.worked(box, name)
        if words and ping.is_late:
            # Some services take no begins. So the end follows at once: if it is taken, the begin is given up;
            # if not, the service is away, and the next attempt is one of both again.
            self._without_begin[name] = ping.mark
            return box
        self._without_begin.pop(name, None)
        if not words:
            box = outbox.worked(box, name)
        else:
            box = outbox.failed(box, name, words, now, _LONGEST_PAUSE)
            known, tries = self._tries.get(name, (ping.mark, 0))
            tries = tries + 1 if known == ping.mark else 1
            self._tries[name] = (ping.mark, tries)
            if tries < _MOST_RETRIES:
                return box
        return box._replace(marks={**box.marks, name: ping.mark})

    def wake(self, box: Outbox, now: float) -> float | None:
        """Return when to look for a ping that is due, in seconds since 1970; None: no ping is wanted."""
        if not any(self._urls.values()):
            return None
        times = [each.retry for name, each in box.failing.items() if name in pings.VARIABLES]
        if self._urls[HEARTBEAT]:
            times.append(max(now, self._beat + self._watching.heartbeat_interval))
        return min(times, default=None)


def _waits(box: Outbox, name: str, now: float) -> bool:
    """Return whether it is too early for another attempt."""
    failing = box.failing.get(name)
    return failing is not None and now < failing.retry
