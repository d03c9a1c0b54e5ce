"""Whose archive it is: one archive belongs to one cluster, and to one tool.

pgBackRest knows the cluster of a stanza. For wal-g an object of ours says it, since wal-g would let a second
cluster write beside the first one's files: wal-g/wal-g#104, wal-g/wal-g#354.
"""

from __future__ import annotations

import os
import time

from entrypoint import exits, log
from entrypoint.archive import calls, fork, mark, succession, writer
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archive.storage import other_tool_at, storage_problem
from entrypoint.archive.succession import Cluster
from entrypoint.archivers.interface import Upgrading
from entrypoint.archivers.terms import IDENTITY, brief
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import status
from entrypoint.server import control_file
from entrypoint.server.context import Context, later_command
from entrypoint.server.data_folder import data_major
from entrypoint.system import files

_WARM = 15
"""Seconds that a start with a database gives the storage before the server comes up without it."""
_LISTING = 60
"""Seconds that the first start after a restore gives it to list the archive."""
_IDENTITY = 16 * calls.SMALL
"""Bytes that are read of who an archive belongs to: pgBackRest tells all of its backups with it."""
_NEAR = 0.08
"""Seconds in which a near storage tells whose archive it is: wal-g starts, and asks three times."""


def prepare(opened: OpenedArchive, *, must_work: bool) -> bool:
    """Make the archive this cluster's; raises Failure, before anything is written, if it is another's.

    With `must_work` (nothing is in the volume yet that could be lost) any trouble ends the start. A
    server with data is started all the same: its WAL waits in pg_wal until the storage is back, and
    archive-segment then does first what could not be done here.

    A restored cluster in whose archive somebody else has gone on is started too, and archives nothing: see
    archive/fork.py. Returns whether the storage is near: it answered within milliseconds.
    """
    later = f"{opened.runtime_folder}/{calls.PREPARE}"
    data = opened.data_folder
    if not must_work:
        fork.reopen(opened)
    elif (refused := fork.refusal(data)) is not None:
        raise Failure(refused)
    problem, near = _settle(opened, calls.QUICK if must_work else _WARM)
    if problem is None and not must_work and status.in_recovery(data) and fork.read(data) is not None:
        # Who else goes on in the archive is to be seen once this server is promoted: its first segment looks.
        files.write_atomically(later, script(opened.context, "prepare-archive"))
        return near
    if problem is None:
        problem = _look(opened, must_work=must_work)
    refused = fork.refusal(data)
    problem = refused or problem
    if problem is None:
        if os.path.exists(later):
            os.unlink(later)
        return near
    if must_work:
        raise Failure(problem)
    if fork.is_superseded(data):
        return near  # whether it serves all the same is not for the archive to say
    if refused is not None:
        log.problem(refused)
        log.warning("serving without archiving: nothing is archived, backed up or removed from the archive")
        return near
    files.write_atomically(later, script(opened.context, "prepare-archive"))
    log.problem(problem)
    log.warning("starting without a working archive; WAL stays in pg_wal until it works")
    return near


def _look(opened: OpenedArchive, *, must_work: bool) -> Problem | None:
    """Look who else goes on in the archive, and note it; return why that cannot be told."""
    problem = writer.look(opened, seconds=calls.QUICK if must_work else _WARM)
    return problem or fork.look(opened, opened.archive.command_timeout if must_work else _LISTING)


def _settle(opened: OpenedArchive, seconds: int) -> tuple[Problem | None, bool]:
    """Make the archive ours, or return why that cannot be done now; raises Failure if it is another's.

    Returns also whether the storage is near.
    """
    problem = storage_problem(opened.archive)
    near = False
    if problem is not None:
        return problem, near
    data = opened.data_folder
    lost = mark.is_lost(data, opened.archive)
    ours = control_file.system_identifier(opened.context)
    what = opened.server
    try:
        if opened.can.other_cluster_code is None:
            found, near = _owner(opened, seconds)
            if found == ours:
                _noted(opened, anew=False)
                return None, near
            if found is not None:
                raise Failure(_others(opened, found, ours, _MEND))
            text = f'{{"system_identifier": "{ours}"}}\n'
            files.write_atomically(f"{what.runtime_folder}/{IDENTITY}", text)
            lost = mark.was_ours(data, opened.archive)
        if lost and (unmounted := mark.unmounted(data, opened.archive)) is not None:
            return unmounted, near
        code, words = opened.run_quietly(opened.tool.prepare(what), seconds=seconds)
        upgrading = opened.can.upgrading
        if code and upgrading and code == opened.can.other_cluster_code:
            code, words = _succeed(opened, upgrading, seconds)
    except ValueError as error:
        code, words = 1, str(error)
    if code == 0:
        if lost:
            log.warning(
                f"{opened.url} held nothing of this cluster any more: its archive begins anew, and "
                "nothing from before can be restored from it",
                "a full backup is taken where BACKUP_SCHEDULE is set; else take one: entrypoint backup push",
            )
        _noted(opened, anew=lost)
    return (None if code == 0 else _unusable(opened, code, words)), near


def _noted(opened: OpenedArchive, *, anew: bool) -> None:
    """Note that the archive is ours, and how archive-segment sees that it no longer is."""
    mark.note(opened.data_folder, opened.archive, anew=anew)
    place = mark.path(opened.archive)
    if place is not None:
        try:
            files.write_atomically(
                f"{opened.runtime_folder}/{calls.CLAIM}", script(opened.context, "prepare-archive")
            )
            files.write_atomically(f"{opened.runtime_folder}/{calls.MARK}", f"{place}\n")
        except OSError as error:
            log.debug(f"whether the archive loses its mark is not looked at: {error}")


def _unusable(opened: OpenedArchive, code: int, words: str) -> Problem:
    return Problem(
        f"{opened.tool.name} cannot use the archive {opened.url} (exit code {code}):\n{brief(words.strip())}",
        "check that the storage can be reached and that the variables of the archive are right",
        exits.ARCHIVE_REFUSED,
    )


def objection(opened: OpenedArchive, *, settled: bool, seconds: float) -> str:
    """Return why nothing may be written to an archive now; empty: it is this cluster's, or nobody's.

    `settled` tells that this container's start has made it this cluster's. Nothing is changed. Raises Failure
    where the next start would refuse the archive, and where it cannot be asked.
    """
    data = opened.data_folder
    if status.in_recovery(data):
        return "this is a standby, or replays the archive"
    if fork.objection(data) is not None:
        return "this cluster was restored, and may not write there (yet)"
    if settled:
        return ""
    if not os.path.exists(f"{data}/PG_VERSION"):
        if opened.settings.restore is not None:
            return "a database is to be restored from it"
        check_unused(opened, seconds=seconds)
        return ""
    ours = control_file.system_identifier(opened.context)
    try:
        found = owner(opened, seconds)
    except ValueError as error:
        raise Failure(_unusable(opened, 1, str(error))) from error
    if found in (None, ours):
        return ""
    if opened.archive.upgraded_from:
        return f"it belongs to the cluster {found}, until the next start takes it over"
    raise Failure(_others(opened, f"{found}", ours, _MEND))


def owner(opened: OpenedArchive, seconds: float) -> str | None:
    """Return the system identifier that an archive belongs to; raises ValueError with the tool's words."""
    return _owner(opened, seconds)[0]


def _owner(opened: OpenedArchive, seconds: float) -> tuple[str | None, bool]:
    """Return the owner of an archive, see `owner`, and whether the storage that told it is near."""
    tool = opened.tool
    began = time.monotonic()
    code, text = opened.run_quietly(tool.identify(opened.server), seconds=seconds, at_most=_IDENTITY)
    near = time.monotonic() - began < _NEAR
    owner = tool.parse_identity(code, text)
    if owner is not None or tool.capabilities.other_cluster_code is not None:
        return owner, near
    try:
        backups = opened.list_backups(seconds=seconds)  # of a time before it was marked
    except Failure as failure:
        raise ValueError(failure.problems[0].what) from failure
    return (backups[-1].system_identifier if backups else None), near


def _succeed(opened: OpenedArchive, upgrading: Upgrading, seconds: int) -> tuple[int, str]:
    """Take over another cluster's archive, if ours was made of that one by pg_upgrade; raises Failure if not.

    Returns how that ended and the tool's words; raises ValueError with its words where it cannot be asked.
    """
    tool = opened.tool
    what = opened.server
    owners = upgrading.parse_owners(*opened.run_quietly(tool.identify(what), seconds=seconds))
    control = control_file.read_control(opened.context)
    cluster = Cluster(
        identifier=control.get("Database system identifier", ""),
        major=data_major(what.data_folder),
        redo_segment=control.get("Latest checkpoint's REDO WAL file", ""),
        segment_bytes=what.segment_bytes,
    )
    owner = next((each.identifier for each in owners if each.identifier != cluster.identifier), "unknown")
    told = opened.archive.upgraded_from
    objection = succession.objection(owners, cluster, told)
    if objection is not None:
        hint = _MEND
        if succession.objection(owners, cluster, owner) is None:
            hint += f"; if pg_upgrade made it of that very cluster, set ARCHIVE_UPGRADED_FROM={owner}"
        problem = _others(opened, owner, cluster.identifier, hint)
        raise Failure(
            problem._replace(
                what=f"{problem.what}; ARCHIVE_UPGRADED_FROM={told} does not make it this one's: {objection}"
            )
            if told
            else problem
        )
    code, words = opened.run_quietly(upgrading.upgrade(what), seconds=seconds)
    if code == 0:
        log.info(
            f"the archive {opened.url} was upgraded with the cluster: from PostgreSQL "
            f"{', '.join(sorted({str(each.major) for each in owners}))} and system identifier {owner} to "
            f"PostgreSQL {cluster.major} and {cluster.identifier}"
        )
        log.warning(
            "backups from before the upgrade restore only with an image of the old major",
            "take a full backup now: entrypoint backup push",
        )
    return code, words


_MEND = "an archive belongs to one cluster only: give this one its own ARCHIVE_URL"


def _others(opened: OpenedArchive, owner: str, ours: str, hint: str) -> Problem:
    return Problem(
        f"the archive {opened.url} belongs to another cluster: its system identifier is {owner}, "
        f"this cluster's is {ours}",
        hint,
        exits.ARCHIVE_REFUSED,
    )


def script(context: Context, command: str) -> str:
    """Return a piece of sh by which archive-segment calls a command of ours."""
    return f"{later_command(context, command)}\n"


def check_unused(opened: OpenedArchive, *, seconds: float = calls.QUICK) -> None:
    """Make sure that a new cluster does not begin in an archive that belongs to another one.

    This is the moment when a volume got lost and its container was made anew: what the user wants then
    is a restore. Raises Failure, before anything is made.
    """
    problem = storage_problem(opened.archive)
    if problem is not None:
        raise Failure(problem)
    where = opened.url
    backups = opened.list_backups(seconds=seconds)
    if backups:
        newest = backups[-1]
        raise Failure(
            Problem(
                f"the volume is empty, but the archive {where} holds {len(backups)} backups "
                f"of a cluster (system identifier {newest.system_identifier}, newest {newest.name} of "
                f"{newest.finished})",
                "to have that database back, set RESTORE_FROM=LATEST; to make a new one, give it its own "
                "ARCHIVE_URL",
                exits.ARCHIVE_REFUSED,
            )
        )
    try:
        found = owner(opened, seconds)
    except ValueError as error:
        what = f"{where} cannot be read:\n{error}"
        problem = Problem(what, "see these words of the archiver", exits.ARCHIVE_REFUSED)
        raise Failure(problem) from error
    if found is not None:
        raise Failure(
            Problem(
                f"the volume is empty, but the archive {where} belongs to a cluster already (system "
                f"identifier {found}), which has no backup there",
                "give the new database its own ARCHIVE_URL, or empty this archive if nobody needs it",
                exits.ARCHIVE_REFUSED,
            )
        )
    other = other_tool_at(opened)
    if other is not None:
        raise Failure(other)
