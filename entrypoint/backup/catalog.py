"""Which backups there are of this cluster, what is known of them, and what retention thinks of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup
from entrypoint.backup import history, retention
from entrypoint.backup.retention import Decision
from entrypoint.server import control_file
from entrypoint.server.context import Context

LONG = 6 * 3600
"""Seconds for one call of the archiver that looks through all of an archive, and for the reading of it."""


def own_backups(opened: OpenedArchive) -> list[Backup]:
    """Return this cluster's backups, oldest first; all of them where there is no cluster here."""
    found = opened.list_backups()
    identifier = control_file.read_control(opened.context).get("Database system identifier")
    if identifier is None:
        return found
    return [each for each in found if each.system_identifier in (None, identifier)]


def known_broken(context: Context) -> dict[str, str]:
    """Return the backups that the last verification found broken, and why."""
    found = history.last_runs(context.settings.data_folder).verified
    return dict(found.broken) if found else {}


def choose_parent(opened: OpenedArchive, backups: Sequence[Backup]) -> Backup | None:
    """Return what the next incremental backup builds on."""
    return opened.tool.parent(backups, retention.unsound(backups, known_broken(opened.context)))


def next_is_incremental(opened: OpenedArchive, backups: Sequence[Backup]) -> bool:
    """Tell whether the schedule's next backup is incremental: so many of them follow each full one."""
    parent = choose_parent(opened, backups)
    needed = retention.chain(parent, backups) if parent else None
    return needed is not None and len(needed) <= opened.settings.backup.incrementals


def decide(context: Context, backups: Sequence[Backup], broken: dict[str, str]) -> Decision:
    """Return what retention would do now."""
    wanted = context.settings.backup
    return retention.decide(
        backups, full=wanted.retain_full, days=wanted.retain_days, now=datetime.now(UTC), broken=broken
    )
