"""What the archiver may use of a container, so that the server keeps the rest; pure."""

from entrypoint.archivers import Resources

MOST_PROCESSES = 4
MEMORY_SHARE = 4
"""One part in so many of the container's memory; the rest is the server's."""
LEAST_MEMORY = 64 * 1024**2
PUSH_SHARE = 8
MOST_PUSH_MEMORY = 512 * 1024**2
"""More of it makes a backlog of segments no faster."""
PROCESS_BYTES = 128 * 1024**2
"""What one process of an archiver may need."""


def backup(processors: int, memory: int | None, rate_limit: int | None) -> Resources:
    """Return a backup's share of a container with so many processors and bytes of memory, if limited.

    >>> backup(8, 1024**3, None)
    Resources(processes=2, memory_bytes=268435456, rate_limit=None)
    >>> backup(8, None, None)
    Resources(processes=4, memory_bytes=None, rate_limit=None)
    """
    processes = max(1, min(MOST_PROCESSES, processors))
    if memory is None:
        return Resources(processes, None, rate_limit)
    share = max(LEAST_MEMORY, memory // MEMORY_SHARE)
    return Resources(max(1, min(processes, share // PROCESS_BYTES)), share, rate_limit)


def push(memory: int) -> Resources:
    """Return what sending a backlog of segments may use of so much memory, the container's or the machine's.

    >>> push(2 * 1024**3).memory_bytes == 256 * 1024**2
    True
    """
    return Resources(memory_bytes=max(LEAST_MEMORY, min(MOST_PUSH_MEMORY, memory // PUSH_SHARE)))
