"""What the watch's loop has of messages and pings: it notes events, and never waits for a target.

Sending is done by one short-lived program at a time for messages, and one for pings. What waits is in a file
of the data folder, or only in memory while that cannot be written or there is no cluster yet.
"""

from __future__ import annotations

import os

from entrypoint import log, own
from entrypoint.errors import Failure
from entrypoint.noted.conditions import Noted
from entrypoint.notify import outbox, pings, targets, wording
from entrypoint.notify.flights import Flight
from entrypoint.notify.outbox import Outbox
from entrypoint.notify.pinger import Ping, Pinger
from entrypoint.notify.wording import Origin
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from entrypoint.backup.runs import Run
    from entrypoint.drill.drills import Drill
    from entrypoint.light import Protocol
    from entrypoint.noted.conditions import Condition, Event
    from entrypoint.notify.flights import Result
    from entrypoint.notify.outbox import Waiting
    from entrypoint.notify.wording import Message
    from entrypoint.server.context import Context
    from entrypoint.settings.watching import Watching

    class Sending(Protocol):
        """A flight, or a test's."""

        def poll(self) -> tuple[list[Result], bool]:
            """Return new results, and whether all is done."""

        def end(self) -> list[Result]:
            """End it now."""


_PAUSE = 30.0
"""Seconds between two attempts to write to a volume that cannot be written."""


class Notifier:
    """Messages and pings of the running watch; `now` is always in seconds since 1970."""

    def __init__(
        self,
        context: Context,
        watching: Watching,
        launch: Callable[[Context, Mapping[str, Any]], Sending] = Flight,
    ) -> None:
        self._context = context
        self._watching = watching
        self._launch = launch
        self._names = targets.names(watching.urls)
        addresses = pings.addresses(watching)
        self._variables = tuple(name for name, url in addresses.items() if url)
        self._secrets = tuple(each for each in (*watching.urls, *addresses.values(), watching.token) if each)
        self._pinger = Pinger(watching, origin(context), self._secrets)
        self._box: Outbox | None = None
        """None: nothing was read from the volume yet."""
        self._is_fresh = False
        """What is on the volume is another server's."""
        self._written: Outbox | None = None
        """The queue as it is on the volume."""
        self._unwritable = 0.0
        """Until when the volume is not tried again, in seconds since 1970."""
        self._now = 0.0
        self._message: tuple[Sending, str, tuple[Waiting, ...], bool] | None = None
        """The sender that runs, its target, its messages, and whether the target has taken one of them."""
        self._ping: tuple[Sending, Ping] | None = None
        self.in_memory = False
        """The queue is not written to the volume now."""
        self.failed_sends = 0
        """How often a message or a ping could not be sent since this object was made."""

    @property
    def unsent(self) -> int:
        """The number of messages that wait."""
        return 0 if self._box is None else len(self._box.waiting)

    def note(self, noted: Noted, now: float) -> None:
        """Queue the messages of new events."""
        self._now = now
        box = self._opened()
        if self._watching.urls:
            flying = () if self._message is None else {each.number for each in self._message[2]}
            box = outbox.take(box, noted, now, self._watching.level, self._describe, flying=flying)
        self._keep(box)

    def began(self, name: str) -> None:
        """Note that something has begun of which an earlier process sent a message: its end is news."""
        box = self._opened()
        self._keep(box._replace(begun=tuple(dict.fromkeys((*box.begun, name)))))

    def start_over(self) -> None:
        """Forget what waits and what was sent: it was another server's."""
        self._box, self._is_fresh = None, True

    def looked(self, now: float) -> None:
        """Note that a look has ended: without looks, there are no heartbeats."""
        self._pinger.looked(now)

    def journals(self, runs: Sequence[Run], drills: Sequence[Drill]) -> None:
        """Take the journals of backups and drills; called when one of them has changed."""
        self._keep(self._pinger.journals(self._opened(), runs, drills))

    def tick(self, now: float, errors: Sequence[Condition] = ()) -> None:
        """Take what the senders report, and start the next ones; `errors`: the conditions of that level."""
        if self._box is None:
            return
        self._now = now
        self._take_message(now)
        self._take_ping(now)
        self._keep(self._box)  # before anything else is sent: what was taken is not sent again after a kill
        if self._message is None:
            self._send(now)
        if self._ping is None:
            found = self._pinger.due(self._box, errors, now)
            if found is not None:
                self._request(found, now)
        self._keep(self._box)

    def wake_at(self, now: float) -> float | None:
        """Return when `tick` has to be called next: within a second while a sender runs."""
        if self._box is None:
            return None
        times = [self._pinger.wake(self._box, now), outbox.wake(self._box, self._names)]
        if self._message is not None or self._ping is not None:
            times.append(now + 1)
        return min((max(now, each) for each in times if each is not None), default=None)

    def close(self) -> None:
        """End the senders; what they have not reported as sent is sent again later."""
        if self._message is not None:
            self._results(self._message[0].end())
        if self._ping is not None:
            self._ping[0].end()
        self._message = self._ping = None
        if self._box is not None:
            self._unwritable = 0.0
            self._keep(self._box)

    def _describe(self, event: Event, unheard: bool) -> Message:
        make = wording.short if unheard else wording.describe
        return make(event, self._pinger.origin, self._secrets)

    def _opened(self) -> Outbox:
        """Return the queue, which is read when it is needed first: before, there may be no cluster."""
        if self._box is None:
            found = Outbox() if self._is_fresh else read(self._context.settings.data_folder)
            self._box = self._written = found
            self._box = outbox.prune(self._box, self._names, self._variables)
            self._pinger.origin = origin(self._context)
        return self._box

    def _keep(self, box: Outbox) -> None:
        """Write the queue if it has changed."""
        self._box = box
        if box == self._written or self.in_memory or self._now < self._unwritable <= self._now + _PAUSE:
            return
        try:
            notes.write(self._context.settings.data_folder, own.NOTIFY, outbox.write(box))
            self._written = box
        except OSError as error:
            self._unwritable = self._now + _PAUSE
            log.debug(f"the queue of messages is only in memory: {error.strerror}")

    def _send(self, now: float) -> None:
        found = None if self._box is None else outbox.due(self._box, self._names, now)
        if self._box is None or found is None:
            return
        target, messages = found
        rows = [{"number": each.number, **each.message._asdict()} for each in messages]
        task = {"url": self._watching.urls[self._names.index(target)], "messages": rows}
        try:
            self._message = (self._launch(self._context, task), target, messages, False)
        except (Failure, OSError) as error:
            self._box = outbox.failed(self._box, target, _cannot_start(error), now)

    def _request(self, ping: Ping, now: float) -> None:
        try:
            task = {"url": ping.request.url, "body": ping.request.body}
            self._ping = (self._launch(self._context, task), ping)
        except (Failure, OSError) as error:
            self._box = self._pinger.sent(self._opened(), ping, _cannot_start(error), now)

    def _take_message(self, now: float) -> None:
        if self._message is None:
            return
        flight, target, _, _ = self._message
        results, is_done = flight.poll()
        refusals = self._results(results)
        if not is_done or self._message is None or self._box is None:
            return
        if refusals and not self._message[3]:
            self._box = outbox.failed(self._box, target, refusals[-1], now)
        self._message = None

    def _results(self, results: Sequence[Result]) -> list[str]:
        """Take these results of the sender of messages; return what refused ones said."""
        refusals = []
        for each in results:
            if self._message is None or self._box is None:
                break
            flight, target, messages, _ = self._message
            if each.words:
                refusals.append(each.words)
                self.failed_sends += 1
                self._box = outbox.refused(self._box, each.number)
            else:
                self._message = (flight, target, messages, True)
                self._box = outbox.delivered(self._box, target, each.number, self._names)
        return refusals

    def _take_ping(self, now: float) -> None:
        if self._ping is None or self._box is None:
            return
        flight, ping = self._ping
        results, is_done = flight.poll()
        for each in results:
            self.failed_sends += bool(each.words)
            self._box = self._pinger.sent(self._box, ping, each.words, now)
        if is_done:
            self._ping = None


def _cannot_start(error: Failure | OSError) -> str:
    """Return why a sender could not be started: memory or processes are used up."""
    return f"the sender could not be started: {error}"


def read(data_folder: str) -> Outbox:
    """Return the queue on the volume; an empty one if there is none that can be read."""
    try:
        return outbox.parse(notes.read_text(data_folder, own.NOTIFY))
    except (OSError, ValueError):
        return Outbox()


def origin(context: Context) -> Origin:
    """Return which server this is."""
    wanted = context.settings
    named = wanted.server.settings.get("cluster_name") or wanted.conf.get("cluster_name") or ""
    database = wanted.init.database if wanted.init.database != "postgres" else ""
    raw = notes.cluster(wanted.data_folder)
    number = str(int.from_bytes(bytes.fromhex(raw), "little")) if raw else ""
    return Origin(os.uname().nodename, named or database, number)
