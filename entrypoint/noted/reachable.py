"""Which moments can be restored, as far as it is known next to the data, or by a list of backups."""

from __future__ import annotations

import os
import time

from entrypoint.archive import gap, known_gaps
from entrypoint.backup import catalog, history, window
from entrypoint.drill.rehearsals import DRILLS
from entrypoint.errors import Failure
from entrypoint.pid1 import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entrypoint.archive.given_up import Gap
    from entrypoint.archive.opened import OpenedArchive
    from entrypoint.archivers.terms import Backup
    from entrypoint.backup.window import Window
    from entrypoint.server.context import Context
    from entrypoint.settings.archiving import Archive
    from entrypoint.volume.facts import ArchiveState

_UNKNOWN = "not known until the next backup; to ask the archive: entrypoint backup list"
_NOTHING = "nothing: the archive has no backup that is known to be complete"


def known(archive: Archive, context: Context, state: ArchiveState) -> Window | str:
    """Return what can be restored, without a question to the storage; otherwise why that is not known.

    The reason is empty where another row says it, or where another server archives.
    """
    data_folder = context.settings.data_folder
    if state.lost or not _archives_here(data_folder, state):
        return ""
    covered = history.read_coverage(data_folder, state.url)
    if covered is None:
        return _UNKNOWN
    now = time.time()
    reached = window.reach(state, archive.timeout, now)
    gaps = known_gaps.here(context, state.url)
    return window.window(covered, reached, now, proven=_proven(data_folder), recorded=gaps) or _NOTHING


def listed(
    opened: OpenedArchive, backups: Sequence[Backup], look: Callable[[OpenedArchive], ArchiveState]
) -> Window | str:
    """Return what can be restored from these backups, and from the archive's WAL."""
    now = time.time()
    covered = catalog.coverage(opened, backups)
    state = look(opened) if os.path.exists(f"{opened.data_folder}/PG_VERSION") else None
    if state is not None and _archives_here(opened.data_folder, state):
        reached = window.reach(state, opened.archive.timeout, now)
    else:
        reached = catalog.archived_until(opened, backups)
    proven, gaps = _proven(opened.data_folder), _recorded(opened, backups)
    return window.window(covered, reached, now, proven=proven, recorded=gaps) or _NOTHING


def _recorded(opened: OpenedArchive, backups: Sequence[Backup]) -> list[Gap]:
    """Return the gaps of the cluster here, or of an archive's backups."""
    if os.path.exists(f"{opened.data_folder}/PG_VERSION"):
        return known_gaps.here(opened.context, opened.url)
    try:
        found = gap.stored(opened)
    except Failure:
        return []
    newest = backups[-1] if backups else None
    return [each for each in found if newest and newest.system_identifier in (None, each.cluster)]


def _archives_here(data_folder: str, state: ArchiveState) -> bool:
    """Return whether the entrypoint archives the WAL of the cluster here."""
    foreign = state.fork_refused is not None or state.own_command is not None
    return not foreign and not status.in_recovery(data_folder)


def _proven(data_folder: str) -> set[str]:
    return {each.backup for each in DRILLS.read(data_folder) if each.outcome == "ok"}
