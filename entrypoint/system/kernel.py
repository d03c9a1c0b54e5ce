"""Kernel requests that Python has no function for."""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.errors import Failure, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1


def _prctl(option: int, value: int) -> bool:
    import ctypes  # costs 5 ms, so only where it is needed

    library = ctypes.CDLL(None, use_errno=True)
    return bool(library.prctl(option, value, 0, 0, 0) == 0)


def adopt_orphans() -> None:
    """Adopt the orphans below us if we are not PID 1, which has them anyway (`docker run --init`)."""
    if os.getpid() != 1 and not _prctl(_PR_SET_CHILD_SUBREAPER, 1):
        log.warning(
            "not PID 1 and no child subreaper: zombie reaping won't work",
            "start the container without another init, or on a newer kernel",
        )


def end_with(parent: int, number: int) -> None:
    """Request a signal for us, and for the program that we become, as soon as the parent ends."""
    if not _prctl(_PR_SET_PDEATHSIG, number) or os.getppid() != parent:
        os._exit(1)  # it has ended already


def hand_on(descriptors: Iterable[int]) -> None:
    """Let the program that we become have these descriptors, and what it starts."""
    for each in descriptors:
        os.set_inheritable(each, True)  # noqa: FBT003 - the name says what is true


def keep_descriptors_to_ourselves() -> None:
    """Pass only the standard streams on to our children, whoever opened the other descriptors."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)  # noqa: FBT003 - the name says what is true
            except OSError:
                continue  # the one that listed the folder


def forbid_new_privileges() -> None:
    """Disable setuid programs and file capabilities for us and everything that we start."""
    if not _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        raise Failure(
            Problem(
                "the kernel does not grant no_new_privs",
                "remove POSTGRES_NO_NEW_PRIVILEGES, or start with --security-opt no-new-privileges",
                docs="run-without-root",
            )
        )


def hide_environment(names: set[str]) -> None:
    """Blank the values of these variables in /proc/self/environ, which changing os.environ does not do.

    The kernel shows the memory in which it handed us the environment, so writing to that memory changes the
    file. Until the program replaces itself, this hides the secrets of a long first start or restore.
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
        return  # an emulator, or a kernel that forbids it: replacing the program will hide them
