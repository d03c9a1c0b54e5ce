"""A restore onto an empty volume: fetch a base backup, move it into place, and recover."""

import os
import shutil

from entrypoint import exits, log
from entrypoint.archive import fork
from entrypoint.archivers.terms import brief
from entrypoint.backup import history
from entrypoint.errors import Failure, Problem, Stopped
from entrypoint.restore.planning import Plan, unreadable
from entrypoint.restore.record import record
from entrypoint.restore.replay import recover
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.server.data_folder import forget_original
from entrypoint.settings.restoring import FOLLOW
from entrypoint.system import files, progress
from entrypoint.system.words import Words
from entrypoint.volume.unfinished import Unfinished


def restore(context: Context, plan: Plan, given: list[str]) -> list[str]:
    """Fetch a backup into the work folder, move it into place, and recover; see `recover`.

    A standby is not recovered here: the real server recovers as long as standby.signal exists. Its restore is
    finished once the backup is in place.
    """
    follows = plan.request.action == FOLLOW
    unfinished = Unfinished(context.settings.data_folder)
    unfinished.begin()
    chosen = plan.choice.backup.name
    log.info(f"fetching backup {chosen} from {plan.source.url}")
    code = _fetch(plan, unfinished.cluster)
    if code or not os.path.exists(f"{unfinished.cluster}/PG_VERSION"):
        hint = "see its output above; the next start tries again from scratch"
        raise not_fetched(plan, f"(exit code {code})", hint)
    _move_wal(context, unfinished)
    forget_original(unfinished.cluster)
    history.RUNS.forget_running(unfinished.cluster)
    history.forget_archive(unfinished.cluster)
    # Its presence makes the server recover from the archive; PostgreSQL removes it when it is promoted.
    if follows:
        files.write_atomically(f"{unfinished.cluster}/standby.signal", control_file.OURS)
    else:
        files.write_atomically(f"{unfinished.cluster}/recovery.signal", "")
    unfinished.move_into_place()
    if follows:
        fork.begin(context, fork.STANDBY)
        unfinished.finish()
        log.info(f"the standby is built from backup {chosen}; the server continues from there")
        return []
    unfinished.enter("recovery", record(plan.choice, plan.request))
    return recover(context, given)


def not_fetched(plan: Plan, why: str, hint: str) -> Failure:
    """Return the failure for a backup that the archiver could not fetch."""
    what = f"{plan.source.tool.name} could not fetch backup {plan.choice.backup.name} {why}"
    return Failure(Problem(what, hint, exits.ARCHIVE_REFUSED))


def _fetch(plan: Plan, folder: str) -> int:
    """Run the archiver, with progress; return its exit code."""
    source = plan.source
    tool, name = source.tool, plan.choice.backup.name
    command = tool.fetch(source.server, name, folder, plan=_plan_tablespaces(plan, folder))
    said = Words(tool.name)
    children = source.context.children
    shown = progress.Progress("restore", plan.bytes, lambda: progress.size_of(folder))
    try:
        pid = source.spawn(command, {1: said.writing, 2: said.writing})
        said.begin()
        while True:
            try:
                return children.wait(pid, seconds=shown.step, words=said)
            except TimeoutError:
                shown.look()
    except Stopped:
        children.end_group(pid, words=said)
        raise
    finally:
        shown.close()
        said.end()


def _plan_tablespaces(plan: Plan, folder: str) -> str:
    """Write down where the tablespaces go, for a tool that needs such a file; return its path, or nothing."""
    source = plan.source
    planning = source.can.planning
    if planning is None:
        return ""
    answer = source.ask(planning.describe_backup(source.server, plan.choice.backup.name))
    if answer.code:
        raise Failure(unreadable(source, brief(answer.stderr.strip())))
    with source.understood():
        text, locations = planning.plan_tablespaces(answer.stdout, folder)
    for location in locations:
        if os.path.isdir(location) and os.listdir(location):
            raise Failure(
                Problem(
                    f"the tablespace location {location} is not empty",
                    "mount an empty folder there that uid "
                    f"{source.context.who.uid} may write to; the present content is left alone",
                    exits.ARCHIVE_REFUSED,
                    docs="restore-a-lost-volume",
                )
            )
    if not text:
        return ""
    path = f"{source.runtime_folder}/tablespaces.json"
    files.write_atomically(path, text)
    return path


def _move_wal(context: Context, unfinished: Unfinished) -> None:
    """Move pg_wal to the folder that POSTGRES_INITDB_WALDIR names."""
    target = context.settings.init.wal_folder
    wal = f"{unfinished.cluster}/pg_wal"
    if not os.path.lexists(wal):
        os.mkdir(wal, 0o700)  # wal-g omits it if it was a link
    if target is None or os.path.islink(wal):
        return
    if os.listdir(target):
        raise Failure(
            Problem(
                f"POSTGRES_INITDB_WALDIR={target} is not empty",
                "give the restored cluster an empty folder for its WAL",
                exits.UNFINISHED_RESTORE,
            )
        )
    # The link comes first, so that the next start finds and empties the folder after an interrupted move.
    moving = f"{wal}.moving"
    os.rename(wal, moving)
    os.symlink(target, wal)
    for name in os.listdir(moving):
        shutil.move(f"{moving}/{name}", f"{target}/{name}")
    os.rmdir(moving)
