"""How much of a container's memory and processors the archiver may use; pure."""

from __future__ import annotations

from entrypoint.archivers.terms import Resources

MOST_PROCESSES = 4
MEMORY_SHARE = 4
"""A backup may use one part in this many of the container's memory."""
LEAST_MEMORY = 64 * 1024**2
PUSH_SHARE = 8
"""Sending a backlog of segments may use one part in this many; the rest is for the server."""
MOST_PUSH_MEMORY = 512 * 1024**2
"""More memory does not make sending a backlog of segments any faster."""
PROCESS_BYTES = 128 * 1024**2
"""The memory that one process of an archiver may need."""


def backup(processors: int, memory: int | None, rate_limit: int | None) -> Resources:
    """Return a backup's share of a container with these processors and bytes of memory; None: no limit.

    >>> backup(8, 1024**3, None)
    Resources(processes=2, memory_bytes=268435456, rate_limit=None, near=False)
    >>> backup(8, None, None)
    Resources(processes=4, memory_bytes=None, rate_limit=None, near=False)
    """
    processes = max(1, min(MOST_PROCESSES, processors))
    if memory is None:
        return Resources(processes, None, rate_limit)
    share = max(LEAST_MEMORY, memory // MEMORY_SHARE)
    return Resources(max(1, min(processes, share // PROCESS_BYTES)), share, rate_limit)


def push(memory: int, *, near: bool = False) -> Resources:
    """Return what sending a backlog of segments may use of this memory, the container's or the machine's.

    `near` means that the storage answers within milliseconds.

    >>> push(2 * 1024**3).memory_bytes == 256 * 1024**2
    True
    """
    share = max(LEAST_MEMORY, min(MOST_PUSH_MEMORY, memory // PUSH_SHARE))
    return Resources(memory_bytes=share, near=near)
