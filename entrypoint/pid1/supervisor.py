"""PID 1 while the server runs. Nothing of the start is left in it: the program has replaced itself.

`lifecycle` makes the decisions; this module is one loop that feeds it events and does what it decides.
"""

from __future__ import annotations

import os
import sys
import time

from entrypoint import exits, log
from entrypoint.errors import Failure
from entrypoint.light import signal, signal_name
from entrypoint.pid1 import brake, handoff, lifecycle, status, stops
from entrypoint.pid1.handoff import Handoff
from entrypoint.system import kernel, processes
from entrypoint.system.children import Children
from entrypoint.system.signals import Signals
from entrypoint.volume import notes, reserve, room
from entrypoint.volume.ahead import Ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.volume.room import Level


def main(descriptor_text: str, kind: type[Supervisor] | None = None) -> int:
    """Keep the server up that the handed over values describe, and return the exit code."""
    try:
        given = handoff.receive(descriptor_text)
        log.debugging = given.server.debug
        log.never_wait(given.log)
        kernel.keep_descriptors_to_ourselves()
        signals = Signals(given.mask, given.ignored)
    except (OSError, ValueError, EOFError, TypeError):
        sys.stderr.write(f"entrypoint: error: {handoff.HANDOFF} is for internal use only\n  hint: unset it\n")
        return exits.FAILURE
    children = Children(signals)
    children.adopt(given.pid)
    if any(given.kept):
        from entrypoint.logs import keeper  # only a log in JSON needs it

        keeper.resume(children, given.kept)
    supervisor = (kind or Supervisor)(children, given)
    try:
        code = supervisor.run()
    except Failure as failure:
        log.problem(failure.problems[0])
        supervisor.stop_no_matter_what()
        code = failure.code
    except BaseException:
        # Whatever is wrong with the supervisor, the server must end in an orderly way.
        log.warning("the supervisor failed; stopping the server")
        supervisor.stop_no_matter_what()
        log.drain_for_traceback()
        raise
    log.drain()
    return code


class Supervisor:
    """The one loop."""

    def __init__(self, children: Children, given: Handoff) -> None:
        self.children = children
        self.given = given.server
        notes.expect(self.given.data_folder, self.given.cluster)
        self.specs = {spec.role: spec for spec in self.given.helpers}
        helpers = [_helper(spec, time.monotonic()) for spec in self.given.helpers]
        archives = bool(self.given.archive_status)
        self.state = lifecycle.begin(self.given.timeouts, helpers, archives=archives)
        self.server = given.pid
        self.since = given.since
        running = [spec for spec in self.given.helpers if spec.pid]
        for spec in running:
            children.adopt(spec.pid)
        self.pids = {spec.pid: spec.role for spec in running}
        """Roles of running helpers."""
        self.pipes = {spec.output: (spec.role, b"") for spec in running if spec.output is not None}
        """The role and the unfinished line of each helper, by the descriptor of its output."""
        self.exit_code: int | None = None
        folder = self.given.runtime_folder
        self.brake = brake.Brake(self.given.disks, self.given.segment, brake.active(folder))
        self.ahead = Ahead(self.given.data_folder, self.given.segment, self.server)
        self.state = self.state._replace(level=self.brake.level, level_since=int(time.time()))

    def run(self) -> int:
        """Keep the server up, and return the container's exit code when everything has ended."""
        log.debug(f"started the server (pid {self.server})")
        os.chdir("/")  # the server runs in the folder we were started in; we must not keep a mount busy
        self._on_time()
        self._publish()
        while self.exit_code is None:
            due = lifecycle.wake_at(self.state)
            left = None if due is None else due - time.monotonic()
            if self.state.phase == lifecycle.SWEEPING:
                left = min(left or 0.05, 0.05)  # nothing announces the end of other people's processes to us
            behind = log.is_behind()
            if behind:
                left = min(left or 0.5, 0.5)  # by then somebody reads, or there is no reader
            if self.children.kept is not None:
                left = self.children.kept.at_most(left)
            left = self._until_next_look(left)
            for number in self.children.signals.wait(left, () if behind else self.pipes):
                log.debug(f"received {signal_name(number)}")
                if number != signal.SIGCHLD:
                    self._on_signal(number)
            if not behind:
                self._pass_on_output()
            self._see_ends()
            self._on_time()
            self._look_at_disks()
        return self.exit_code

    def _on_signal(self, number: int) -> None:
        asked = self._allowed(number)
        self._follow(lifecycle.on_signal(self.state, asked, time.monotonic()))

    def _on_time(self) -> None:
        self._follow(lifecycle.on_time(self.state, time.monotonic()))

    def _until_next_look(self, left: float | None) -> float | None:
        """Return the seconds to wait at most, so that no disk becomes full unseen."""
        if self.state.phase != lifecycle.SERVING or not self.given.disks:
            return left
        until = max(0.0, self.brake.due - time.monotonic())
        return until if left is None else min(left, until)

    def _look_at_disks(self) -> None:
        """Switch the server's settings when a disk has come nearer to being full, or is no longer."""
        now = time.monotonic()
        if self.state.phase != lifecycle.SERVING or not self.given.disks or now < self.brake.due:
            return
        if not self.brake.can_switch(self.given.data_folder, self.server, now):
            return
        level = self.brake.look(now)
        if level != self.state.level:
            if brake.switch(self.given.runtime_folder, level):
                self._say_level(level)
            self._follow(lifecycle.on_level(self.state, level, now, int(time.time())))
        if lent := self.brake.provide(self.ahead, now):
            log.warning(f"{self.brake.words()}: WAL segments of the reserve are in use now: {lent}")

    def _say_level(self, level: Level) -> None:
        found = self.brake.words()
        if level == room.FULL:
            log.warning(
                f"{found}: transactions are read-only until there is more",
                "entrypoint doctor says what fills it",
                docs="when-the-disk-fills",
            )
        elif self.state.level == room.FULL:
            log.info(f"{found}: transactions may write again")

    def _see_ends(self) -> None:
        ended = self.children.reap()
        for pid in list(ended):
            code = ended.pop(pid)
            now = time.monotonic()
            if pid == self.server:
                self._on_server_end(code, now, clean=self._note_server_end(code))
            elif pid in self.pids:
                role = self.pids.pop(pid)
                pause = status.asked_pause(self.given.runtime_folder, role)
                self._on_helper_end(role, code, now, pause)
        if self.state.phase == lifecycle.SWEEPING and not self._others():
            self._follow(lifecycle.on_alone(self.state))

    def _on_server_end(self, code: int, now: float, *, clean: bool) -> None:
        self._follow(lifecycle.on_server_end(self.state, code, now, clean=clean))

    def _on_helper_end(self, role: str, code: int, now: float, pause: float | None) -> None:
        self._follow(lifecycle.on_helper_end(self.state, role, code, now, pause))

    def _note_server_end(self, code: int) -> bool:
        """Note and report how the server has ended; return whether its data folder says that it was clean."""
        log.debug(f"the server (pid {self.server}) ended with code {code}")
        stops.say_if_out_of_memory(code)
        stops.say_backlog(self.given.archive_status)
        if self.state.step:
            stops.note(self.given.data_folder, time.time() - self.since, self.state.step)
        return stops.is_clean(self.given.data_folder) is True

    def _follow(self, decision: lifecycle.Decision) -> None:
        before = self.state
        self.state, actions = decision
        if self.state.phase != before.phase:
            self.since = time.time()
            if self.state.phase == lifecycle.STOPPING:
                self._make_room()
        for action in actions:
            self._do(action)
        if self.state is not before and self.exit_code is None:
            self._publish()

    def _do(self, action: lifecycle.Action) -> None:
        match action:
            case "say", text:
                log.info(text)
            case "report", _:
                log.info(_describe(self.state, self.server))
            case "send", number:
                self._send(number)
            case "start", role:
                self._start(role)
            case "end" | "kill" as how, role:
                self._signal_helper(role, signal.SIGTERM if how == "end" else signal.SIGKILL)
            case "nudge", _:
                self._nudge()
            case "hurry", _:
                self._hurry()
            case "sweep", number:
                self._sweep(number)
            case "exit", code:
                self.exit_code = code

    def _make_room(self) -> None:
        """Give up the reserve if a shutdown's checkpoint might not find the space that it needs."""
        if self.given.disks and reserve.short(self.given.data_folder, self.given.segment):
            freed = reserve.give_up(self.given.data_folder)
            if freed:
                log.info(f"the disk is full: gave up the reserve of {freed // 1024**2} MiB for the shutdown")

    def _publish(self) -> None:
        status.publish(self.given.runtime_folder, self.state, self.server, self.pids, int(self.since))

    def _send(self, number: int) -> None:
        # Only to the postmaster, which knows which of its processes must outlive the sessions.
        if self.state.server:
            number = self._allowed(number)
            log.debug(f"sending {signal_name(number)} to the server (pid {self.server})")
            os.kill(self.server, number)

    def _allowed(self, number: int) -> int:
        """Return SIGQUIT in place of a signal that would write a checkpoint into another cluster.

        PostgreSQL checks this itself, but only once a minute.
        """
        cluster = self.given.cluster
        if number not in (signal.SIGTERM, signal.SIGINT) or not self.state.server or cluster == "":
            return number
        if notes.cluster(self.given.data_folder) == cluster:
            return number
        log.warning(
            "the data folder was emptied, or holds another database: stopping the server at once",
            docs="mount-the-volume",
        )
        return signal.SIGQUIT

    def _start(self, role: str) -> None:
        spec = self.specs[role]
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        stdin = spec.stdin
        streams = {} if stdin is None else {0: stdin}
        if stdin is None or spec.keep:
            streams |= {1: write, 2: write}
        else:
            self.specs[role] = spec._replace(stdin=None)
        try:
            pid = self.children.spawn(spec.argv, spec.environment, descriptors=streams)
        except Failure as failure:
            os.close(read)
            log.problem(failure.problems[0])
            self._on_helper_end(role, failure.code, time.monotonic(), None)
            return
        finally:
            os.close(write)
            if stdin is not None and not spec.keep:
                os.close(stdin)  # its content is for that process alone
        self.pids[pid] = role
        self.pipes[read] = (role, b"")

    def _pass_on_output(self) -> None:
        for descriptor, (role, rest) in list(self.pipes.items()):
            try:
                data = os.read(descriptor, 65536)
            except BlockingIOError:
                continue
            *lines, unfinished = (rest + data).split(b"\n")
            for line in lines if data else [*lines, unfinished]:
                if line:
                    log.relay(role, line)
            if data:
                # A line that never ends must not fill the memory.
                self.pipes[descriptor] = (role, unfinished[-65536:])
            else:
                os.close(descriptor)
                del self.pipes[descriptor]

    def _signal_helper(self, role: str, number: int) -> None:
        for pid, name in self.pids.items():
            if name == role:
                try:
                    os.killpg(pid, number)
                except ProcessLookupError:
                    pass

    def _nudge(self) -> None:
        # The archiver runs once the server takes writes. SIGUSR1 without a request only wakes a process up.
        pid = processes.child_of(self.server, "checkpointer")
        if pid is not None and processes.child_of(self.server, "archiver") is not None:
            os.kill(pid, signal.SIGUSR1)
            self.state = lifecycle.on_nudged(self.state)

    def _hurry(self) -> None:
        # The next start archives what the archiver cannot archive now; an immediate shutdown would cost more.
        for pid in processes.archiver_calls(self.server):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue

    def _others(self) -> list[int]:
        """Return the processes that end before us; the one that writes the log is the last."""
        kept = self.children.kept
        return [pid for pid in processes.others() if kept is None or pid != kept.pid]

    def _sweep(self, number: int) -> None:
        others = self._others()
        for pid in others:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                continue
        if not others:
            self._follow(lifecycle.on_alone(self.state))

    def stop_no_matter_what(self) -> None:
        """Stop the server, escalating until it is gone."""
        for number, seconds in ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 5)):
            try:
                os.kill(self.server, number)
                self.children.wait(self.server, seconds=seconds, stoppable=False)
            except (ProcessLookupError, TimeoutError):
                continue
            return


def _helper(spec: handoff.HelperSpec, now: float) -> lifecycle.Helper:
    """Return the state in which a helper begins; one that the start has begun runs already."""
    helper = lifecycle.Helper(spec.role, after_server=spec.after_server, keep=spec.keep)
    if spec.pid:
        return helper._replace(running=True, started=now, due=None)
    return helper._replace(due=None if spec.delay < 0 else now + spec.delay)


def _describe(state: lifecycle.State, server: int) -> str:
    """Return one line for the log about what PID 1 is doing."""
    if state.phase == lifecycle.SERVING:
        return f"serving; {_count(processes.sessions(server))}"
    if state.phase == lifecycle.STOPPING and not state.asked:
        names = ", ".join(helper.role for helper in state.helpers.values() if helper.running)
        return f"stopping; waiting for {names} before stopping the server"
    if processes.is_checkpointing(server):
        return f"{state.step} shutdown; waiting for the shutdown checkpoint"
    sessions = processes.sessions(server)
    if not sessions and processes.child_of(server, "archiver"):
        return f"{state.step} shutdown; waiting for the last segments to be archived"
    return f"{state.step} shutdown; waiting for {_count(sessions)}"


def _count(number: int) -> str:
    return f"{number} session{'' if number == 1 else 's'}"
