"""Starting and reaping children; nothing else in the program waits for a process."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from entrypoint import exits, log
from entrypoint.errors import Failure, Problem, Stopped
from entrypoint.light import signal
from entrypoint.system.signals import HANDLED, STOPS, Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from entrypoint.system.identity import Identity
    from entrypoint.system.kept import Kept
    from entrypoint.system.words import Words

_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)  # for itself; a child must not inherit that
PRIVATE_FOLDERS = ("/dev/shm", "/run/entrypoint", "/tmp")  # noqa: S108 - what is made there has no name
"""Folders for a file in memory if the kernel has no memfd_create: never next to data, and in memory first."""
WRAPPER = "/usr/share/postgresql-common/pg_wrapper"
"""What Debian installs under the names of PostgreSQL's clients."""


class Children:
    """The children of this process: those that we started, by pid, and adopted orphans."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self._ended: dict[int, int] = {}
        self._own: set[int] = set()
        self._stops: list[int] = []
        self.kept: Kept | None = None
        self.tied = False
        """Our children get SIGINT when this process ends, even by SIGKILL."""
        self.leashes: dict[str, int] = {}  # what tied children inherit, and their own children too

    def spawn(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        descriptors: Mapping[int, int] | None = None,
        become: Identity | None = None,
        kept_in: Sequence[str] | None = None,
    ) -> int:
        """Start a program found on the environment's PATH and return its pid.

        `descriptors` maps the child's descriptors to our own; without it, the child has only our
        standard streams. `become` is for checks that root makes with the rights of the server's user. A
        program that is `kept_in` reaches only these folders, see `confine`.
        """
        program = _behind_wrapper(find_program(argv[0], environment), environment)
        if os.geteuid() != os.getuid():
            from entrypoint.system.identity import Acting  # never in PID 1's second half

            become = Acting.present
        become = None if become is None or become.uid == os.getuid() else become
        if become is not None or self.tied or kept_in is not None:
            pid = self._fork(program, argv, environment, descriptors or {}, become=become, kept_in=kept_in)
            self._own.add(pid)
            return pid
        actions = [
            (os.POSIX_SPAWN_DUP2, ours, theirs)  # if both are the same, glibc keeps it open
            for theirs, ours in (descriptors or {}).items()
        ]
        ignored = self.signals.original_ignored
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
        try:
            pid = os.posix_spawn(
                program,
                list(argv),
                dict(environment),
                file_actions=actions,
                setsigmask=self.signals.original_mask,
                setsigdef={*HANDLED, *_PYTHON_IGNORES} - ignored,
                setpgroup=0,
            )
        except OSError as error:
            if error.errno != errno.EPERM:
                raise Failure(cannot_execute(program, error)) from error
            # Docker before 20.10.10 refuses clone3 this way, and glibc's posix_spawn then tries nothing else.
            pid = self._fork(program, argv, environment, descriptors or {}, become=None, kept_in=None)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self._own.add(pid)
        return pid

    def adopt(self, pid: int) -> None:
        """Adopt a child that this process started before it replaced itself with this program."""
        self._own.add(pid)

    def _fork(
        self,
        program: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        descriptors: Mapping[int, int],
        *,
        become: Identity | None,
        kept_in: Sequence[str] | None,
    ) -> int:
        """Start a program as another user, tied to us or confined, which posix_spawn cannot do."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        from entrypoint.system import identity, kernel  # PID 1 does not need them later

        log.simply_write()
        try:
            os.setpgid(0, 0)
            for theirs, ours in descriptors.items():
                os.dup2(ours, theirs)
                os.set_inheritable(theirs, True)  # noqa: FBT003 - dup2 to the same number does nothing
            if become is not None:
                identity.become(become)
            if self.tied:
                kernel.end_with(parent, signal.SIGINT)
                kernel.hand_on(self.leashes.values())
            if kept_in is not None:
                from entrypoint.system import confine

                confine.keep_in(kept_in, program)
            self.signals.give_back()
            replace_process(program, argv, environment)
        except Failure as failure:
            log.problem(failure.problems[0])
        finally:
            os._exit(exits.NOT_EXECUTABLE)

    def reap(self) -> dict[int, int]:
        """Reap all dead children; return the exit codes of our own ones that nobody has fetched yet."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            code = exits.from_wait_status(status)
            if pid in self._own:
                self._own.discard(pid)
                self._ended[pid] = code
            else:
                log.debug(f"reaped the orphan {pid}, which ended with {code}")
        if self.kept is not None:
            self.kept.look(self._ended)
        return self._ended

    def poll(self, pid: int) -> int | None:
        """Return the exit code of our own child if it has ended, otherwise None."""
        return self.reap().pop(pid, None)

    def lives(self, pid: int) -> bool:
        """Return whether our own child is still running; not for a child whose exit code was returned."""
        try:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def wait(
        self,
        pid: int,
        *,
        seconds: float | None = None,
        stoppable: bool = True,
        words: Words | None = None,
    ) -> int:
        """Wait for our own child and return its exit code; meanwhile, read its output.

        Raises Stopped on a stop signal (if stoppable) and TimeoutError after `seconds`; it keeps running.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while (code := self.poll(pid)) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self.pause(left, stoppable=stoppable, readable=() if words is None else words.readable)
            if words is not None:
                words.take()
        return code

    def pause(self, seconds: float | None, *, stoppable: bool = True, readable: Sequence[int] = ()) -> None:
        """Wait for the next signal, at most this long; raises Stopped for a stop signal."""
        if stoppable and self._stops:
            seconds = 0
        if self.kept is not None:
            seconds = self.kept.at_most(seconds)
        self._remember(self.signals.wait(seconds, readable))
        if stoppable:
            self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raise Stopped if a stop signal has arrived, perhaps while stopping was impossible."""
        self._remember(self.signals.take())
        if self._stops:
            raise Stopped(self._stops[0])

    def _remember(self, arrived: Sequence[int]) -> None:
        self._stops += [number for number in arrived if number in STOPS]

    def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        descriptors: Mapping[int, int] | None = None,
        seconds: float | None = None,
        become: Identity | None = None,
    ) -> int:
        """Run a program to its end in its own process group and return its exit code.

        After a stop signal or the deadline, the group is ended, and Stopped or TimeoutError is raised.
        """
        pid = self.spawn(argv, environment, descriptors=descriptors, become=become)
        try:
            return self.wait(pid, seconds=seconds)
        except (Stopped, TimeoutError):
            self.end_group(pid)
            raise

    def output(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        seconds: float | None = None,
        errors: bool = False,
        stderr: int = 2,
        become: Identity | None = None,
    ) -> tuple[int, str]:
        """Run a program and return its exit code and its stdout (with `errors` also its stderr)."""
        out = memory_file("")
        try:
            code = self.run(
                argv,
                environment,
                descriptors={1: out, 2: out if errors else stderr},
                seconds=seconds,
                become=become,
            )
            return code, read_back(out)
        finally:
            os.close(out)

    def end_group(self, pid: int, seconds: float = 5, words: Words | None = None) -> None:
        """End the process group of a child: SIGTERM, then SIGKILL after this many seconds."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(pid, number)
            except ProcessLookupError:
                pass
            try:
                self.wait(pid, seconds=seconds, stoppable=False, words=words)
            except TimeoutError:
                continue
            break
        try:
            os.killpg(pid, signal.SIGKILL)  # what the leader left behind
        except ProcessLookupError:
            pass


def replace_process(program: str, argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Become another program, with the signal state that we were started with; raises Failure."""
    for number in _PYTHON_IGNORES:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(program, list(argv), dict(environment))
    except OSError as error:
        raise Failure(cannot_execute(program, error)) from error


def memory_file(text: str) -> int:
    """Return a descriptor, at position 0, of a file in memory with this text."""
    descriptor = unnamed_file()
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def unnamed_file(flags: int = 0) -> int:
    """Return a descriptor of an empty, nameless file in memory; `flags` are those of memfd_create.

    Kernels before 3.17 and some sandboxes have no such files. Then it is a file that nobody else may open,
    and that loses its name before anything is written to it. Raises Failure if there is no place for it.
    """
    try:
        return os.memfd_create("entrypoint", os.MFD_CLOEXEC | flags)
    except (AttributeError, OSError) as error:
        reason = error
    for folder in PRIVATE_FOLDERS:
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            pass  # Linux before 3.11 and some filesystems: the file has a name for a moment
        name = f"{folder}/entrypoint-{os.getpid()}-{os.urandom(8).hex()}"
        try:
            descriptor = os.open(
                name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError:
            continue
        os.unlink(name)
        return descriptor
    raise Failure(
        Problem(
            f"cannot create a private file: the system refuses memfd_create ({reason}), and no file can be "
            f"created in {', '.join(PRIVATE_FOLDERS)}",
            "mount a small tmpfs: --tmpfs /tmp",
            docs="handle-secrets",
        )
    )


def answer_file(most: int) -> int:
    """Return a descriptor of an empty file in memory that takes at most this many bytes.

    It has that size from the beginning and cannot grow; the bytes before its position were written.
    """
    descriptor = unnamed_file(getattr(os, "MFD_ALLOW_SEALING", 0))
    try:
        os.truncate(descriptor, most)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    except OSError:
        os.truncate(descriptor, 0)  # an emulator or an old kernel without seals
    return descriptor


def read_back(descriptor: int) -> str:
    """Return everything that was written to a file in memory."""
    try:
        sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_GROW
    except OSError:
        sealed = 0
    end = os.lseek(descriptor, 0, os.SEEK_CUR if sealed else os.SEEK_END)
    return os.pread(descriptor, end, 0).decode("utf-8", "surrogateescape")


def find_program(name: str, environment: Mapping[str, str]) -> str:
    """Return the path of a program as execvp finds it; raises Failure (126 or 127)."""
    if "/" in name:
        return name
    found = None
    for folder in (environment.get("PATH") or os.defpath).split(":"):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path):
            found = found or path
            if os.access(path, os.X_OK):
                return path
    if found:
        raise Failure(
            Problem(
                f"{found}: cannot be executed: no permission",
                f"make it executable: chmod +x {found}",
                exits.NOT_EXECUTABLE,
            )
        )
    raise Failure(
        Problem(
            f"{name}: command not found",
            f"check the spelling; PATH is {environment.get('PATH', '')}",
            exits.NOT_FOUND,
        )
    )


def _behind_wrapper(program: str, environment: Mapping[str, str]) -> str:
    """Return the server's own client program if `program` is Debian's wrapper for it.

    The wrapper looks for clusters in places that a container does not have, and takes three times as long.
    """
    if os.path.realpath(program) != WRAPPER:
        return program
    try:
        server = find_program("postgres", environment)
    except Failure:
        return program
    own = os.path.join(os.path.dirname(server), os.path.basename(program))
    return own if os.access(own, os.X_OK) else program


def cannot_execute(program: str, error: OSError) -> Problem:
    """Return the problem for a failed exec, with the shell's exit code."""
    missing = isinstance(error, FileNotFoundError)
    return Problem(
        f"{program}: cannot be executed: {error.strerror}",
        "check the name" if missing else "check its mode, its first line and the mount's options",
        exits.NOT_FOUND if missing else exits.NOT_EXECUTABLE,
    )
