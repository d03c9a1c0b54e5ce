"""The few requests to the kernel that Python has no function for."""

import os

from entrypoint import log
from entrypoint.errors import Failure, Problem

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1


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
