"""Running the archiver: its settings file, its preparation, its backups."""

import os

from entrypoint import exits, log
from entrypoint.archivers import Backup, Command, brief
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
    server with data is started all the same: its WAL waits in pg_wal until the storage is back, and
    archive-segment then does first what could not be done here.
    """
    command = archive.tool.prepare(server.describe(context))
    later = f"{context.runtime_folder}/{PREPARE}"
    problem = storage_problem(archive)
    if problem is None and command is not None:
        code, text = run_quietly(context, command, seconds=_QUICK if must_work else _WARM)
        if code:
            problem = _unusable(archive, code, brief(text.strip()))
            must_work = must_work or code == _OTHER_CLUSTER
    if problem is None:
        if os.path.exists(later):
            os.unlink(later)
        return
    if must_work:
        raise Failure(problem)
    if command is not None and archive.storage.folder is None:
        # Not for a folder: where its mount is missing, the tool would make it in the container's layer.
        files.write_atomically(later, _script(context, command))
    log.problem(problem)
    log.warning("starting without a working archive; WAL stays in pg_wal until it works")


PREPARE = "prepare-archive"
"""Script below the runtime folder, while the archive could not be prepared; see shims/archive-segment."""
_WARM = 15
"""Seconds that a start with a database gives the storage before the server comes up without it."""
_OTHER_CLUSTER = 28
"""pgBackRest: the archive belongs to another system identifier."""


def _unusable(archive: Archive, code: int, words: str) -> Problem:
    mend = (
        "an archive belongs to one cluster only: give this one its own ARCHIVE_URL"
        if code == _OTHER_CLUSTER
        else "check that the storage can be reached and that the variables of the archive are right"
    )
    return Problem(
        f"{archive.tool.name} cannot use the archive {archive.storage.url} for this cluster "
        f"(exit code {code}):\n{words}",
        mend,
        exits.ARCHIVE_REFUSED,
    )


def _script(context: Context, command: Command) -> str:
    import shlex

    made = {"PATH": server.tool_path(context), "LC_ALL": "C", **command.environment}
    words = ["env", "-i", *(f"{name}={value}" for name, value in made.items()), *command.argv]
    return f"exec {shlex.join(words)}\n"


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
    if archive.storage.folder is None:
        code, text = run_quietly(context, archive.tool.look(server.describe(context)))
        names = {line.split()[-1].rstrip("/") for line in text.splitlines() if line.split()}
        others = [name for name in _OTHERS[archive.tool.name] if name in names]
        if code == 0 and others:
            raise Failure(_other_tools(archive, archive.storage.url, others))


_OTHERS = {"wal-g": ("backup", "archive"), "pgbackrest": ("basebackups_005", "wal_005")}
"""Folders at the top of the other tool's archive."""


def _other_tools(archive: Archive, where: str, found: list[str]) -> Problem:
    return Problem(
        f"{where} holds another tool's archive ({', '.join(found)}), not one of {archive.tool.name}",
        "set ARCHIVE_TOOL to the other tool, or give this cluster another ARCHIVE_URL",
        exits.ARCHIVE_REFUSED,
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
    others = [name for name in _OTHERS[archive.tool.name] if os.path.isdir(f"{folder}/{name}")]
    return _other_tools(archive, folder, others) if others else None


def environment(context: Context, command: Command) -> dict[str, str]:
    """Return the environment of an archiver call: made from zero."""
    made = {"PATH": server.tool_path(context), "LC_ALL": "C", **command.environment}
    password = context.environment.get("PGPASSWORD") or context.settings.init.password
    return made | {"PGPASSWORD": password} if password else made


def run(context: Context, command: Command) -> int:
    """Run an archiver call with its own words going to our stderr."""
    return context.children.run(command.argv, environment(context, command), descriptors={1: 2})


def run_quietly(context: Context, command: Command, *, seconds: int = _QUICK) -> tuple[int, str]:
    """Run an archiver call and return its exit code and everything it said."""
    words = memory_file("")
    try:
        made = environment(context, command)
        code = context.children.run(command.argv, made, descriptors={1: words, 2: words}, seconds=seconds)
        return code, read_back(words)
    except TimeoutError:
        return 124, f"{read_back(words)}\nno answer within {seconds} seconds"
    finally:
        os.close(words)


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
        code, text = 124, ""
        words = f"{read_back(errors).strip()}\nno answer within {_QUICK} seconds".lstrip()
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
            f"{brief(words.strip() or text.strip())}",
            "check that the storage can be reached and that the ARCHIVE_* variables are right",
            exits.ARCHIVE_REFUSED,
        )
    )
