"""A temporary server: for a first start, an upgrade of indexes, or a drill."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from entrypoint import log
from entrypoint.errors import Failure, Problem
from entrypoint.server import leftover
from entrypoint.server.context import Context, server_environment
from entrypoint.server.data_folder import read_postmaster


class EarlyEnd(Failure):
    """The server ended before it accepted connections."""

    def __init__(self, server_code: int) -> None:
        super().__init__(
            Problem(
                f"the temporary server ended with code {server_code} while it was starting",
                "see its output above",
            )
        )
        self.server_code = server_code
        """The exit code of the server."""


@contextmanager
def serve(
    context: Context,
    given: Sequence[str],
    *,
    seconds: float | None = -1,
    look: Callable[[], None] | None = None,
    output: int = 1,
) -> Iterator[None]:
    """Run a server for the duration of a block; at the end of the block, stop it in fast mode.

    `look` is called repeatedly until the server is ready. `output` is the descriptor for the server's log, by
    default stdout, where pg_ctl writes it in the official image. An init file may restart the server with
    pg_ctl, so the server that runs on the folder at the end is stopped, whichever it is.
    """
    data = context.settings.data_folder
    environment = server_environment(context.settings, context.environment)
    environment |= {"NOTIFY_SOCKET": "", "PGDATA": data, **leftover.clear(context, given)}
    argv = ["postgres", "-D", data, *given]
    stale = _pid_file(data)
    pid = context.children.spawn(argv, environment, descriptors={1: output, 2: output})
    try:
        wait_until_ready(context, pid, seconds=seconds, look=look, stale=stale)
        yield
    finally:
        stop(context, pid)


def _pid_file(data_folder: str) -> tuple[int, int] | None:
    """Return what differs between two versions of postmaster.pid: its inode and time; None without it."""
    try:
        found = os.stat(f"{data_folder}/postmaster.pid")
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def wait_until_ready(
    context: Context,
    pid: int,
    *,
    seconds: float | None = -1,
    look: Callable[[], None] | None = None,
    stale: tuple[int, int] | None = None,
) -> None:
    """Wait until a server accepts connections, at most `seconds`; -1 means PGCTLTIMEOUT, None no limit.

    `stale` is the file of a killed server: in a container, the new server often has the same pid. Raises
    Failure if the server ends or takes too long.
    """
    if seconds == -1:
        seconds = context.settings.server_timeout
    deadline = None if seconds is None else time.monotonic() + seconds
    data = context.settings.data_folder
    pause = 0.01
    while True:
        code = context.children.poll(pid)
        if code is not None:
            raise EarlyEnd(code)
        found = read_postmaster(data)
        if found is not None and found.pid == pid and found.status == "ready" and _pid_file(data) != stale:
            return
        if deadline is not None and time.monotonic() > deadline:
            raise Failure(
                Problem(
                    f"the temporary server was not up after {seconds} seconds",
                    "give the server more time: -e PGCTLTIMEOUT=600",
                )
            )
        if look is not None:
            look()
        context.children.pause(pause)
        pause = min(0.2, pause * 1.05)  # a replay takes minutes and needs the CPU


def stop(context: Context, pid: int) -> None:
    """Stop the temporary server in fast mode; after PGCTLTIMEOUT in immediate mode, then by SIGKILL."""
    running: int | None = pid
    found = read_postmaster(context.settings.data_folder)
    if found is None or found.pid != pid:
        if context.children.lives(pid):
            # Its cluster was removed: at a stop, it would write into the files that are there now.
            os.kill(pid, signal.SIGKILL)
            context.children.wait(pid, stoppable=False)
        running = found.pid if found else None  # an init file restarted it
    if running is None or not os.path.exists(f"/proc/{running}"):
        return
    seconds = context.settings.server_timeout
    for number, wait in ((signal.SIGINT, seconds), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        try:
            os.kill(running, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            context.children.reap()
            if not os.path.exists(f"/proc/{running}"):
                return
            context.children.pause(0.02, stoppable=False)
        log.warning(f"the temporary server did not stop within {wait} seconds; using a stronger signal")
