"""The watch: one loop that looks on a clock, and shows and sends what it noted.

PID 1 starts it before the server, and again if it ends. Nothing waits for it. Whatever takes long runs in a
copy of it (a look, a page) or in a short-lived program (a message), so that probes are answered at once.
"""

from __future__ import annotations

import os
import selectors
import signal
import time

from entrypoint import log, own
from entrypoint.backup import history
from entrypoint.drill.rehearsals import DRILLS
from entrypoint.errors import Problem, Stopped
from entrypoint.finding import ERROR
from entrypoint.noted import conditions, ledger
from entrypoint.noted.conditions import ENDED, INFO
from entrypoint.noted.ledger import Record
from entrypoint.noted.seen import Seen
from entrypoint.notify import refused
from entrypoint.notify.notifier import Notifier
from entrypoint.pid1 import lifecycle, status, stops
from entrypoint.server import opening
from entrypoint.server.data_folder import data_version
from entrypoint.system import kernel
from entrypoint.volume import notes, room
from entrypoint.watch import forecast, incidents, look
from entrypoint.watch.clock import Clock
from entrypoint.watch.faces import Faces
from entrypoint.watch.forecast import Point
from entrypoint.watch.workers import Workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.noted.conditions import Event
    from entrypoint.server.context import Context
    from entrypoint.settings.watching import Watching
    from entrypoint.volume.room import Level

_TICK = 1.0
"""Seconds between two glances at what PID 1 reports and at the journals; a glance reads three small files."""
_STARTING = (status.RESTORE, status.RECOVERY)
_LOOK = 60.0
_WHOLE_LOOK = 180.0
"""Seconds after which a look is ended."""
_MOST_RECORD = 4 * 1024**2


def main() -> int:
    """Run until PID 1 ends us; return the exit code."""
    kernel.end_with(os.getppid(), signal.SIGTERM)
    secrets = opening.received()
    values = {**opening.environ(), **secrets}
    wanted, _, _ = opening.read_settings(values, ())  # the start has reported the problems
    log.debugging = wanted.serving.debug
    context = opening.command_context(wanted)
    if wanted.watching is not None:
        watch = Watch(context, wanted.watching, secrets)
        try:
            watch.run()
        except Stopped:
            watch.close()
    return 0


class Watch:
    """The one loop."""

    def __init__(self, context: Context, wanted: Watching, secrets: Mapping[str, str]) -> None:
        self.context = context
        self.wanted = wanted
        self.secrets = secrets
        self.selector = selectors.DefaultSelector()
        self.workers = Workers(context.children, self.selector)
        self.clock = Clock(wanted.interval)
        self.notifier = Notifier(context, wanted)
        self.faces = wanted.listen and Faces(
            context, wanted, self.selector, self.workers, address=wanted.listen, seen=self.last
        )
        self.seen = Seen(at=0.0)
        node = context.settings.failover
        self.node = "" if node is None else node.name
        """The name of this node of a cluster under Patroni; empty: there is none."""
        self.in_recovery: bool | None = None
        """Under Patroni: the server is a standby."""
        self.server: int | None = None
        """Under Patroni: the pid of the server."""
        self.record = Record(node=self.node)
        self.phase = ""
        self.level: Level = room.NORMAL
        """How near the disk is to being full, as PID 1 says."""
        self.glance_at = 0.0
        """When to glance next, by the monotonic clock."""
        self.restoring = False
        """The start has restored a cluster."""
        self.upgrading = False
        """The start has upgraded the cluster."""
        self.points: dict[tuple[str, str], tuple[Point, ...]] = {}
        """The bytes and the inodes that were free at the last looks, by a folder of the filesystem."""
        self.written = Record()
        """The record as it is on the volume."""
        self.logged = 0
        """The number of the last event that was reported in the log."""
        self.journals = ("", "")
        """What identifies the present content of the journals of backups and drills."""

    @property
    def data_folder(self) -> str:
        """The server's data folder."""
        return self.context.settings.data_folder

    def last(self) -> Seen | None:
        """Return what was seen; None before the first look."""
        return self.seen if self.seen.at else None

    def run(self) -> None:
        """Look, answer and send until a stop signal arrives."""
        signals = self.context.children.signals
        self.selector.register(signals.descriptor, selectors.EVENT_READ, lambda _: None)
        while True:
            self.context.children.raise_if_stopped()
            now = time.monotonic()
            if now >= self.glance_at:
                self.glance_at = now + _TICK
                self._glance()
                self._look_if_due()
                self._send()
            if self.faces:
                self.faces.on_time(now)
            for key, events in self.selector.select(self._left()):
                key.data(events)
            self.workers.collect()

    def close(self) -> None:
        """Serve and send nothing any longer."""
        self.notifier.close()
        if self.faces:
            self.faces.close()

    def _left(self) -> float:
        """Return the seconds until something is due."""
        due = self.faces.due() if self.faces else None
        return max(0.0, min(self.glance_at, self.glance_at if due is None else due) - time.monotonic())

    def _send(self) -> None:
        """Let the senders continue; nothing here waits for a target."""
        now = time.time()
        errors = [each for each in self.seen.conditions if each.level == ERROR]
        self.notifier.tick(now, errors)
        self.seen = self.seen._replace(unsent=self.notifier.unsent, failed_sends=self.notifier.failed_sends)

    def _glance(self) -> None:
        """See what PID 1 reports, and whether a journal has changed."""
        known = status.read([self.context.runtime_folder])
        phase = "" if known is None else known.phase
        if phase in _STARTING:
            self.restoring = True
        if phase != self.phase and status.UPGRADE in (phase, self.phase):
            self._change_cluster(begins=phase == status.UPGRADE)
        if known is not None and phase == lifecycle.SERVING and self.phase != phase:
            self._begin_serving(float(known.since))
        self.phase = phase
        if self.node:
            self._glance_at_role(None if known is None else known.server)
        level = room.NORMAL if known is None else known.level
        if level != self.level:
            self.level = level
            self.clock.hurry(time.monotonic())
        self.seen = self.seen._replace(helpers=() if known is None else tuple(known.helpers.values()))
        journals = (_identity(self.data_folder, own.BACKUPS), _identity(self.data_folder, own.DRILLS))
        if journals != self.journals:
            self.journals = journals
            runs, drills = history.RUNS.read(self.data_folder), DRILLS.read(self.data_folder)
            self.seen = self.seen._replace(runs=tuple(runs), drills=tuple(drills))
            if phase == lifecycle.SERVING:
                self.notifier.journals(runs, drills)
            self.clock.ask(time.monotonic())

    def _change_cluster(self, *, begins: bool) -> None:
        """Report that an upgrade has begun, or that the data folder has its final cluster again.

        Meanwhile nothing is written there: another cluster takes this one's place, name by name.
        """
        self.notifier.in_memory = begins
        if not begins:
            notes.expect(self.data_folder, notes.cluster(self.data_folder))
            return
        self.upgrading = True
        self._read_record()
        self.record = incidents.upgrading(self.record, data_version(self.data_folder), time.time())
        self._note()

    def _glance_at_role(self, server: int | None) -> None:
        """Look at once if this node of a cluster has become the leader or a standby.

        A server that Patroni has just started is left alone for one interval, as after any start.
        """
        role, now = status.in_recovery(self.data_folder), time.monotonic()
        if server is not None and self.server is None:
            self.clock.begin(now)
        elif self.in_recovery is not None and role != self.in_recovery:
            self.clock.hurry(now)
        self.in_recovery, self.server = role, server

    def _read_record(self) -> None:
        try:
            text = notes.read_text(self.data_folder, own.WATCH, most=_MOST_RECORD)
            self.record = self.written = ledger.parse(text)
        except (OSError, ValueError):
            self.record = Record()
        if self.node and self.record.node not in ("", self.node):
            self._start_over()  # the data folder is a copy of another node's
        else:
            self.record = self.record._replace(node=self.node)
        self.logged = self.record.noted.total

    def _start_over(self) -> None:
        self.record = Record(node=self.node)
        self.notifier.start_over()

    def _begin_serving(self, since: float) -> None:
        """Note the start of a server, with what an earlier watch of this cluster has noted.

        `since` is when PID 1 has started the server: perhaps long ago, if an earlier watch has ended.
        """
        now = time.time()
        if not notes.cluster(self.data_folder):
            if self.node:  # what comes is a new cluster, or a copy of another node
                self._start_over()
            return
        if not self.upgrading:  # else it is known, and not in the new cluster's folder
            self._read_record()
        last = self.record.starts[-1].at if self.record.starts else None
        if since != last:
            requested = last is None or _was_stopped(self.data_folder, last)
            self.record = incidents.started(self.record, since, requested=requested)
        if self.restoring:
            self.record = incidents.restored(self.record, now)
        if self.upgrading:
            self.upgrading = False
            self.record = incidents.upgraded(self.record, data_version(self.data_folder), now)
        known = refused.read(self.context)
        if known:
            self.record = incidents.accepted(self.record, known, now)
            self.notifier.began(incidents.START)
        self._note()
        if known:
            refused.forget(self.context)
        self.notifier.journals(self.seen.runs, self.seen.drills)
        self.clock.begin(time.monotonic())

    def _look_if_due(self) -> None:
        if self.phase != lifecycle.SERVING or "look" in self.workers.running:
            return
        now = time.monotonic()
        rare = {each.check for each in self.seen.findings if each.rare}
        worried = any(each.check in rare for each in self.seen.conditions)
        due = self.clock.due(now, worried=worried)
        if due is None:
            return
        whole = due == "whole"
        task = look.Task(
            {**opening.environ(), **self.secrets}, self.seen, whole, self.clock.sizes(now), self._forecast()
        )
        self.workers.start("look", lambda: look.work(task), self._take_look, _WHOLE_LOOK if whole else _LOOK)

    def _forecast(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for (folder, _), points in self.points.items():
            seconds = forecast.seconds_until_full(points)
            if seconds is not None:
                found[folder] = min(seconds, found.get(folder, seconds))
        return found

    def _take_look(self, data: bytes) -> None:
        """Note what a look has seen; no data: it has failed."""
        if not data or self.phase != lifecycle.SERVING:
            return  # the server has begun to stop meanwhile
        made = look.unpack(data)
        now = time.monotonic()
        for volume in made.seen.volumes:
            for unit, free in (("bytes", volume.free), ("inodes", volume.free_files)):
                if free is not None:
                    points = self.points.get((volume.folder, unit), ())
                    self.points[volume.folder, unit] = forecast.add(points, Point(now, free))
        if made.seen.server is not None:
            self.record = incidents.answered(self.record, made.seen.server, made.seen.at)
        if made.seen.member is not None:
            self.record = incidents.led(self.record, made.seen.member, made.seen.at)
        noted = conditions.judge(self.record.noted, made.fresh, made.seen.at)
        self.record = self.record._replace(noted=noted)
        self.seen = made.seen._replace(helpers=self.seen.helpers)
        self._note()
        self.notifier.looked(made.seen.at)

    def _note(self) -> None:
        """Show and send what was noted, and record it on the volume."""
        noted = self.record.noted
        for event in noted.events:
            if event.number > self.logged:
                _log(event)
        self.logged = noted.total
        if self.record != self.written and not self.notifier.in_memory:
            try:
                notes.write(self.data_folder, own.WATCH, ledger.write(self.record))
                self.written = self.record
            except OSError:
                pass  # a full disk must not end the watch; the next look tries again
        # Only now: what is sent before it is recorded would be noted and sent again after a kill.
        self.notifier.note(noted, time.time())
        self.seen = self.seen._replace(conditions=noted.conditions, events=noted.events)


def _log(event: Event) -> None:
    if event.kind == ENDED:
        log.info(f"{event.name}: ended: {event.found}")
    elif event.level == INFO:
        log.info(f"{event.name}: {event.found}")
    elif event.level == ERROR:
        log.problem(Problem(f"{event.name}: {event.found}", event.hint, docs=event.docs))
    else:
        log.warning(f"{event.name}: {event.found}", event.hint, event.docs)


def _identity(data_folder: str, name: str) -> str:
    """Return a text that changes with a note's content; empty if there is no note."""
    try:
        found = os.stat(notes.path(data_folder, name))
    except OSError:
        return ""
    return f"{found.st_ino} {found.st_mtime_ns}"


def _was_stopped(data_folder: str, since: float) -> bool:
    """Return whether somebody has requested the last stop; `since` is when the last server was started."""
    lines = [line.split() for line in stops.read(data_folder).splitlines()]
    last = lines[-1] if lines and len(lines[-1]) == 3 else ["0", "-", ""]
    return last[2] != stops.KILLED and last[0].isdecimal() and int(last[0]) >= int(since)
