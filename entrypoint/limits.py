"""What a backup may use of a container, so that the server keeps the rest; pure."""

from entrypoint.archivers import Resources

MOST_PROCESSES = 4
MEMORY_SHARE = 4
"""One part in so many of the container's memory; the rest is the server's."""
LEAST_MEMORY = 64 * 1024**2
PROCESS_BYTES = 128 * 1024**2
"""What one process of an archiver may need."""


def resources(cpu: str, memory: str, cpus: int, rate_limit: int | None) -> Resources:
    """Return the share, by the container's limits as cgroup version 2 writes them.

    `cpu` is the text of cpu.max (`QUOTA PERIOD`, or `max PERIOD`), `memory` that of memory.max (bytes, or
    `max`); an empty text is no limit.

    >>> resources("150000 100000", "1073741824", 8, None)
    Resources(processes=1, memory_bytes=268435456, rate_limit=None)
    >>> resources("max 100000", "max", 8, None)
    Resources(processes=4, memory_bytes=None, rate_limit=None)
    """
    quota, period = ([*cpu.split(), "", ""])[:2]
    if quota.isdigit() and period.isdigit() and int(period):
        cpus = min(cpus, int(quota) // int(period))
    processes = max(1, min(MOST_PROCESSES, cpus))
    # cgroup version 1 writes a number near 2^63 for no limit.
    if not memory.strip().isdigit() or int(memory) >= 2**60:
        return Resources(processes, None, rate_limit)
    share = max(LEAST_MEMORY, int(memory) // MEMORY_SHARE)
    return Resources(max(1, min(processes, share // PROCESS_BYTES)), share, rate_limit)
