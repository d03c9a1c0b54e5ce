"""A restore on an empty volume: fetch a base backup, replay the archive to its end, promote."""

import os

from entrypoint import exits, log
from entrypoint.effects import archive as archives
from entrypoint.effects import fetching, files, server, status
from entrypoint.effects.server import Context
from entrypoint.effects.unfinished import Unfinished
from entrypoint.errors import Failure, Problem
from entrypoint.settings import Archive


def restore(context: Context, archive: Archive, chosen: str, given: list[str]) -> None:
    """Fetch a backup into the work folder, move it into place, and recover."""
    unfinished = Unfinished(context.settings.data_folder)
    unfinished.begin()
    log.info(f"fetching backup {chosen} from {archive.storage.url}")
    command = archive.tool.fetch(server.describe(context), chosen, unfinished.cluster)
    code = archives.run(context, command)
    if code or not os.path.exists(f"{unfinished.cluster}/PG_VERSION"):
        raise Failure(
            Problem(
                f"{archive.tool.name} could not fetch backup {chosen} (exit code {code})",
                "see its own words above; the next start tries again from the beginning",
                exits.ARCHIVE_REFUSED,
            )
        )
    _move_wal(context, unfinished)
    # Its presence makes the server recover from the archive; PostgreSQL removes it when it is done.
    files.write_atomically(f"{unfinished.cluster}/recovery.signal", "")
    for name in ("postmaster.pid", "postmaster.opts"):
        if os.path.exists(f"{unfinished.cluster}/{name}"):
            os.unlink(f"{unfinished.cluster}/{name}")
    unfinished.move_into_place()
    unfinished.enter("recovery", chosen)
    recover(context, archive, given)


def choose(context: Context, archive: Archive, backup: str) -> str:
    """Return the name of the wished backup; raises Failure, before a byte is written, if there is none."""
    problem = archives.storage_problem(archive)
    if problem is not None:
        raise Failure(problem)
    backups = archives.list_backups(context, archive)
    names = [each.name for each in backups]
    if not names:
        raise Failure(
            Problem(
                f"RESTORE_FROM={backup}, but the archive {archive.storage.url} holds no backup",
                "check ARCHIVE_URL and ARCHIVE_TOOL; without RESTORE_FROM a new database is made",
                exits.ARCHIVE_REFUSED,
            )
        )
    if backup != "LATEST" and backup not in names:
        raise Failure(
            Problem(
                f"RESTORE_FROM={backup} is no backup in {archive.storage.url}",
                f"use LATEST or one of {', '.join(names[-10:])}",
                exits.ARCHIVE_REFUSED,
            )
        )
    return names[-1] if backup == "LATEST" else backup


def _move_wal(context: Context, unfinished: Unfinished) -> None:
    """Put pg_wal where POSTGRES_INITDB_WALDIR wants it."""
    target = context.settings.init.wal_folder
    wal = f"{unfinished.cluster}/pg_wal"
    if not os.path.lexists(wal):
        os.mkdir(wal, 0o700)  # wal-g leaves it out where it was a link
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
    import shutil

    # The link comes first, so that the next start finds and empties what an interrupted move has left.
    moving = f"{wal}.moving"
    os.rename(wal, moving)
    os.symlink(target, wal)
    for name in os.listdir(moving):
        shutil.move(f"{moving}/{name}", f"{target}/{name}")
    os.rmdir(moving)


def recover(context: Context, archive: Archive, given: list[str]) -> None:
    """Replay the archive to its end and promote, closed to all clients.

    archive_command is empty meanwhile, so that the promoted cluster's first segments and its timeline
    history wait for the real start. hot_standby is off: nobody is to see an old state, and settings
    smaller than the original's do not stop the replay. "Ready" then means: promoted.
    """
    from entrypoint import conf

    unfinished = Unfinished(context.settings.data_folder)
    command = conf.restore_command(archive, server.describe(context), server.tool_path(context))
    closed = {
        "listen_addresses": "",
        "hot_standby": "off",
        "archive_mode": "on",
        "archive_command": "",
        "restore_command": command,
        "recovery_target_timeline": "latest",
    }
    options = [word for name, value in closed.items() for word in ("-c", f"{name}={value}")]
    log.info("replaying the archive")
    status.enter(context.runtime_folder, status.RECOVERY)
    with (
        fetching.fetching(context, archive),
        server.temporary_server(context, [*given, *options, "-p", context.settings.port], seconds=None),
    ):
        pass
    if os.path.exists(f"{context.settings.data_folder}/recovery.signal"):
        raise Failure(
            Problem(
                "the server ended its recovery without a promotion",
                "see its own words above; the next start goes on with the replay",
                exits.UNFINISHED_RESTORE,
            )
        )
    unfinished.finish()
    log.info("the restore is complete")
