"""Names of WAL segments, and when somebody else than the server may give one to a file."""

from __future__ import annotations

import os
import time

from entrypoint.system import processes, small

MADE = "xlogtemp.1"
"""A segment while it is made: the server removes such files when it starts, and never has our pid."""
SEGMENT_NAME = 24
"""Letters of a segment's name; nothing else in pg_wal has as many."""
_USUAL = 16 * 1024**2
"""Bytes of a segment unless initdb was given another size."""
_SERVERS = "xlogtemp."
"""The begin of the names of those that the server makes."""
_AFTER_CHECKPOINT = 1.0
"""Seconds in which the server gives files that it no longer needs the names of its next segments."""
_SMALL_FILE = "pg_logical/replorigin_checkpoint"


def segment_bytes(data_folder: str) -> int:
    """Return the size of the WAL segments, which is that of the files; PostgreSQL's default without any."""
    try:
        with os.scandir(f"{data_folder}/pg_wal") as entries:
            sizes = (entry.stat().st_size for entry in entries if len(entry.name) == SEGMENT_NAME)
            return next(filter(None, sizes), _USUAL)  # all have the same, and there may be thousands
    except OSError:
        return _USUAL


def is_quiet(data_folder: str, wal: int, server: int) -> bool:
    """Return whether the server itself names no segment just now, in pg_wal, which is an open folder.

    It looks whether a segment exists, and then renames a file to it, under a lock that only its own processes
    can take. From PostgreSQL 16 on, that rename would replace a segment that has come in between, even if
    another process has written WAL to it. Where nobody says what the checkpointer does, it has a second for
    that after a checkpoint. Raises OSError.
    """
    if any(name.startswith(_SERVERS) and name != MADE for name in os.listdir(wal)):
        return False
    found = is_between(data_folder, server)
    if found is not None:
        return found
    checkpoint = os.stat(f"{data_folder}/global/pg_control").st_mtime
    return not 0 <= time.time() - checkpoint < _AFTER_CHECKPOINT


def is_between(data_folder: str, server: int) -> bool | None:
    """Return whether no checkpoint writes its small file just now, or gives old segments new names.

    It does the one before it writes pg_control and the other after that, and does neither while it waits to
    be woken. None: nobody says why a process sleeps here. Raises OSError.
    """
    control = os.stat(f"{data_folder}/global/pg_control")
    try:
        if os.stat(f"{data_folder}/{_SMALL_FILE}").st_mtime_ns > control.st_mtime_ns:
            return True
    except OSError:
        pass  # a server without replication slots does not write it
    reason = _sleeps_for(server)
    return None if reason is None else "poll" in reason


def _sleeps_for(server: int) -> str | None:
    """Return in which function of the kernel the checkpointer sleeps; empty: it works; None: nobody knows."""
    checkpointer = processes.child_of(server, "checkpointer")
    if checkpointer is None:
        return None
    try:
        state = small.read_text(f"/proc/{checkpointer}/stat").rpartition(")")[2].split()[0]
        reason = small.read_text(f"/proc/{checkpointer}/wchan")
    except OSError:
        return None
    if state != "S":
        return ""
    return None if reason in ("", "0") else reason


def names(wal: int) -> list[str]:
    """Return the names of the segments in an open folder, in order. Raises OSError."""
    return sorted(name for name in os.listdir(wal) if len(name) == SEGMENT_NAME)


def newest(wal: int) -> str:
    """Return the name of the segment that was written last; empty: there is none. Raises OSError.

    In a copy of the volume the times may mean nothing, so only the newest timeline counts: a segment of an
    older one that is made here would be archived some day, though it has no WAL in it.
    """
    times = {name: os.stat(name, dir_fd=wal, follow_symlinks=False).st_mtime_ns for name in names(wal)}
    return max(times, key=lambda name: (name[:8], times[name]), default="")


def following(name: str, segment_bytes: int) -> str:
    """Return the name of the segment after this one.

    >>> following("0000000200000001000000FF", 16 * 1024**2)
    '000000020000000200000000'
    """
    each = 2**32 // segment_bytes
    number = int(name[8:16], 16) * each + int(name[16:], 16) + 1
    return f"{name[:8]}{number // each:08X}{number % each:08X}"
