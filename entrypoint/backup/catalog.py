"""The backups of this cluster, their known state, and the decision of retention about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup, Verification
from entrypoint.backup import history, retention, window
from entrypoint.backup.retention import Decision
from entrypoint.backup.window import Coverage
from entrypoint.postgres import segments
from entrypoint.server import control_file
from entrypoint.server.context import Context

LONG = 6 * 3600
"""Seconds for one archiver call that scans the whole archive, and for reading the archive's objects."""


def own_backups(opened: OpenedArchive) -> list[Backup]:
    """Return this cluster's backups, oldest first; all backups if there is no cluster here."""
    return own_of(opened, opened.list_backups())


def own_of(opened: OpenedArchive, found: list[Backup]) -> list[Backup]:
    """Return the backups of this cluster among an archive's; all of them if there is no cluster here."""
    identifier = control_file.read_control(opened.context).get("Database system identifier")
    if identifier is None:
        return found
    return [each for each in found if each.system_identifier in (None, identifier)]


def known_broken(context: Context) -> dict[str, str]:
    """Return the backups that the last verification found broken, with the reasons."""
    found = history.last_runs(context.settings.data_folder).verified
    return dict(found.broken) if found else {}


def coverage(opened: OpenedArchive, backups: Sequence[Backup]) -> Coverage:
    """Return what these backups cover, without the gaps that the last verification found."""
    last = history.last_runs(opened.data_folder).verified
    return window.cover(
        opened.url, backups, Verification(last.holes, last.broken) if last else Verification()
    )


def archived_until(opened: OpenedArchive, backups: Sequence[Backup]) -> float | None:
    """Return when the newest segment arrived in an archive to which no server here writes; None: unknown."""
    answer = opened.ask(opened.tool.list_wal(opened.server))
    if answer.code or not backups:
        return None
    try:
        stored = opened.tool.parse_wal(answer.stdout, backups[-1].folders)
    except ValueError:
        return None
    times = [each.modified for each in stored if segments.NAME.fullmatch(each.name)]
    return max((datetime.fromisoformat(each).timestamp() for each in times), default=None)


def choose_parent(opened: OpenedArchive, backups: Sequence[Backup]) -> Backup | None:
    """Return the backup that the next incremental backup builds on; None: the next one must be full."""
    return opened.tool.parent(backups, retention.unsound(backups, known_broken(opened.context)))


def is_of_our_history(opened: OpenedArchive, backup: Backup) -> bool:
    """Return whether this cluster's history contains a backup.

    A lost leader may have taken it after the point from which another node continues.
    """
    mine = control_file.timeline(opened.context)
    forks = segments.parse_history(control_file.history(opened.context, mine))
    end = segments.parse_lsn(backup.stop_lsn)
    return backup.timeline == mine or any(timeline == backup.timeline and end <= at for timeline, at in forks)


def next_is_incremental(opened: OpenedArchive, backups: Sequence[Backup]) -> bool:
    """Return whether the schedule's next backup is incremental: a set number follows each full backup."""
    parent = choose_parent(opened, backups)
    needed = retention.chain(parent, backups) if parent else None
    return needed is not None and len(needed) <= opened.settings.backup.incrementals


def decide(context: Context, backups: Sequence[Backup], broken: dict[str, str]) -> Decision:
    """Return what retention would keep and remove now."""
    wanted = context.settings.backup
    return retention.decide(
        backups, full=wanted.retain_full, days=wanted.retain_days, now=datetime.now(UTC), broken=broken
    )
