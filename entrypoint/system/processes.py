"""The processes of this container, and what a server's processes are doing, by their titles."""

from __future__ import annotations

import os


def children_of(parent: int) -> list[int]:
    """Return the children of a process."""
    return [pid for pid in pids() if parent_of(pid) == parent]


def pids() -> list[int]:
    """Return the processes of this container."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parent_of(pid: int) -> int:
    """Return the parent of a process; -1: the process is gone."""
    try:
        return int(_stat(pid)[1])
    except (OSError, IndexError, ValueError):
        return -1


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped by a signal, such as SIGSTOP."""
    try:
        return _stat(pid)[0] == b"T"
    except (OSError, IndexError):
        return False


def _stat(pid: int) -> list[bytes]:
    """Return what the kernel says of a process, from its state on."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def others() -> list[int]:
    """Return all other processes in this container or, if we are not its PID 1, our children."""
    me = os.getpid()
    if me == 1:
        return [pid for pid in pids() if pid != 1]
    return children_of(me)


def child_of(server: int, duty: str) -> int | None:
    """Return the pid of the server's process with this duty, which its title begins with."""
    found = (pid for pid, title in _titles(server).items() if title.startswith(f"postgres: {duty}"))
    return next(found, None)


def archiver_calls(server: int) -> list[int]:
    """Return the processes of the archive_command if a shutdown waits for nothing else."""
    archiver = child_of(server, "archiver")
    if archiver is None or is_checkpointing(server) or sessions(server):
        return []
    found = [archiver]
    for pid in found:
        found += children_of(pid)
    return found[1:]


def sessions(server: int) -> int:
    """Return the number of a server's client sessions, by the titles of its processes."""
    # postgres: USER DATABASE HOST ACTIVITY; all other processes have their duty in that place.
    duties = (
        "archiver", "autovacuum", "background", "bgworker", "checkpointer", "checksum", "io worker",
        "logger", "logical replication", "parallel", "slotsync", "startup", "stats", "walreceiver",
        "walsender", "walsummarizer", "walwriter",
    )  # fmt: skip
    return sum(
        1
        for title in _titles(server).values()
        if title.startswith("postgres: ") and not title.removeprefix("postgres: ").startswith(duties)
    )


def _titles(parent: int) -> dict[int, str]:
    """Return the titles of a process's children, by pid."""
    titles = {}
    for pid in children_of(parent):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                titles[pid] = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
    # A cluster_name precedes every duty; the checkpointer is the process that always exists.
    for title in titles.values():
        name, found, _ = title.removeprefix("postgres: ").partition(": checkpointer")
        if found:
            return {pid: each.replace(f"postgres: {name}: ", "postgres: ", 1) for pid, each in titles.items()}
    return titles


def is_checkpointing(server: int) -> bool:
    """Return whether a server is performing a checkpoint."""
    return any("checkpoint" in title and "performing" in title for title in _titles(server).values())
