"""The few requests to the kernel that Python has no function for."""

import os

from entrypoint import log
from entrypoint.errors import Failure, Problem

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1
_HOLDER = "user.entrypoint.holder"


def _prctl(option: int, value: int) -> bool:
    import ctypes  # costs 5 ms, so only where it is needed

    library = ctypes.CDLL(None, use_errno=True)
    return bool(library.prctl(option, value, 0, 0, 0) == 0)


def adopt_orphans() -> None:
    """Become the one to whom orphans below us go, where we are not PID 1 anyway (`docker run --init`)."""
    if os.getpid() != 1 and not _prctl(_PR_SET_CHILD_SUBREAPER, 1):
        log.warning(
            "not PID 1 and no child subreaper: zombie reaping won't work",
            "start the container without another init, or on a newer kernel",
        )


def end_with(parent: int, number: int) -> None:
    """Ask for a signal to us, and to what we become, as soon as the parent ends."""
    if not _prctl(_PR_SET_PDEATHSIG, number) or os.getppid() != parent:
        os._exit(1)  # it has ended already


def keep_descriptors_to_ourselves() -> None:
    """Let no descriptor but the standard streams reach our children, whoever left it open for us."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)  # noqa: FBT003 - the name says what is true
            except OSError:
                continue  # the one that listed the folder


def forbid_new_privileges() -> None:
    """Make setuid programs and file capabilities powerless for us and all that we start."""
    if not _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        raise Failure(
            Problem(
                "the kernel does not grant no_new_privs",
                "remove POSTGRES_NO_NEW_PRIVILEGES, or start with --security-opt no-new-privileges",
            )
        )


def hide_environment(names: set[str]) -> None:
    """Blank the values of these variables in /proc/self/environ, where changing os.environ does nothing.

    The kernel shows the memory in which the environment was handed to us; what is written there shows.
    Until the program replaces itself, this is what hides the secrets of a long first start or restore.
    """
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[47]), int(fields[48])  # env_start and env_end, numbers 50 and 51
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(begin)
            block = memory.read(end - begin)
            position = begin
            for entry in block.split(b"\0"):
                name, equals, value = entry.partition(b"=")
                if equals and os.fsdecode(name) in names:
                    memory.seek(position + len(name) + 1)
                    memory.write(b"\0" * len(value))
                position += len(entry) + 1
    except (OSError, ValueError, IndexError):
        return  # an emulator, or a kernel that forbids it: hidden when the program replaces itself


def sign_folder(folder: str) -> None:
    """Write on a locked folder who holds it: an extended attribute, which no backup carries along."""
    import time

    text = f"container {os.uname().nodename}, since {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}"
    try:
        os.setxattr(folder, _HOLDER, text.encode())
    except OSError:
        pass  # the filesystem has no such attributes; the lock holds all the same


def holder_of(descriptor: int) -> str:
    """Return who holds a locked folder, as far as it is written there."""
    try:
        return os.getxattr(descriptor, _HOLDER).decode("utf-8", "replace")
    except OSError:
        return "another container or process"


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
