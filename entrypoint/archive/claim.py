"""The claim to an archive: one archive belongs to one cluster, and to one tool.

pgBackRest records the cluster of a stanza. For wal-g we store an object that records it, since wal-g would
let a second cluster write next to the first cluster's files: wal-g/wal-g#104, wal-g/wal-g#354.
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
from entrypoint.system import files, refusal
from entrypoint.volume import past

_WARM = 15
"""Seconds that a start with a database waits for the storage before the server comes up without it."""
_LISTING = 60
"""Seconds that the first start after a restore waits for the list of the archive's WAL."""
_IDENTITY = 16 * calls.SMALL
"""Most bytes that are read to find an archive's owner: pgBackRest lists all of its backups as well."""
_NEAR = 0.08
"""Seconds within which a near storage says whose archive it is: wal-g starts, and queries it three times."""


def prepare(opened: OpenedArchive, *, must_work: bool) -> bool:
    """Claim the archive for this cluster; raises Failure, before anything is written, if it is another's.

    With `must_work` (the volume holds nothing yet that could be lost) any trouble ends the start. A server
    with data starts anyway: its WAL waits in pg_wal until the storage is back, and archive-segment then first
    does what could not be done here.

    A restored cluster starts too, but archives nothing, if another server has written to the archive since:
    see archive/fork.py. Returns whether the storage is near, which means that it answers within milliseconds.
    """
    later = f"{opened.runtime_folder}/{calls.PREPARE}"
    data = opened.data_folder
    if not must_work:
        _reopen(opened)
    elif (refused := fork.refusal(data)) is not None:
        raise Failure(refused)
    _make_place(opened)
    problem, near = _settle(opened, calls.QUICK if must_work else _WARM)
    if problem is None and not must_work and status.in_recovery(data) and fork.read(data) is not None:
        # Other writers matter only once this server is promoted: its first segment triggers the check then.
        prepare_later(opened.context)
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
        return near  # whether it serves is decided elsewhere
    if refused is not None:
        log.problem(refused)
        log.warning("serving without archiving: nothing is archived, backed up or removed from the archive")
        return near
    prepare_later(opened.context)
    _say_not_working(problem)
    return near


def _say_not_working(problem: Problem) -> None:
    log.problem(problem)
    log.warning("starting without a working archive; WAL stays in pg_wal until it works")


def prepare_node(opened: OpenedArchive) -> bool:
    """Check at the start of a node under Patroni that the archive is this cluster's; else raise Failure.

    Other nodes matter only once this one leads: its first segment triggers that check then. Returns what
    `prepare` does.
    """
    _make_place(opened)
    problem, near = _settle(opened, _WARM)
    prepare_later(opened.context)
    if problem is not None:
        _say_not_working(problem)
    return near


def prepare_later(context: Context) -> None:
    """Let archive-segment do the work of `prepare`, with `must_work`, before it archives the next segment."""
    files.write_atomically(f"{context.runtime_folder}/{calls.PREPARE}", script(context, "prepare-archive"))


def _make_place(opened: OpenedArchive) -> None:
    if opened.archive.storage.below:
        from entrypoint.archive import below  # loaded only if it is needed

        below.make(opened)


def _reopen(opened: OpenedArchive) -> None:
    """Reopen a question about other servers; on a full disk, the last answer holds."""
    try:
        fork.reopen(opened)
    except OSError as error:
        if not refusal.is_full(error):
            raise
        log.problem(refusal.explain(error))


def _look(opened: OpenedArchive, *, must_work: bool) -> Problem | None:
    """Check whether another server writes to the archive, and note it; return why that is unknown."""
    seconds = calls.QUICK if must_work else _WARM
    if opened.settings.failover is not None:
        from entrypoint.archive import one_leader

        problem = one_leader.objection(opened, seconds=seconds)
    else:
        problem = writer.look(opened, seconds=seconds)
    try:
        return problem or fork.look(opened, opened.archive.command_timeout if must_work else _LISTING)
    except OSError as error:
        if not refusal.is_full(error):
            raise
        return refusal.explain(error)  # nothing is archived before the answer can be noted


def _settle(opened: OpenedArchive, seconds: int) -> tuple[Problem | None, bool]:
    """Claim the archive, or return why that is impossible now; raises Failure if it is another cluster's.

    Also returns whether the storage is near.
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
                _noted(opened, new=False)
                return None, near
            if found is not None:
                raise Failure(_others(opened, found, ours, _HINT))
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
                f"{opened.url} no longer held anything of this cluster: its archive starts from scratch, and "
                "no earlier state can be restored from it",
                "with BACKUP_SCHEDULE set, a full backup is taken by itself; without it, take one now: "
                "entrypoint backup push",
                docs="fix-archiving",
            )
        _noted(opened, new=lost)
    return (None if code == 0 else _unusable(opened, code, words)), near


def _noted(opened: OpenedArchive, *, new: bool) -> None:
    """Note that the archive is ours, and how archive-segment detects that it no longer is."""
    mark.note(opened.data_folder, opened.archive, new=new)
    place = mark.path(opened.archive)
    if place is not None:
        try:
            files.write_atomically(
                f"{opened.runtime_folder}/{calls.CLAIM}", script(opened.context, "prepare-archive")
            )
            files.write_atomically(f"{opened.runtime_folder}/{calls.MARK}", f"{place}\n")
        except OSError as error:
            log.debug(f"cannot watch for a loss of the archive's mark: {error}")


def _unusable(opened: OpenedArchive, code: int, words: str) -> Problem:
    said = brief(words.strip())
    unknown = opened.can.unknown_server
    if unknown is not None and code == opened.can.unknown_server_code:
        return unknown._replace(what=f"{unknown.what}:\n{said}", code=exits.ARCHIVE_REFUSED)
    return Problem(
        f"{opened.tool.name} cannot use the archive {opened.url} (exit code {code}):\n{said}",
        "check that the storage can be reached and that the variables of the archive are right",
        exits.ARCHIVE_REFUSED,
        docs="fix-archiving",
    )


def objection(opened: OpenedArchive, *, settled: bool, seconds: float) -> str:
    """Return why nothing may be written to an archive now; empty if it is this cluster's or nobody's.

    `settled` means that this container's start has claimed the archive. Nothing is changed. Raises Failure if
    the next start would refuse the archive, or if the archive cannot be queried.
    """
    data = opened.data_folder
    if status.in_recovery(data):
        return "this is a standby, or is replaying the archive"
    if fork.objection(data) is not None:
        return "this cluster was restored and may not write there (yet)"
    if settled:
        return ""
    if not os.path.exists(f"{data}/PG_VERSION"):
        if opened.settings.restore is not None:
            return "a database will be restored from it"
        check_unused(opened, seconds=seconds)
        return ""
    ours = control_file.system_identifier(opened.context)
    try:
        found = owner(opened, seconds)
    except ValueError as error:
        raise Failure(_unusable(opened, 1, str(error))) from error
    if found in (None, ours):
        return ""
    if opened.archive.upgraded_from or found in (past.predecessor(data), past.undone(data)[0]):
        return f"it belongs to cluster {found} until the next start takes it over"
    raise Failure(_others(opened, f"{found}", ours, _HINT))


def owner(opened: OpenedArchive, seconds: float) -> str | None:
    """Return the system identifier of an archive's cluster; raises ValueError with the tool's output."""
    return _owner(opened, seconds)[0]


def _owner(opened: OpenedArchive, seconds: float) -> tuple[str | None, bool]:
    """Return the owner of an archive, see `owner`, and whether the storage is near."""
    tool = opened.tool
    began = time.monotonic()
    code, text = opened.run_quietly(tool.identify(opened.server), seconds=seconds, at_most=_IDENTITY)
    near = time.monotonic() - began < _NEAR
    owner = tool.parse_identity(code, text)
    if owner is not None or tool.capabilities.other_cluster_code is not None:
        return owner, near
    try:
        backups = opened.list_backups(seconds=seconds)  # the archive may be older than its mark
    except Failure as failure:
        raise ValueError(failure.problems[0].what) from failure
    return (backups[-1].system_identifier if backups else None), near


def _succeed(opened: OpenedArchive, upgrading: Upgrading, seconds: int) -> tuple[int, str]:
    """Take over another cluster's archive if pg_upgrade made our cluster from that one; else raise Failure.

    Returns the exit code and the tool's output; raises ValueError with the output if the query fails.
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
    claimed = opened.archive.upgraded_from or past.predecessor(what.data_folder)
    successor, newest = past.undone(what.data_folder)
    # Nobody may have archived more for the newer cluster than there was when the upgrade was undone here.
    is_back = owner == successor and all(
        (each.last_segment or "") <= newest for each in owners if each.identifier == successor
    )
    objection = None if is_back else succession.objection(owners, cluster, claimed)
    if objection is not None:
        problem = _others(opened, owner, cluster.identifier, _HINT)
        if succession.objection(owners, cluster, owner) is None:
            problem = problem._replace(
                hint=f"{_HINT}; if pg_upgrade made this cluster from that one, set "
                f"ARCHIVE_UPGRADED_FROM={owner}",
                docs="upgrade-to-a-newer-major",
            )
        raise Failure(
            problem._replace(
                what=f"{problem.what}; ARCHIVE_UPGRADED_FROM={claimed} does not change that: {objection}",
                docs="upgrade-to-a-newer-major",
            )
            if claimed
            else problem
        )
    _check_finished(what.data_folder)
    code, words = opened.run_quietly(upgrading.upgrade(what), seconds=seconds)
    if code == 0 and is_back:
        log.info(
            f"the archive {opened.url} belongs to this cluster again, as the upgrade was undone: to "
            f"PostgreSQL {cluster.major} and system identifier {cluster.identifier}"
        )
    elif code == 0:
        log.info(
            f"the archive {opened.url} was upgraded with the cluster: from PostgreSQL "
            f"{', '.join(sorted({str(each.major) for each in owners}))} and system identifier {owner} to "
            f"PostgreSQL {cluster.major} and {cluster.identifier}"
        )
        if not opened.archive.upgraded_from:
            return code, words  # our own upgrade takes the backup, and its image restores the old ones
        log.warning(
            "backups from before the upgrade can only be restored with an image of the old major version",
            "take a full backup now: entrypoint backup push",
            docs="upgrade-to-a-newer-major",
        )
    return code, words


def _check_finished(data: str) -> None:
    """Raise Failure if pg_upgrade ended with an error: its half of a cluster starts, and lacks databases."""
    left = f"{data}/pg_upgrade_output.d"
    if os.path.lexists(left):
        what = (
            f"pg_upgrade has not finished this cluster: it removes {left} when it has, and it is still there"
        )
        hint = (
            "run pg_upgrade again, on a new, empty volume; the files in that folder say why it ended; if it "
            "ended well (with --retain, or after a failed try), remove the folder"
        )
        raise Failure(Problem(what, hint, exits.ARCHIVE_REFUSED, docs="upgrade-to-a-newer-major"))


_HINT = "give this cluster its own ARCHIVE_URL, since an archive belongs to one cluster only"


def _others(opened: OpenedArchive, owner: str, ours: str, hint: str) -> Problem:
    return Problem(
        f"the archive {opened.url} belongs to another cluster: its system identifier is {owner}, "
        f"this cluster's is {ours}",
        hint,
        exits.ARCHIVE_REFUSED,
        docs="set-up-archiving",
    )


def script(context: Context, command: str) -> str:
    """Return a line of sh with which archive-segment calls one of our commands."""
    return f"{later_command(context, command)}\n"


def check_unused(opened: OpenedArchive, *, seconds: float = calls.QUICK) -> None:
    """Make sure that a new cluster does not start with an archive that belongs to another one.

    This usually means that a volume was lost and its container was created again: the user then wants a
    restore. Raises Failure, before anything is created.
    """
    problem = storage_problem(opened.archive)
    if problem is not None:
        raise Failure(problem)
    where = opened.url
    backups = opened.list_backups(seconds=seconds)
    if backups:
        newest = backups[-1]
        count = f"{len(backups)} {'backup' if len(backups) == 1 else 'backups'}"
        raise Failure(
            Problem(
                f"the volume is empty, but the archive {where} holds {count} of a cluster (system identifier "
                f"{newest.system_identifier}, newest {newest.name} of {newest.finished})",
                "to get that database back, set RESTORE_FROM=LATEST; to create a new database instead, set "
                "another ARCHIVE_URL",
                exits.ARCHIVE_REFUSED,
                docs="restore-a-lost-volume",
            )
        )
    try:
        found = owner(opened, seconds)
    except ValueError as error:
        what = f"the archive {where} cannot be read:\n{error}"
        hint = "see the archiver's output above"
        problem = Problem(what, hint, exits.ARCHIVE_REFUSED, docs="fix-archiving")
        raise Failure(problem) from error
    if found is not None:
        raise Failure(
            Problem(
                f"the volume is empty, but the archive {where} already belongs to a cluster (system "
                f"identifier {found}), which has no backup there",
                "give the new database its own ARCHIVE_URL, or empty this archive if nobody needs it",
                exits.ARCHIVE_REFUSED,
                docs="set-up-archiving",
            )
        )
    other = other_tool_at(opened)
    if other is not None:
        raise Failure(other)
