"""Before this node becomes the leader: the archive must not show that another node was promoted since.

Patroni calls this while it holds the leader's lock. If it fails, Patroni gives the lock back, so that another
node can take it.
"""

from __future__ import annotations

from entrypoint import exits, log
from entrypoint.archive import claim, fork, one_leader, unarchived, writer
from entrypoint.archive.fork import Fork
from entrypoint.archive.opened import OpenedArchive
from entrypoint.errors import Failure, Problem
from entrypoint.postgres import segments
from entrypoint.server import opening, sessions
from entrypoint.standby import promotion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.postgres.timelines import Rival

_PATIENCE = 10
"""Seconds for one call of the archiver: clients wait for this node."""
_END = "SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"


def check() -> None:
    """Raise Failure if this node may not lead; an archive that does not answer is no obstacle.

    Patroni has made sure that this node has what the others have. The archive knows of those that are away.
    """
    wanted, _, _ = opening.read_settings(opening.environ(), ())
    archive = wanted.our_archive
    if archive is None:
        return
    opened = OpenedArchive(opening.command_context(wanted), archive)
    try:
        mine = promotion.followed(opened.context)
        end = segments.parse_lsn(sessions.query(opened.context, _END, seconds=5))
    except (Failure, ValueError) as error:
        _say_unknown(error)
    else:
        _compare(opened, mine)
        _take_over(opened, mine, end)
    known = fork.read(opened.data_folder)
    if known is not None and known.state in (fork.CLEAR, fork.CONFIRMED):
        # A restored cluster may write there, and needs a full backup: this node does not know of it.
        fork.write(opened.data_folder, Fork(fork.STANDBY, confirmed=known.confirmed))
    # The archiver of the new leader first makes sure that the archive is still this cluster's.
    claim.prepare_later(opened.context)


def _compare(opened: OpenedArchive, mine: int) -> None:
    try:
        found = writer.find(opened, mine, seconds=_PATIENCE)
    except writer.Unknown as unknown:
        _say_unknown(unknown)
        return
    if found is not None:
        _refuse(opened, mine, found[0])


def _say_unknown(why: object) -> None:
    log.warning(
        f"cannot find out from the archive whether another node was promoted: {why}",
        "this node becomes the leader all the same, as Patroni has decided; see entrypoint doctor",
        docs="fail-over",
    )


def _refuse(opened: OpenedArchive, mine: int, newer: Rival) -> None:
    """Raise Failure, unless a person has decided that this node leads all the same; that counts once."""
    what = promotion.describe(opened, mine, newer)
    known = fork.read(opened.data_folder) or Fork(fork.SETTLED)
    if not opened.archive.fork_confirmed or known.confirmed not in (0, newer.timeline):
        raise Failure(
            Problem(f"this node may not lead: {what}", one_leader.HINT, exits.SUPERSEDED, docs="fail-over")
        )
    log.warning(
        f"ARCHIVE_FORK=confirm: this node becomes the leader although {what}",
        "make sure that the other node does not come back; remove ARCHIVE_FORK, which takes effect once",
        docs="fail-over",
    )
    fork.write(opened.data_folder, known._replace(confirmed=newer.timeline))


def _take_over(opened: OpenedArchive, mine: int, end: int) -> None:
    missing = unarchived.find(opened, mine, end, _PATIENCE)
    if missing:
        unarchived.archive(opened.data_folder, missing)
        log.info(f"archiving what the last leader may not have archived: {', '.join(missing)}")
