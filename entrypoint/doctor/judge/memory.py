"""Memory, processors and kernel features against the settings; pure."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from entrypoint.errors import Problem
from entrypoint.finding import Finding, error, ok, warning
from entrypoint.light import re
from entrypoint.shown import BYTES, spell

_MOST_BUFFERS = 0.8
"""Share of the memory: sessions need the rest, and so does the file cache, which counts as their memory."""
_EACH_PROCESSOR = 4
"""Explicitly configured workers for one processor: more of them only wait for each other."""


def shared_memory(words: str, kind: str, problem: Problem | None) -> list[Finding]:
    """Judge /dev/shm against the needs of parallel work; `words` state both, `kind` is the type in use."""
    if problem is not None:
        return [warning(problem.what, problem.hint, problem.docs)]
    unused = f"; it is not used (dynamic_shared_memory_type = {kind})"
    return [ok(words if kind == "posix" else words + unused)]


def memory(limit: int, settings: Mapping[str, str]) -> list[Finding]:
    """Judge the memory that the settings can request against the container's `limit` in bytes."""
    buffers, work = size(settings["shared_buffers"]), size(settings["work_mem"])
    sessions = int(settings["max_connections"])
    vacuum = size(settings["autovacuum_work_mem"])
    vacuum = size(settings["maintenance_work_mem"]) if vacuum < 0 else vacuum
    asked = buffers + sessions * work + int(settings["autovacuum_max_workers"]) * vacuum
    words = (
        f"shared_buffers {spell(buffers)}, {sessions} sessions with work_mem {spell(work)} each and "
        f"autovacuum add up to {spell(asked)}; this container has {spell(limit)}"
    )
    hint = "give the container more memory (--memory), or lower shared_buffers, work_mem or max_connections"
    if buffers > limit * _MOST_BUFFERS:
        return [error(f"{words}: the kernel kills the server once the buffers are in use", hint)]
    if asked > limit:
        return [warning(f"{words}: the kernel kills the server if many sessions are busy at once", hint)]
    return [ok(words)]


def processors(count: int, by_hand: Mapping[str, int]) -> list[Finding]:
    """Judge explicitly configured numbers of workers, by the setting's name."""
    many = {name: number for name, number in by_hand.items() if number > count * _EACH_PROCESSOR}
    return [
        warning(
            f"{name} is {number}, but this container may use only {count} processors",
            f"lower {name} to {max(2, count)}, or give the container more processors (docker run --cpus)",
        )
        for name, number in many.items()
    ]


def io_uring(method: str, failed: int) -> list[Finding]:
    """Judge io_method; `failed` is the errno of io_uring_setup as the server's user, 0 if it works."""
    if method != "io_uring":
        return []
    if not failed:
        return [ok("io_uring works")]
    why = {
        errno.EPERM: "seccomp or sysctl kernel.io_uring_disabled forbids it: --security-opt seccomp=PROFILE",
        errno.ENOSYS: "the kernel lacks it, or seccomp hides it: --security-opt seccomp=PROFILE",
        errno.ENOMEM: "the limit of locked memory is too low: docker run --ulimit memlock=-1",
    }
    hint = why.get(failed, "see the kernel's log")
    what = f"io_method is io_uring, but io_uring_setup fails ({errno.errorcode.get(failed, failed)})"
    return [error(f"{what}: the server does not start", f"{hint}; or set io_method=worker")]


def jit(*, wanted: bool, available: bool) -> list[Finding]:
    """Judge whether somebody turns jit on, which the server ignores if the image has no LLVM."""
    if available:
        return []
    if wanted:
        what = "jit is on, but this image has no LLVM: the server does not compile queries, and logs nothing"
        return [warning(what, "use the image without -slim in its tag, or set jit=off")]
    return [ok("this image has no LLVM, so no query is compiled (jit)")]


def size(text: str) -> int:
    """Return the bytes of a setting in the form in which the server shows it; raises ValueError otherwise.

    >>> size("4MB"), size("-1")
    (4194304, -1)
    """
    found = re.fullmatch(r"(-?\d+)(B|kB|MB|GB|TB)?", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) * BYTES[found[2] or ""]
