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
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():  # else "max", or -1
            return max(1, min(count, round(int(words[0]) / int(words[1]))))
    return count


def memory_limit() -> int | None:
    """Return the bytes of memory that this container may use, where it has a limit."""
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
    """Return the bytes of huge pages that this container may use, where it has a limit."""
    return _limit("hugetlb.2MB.max", "hugetlb/hugetlb.2MB.limit_in_bytes")


def _limit(*names: str) -> int | None:
    """Return the first limit that is there, of the cgroup's version 2 and of version 1."""
    for name in names:
        try:
            with open(f"/sys/fs/cgroup/{name}", encoding="ascii") as file:
                text = file.read().strip()
        except OSError:
            continue
        # Version 1 writes a number near 2^63 for no limit, version 2 "max".
        return int(text) if text.isdigit() and int(text) < 2**60 else None
    return None


def memory() -> int:
    """Return the bytes of memory that there are for this container: its limit, or the machine's."""
    return memory_limit() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
