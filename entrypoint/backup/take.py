"""Takes a base backup, verifies the archive and removes old backups; `push` is the overview.

Both the commands and the schedule use this module.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from entrypoint import exits, log
from entrypoint.archive import calls, claim, fork, gap, known_gaps, shares
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup
from entrypoint.backup import history, journal, runs
from entrypoint.backup.catalog import choose_parent, is_of_our_history, own_backups
from entrypoint.backup.expire import expire
from entrypoint.backup.runs import Run
from entrypoint.backup.turn import be_modest, run_tool
from entrypoint.backup.verify import hole_is_open, verified
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import status
from entrypoint.server import control_file, sessions
from entrypoint.server.data_folder import live_postmaster
from entrypoint.shown import spell
from entrypoint.system import capacity, progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.backup.journal import Outcome
    from entrypoint.backup.runs import Why


def obstacle(opened: OpenedArchive) -> Problem | None:
    """Return why no backup can be taken now; None: it can."""
    data = opened.data_folder
    found = live_postmaster(data)
    if found is None or not found.status:
        return Problem(
            f"no server accepts connections on {data}, so nothing can be backed up",
            "run this in the server's container: docker exec CONTAINER entrypoint backup push",
        )
    if status.in_recovery(data) or found.status == "standby":
        return Problem(
            "the server is in recovery: a backup of it would need WAL that another server archives",
            "take backups on the primary, or try again after the promotion",
            docs="schedule-backups",
        )
    if found.status != "ready":
        return Problem(f"the server is {found.status}", "try again when it is ready")
    refused = fork.refusal(data)
    if refused is not None:
        return refused
    failing, _ = calls.outage(opened.runtime_folder, data)
    if not failing:
        return None
    return Problem(
        f"archiving to {opened.url} fails, so a backup would wait for its WAL forever: "
        f"{failing[0] or 'see the log'}",
        "fix archiving first: entrypoint doctor; the backlog is then archived automatically",
        exits.ARCHIVE_REFUSED,
        "fix-archiving",
    )


def push(opened: OpenedArchive, *, incremental: bool, why: Why, lock: int) -> Run:
    """Take a backup, verify the archive, take a full backup after a hole, and remove what is too old.

    Raises Failure if the backup cannot be taken, or if it fails; a failed backup is recorded first.
    """
    problem = obstacle(opened)
    if problem is not None:
        raise Failure(problem)
    unknown = fork.objection(opened.data_folder) is not None
    if unknown or os.path.exists(f"{opened.runtime_folder}/{calls.PREPARE}"):
        claim.prepare(opened, must_work=True)
    gap.settle(opened)
    reason = _why_full(opened)
    if reason and incremental:
        log.info(f"taking a full backup: {reason}")
    run = _push(opened, incremental=incremental and not reason, why=why, lock=lock)
    if run.verified and hole_is_open(opened, run):
        log.warning("no full backup is newer than what is missing from the archive: taking a new one")
        run = _push(opened, incremental=False, why=runs.HOLE, lock=lock)
    if opened.settings.backup.retains:
        try:
            expire(opened, dry_run=False)
        except Failure as failure:
            # The backup itself is good, and old backups only take space.
            for each in failure.problems:
                log.problem(each)
    return run


def _why_full(opened: OpenedArchive) -> str:
    """Return why the next backup must not be incremental; empty: it may be."""
    if fork.awaits_backup(opened.data_folder):
        # The newest backup in the archive may be from a history that is not this cluster's.
        return "this timeline has none since the restore"
    if known_gaps.owed(opened.context, opened.url):
        return "WAL was given up since the last one"
    if opened.settings.failover is not None:
        parent = choose_parent(opened, own_backups(opened))
        if parent is not None and not is_of_our_history(opened, parent):
            return f"{parent.name} holds what only a lost leader had"
    return ""


def _push(opened: OpenedArchive, *, incremental: bool, why: Why, lock: int) -> Run:
    data = opened.data_folder
    before = own_backups(opened)
    parent = choose_parent(opened, before) if incremental else None
    if incremental and parent is None:
        log.info("there is no backup that an incremental one could build on: taking a full one")
    run = Run(
        kind="full" if parent is None else "incremental",
        started=datetime.now(UTC).isoformat(),
        why=why,
        url=opened.url,
    )
    history.RUNS.note(data, run)
    began = time.monotonic()
    try:
        log.info(f"taking {'a full' if parent is None else 'an incremental'} backup to {opened.url}")
        run = _take(opened, run, parent=parent, before=before, lock=lock)
        run = run._replace(seconds=round(time.monotonic() - began, 1))
        log.info(f"backup {run.name} ({run.kind}): {spell(run.bytes)} stored in {run.seconds:.0f} s")
        run = verified(opened, run)
    except BaseException as error:
        outcome, words = journal.ended_by(error)
        run = run._replace(outcome=outcome, words=words)
        raise
    finally:
        history.RUNS.note(data, run._replace(seconds=run.seconds or round(time.monotonic() - began, 1)))
    return run


def _take(
    opened: OpenedArchive,
    run: Run,
    *,
    parent: Backup | None,
    before: Sequence[Backup],
    lock: int,
) -> Run:
    """Run the archiver and find the new backup in the archive."""
    wanted = opened.settings.backup
    tool = opened.tool
    if wanted.rate_limit and (told := tool.capabilities.no_rate) is not None:
        log.warning(told.what, told.hint)
    be_modest()
    _end_recovery(opened)
    resources = shares.backup(capacity.processors(), capacity.memory_limit(), wanted.rate_limit)
    what = opened.server._replace(database=sessions.database(opened.context))
    command = tool.push(what, parent, resources)
    shown = progress.Progress("backup", progress.size_of(opened.data_folder), lambda: 0)
    code, words = run_tool(
        opened, command, lock, seconds=wanted.timeout, shown=shown, counter=progress.read_by
    )
    if code:
        raise Failure(
            Problem(
                f"{tool.name} could not take the backup (exit code {code}):\n{words}",
                "see its output above; to find the reason: entrypoint doctor",
                exits.ARCHIVE_REFUSED,
                "fix-archiving",
            )
        )
    known = {each.name for each in before}
    new = [each for each in own_backups(opened) if each.name not in known]
    if not new:
        raise Failure(
            Problem(
                f"{tool.name} succeeded, but the archive lists no new backup:\n{words}",
                "inspect the archive: entrypoint backup list, entrypoint doctor",
                exits.ARCHIVE_REFUSED,
            )
        )
    made = new[-1]
    _note_made(opened, made)
    if made.kind != run.kind:
        log.warning(f"{tool.name} took a {made.kind} backup instead of the requested {run.kind} one")
    outcome: Outcome = journal.OK
    if made.damaged:
        outcome = journal.DAMAGED
        words = "the database has damaged pages, and this backup contains them"
        log.warning(
            f"{words}: {made.name}",
            "older backups are kept; find the pages (pg_amcheck, or the log), and restore from before the "
            "damage",
            "restore-to-a-moment",
        )
    return run._replace(
        kind=made.kind, name=made.name, bytes=made.stored_bytes, outcome=outcome, words=words.split("\n")[-1]
    )


def _note_made(opened: OpenedArchive, made: Backup) -> None:
    """Note what a new backup ends."""
    fork.end(opened.context, made.kind, made.timeline)
    try:
        gap.close(opened, made)
    except Failure as failure:
        log.problem(failure.problems[0])  # the backup itself is good, and the next look tries again


def _end_recovery(opened: OpenedArchive) -> None:
    """After a promotion, make its checkpoint end now; PostgreSQL may spread that checkpoint over minutes."""
    if not control_file.awaits_checkpoint(opened.context):
        return
    log.info("waiting for the checkpoint after the promotion")
    sessions.query(opened.context, "CHECKPOINT", writes=True, seconds=opened.settings.backup.timeout)
