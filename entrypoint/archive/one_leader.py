"""One leader: a node under Patroni gives way if its archive shows that another node was promoted since.

Unlike `writer.py`, nothing is noted in the data folder: Patroni decides who leads, and makes a node that has
given way follow the leader, whose timeline it then has.
"""

import os

from entrypoint import exits
from entrypoint.archive import writer
from entrypoint.archive.opened import OpenedArchive
from entrypoint.errors import Problem
from entrypoint.pid1 import status
from entrypoint.server import control_file
from entrypoint.server.data_folder import live_postmaster

HINT = (
    "if nodes that are ahead can come back, start them: patronictl list; if they are gone for good, and what "
    "only they had is to be given up: restart this node's container with ARCHIVE_FORK=confirm, and remove it "
    "once the node leads"
)


def is_leading(opened: OpenedArchive) -> bool:
    """Return whether Patroni's server takes writes; while it starts, Patroni may still make it a standby."""
    if os.path.exists(f"{opened.runtime_folder}/{status.FIRST_START}"):
        return False  # that server is for the first start or the restore
    found = live_postmaster(opened.data_folder)
    return found is not None and found.status == "ready" and not status.in_recovery(opened.data_folder)


def objection(opened: OpenedArchive, *, seconds: float, whole: bool = True) -> Problem | None:
    """Return what speaks against this node as the leader, or against archiving before that is known.

    `whole`: see `writer.look`. ARCHIVE_FORK=confirm was heard before the promotion, which has put this node
    above all timelines that were known then.
    """
    mine = control_file.timeline(opened.context)
    if not mine:
        return None
    try:
        found = writer.find(opened, mine, seconds=seconds, whole=whole)
    except writer.Unknown as unknown:
        return Problem(
            f"cannot find out from {opened.url} whether another node was promoted: {unknown}",
            "check that the storage can be reached and that the variables of the archive are right",
            exits.ARCHIVE_REFUSED,
            docs="fix-archiving",
        )
    if found is None:
        return None
    what = writer.describe(opened, mine, *found)
    return Problem(what, HINT, exits.SUPERSEDED, docs="fail-over")
