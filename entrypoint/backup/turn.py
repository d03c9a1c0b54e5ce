"""Jobs on backups: one at a time, at low priority, and under a deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from entrypoint import exits, log
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Command, brief
from entrypoint.errors import Stopped
from entrypoint.server.context import Context
from entrypoint.system import files, progress
from entrypoint.system.locks import Alone
from entrypoint.system.words import Words

LOCK = "backup.lock"
"""File in the runtime folder. The archiver inherits the lock, so it lasts until the last process ends."""
_GRACE = 3.0
"""Seconds that the archiver gets at a stop; PID 1 gives us five, and the run must still be recorded."""


class Busy(Exception):
    """Another process holds the lock."""


@contextmanager
def alone(context: Context, what: str, *, wait: bool) -> Iterator[int]:
    """Hold the lock on backups during a block, which gets the lock's descriptor.

    If another process holds the lock, wait and log once what that process does. Without `wait`, raise Busy.
    """
    path = f"{context.runtime_folder}/{LOCK}"
    told = False

    def wait_or_raise() -> None:
        nonlocal told
        who = files.read_text(path).strip() or "another backup"
        if not wait:
            raise Busy(who)
        if not told:
            log.info(f"waiting for another job to finish: {who}")
            told = True
        context.children.pause(0.2)

    with Alone(path, wait_or_raise) as descriptor:
        os.truncate(descriptor, 0)
        with suppress(OSError):  # a full /run: the lock works without the text
            since = datetime.now(UTC).isoformat()
            os.pwrite(descriptor, f"{what} since {since} (pid {os.getpid()})\n".encode(), 0)
        yield descriptor


def be_modest() -> None:
    """Lower our priority for processor and disk in favor of the server; children inherit it."""
    import psutil

    me = psutil.Process()
    try:
        me.nice(max(me.nice(), 10))
        me.ionice(psutil.IOPRIO_CLASS_BE, 7)
    except (psutil.Error, OSError) as error:
        log.debug(f"the priority cannot be lowered: {error}")


def run_tool(
    opened: OpenedArchive,
    command: Command,
    lock: int,
    *,
    seconds: float,
    shown: progress.Progress,
    counter: Callable[[int], Callable[[], int]],
) -> tuple[int, str]:
    """Run the archiver under a deadline and show progress; return its exit code and last lines of output.

    `counter` takes the archiver's pid and returns the function that counts the progress.
    """
    said = Words()
    children = opened.context.children
    deadline = time.monotonic() + seconds
    late = ""
    try:
        pid = opened.spawn(command, {1: said.writing, 2: said.writing, lock: lock})
        said.begin()
        shown.count = counter(pid)
        while True:
            left = deadline - time.monotonic()
            try:
                code = children.wait(pid, seconds=max(0, min(left, shown.step)), words=said)
                break
            except TimeoutError:
                if left <= 0:
                    children.end_group(pid, words=said)
                    code = exits.SIGNAL_BASE
                    late = f"\nit was stopped after {seconds:.0f} seconds (BACKUP_TIMEOUT)"
                    break
            shown.look()
    except Stopped:
        children.end_group(pid, _GRACE, words=said)
        raise
    finally:
        shown.close()
        text = said.end()
    words = [line for line in brief(text + late).splitlines() if line.strip()]
    return code, "\n".join(words[-8:] if code else words[-1:])
