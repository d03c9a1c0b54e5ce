"""A new standby from the archive's newest backup, which costs the leader nothing and needs none.

Patroni calls this for a node with an empty volume. If it fails, Patroni copies the leader instead.
"""

from __future__ import annotations

from entrypoint import log
from entrypoint.archive import fork
from entrypoint.config import charge, render
from entrypoint.errors import Failure, Problem
from entrypoint.failover import first, interrupted, rest
from entrypoint.light import re
from entrypoint.pid1 import status
from entrypoint.restore import fetch, planning
from entrypoint.server.context import Context, handed_on_folder
from entrypoint.settings import restoring
from entrypoint.settings.failing_over import Failover
from entrypoint.settings.restoring import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.restore.planning import Plan

_DATA = "--datadir="
_CLUSTER = re.compile(r"Cluster: \S+ \((\d+)\) ")


def run(arguments: Sequence[str]) -> None:
    """Fetch the newest backup that leads to where the leader is; raises Failure if there is none."""
    folder = handed_on_folder()
    if folder is None:
        raise Failure(Problem("this command is for Patroni only", "do not run it yourself"))
    context = charge.settle(first.prepared(f"{folder}/{status.FIRST_START}.json"))
    wanted = context.settings
    node = wanted.failover
    if wanted.our_archive is None or node is None or f"{_DATA}{wanted.data_folder}" not in arguments:
        raise _not_now("this node has no archive of its own")
    # RESTORE_* are for the node that creates the cluster.
    wanted = wanted._replace(source=wanted.our_archive, source_values=wanted.values, restore=None)
    context = context._replace(settings=wanted)
    cluster = _cluster(context, node)
    planned = planning.look(context, Request(restoring.LATEST, action=restoring.FOLLOW))
    _check(planned, cluster, rest.look(node).leader_timeline)
    for line in planning.describe(planned):
        log.info(line)
    fetch.restore(context, planned, render.arguments(context))
    fork.forget(wanted.data_folder)  # it is no restored cluster, but a node of one


def _not_now(why: str) -> Failure:
    return Failure(
        Problem(f"no standby is made from the archive: {why}", "Patroni copies the leader instead")
    )


def _cluster(context: Context, node: Failover) -> str:
    """Return the cluster's system identifier in the DCS; raises Failure until the cluster is created."""
    code, text = interrupted.patronictl(context, node, "list")
    found = _CLUSTER.search(text)
    if code or found is None:
        raise _not_now("the cluster is being created")
    return found[1]


def _check(planned: Plan, cluster: str, timeline: int | None) -> None:
    """Raise Failure if a standby from this backup could not follow the leader."""
    owner = planned.choice.backup.system_identifier
    if owner not in (None, cluster):
        raise _not_now(f"it is that of another cluster ({owner})")
    if timeline is not None and timeline != planned.choice.timeline:
        raise _not_now(
            f"it leads to timeline {planned.choice.timeline}, and the leader is on timeline {timeline}"
        )
