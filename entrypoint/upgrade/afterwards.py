"""What remains after an upgrade, while clients work: extensions, the planner's statistics, a base backup."""

from __future__ import annotations

from entrypoint import log
from entrypoint.archive.opened import OpenedArchive
from entrypoint.backup import history, journal
from entrypoint.backup.take import push
from entrypoint.backup.turn import alone
from entrypoint.errors import Failure
from entrypoint.every_start import extensions, startdb
from entrypoint.server import sessions
from entrypoint.server.data_folder import data_major
from entrypoint.volume import past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context

_AGAIN = 600
"""Seconds between two tries of the first backup, for example while the storage is away."""
_STATISTICS = 18
"""The first major version whose pg_upgrade takes over statistics, but for extended ones and counters."""


def run(context: Context) -> None:
    """Update the extensions and collect statistics; each is noted, so that a killed run is repeated."""
    data = context.settings.data_folder
    known = past.read(data)
    if known is None or not startdb.wait(context):
        return
    if not known.extensions and _update_extensions(context):
        past.note(data, lambda now: now._replace(extensions=True))
    if not known.statistics:
        _analyze(context)
        past.note(data, lambda now: now._replace(statistics=True))
    if known.backup or context.settings.our_archive is None:
        return
    while not _back_up(context, even_if_there_is_one=known.undone):
        log.info(f"the first backup after the upgrade is tried again in {_AGAIN // 60} minutes")
        context.children.pause(_AGAIN)
    past.note(data, lambda now: now._replace(backup=True))


def _update_extensions(context: Context) -> bool:
    """Update the extensions, and return whether all are; otherwise the next start tries again."""
    try:
        return extensions.update(context, "fix the error above; the next start tries again")
    except Failure as failure:
        for each in failure.problems:
            log.problem(each)
        return False


def _analyze(context: Context) -> None:
    """Collect the statistics that the planner lacks, roughly at first; then all that autovacuum goes by."""
    carried = data_major(context.settings.data_folder) >= _STATISTICS
    log.info("collecting the planner's statistics that the upgrade did not take over, in three stages")
    turns = [["--analyze-in-stages", *(["--missing-stats-only"] if carried else [])]]
    turns += [["--analyze-only"]] if carried else []
    for words in turns:
        code, said = sessions.analyze(context, *words)
        if code:
            log.warning(
                f"not all statistics could be collected:\n{said}",
                f"docker exec --user postgres CONTAINER vacuumdb --all {' '.join(words)}",
                "upgrade-to-a-newer-major",
            )
            return
    log.info("the planner has its statistics")


def _back_up(context: Context, *, even_if_there_is_one: bool) -> bool:
    """Take the first full backup of the new major, unless the schedule has; return whether there is one.

    After an upgrade was undone, the archive begins again, so what was taken before does not count.
    """
    archive = context.settings.our_archive
    if archive is None:
        return False
    opened = OpenedArchive(context, archive)
    try:
        with alone(context, "the first backup after an upgrade", wait=True) as lock:
            if even_if_there_is_one or history.last_runs(opened.data_folder).success is None:
                push(opened, incremental=False, why=journal.COMMAND, lock=lock)
    except Failure as failure:
        log.problem(failure.problems[0])
        return False
    return True
