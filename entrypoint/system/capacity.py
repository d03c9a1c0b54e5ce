"""What this container may use: processors, memory and huge pages."""

import os


def processors() -> int:
    """Return how many processors this container may use, at least 1."""
    count = len(os.sched_getaffinity(0))
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        words = []
        for name in names:
            try:
                with open(f"/sys/fs/cgroup/{name}", encoding="ascii") as file:
                    words += file.read().split()
            except OSError:
                break
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():  # otherwise "max" or -1
            return max(1, min(count, round(int(words[0]) / int(words[1]))))
    return count


def memory_limit() -> int | None:
    """Return this container's memory limit in bytes; None: it has none."""
    return _limit("memory.max", "memory/memory.limit_in_bytes")


def huge_pages() -> int:
    """Return how many huge pages of the default size the kernel has."""
    return _of_memory("HugePages_Total")


def huge_page_bytes() -> int:
    """Return the default size of a huge page."""
    return _of_memory("Hugepagesize") * 1024 or 2 * 1024**2


def _of_memory(name: str) -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        words = file.read().partition(f"{name}:")[2].split()
    return int(words[0]) if words else 0


def huge_pages_limit() -> int | None:
    """Return this container's limit of huge pages in bytes; None: it has none."""
    return _limit("hugetlb.2MB.max", "hugetlb/hugetlb.2MB.limit_in_bytes")


def _limit(*names: str) -> int | None:
    """Return the first limit that exists, of cgroup version 2 or 1."""
    for name in names:
        try:
            with open(f"/sys/fs/cgroup/{name}", encoding="ascii") as file:
                text = file.read().strip()
        except OSError:
            continue
        # Without a limit, version 1 writes a number near 2^63, and version 2 "max".
        return int(text) if text.isdigit() and int(text) < 2**60 else None
    return None


def memory() -> int:
    """Return the memory for this container in bytes: its limit, or the machine's memory."""
    return memory_limit() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
