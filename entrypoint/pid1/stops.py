"""How the server's last stops went: in the log, and in a file of lines next to the data, for `doctor`.

A line is `TIME SECONDS STEP`: seconds since 1970, the duration of the shutdown, and the step of the ladder at
which it ended. PID 1 writes the file, so this module imports almost nothing. A server that was killed leaves
no line; the next start writes one for it, with `-` for the seconds and `killed` for the step.
"""

from __future__ import annotations

import os
import sys
import time

from entrypoint import log, own
from entrypoint.system import small
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    from entrypoint.pid1.lifecycle import Step

KILLED: Final = "killed"
_MOST_BYTES = 4096
"""Above this size, only the last half is kept: about fifty stops."""
_CLEAN = (1, 2)
"""States in pg_control: shut down, and shut down in recovery."""


def note(data_folder: str, seconds: float | None, step: Step | Literal["killed"]) -> None:
    """Record a stop; a full disk must not prevent a stop."""
    took = "-" if seconds is None else f"{seconds:.1f}"
    try:
        notes.append(data_folder, own.STOPS, f"{int(time.time())} {took} {step}\n")
    except OSError:
        pass


def is_clean(data_folder: str) -> bool | None:
    """Return whether the last server was shut down; None: pg_control cannot be read."""
    try:
        state = small.read(f"{data_folder}/global/pg_control")[16:20]
        return int.from_bytes(state, sys.byteorder) in _CLEAN
    except OSError:
        return None


def look_back(data_folder: str) -> None:
    """At a start, record that the server was killed, if it was, and keep the file small."""
    clean = is_clean(data_folder)
    if clean is None:
        return
    if not clean:
        note(data_folder, None, KILLED)
    text = read(data_folder)
    if len(text) > _MOST_BYTES:
        try:
            notes.write(data_folder, own.STOPS, text[-_MOST_BYTES // 2 :].partition("\n")[2])
        except OSError:
            pass  # a full disk must not prevent a start either


def read(data_folder: str) -> str:
    """Return the file's text; empty if there is no file."""
    try:
        return notes.read(data_folder, own.STOPS).decode("ascii", "replace")
    except OSError:
        return ""


def say_backlog(folder: str) -> None:
    """Report the WAL files that a server has left unarchived; `folder` is pg_wal/archive_status."""
    try:
        waiting = sorted(
            name.removesuffix(".ready") for name in os.listdir(folder) if name.endswith(".ready")
        )
    except OSError:
        return
    if waiting:
        log.warning(
            f"not archived yet: {len(waiting)} WAL files, starting with {waiting[0]}; they wait in pg_wal",
            "keep the volume; they are archived after the next start, or by: entrypoint archive push-pending",
            docs="fix-archiving",
        )


def say_if_out_of_memory(code: int) -> None:
    """Explain why the server was killed by SIGKILL, if the container's memory limit can be the cause."""
    if code != 128 + 9:
        return
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path, encoding="ascii") as file:
                counts = dict(line.split()[:2] for line in file if " " in line)
        except (OSError, ValueError):
            continue
        kills = int(counts.get("oom_kill", 0))
        log.warning(
            f"the server was killed by SIGKILL; the kernel counts {kills} out-of-memory kills in this "
            "container",
            "give it more memory (docker run --memory), or lower shared_buffers and work_mem"
            if kills
            else "the container's memory limit is not the cause: look at the host's log (dmesg)",
        )
        return
