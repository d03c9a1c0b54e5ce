"""Checks of memory, processors and kernel features."""

import os

from entrypoint.config import chosen, memory, tune
from entrypoint.doctor import judge
from entrypoint.doctor.sight import CLUSTER, SERVER, Check, Sight
from entrypoint.finding import Finding
from entrypoint.system import capacity
from entrypoint.system.children import find_program


def _shared_memory(sight: Sight) -> list[Finding]:
    found = memory.shared_memory(chosen.beside(sight.context))
    if sight.runs:
        settings = {name: str(row["value"]) for name, row in sight.conf.items()}
        need, kind = tune.shared_memory(settings), settings["dynamic_shared_memory_type"]
        found = found._replace(need=need, kind=kind, adapted=False)
    return judge.memory.shared_memory(found.words, found.kind, found.problem)


def _memory(sight: Sight) -> list[Finding]:
    values = {name: str(row["value"]) for name, row in sight.conf.items()}
    return judge.memory.memory(capacity.memory(), values)


_WORKERS = ("max_worker_processes", "max_parallel_workers", "max_parallel_workers_per_gather")


def _processors(sight: Sight) -> list[Finding]:
    rows = {name: sight.conf[name] for name in _WORKERS}
    by_hand = {name: int(str(row["value"])) for name, row in rows.items() if row["source"] != "default"}
    return judge.memory.processors(capacity.processors(), by_hand)


def _huge_pages(sight: Sight) -> list[Finding]:
    names = ("huge_pages", "shared_buffers")
    return memory.huge_pages({name: value for name in names if (value := sight.wanted(name))})


def _io_uring(sight: Sight) -> list[Finding]:
    method = sight.wanted("io_method") or ""
    return judge.memory.io_uring(method, _try_io_uring() if method == "io_uring" else 0)


def _jit(sight: Sight) -> list[Finding]:
    programs = os.path.dirname(find_program("postgres", os.environ))
    available = os.path.exists(f"{os.path.dirname(programs)}/lib/llvmjit.so")
    # Not what our session sees, which has a value of its own.
    wanted = sight.planned.get("jit", "").strip().lower()
    return judge.memory.jit(wanted=wanted in _ON, available=available)


_ON = ("on", "true", "yes", "1", "t", "tr", "tru", "y", "ye")
"""How PostgreSQL lets people write `on`."""


_IO_URING_SETUP = 425
"""The number of the system call; calls of its age have the same number on all machines."""


def _try_io_uring() -> int:
    """Request a small ring and release it; return 0, or the errno if the request fails."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    descriptor = int(library.syscall(_IO_URING_SETUP, 8, ctypes.create_string_buffer(120)))
    if descriptor < 0:
        return ctypes.get_errno()
    os.close(descriptor)
    return 0


CHECKS = (
    Check(
        "shared memory",
        "if /dev/shm is too small, a parallel query fails with “could not resize shared memory segment”",
        "the size of /dev/shm against the memory that the settings can request",
        _shared_memory,
        CLUSTER,
        "configure-the-server",
        costly=True,
    ),
    Check(
        "memory",
        "the kernel kills a server that uses more memory than its container has, and all sessions with it",
        "shared_buffers, work_mem, max_connections and autovacuum, against the container's limit",
        _memory,
        SERVER,
        "configure-the-server",
        costly=True,
    ),
    Check(
        "processors",
        "workers without processors wait for each other",
        "the configured numbers of workers, against the container's processors",
        _processors,
        SERVER,
        "configure-the-server",
        costly=True,
    ),
    Check(
        "huge pages",
        "a server that may not use the kernel's huge pages does not start, or fails with “Bus error”",
        "huge_pages, the kernel's huge pages, and the container's limit",
        _huge_pages,
        costly=True,
    ),
    Check(
        "io_uring",
        "container engines forbid io_uring by default, and a server that is set to use it does not start",
        "io_method, and a call of io_uring_setup as the server's user (seccomp, memlock)",
        _io_uring,
        costly=True,
    ),
    Check(
        "jit",
        "without LLVM the server ignores jit, and expensive queries take longer than elsewhere",
        "the setting jit, and whether the image has LLVM",
        _jit,
        SERVER,
        "configure-the-server",
        costly=True,
    ),
)
