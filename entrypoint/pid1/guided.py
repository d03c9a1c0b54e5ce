"""PID 1 while Patroni runs the server, which is then a child of PID 1 that Patroni has left to it.

Patroni starts the server through a process that ends at once, so that the server outlives Patroni. PID 1
finds it by its lock file: it is the child of PID 1 that runs in the data folder.
"""

from __future__ import annotations

import os
import time

from entrypoint import exits, log
from entrypoint.errors import Failure
from entrypoint.light import signal
from entrypoint.pid1 import guidance, status, supervisor
from entrypoint.pid1.guidance import PATRONI
from entrypoint.pid1.lifecycle import SERVING, STOPPING
from entrypoint.postgres.postmaster import pid_in
from entrypoint.system import processes, small
from entrypoint.volume import installing, notes
from entrypoint.volume.ahead import Ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.pid1.handoff import Handoff
    from entrypoint.system.children import Children

_LOOK_EVERY = 0.3
"""Seconds between two looks whether there is a server."""
_LOOK_SELDOM = 5.0
"""Seconds between two looks at a Patroni that has started its server."""


def main(descriptor_text: str) -> int:
    """Keep Patroni up, and with it the server, and return the exit code."""
    return supervisor.main(descriptor_text, Guided)


class Guided(supervisor.Supervisor):
    """The one loop, for a server that Patroni starts and stops."""

    def __init__(self, children: Children, given: Handoff) -> None:
        super().__init__(children, given)
        self.server = 0
        self.pids[given.pid] = PATRONI
        self.state = guidance.begin(self.state, time.monotonic())
        self.folder = _identity(self.given.data_folder)
        self.lock: int | None = None
        """The lock on a data folder that Patroni has made again."""
        self.stopped: tuple[int, float] | None = None
        """The pid of a Patroni that a signal has stopped, and when that was seen first."""

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._signal_helper(PATRONI, number)
            return
        self._follow(guidance.on_signal(self.state, self._allowed(number), time.monotonic()))

    def _on_time(self) -> None:
        self._follow(guidance.on_time(self.state, time.monotonic()))

    def _on_server_end(self, code: int, now: float, *, clean: bool) -> None:
        self.server = 0
        self._follow(guidance.on_server_end(self.state, code, now, clean=clean))

    def _on_helper_end(self, role: str, code: int, now: float, pause: float | None) -> None:
        if role != PATRONI:
            self._follow(guidance.on_helper_end(self.state, role, code, now, pause))
            return
        self._look_for_server()
        failed = _unfinished(self.given.runtime_folder)
        self._follow(guidance.on_patroni_end(self.state, code, now, failed=failed))

    def _until_next_look(self, left: float | None) -> float | None:
        left = super()._until_next_look(left)
        if self.state.phase not in (SERVING, STOPPING):
            return left
        most = _LOOK_SELDOM if self.server else _LOOK_EVERY
        return most if left is None else min(left, most)

    def _look_at_disks(self) -> None:
        self._look_at_patroni()
        if not self.server and self.state.phase in (SERVING, STOPPING):
            self._look_for_server()
        if self.server:
            super()._look_at_disks()
        else:
            self.brake.due = time.monotonic() + _LOOK_EVERY

    def _look_at_patroni(self) -> None:
        """End a Patroni that was stopped by a signal, so that the next one keeps the leader's place."""
        pid = next((pid for pid, role in self.pids.items() if role == PATRONI), 0)
        if self.state.phase != SERVING or not processes.is_stopped(pid):
            self.stopped = None
            return
        now = time.monotonic()
        if self.stopped is None or self.stopped[0] != pid:
            self.stopped = pid, now
        elif now >= self.stopped[1] + guidance.STOPPED:
            log.warning(
                "a signal has stopped Patroni: killing it, since another node would take over while this "
                "server takes writes",
                "to let Patroni leave the server alone for a while: patronictl pause",
                docs="fail-over",
            )
            self._signal_helper(PATRONI, signal.SIGKILL)
            self.stopped = None

    def _look_for_server(self) -> None:
        """Take the server that Patroni has started as ours, so that its end is seen."""
        data = self.given.data_folder
        try:
            pid = pid_in(small.read_text(f"{data}/postmaster.pid"))
            is_server = processes.parent_of(pid) == os.getpid() and pid not in self.pids
            if (
                not is_server
                or self.server == pid
                or os.readlink(f"/proc/{pid}/cwd") != os.path.realpath(data)
            ):
                return
        except OSError:
            return
        self.children.adopt(pid)
        self.server = pid
        # It may be another cluster than before: this node may just have become a copy of the leader.
        cluster = notes.cluster(data)
        notes.expect(data, cluster)
        self.given = self.given._replace(cluster=cluster, segment=installing.segment_bytes(data))
        self.ahead = Ahead(data, self.given.segment, pid)
        self.brake.is_up = False
        log.info(f"Patroni has started the server (pid {pid})")
        self._lock_again()
        archives = bool(self.given.archive_status)
        self._follow((guidance.on_server_start(self.state, time.monotonic(), archives=archives), []))

    def _lock_again(self) -> None:
        """Lock the data folder again if Patroni has removed the one that was locked, and made it again."""
        now = _identity(self.given.data_folder)
        if now == self.folder:
            return
        from entrypoint.volume import holder  # loaded only if it is needed

        self.folder = now
        if self.lock is not None:
            os.close(self.lock)
        try:
            self.lock = holder.lock_folder(self.given.data_folder)
        except Failure as failure:
            self.lock = None
            log.problem(failure.problems[0])
            self._on_signal(signal.SIGQUIT)

    def _start(self, role: str) -> None:
        if role != PATRONI:
            super()._start(role)
            return
        try:
            pid = self.children.spawn(self.given.argv, self.given.environment)
        except Failure as failure:
            log.problem(failure.problems[0])
            self._on_helper_end(role, failure.code, time.monotonic(), None)
            return
        self.pids[pid] = PATRONI

    def _signal_helper(self, role: str, number: int) -> None:
        if role != PATRONI:
            super()._signal_helper(role, number)
            return
        # To Patroni alone: what it has started, it ends itself.
        for pid in [pid for pid, name in self.pids.items() if name == PATRONI]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def stop_no_matter_what(self) -> None:
        """Stop Patroni and the server, escalating until they are gone."""
        self._look_for_server()
        self._signal_helper(PATRONI, signal.SIGKILL)
        if self.server:
            super().stop_no_matter_what()


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _unfinished(runtime_folder: str) -> int | None:
    """Return the code of a first start that has begun and did not succeed; None: there is none."""
    try:
        text = (
            small.read(f"{runtime_folder}/{status.FIRST_START}", most=32).decode("ascii", "replace").strip()
        )
    except OSError:
        return None
    return int(text) if text.isdecimal() and 0 < int(text) < 256 else exits.FAILURE
