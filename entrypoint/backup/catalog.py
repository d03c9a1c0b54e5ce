"""Which backups there are of this cluster, what is known of them, and what retention thinks of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from entrypoint.archive import calls
from entrypoint.archivers.terms import Backup
from entrypoint.backup import history, retention
from entrypoint.backup.retention import Decision
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.settings.archiving import Archive

LONG = 6 * 3600
"""Seconds for one call of the archiver that looks through all of an archive, and for the reading of it."""


def own_backups(context: Context, archive: Archive) -> list[Backup]:
    """Return this cluster's backups, oldest first; all of them where there is no cluster here."""
    found = calls.list_backups(context, archive)
    identifier = control_file.read_control(context).get("Database system identifier")
    if identifier is None:
        return found
    return [each for each in found if each.system_identifier in (None, identifier)]


def known_broken(context: Context) -> dict[str, str]:
    """Return the backups that the last verification found broken, and why."""
    found = history.last_runs(context.settings.data_folder).verified
    return dict(found.broken) if found else {}


def choose_parent(context: Context, archive: Archive, backups: Sequence[Backup]) -> Backup | None:
    """Return what the next incremental backup builds on."""
    return archive.tool.parent(backups, retention.unsound(backups, known_broken(context)))


def next_is_incremental(context: Context, archive: Archive, backups: Sequence[Backup]) -> bool:
    """Tell whether the schedule's next backup is incremental: so many of them follow each full one."""
    parent = choose_parent(context, archive, backups)
    needed = retention.chain(parent, backups) if parent else None
    return needed is not None and len(needed) <= context.settings.backup.incrementals


def decide(context: Context, backups: Sequence[Backup], broken: dict[str, str]) -> Decision:
    """Return what retention would do now."""
    wanted = context.settings.backup
    return retention.decide(
        backups, full=wanted.retain_full, days=wanted.retain_days, now=datetime.now(UTC), broken=broken
    )
