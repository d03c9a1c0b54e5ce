"""Whether a server uses the old cluster, here or in another container."""

from __future__ import annotations

import errno
import os

from entrypoint.finding import Finding, error
from entrypoint.server.data_folder import is_postmaster_of, live_postmaster
from entrypoint.upgrade import underway


def servers(data: str) -> list[Finding]:
    """Return what says that a server uses the data folder; the lock of our own servers says more.

    A server of another program's container has neither our lock nor a process that is seen here. PostgreSQL
    itself would notice it by postmaster.pid and shared memory, but only in the same container. But the kernel
    knows which files are open for writing, whoever has opened them.
    """
    found = live_postmaster(data)
    if found is not None and is_postmaster_of(found.pid, data):
        return [error(f"a server runs on {data}", "stop it first", underway.PAGE)]
    opened = written(data)
    if not opened:
        return []
    return [
        error(
            f"a server in another container uses {data}: {opened} is open for writing",
            "stop that container: docker ps --filter volume=NAME lists those that use a volume",
            underway.PAGE,
        )
    ]


def written(data: str) -> str:
    """Return a file of the cluster that is open for writing; empty: none, or it is not known."""
    for folder in ("global", "pg_wal"):
        for name in sorted(os.listdir(f"{data}/{folder}")):
            path = f"{data}/{folder}/{name}"
            if os.path.isfile(path) and not os.path.islink(path) and _is_written(path):
                return path
    return ""


def _is_written(path: str) -> bool:
    """Return whether a process has a file open for writing: then nobody gets a lease to read it."""
    import fcntl
    import signal

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # who opens the file now would end us by SIGIO
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return (
            error.errno == errno.EAGAIN
        )  # other errors: the filesystem has no leases, or it is not our file
    finally:
        os.close(descriptor)
    return False
