"""The server's share of memory and processors, and whether shared memory and huge pages are sufficient."""

from __future__ import annotations

import os
from collections.abc import Mapping

from entrypoint import log
from entrypoint.config import collect, follow, rendered, sources, tune
from entrypoint.config.sources import Source
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.server.context import Context
from entrypoint.settings.serving import CONF_PREFIX
from entrypoint.system import capacity, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.finding import Finding


SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only looked at
SHARED_MEMORY_TYPE = "dynamic_shared_memory_type"


def machine(context: Context) -> tune.Machine:
    """Return the resources of the container."""
    data = context.settings.data_folder
    place = next(path for path in (f"{data}/pg_wal", data, "/") if os.path.exists(path))
    room = os.statvfs(place)
    return tune.Machine(
        memory=capacity.memory(),
        limited=capacity.memory_limit() is not None,
        processors=capacity.processors(),
        wal_bytes=room.f_blocks * room.f_frsize,
        archives=context.settings.our_archive is not None,
    )


def tuned(context: Context) -> list[Source]:
    """Return the settings of POSTGRES_TUNE, without those that a person has set in the cluster's own file."""
    if not context.settings.serving.tune:
        return []
    found = collect.base(context)
    connections = sources.winners([*found, *collect.overriding(context)]).get("max_connections")
    count = int(connections.value) if connections and connections.value.isdigit() else tune.CONNECTIONS
    own = {source.name for source in found if source.origin == sources.FILE}
    return [
        Source(each.name, each.value, sources.TUNE, "POSTGRES_TUNE=auto", each.reason)
        for each in tune.tune(machine(context), max(1, count))
        if each.name not in own
    ]


class SharedMemory(NamedTuple):
    """The size of the folder of shared memory, and the memory that the settings can request."""

    have: int
    """The size in bytes."""
    need: int
    """Bytes of dynamic shared memory that the settings can request at once."""
    kind: str
    """The dynamic_shared_memory_type that the server gets."""
    free: bool
    """Whether no person has set the type."""
    adapted: bool
    """Whether the rendered type is `sysv` because /dev/shm is too small."""

    @property
    def words(self) -> str:
        """A message with both sizes."""
        have, need = tune.size(self.have), tune.size(self.need)
        return (
            f"{SHARED_MEMORY} has {have}; parallel queries and vacuum can request {need} with these settings"
        )

    @property
    def problem(self) -> Problem | None:
        """The problem with the size, if the type was not adapted."""
        if self.adapted or self.kind != "posix" or self.have >= self.need:
            return None
        hint = (
            f"docker run --shm-size={-(-self.need // tune.MB)}m, or -e {CONF_PREFIX}{SHARED_MEMORY_TYPE}=sysv"
        )
        return Problem(
            f"{self.words}: queries would fail with “could not resize shared memory segment”",
            hint,
            docs="configure-the-server",
        )


def shared_memory(context: Context) -> SharedMemory:
    """Return whether /dev/shm is large enough, and the type of shared memory that the server gets.

    Docker gives 64 MB, and PostgreSQL's own defaults can request more: a parallel hash join then fails. If
    /dev/shm is too small, the server gets System V shared memory (`dynamic_shared_memory_type = sysv`). It is
    the same kind of memory, equally fast, and counts against the same limit of the container; no parallel
    worker has to be given up, and no size has to be guessed. Its only limit is the kernel's (kernel.shmmax),
    which is unlimited by default. `mmap` would write all of it to disk. A type that a person has set stays.

    The type is set in the cluster's own file when the cluster is created, and in the rendered file if there
    is one. A plain start on an older cluster only logs a warning: with an argument, each reload would report
    the line in the cluster's file as an error, and our config_file would hide the file that people edit.
    """
    found = sources.winners([*collect.base(context), *tuned(context), *collect.overriding(context)])
    need = tune.shared_memory({name: source.value for name, source in found.items()})
    chosen = found.get(SHARED_MEMORY_TYPE)
    kind = chosen.value.lower() if chosen else "posix"
    try:
        room = os.statvfs(SHARED_MEMORY)
        have = room.f_blocks * room.f_frsize
    except OSError:
        have = 0
    free = chosen is None or chosen.origin == sources.IMAGE
    ours = rendered.renders(context) or bool(follow.following(context))
    adapted = ours and free and kind == "posix" and have < need <= system_v_limit()
    return SharedMemory(have, need, "sysv" if adapted else kind, free, adapted)


def adapt(context: Context, cluster: str) -> None:
    """Give a newly created cluster System V shared memory if /dev/shm is too small."""
    path = f"{cluster}/postgresql.conf"
    found = shared_memory(context)
    free = found.free and SHARED_MEMORY_TYPE not in context.settings.init.initdb_args
    text, usual = files.read_text(path), f"\n{SHARED_MEMORY_TYPE} = posix"
    if not free or usual not in text or not found.have < found.need <= system_v_limit():
        return
    reason = f"{sources.OWN_COMMENT}{found.words}"
    files.write_atomically(
        path, text.replace(usual, f"\n{SHARED_MEMORY_TYPE} = sysv\t# {reason}\n#{usual[1:]}", 1)
    )
    log.info(f"{found.words}, so the new cluster gets {SHARED_MEMORY_TYPE} = sysv, which has no such limit")


def planned(context: Context) -> dict[str, str]:
    """Return the value at a start of each setting that a person or POSTGRES_TUNE sets."""
    found = sources.winners([*collect.base(context), *tuned(context), *collect.overriding(context)])
    return {name: source.value for name, source in found.items()}


def huge_pages(wanted: Mapping[str, str]) -> list[Finding]:
    """Return findings about huge pages for a server that starts with these settings."""
    value = wanted.get("huge_pages", "try").lower()
    buffers = tune.size_bytes(wanted.get("shared_buffers", "128MB"), "8kB") or 0
    return judge_huge_pages(
        {"true": "on", "yes": "on", "1": "on"}.get(value, value),
        pages=capacity.huge_pages(),
        limit=capacity.huge_pages_limit(),
        least=-(-buffers // capacity.huge_page_bytes()),
    )


def judge_huge_pages(wanted: str, *, pages: int, limit: int | None, least: int = 1) -> list[Finding]:
    """Judge the kernel's huge pages against the value of huge_pages (`wanted`).

    `pages` is the kernel's number, `limit` the container's limit in bytes, if it has one; a server takes at
    least `least` pages.
    """
    from entrypoint.finding import error, ok

    if wanted == "off" or (wanted == "try" and not pages):
        return []
    if wanted == "on" and pages < least:
        hint = f"reserve more on the host (sysctl vm.nr_hugepages={least} or more), or set huge_pages=try"
        has = f"{pages} of the {least} or more that it needs" if pages else "none"
        return [error(f"huge_pages is on, but the kernel has {has}: the server does not start", hint)]
    if limit == 0:
        what = "the kernel has huge pages, but this container may use none: the server fails with “Bus error”"
        return [error(what, "set huge_pages=off, or raise the limit of the container's hugetlb cgroup")]
    return [ok(f"the kernel has {pages} huge pages")]


def check_huge_pages(context: Context) -> None:
    """Raise Failure if the server's settings demand huge pages that it cannot get."""
    bad = [each for each in huge_pages(planned(context)) if each.level == "error"]
    if bad:
        raise Failure(*(Problem(each.found, each.hint, docs=each.docs) for each in bad))


def system_v_limit() -> int:
    """Return the maximum bytes of one segment of System V shared memory; 0 if the limit is unknown."""
    try:
        return int(files.read_text("/proc/sys/kernel/shmmax"))
    except (OSError, ValueError):
        return 0


def say(context: Context) -> None:
    """Log the chosen settings, and a warning if /dev/shm is too small for the settings of a person."""
    found = shared_memory(context)
    if found.adapted:
        log.info(f"{found.words}, so the server gets {SHARED_MEMORY_TYPE} = sysv, which has no such limit")
    elif found.problem is not None:
        log.warning(found.problem.what, found.problem.hint, found.problem.docs)
    if context.settings.serving.tune:
        log.info("POSTGRES_TUNE: " + ", ".join(f"{each.name} = {each.value}" for each in tuned(context)))
