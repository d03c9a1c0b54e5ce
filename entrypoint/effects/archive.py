"""Running the archiver: its settings file, its preparation, its backups."""

import os

from entrypoint import exits, log
from entrypoint.archivers import Backup, Command
from entrypoint.effects import files, folders, server
from entrypoint.effects.children import memory_file, read_back
from entrypoint.effects.server import Context
from entrypoint.errors import Failure, Problem
from entrypoint.settings import Archive

_QUICK = 120
"""Seconds for calls that only ask the storage something."""


def render(context: Context, archive: Archive) -> None:
    """Write the archiver's settings file, for the server's user only."""
    from entrypoint import conf

    what = server.describe(context)
    path = f"{what.runtime_folder}/{archive.tool.config_name}"
    files.write_atomically(path, conf.archiver_conf(context.settings, archive, what))
    os.chown(path, context.who.uid, -1)


def prepare(context: Context, archive: Archive, *, must_work: bool) -> None:
    """Make the archive ready for this cluster, and refuse another cluster's.

    With `must_work` (nothing is in the volume yet that could be lost) any trouble ends the start. A
    server with data is started all the same: its WAL waits in pg_wal until the storage is back.
    """
    problem = storage_problem(archive)
    if problem is None:
        command = archive.tool.prepare(server.describe(context))
        if command is None:
            return
        code, text = run_quietly(context, command)
        if code == 0:
            return
        problem = Problem(
            f"{archive.tool.name} cannot use the archive {archive.storage.url} for this cluster "
            f"(exit code {code}):\n{text.strip()}",
            "correct the ARCHIVE_* variables; an archive belongs to one cluster only, so give another "
            "cluster its own ARCHIVE_URL",
            exits.ARCHIVE_REFUSED,
        )
        if code == _OTHER_CLUSTER:
            must_work = True
    if must_work:
        raise Failure(problem)
    log.problem(problem)
    log.warning("starting without a working archive; WAL stays in pg_wal until it works")


_OTHER_CLUSTER = 28
"""pgBackRest: the archive belongs to another system identifier."""


def check_unused(context: Context, archive: Archive) -> None:
    """Make sure that a new cluster does not begin in an archive that holds another one's backups.

    This is the moment when a volume got lost and its container was made anew: what the user wants then
    is a restore. Raises Failure, before anything is made.
    """
    problem = storage_problem(archive)
    if problem is not None:
        raise Failure(problem)
    backups = list_backups(context, archive)
    if backups:
        newest = backups[-1]
        raise Failure(
            Problem(
                f"the volume is empty, but the archive {archive.storage.url} holds {len(backups)} backups "
                f"of a cluster (system identifier {newest.system_identifier}, newest {newest.name} of "
                f"{newest.finished})",
                "to have that database back, set RESTORE_FROM=LATEST; to make a new one, give it its own "
                "ARCHIVE_URL",
                exits.ARCHIVE_REFUSED,
            )
        )


def storage_problem(archive: Archive) -> Problem | None:
    """Return what is wrong with an archive on a folder, as far as that can be seen."""
    folder = archive.storage.folder
    if folder is None:
        return None
    if not os.path.isdir(folder):
        return Problem(
            f"the archive folder {folder} does not exist",
            f"mount a volume there: -v NAME:{folder}",
            exits.ARCHIVE_REFUSED,
        )
    problem = folders.check_archive_folder(folder)
    if problem is not None:
        return problem.but(code=exits.ARCHIVE_REFUSED)
    marks = {"wal-g": ("backup", "archive"), "pgbackrest": ("basebackups_005", "wal_005")}
    others = [name for name in marks[archive.tool.name] if os.path.isdir(f"{folder}/{name}")]
    if others:
        return Problem(
            f"{folder} holds another tool's archive ({', '.join(others)}), not one of {archive.tool.name}",
            "set ARCHIVE_TOOL to the other tool, or give this cluster another ARCHIVE_URL",
            exits.ARCHIVE_REFUSED,
        )
    return None


def environment(context: Context, command: Command) -> dict[str, str]:
    """Return the environment of an archiver call: made from zero."""
    made = {"PATH": server.tool_path(context), "LC_ALL": "C", **command.environment}
    password = context.environment.get("PGPASSWORD") or context.settings.init.password
    return made | {"PGPASSWORD": password} if password else made


def run(context: Context, command: Command) -> int:
    """Run an archiver call with its own words going to our stderr."""
    return context.children.run(command.argv, environment(context, command), descriptors={1: 2})


def run_quietly(context: Context, command: Command) -> tuple[int, str]:
    """Run an archiver call and return its exit code and everything it said."""
    try:
        return context.children.output(
            command.argv, environment(context, command), seconds=_QUICK, errors=True
        )
    except TimeoutError:
        return 124, f"no answer within {_QUICK} seconds"


def list_backups(context: Context, archive: Archive) -> list[Backup]:
    """Return the backups, oldest first; raises Failure with the tool's words."""
    command = archive.tool.list_backups(server.describe(context))
    errors = memory_file("")
    try:
        code, text = context.children.output(
            command.argv, environment(context, command), seconds=_QUICK, stderr=errors
        )
        words = read_back(errors).strip()
    except TimeoutError:
        code, text, words = 124, "", f"no answer within {_QUICK} seconds"
    finally:
        os.close(errors)
    if code == 0:
        try:
            return archive.tool.parse_backups(text)
        except (ValueError, KeyError, TypeError) as error:
            words = f"{error}\n{words}"
    raise Failure(
        Problem(
            f"the backups in {archive.storage.url} cannot be listed (exit code {code}):\n"
            f"{words or text.strip()}",
            "check that the storage can be reached and that the ARCHIVE_* variables are right",
            exits.ARCHIVE_REFUSED,
        )
    )
