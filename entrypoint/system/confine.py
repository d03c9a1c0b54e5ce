"""Confinement of a server to its own folders: no connections, and no files or processes but its own.

It is for drills, which restore other people's data; code in that data may run with a superuser's rights. The
kernel confines the server and we need no special rights: seccomp forbids connections, Landlock files and
signals.
"""

from __future__ import annotations

import os
import platform

from entrypoint import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    from collections.abc import Sequence

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/nix", "/opt", "/proc", "/sys")
"""Folders of programs and libraries, and the kernel's: to be read and run; they contain no secrets."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FILES_KEPT = 1
_SIGNALS_KEPT = 6
"""The first versions of Landlock that protect files, and processes of others."""

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
# The numbers of Landlock are the same everywhere.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_BENEATH = 1
_SCOPES = 3
"""Abstract Unix sockets, and signals."""
_READ = 1 << 0 | 1 << 2 | 1 << 3
"""Run a file, read a file, list a folder."""
_OF_FILES = 1 << 0 | 1 << 1 | 1 << 2
_ALL_SINCE = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""The rights on files that Landlock handles, each with its first version."""
_NETWORK = (4, 3)
"""The first version with rights on TCP, and those rights: bind and connect."""

_DENIED = 0x00050001
"""SECCOMP_RET_ERRNO with EPERM."""
_GRANTED = 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16
_AF_UNIX = 1
_X32 = 0x40000000
_CALLS = {
    "x86_64": (0xC000003E, {"socket": 41, "prlimit64": 302}, (42, 101, 310, 311, 425)),
    "aarch64": (0xC00000B7, {"socket": 198, "prlimit64": 261}, (203, 117, 270, 271, 425)),
}
"""By machine: its number for seccomp, calls that are judged by their first argument, and denied calls.

The denied calls are connect, ptrace, process_vm_readv, process_vm_writev, and io_uring_setup, which would
bypass all of them.
"""


def version() -> int:
    """Return the version of Landlock; 0: the kernel or the container engine has none."""
    found = _library().syscall(_CREATE_RULESET, None, 0, _VERSION)
    return max(0, int(found))


def missing() -> str:
    """Return what even a confined process can reach here, for people."""
    reached = []
    if platform.machine() not in _CALLS:
        reached.append("other servers")
    found = version()
    reached += ["files of its user"] if found < _FILES_KEPT else []
    reached += ["processes of its user"] if found < _SIGNALS_KEPT else []
    return ", ".join(reached)


def keep_in(writable: Sequence[str], program: str) -> None:
    """Confine this process, and what it becomes and starts, to these folders, as far as possible."""
    library = _library()
    try:
        _demand(library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        found = version()
        if found >= _FILES_KEPT:
            _keep_from_files(library, found, writable, program)
        if platform.machine() in _CALLS:
            _keep_from_connections(library)
    except OSError as error:
        log.warning(f"cannot confine {os.path.basename(program)}: the kernel says: {error.strerror}")


def _library() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _demand(result: int) -> int:
    import ctypes

    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _keep_from_files(library: ctypes.CDLL, found: int, writable: Sequence[str], program: str) -> None:
    import ctypes

    rights = 0
    for since, right in _ALL_SINCE:
        rights |= right if found >= since else 0
    fields = [rights, _NETWORK[1] if found >= _NETWORK[0] else 0, _SCOPES if found >= _SIGNALS_KEPT else 0]
    fields = fields[: 1 + (found >= _NETWORK[0]) + (found >= _SIGNALS_KEPT)]
    attributes = (ctypes.c_uint64 * len(fields))(*fields)
    rules = _demand(library.syscall(_CREATE_RULESET, attributes, ctypes.sizeof(attributes), 0))
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(program)))
    places = [(path, rights & _READ) for path in (*SYSTEM, prefix)]
    places += [(path, rights) for path in (*_DEVICES, *writable)]
    for path, allowed in places:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not os.path.isdir(path):
            allowed &= _OF_FILES | 1 << 14 | 1 << 15  # noqa: PLW2901 - without the rights of a folder
        # A packed structure: a mask of 64 bits, a descriptor of 32.
        rule = allowed.to_bytes(8, byteorder="little") + place.to_bytes(4, byteorder="little")
        _demand(library.syscall(_ADD_RULE, rules, _BENEATH, rule, 0))
        os.close(place)
    _demand(library.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)


def _keep_from_connections(library: ctypes.CDLL) -> None:
    import ctypes

    architecture, judged, denied = _CALLS[platform.machine()]
    # Each instruction is a code, two jump distances, and a value.
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _DENIED)]
    program += [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _DENIED)]
    for number in denied:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _DENIED)]
    for number, only in ((judged["socket"], _AF_UNIX), (judged["prlimit64"], 0)):
        program += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FIRST), (_EQUAL, 1, 0, only)]
        program += [(_RETURN, 0, 0, _DENIED), (_RETURN, 0, 0, _GRANTED)]
    program.append((_RETURN, 0, 0, _GRANTED))
    code = b"".join(
        word.to_bytes(2, byteorder="little") + bytes((yes, no)) + value.to_bytes(4, byteorder="little")
        for word, yes, no, value in program
    )
    kept = ctypes.create_string_buffer(code, len(code))
    # A count of 16 bits, a gap, and an address.
    head = len(program).to_bytes(8, byteorder="little") + ctypes.addressof(kept).to_bytes(
        8, byteorder="little"
    )
    _demand(library.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, head, 0, 0))
