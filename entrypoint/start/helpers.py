"""Which processes PID 1 runs next to the server."""

from __future__ import annotations

import os

from entrypoint import log, own
from entrypoint.archive import fork
from entrypoint.config import rendered
from entrypoint.pid1 import lifecycle, status
from entrypoint.pid1.handoff import HelperSpec
from entrypoint.server import sessions
from entrypoint.server.context import (
    OUR_PROGRAM,
    SETTINGS_VARIABLE,
    Context,
    kept_values,
    later_environment,
)
from entrypoint.settings import environment
from entrypoint.settings.serving import DROP
from entrypoint.system.children import memory_file
from entrypoint.volume import installing, probe, reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.settings.archiving import Archive

_RESERVE = 1
"""Seconds from the server's start to the making of the reserve."""
_FIRST_LOOK = 10
"""Seconds from the server's start to the first check whether another server was promoted."""


def specs(context: Context, *, first: bool) -> list[HelperSpec]:
    """Return the auxiliary processes that PID 1 runs next to the server; `first`: this is a first start."""
    argv, environment_ = sessions.checkpoint(context)
    checkpoint = HelperSpec(lifecycle.CHECKPOINT, [*argv], {**environment_})
    return [
        checkpoint,
        *_reload_helpers(context),
        *_archive_helpers(context),
        *_scheduled_helpers(context),
        *_start_helper(context, first=first),
        *_upgraded_helper(context),
        *_full_disk_helper(context),
    ]


def _reload_helpers(context: Context) -> list[HelperSpec]:
    """Return the short-lived process that SIGHUP starts if settings are rendered; it reloads the server."""
    if not rendered.renders(context):
        return []
    return [HelperSpec(lifecycle.RELOAD, [OUR_PROGRAM, "internal", "reload"], later_environment(context))]


def _start_helper(context: Context, *, first: bool) -> list[HelperSpec]:
    """Return the process that does the work of every start, if there is any.

    It has the environment of init files, which PID 1 must not keep: a file in memory passes it on.
    """
    wanted = context.settings
    holds = probe.asks_for_startdb(wanted)
    if not holds and (first or not wanted.init.password):
        return []
    if status.in_recovery(wanted.data_folder):
        if holds:
            log.info(
                f"skipped on a standby: {probe.STARTDB_FOLDER}, POSTGRES_EXTENSIONS, POSTGRES_PASSWORD_UPDATE"
            )
        return []
    secrets = memory_file(environment.pack(context.environment))
    return [
        HelperSpec(
            lifecycle.STARTDB if holds else lifecycle.PASSWORD,
            # Nobody waits for the comparison, so it gives way to the server, which starts at the same time.
            [*(() if holds else ("nice", "-n", "19")), OUR_PROGRAM, "internal", "startdb"],
            later_environment(context),
            stdin=secrets,
        )
    ]


def _upgraded_helper(context: Context) -> list[HelperSpec]:
    """Return the process that does what remains after an upgrade, if anything does."""
    data = context.settings.data_folder
    if not os.path.lexists(f"{data}/{own.UPGRADED}"):
        return []
    from entrypoint.volume import past

    archives_ = context.settings.our_archive is not None
    if not past.is_due(data, archives=archives_) or status.in_recovery(data):
        return []
    made = later_environment(context)
    if not rendered.renders(context):  # then the variables are not written down
        del made[SETTINGS_VARIABLE]
        made = {**kept_values(context.settings.values), **made, "PGDATA": data}
    argv = ["nice", "-n", "19", OUR_PROGRAM, "internal", lifecycle.UPGRADED]
    return [HelperSpec(lifecycle.UPGRADED, argv, made)]


def _full_disk_helper(context: Context) -> list[HelperSpec]:
    """Return the process that PID 1 runs while a disk is about to be full; it can also make the reserve."""
    argv = [OUR_PROGRAM, "internal", lifecycle.FULL_DISK]
    made = later_environment(context)
    if not rendered.renders(context):  # then the variables are not written down
        del made[SETTINGS_VARIABLE]
        made = {**kept_values(context.settings.values), **made, "PGDATA": context.settings.data_folder}
    data = context.settings.data_folder
    makes = not _makes_reserve(data, installing.segment_bytes(data))
    return [HelperSpec(lifecycle.FULL_DISK, argv, made, keep=True, delay=_RESERVE if makes else -1)]


def _makes_reserve(data_folder: str, segment_bytes: int) -> bool:
    """Make the reserve before the server can fill the disk; False: it would take long, or is impossible."""
    if not reserve.can_make(data_folder, segment_bytes):
        return True
    try:
        reserve.make(data_folder, segment_bytes, quickly=True)
    except OSError:
        return False
    return True


def start_watch(context: Context, *, alone: bool = False) -> HelperSpec | None:
    """Start the watch before the server, which answers probes during a long start; None: none is wanted.

    `alone`: no server follows.
    """
    if alone or context.settings.watching is None:
        return None
    from entrypoint.start import early_watch  # loaded only if it is needed

    return early_watch.start(context)


def continued(context: Context, watch: HelperSpec | None) -> list[HelperSpec]:
    """Return the watch, which PID 1 starts again if it has ended meanwhile."""
    if watch is None:
        return []
    return [watch if context.children.poll(watch.pid) is None else watch._replace(pid=0)]


def under_patroni(context: Context, watch: HelperSpec | None, *, has_cluster: bool) -> list[HelperSpec]:
    """Return the processes next to Patroni; before there is a cluster, nobody else writes to it."""
    found = _full_disk_helper(context) if has_cluster else []
    # These wait until this node leads, and do nothing on a standby.
    archiving = [*_archive_helpers(context), *_scheduled_helpers(context)]
    return [*found, *archiving, *continued(context, watch)]


def archives(context: Context) -> bool:
    """Return whether the server is to archive at all."""
    return context.settings.archive is not None and fork.refusal(context.settings.data_folder) is None


def _archive_helpers(context: Context) -> list[HelperSpec]:
    archive = context.settings.our_archive
    if archive is None or not archives(context):
        return []
    from entrypoint.archive import calls, shares  # loaded only if they are needed
    from entrypoint.archive.opened import OpenedArchive
    from entrypoint.system import capacity

    helping = archive.tool.capabilities.helping
    opened = OpenedArchive(context, archive)
    if helping is None or not opened.can_help():
        return []
    command = helping.helper(opened.server, shares.push(capacity.memory(), near=context.near))
    made = calls.environment(context, command)
    made.pop("PGPASSWORD", None)
    role = lifecycle.daemon_role(archive.tool.name)
    return [HelperSpec(role, [*command.argv], {**made}, after_server=True, keep=True)]


def _scheduled_helpers(context: Context) -> list[HelperSpec]:
    """Return the short-lived processes for scheduled work; each reports when to start it again.

    Without a schedule, the backup helper takes the one backup that a restored cluster needs, or an archive
    with a gap.
    """
    wanted = context.settings
    archive = wanted.our_archive
    if archive is None or not archives(context):
        return []
    schedules = {lifecycle.BACKUPS: wanted.backup.schedule, lifecycle.DRILLS: wanted.drill.schedule}
    wanted_once = {lifecycle.BACKUPS} if _may_owe_backup(context, archive) else set()
    handed_on = later_environment(context)
    look_at_others = HelperSpec(
        lifecycle.LOOK,
        [OUR_PROGRAM, "internal", lifecycle.LOOK],
        handed_on,
        keep=True,
        delay=min(_FIRST_LOOK, archive.fork_interval),
    )
    scheduled = [
        HelperSpec(role, [OUR_PROGRAM, "internal", role], handed_on, keep=schedule is not None)
        for role, schedule in schedules.items()
        if schedule is not None or role in wanted_once
    ]
    return [look_at_others, *scheduled]


def _may_owe_backup(context: Context, archive: Archive) -> bool:
    """Return whether a backup may be needed without a schedule."""
    data = context.settings.data_folder
    owed = False
    if any(os.path.lexists(f"{data}/{name}") for name in (own.GAPS, own.GIVEN_UP)):
        from entrypoint.archive import known_gaps

        known_gaps.tidy(data)
        owed = bool(known_gaps.owed(context, archive.storage.url))
    is_asked = context.settings.serving.when_full == DROP or (
        context.settings.failover is not None and context.settings.restore is not None
    )
    return owed or fork.awaits_backup(data) or is_asked
