"""What a backup may use of a container, so that the server keeps the rest; pure."""

from entrypoint.archivers import Resources

MOST_PROCESSES = 4
MEMORY_SHARE = 4
"""One part in so many of the container's memory; the rest is the server's."""
LEAST_MEMORY = 64 * 1024**2
PROCESS_BYTES = 128 * 1024**2
"""What one process of an archiver may need."""


def resources(processors: int, memory: str, rate_limit: int | None) -> Resources:
    """Return the share of a container with so many processors.

    `memory` is the text of the cgroup's limit: bytes, `max`, or empty for none.

    >>> resources(8, "1073741824", None)
    Resources(processes=2, memory_bytes=268435456, rate_limit=None)
    >>> resources(8, "max", None)
    Resources(processes=4, memory_bytes=None, rate_limit=None)
    """
    processes = max(1, min(MOST_PROCESSES, processors))
    # cgroup version 1 writes a number near 2^63 for no limit.
    if not memory.strip().isdigit() or int(memory) >= 2**60:
        return Resources(processes, None, rate_limit)
    share = max(LEAST_MEMORY, int(memory) // MEMORY_SHARE)
    return Resources(max(1, min(processes, share // PROCESS_BYTES)), share, rate_limit)
