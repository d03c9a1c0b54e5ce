"""The first start of a cluster under Patroni, which runs it on the one node that creates the cluster.

It is our own first start, with all that belongs to it: Patroni gets a complete database, or none.
"""

from __future__ import annotations

import json

from entrypoint import exits, log
from entrypoint.archive import claim
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.known import TOOLS
from entrypoint.collation import remembered
from entrypoint.config import charge, render
from entrypoint.errors import Failure, Problem, Stopped
from entrypoint.failover import half_copy, patroni
from entrypoint.first_start import initialize
from entrypoint.pid1 import status
from entrypoint.server import opening
from entrypoint.server.context import Context, handed_on_folder
from entrypoint.settings import loading
from entrypoint.system import files
from entrypoint.volume import notes
from entrypoint.volume.unfinished import Unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.settings.restoring import Request

_FOR = "--datadir="


def run(arguments: Sequence[str]) -> None:
    """Create the cluster, as the start has prepared it; raises Failure if that is impossible.

    Until Patroni has begun to serve the result, a file says that it may not be served otherwise.
    """
    folder = handed_on_folder()
    if folder is None:
        raise Failure(Problem("this command is for Patroni only", "do not run it yourself"))
    mark = f"{folder}/{status.FIRST_START}"
    context = prepared(f"{mark}.json")
    data = context.settings.data_folder
    if f"{_FOR}{data}" not in arguments:
        raise Failure(Problem(f"Patroni's data folder is not {data}", "remove PATRONI_POSTGRESQL_DATA_DIR"))
    files.write_atomically(mark, "running\n")
    try:
        _refuse_to_replace(data)
        _make(context)
    except Failure as failure:
        files.write_atomically(mark, f"{failure.code}\n")
        raise
    except Stopped as stopped:
        files.write_atomically(mark, f"{exits.SIGNAL_BASE + stopped.signal_number}\n")
        raise
    initialize.say_complete()


def _make(context: Context) -> None:
    """Create the cluster, from scratch or from an archive, and claim its own archive."""
    context = charge.settle(context)
    wanted = context.settings
    given = render.arguments(context)
    if wanted.restore is not None:
        context = _restored(context, wanted.restore, given)
    else:
        if wanted.our_archive is not None:
            claim.check_unused(OpenedArchive(context, wanted.our_archive))
        context, _ = initialize.initialize(context, given)
        remembered.remember_match(context)
    if wanted.our_archive is None:
        return
    opened = OpenedArchive(context, wanted.our_archive)
    opened.render()  # only now does the cluster exist, with its segment size
    try:
        claim.prepare(opened, must_work=True)
    except Failure:
        if wanted.restore is not None:
            # Another node may restore as well: nobody could tell that two promoted copies are not the same.
            half_copy.discard(wanted.data_folder)
        raise


def _restored(context: Context, request: Request, given: list[str]) -> Context:
    """Restore the cluster, up to its promotion, and return the context; the other nodes copy it."""
    from entrypoint.collation import policy
    from entrypoint.restore import fetch, planning, whereabouts

    planned = planning.look(context, request)
    context = whereabouts.follow(context, planned.source)
    for line in planning.describe(planned):
        log.info(line)
    fetch.restore(context, planned, given)
    if not remembered.is_settled(context):
        policy.gate(context, given)
    assert context.settings.failover is not None
    patroni.let_in(context, context.settings.failover, given)
    return context


def _refuse_to_replace(data: str) -> None:
    if Unfinished(data).noted()[0] is not None or notes.cluster(data):
        raise Failure(
            Problem(
                f"{data} holds a database, or one that is not finished",
                "restart the container, which says what to do",
                exits.UNFINISHED_FIRST_START,
                docs="finish-a-first-start",
            )
        )


def prepared(path: str) -> Context:
    """Return the context of the start that has prepared this node on an empty volume; raises Failure."""
    try:
        kept = json.loads(files.read_text(path))
    except (OSError, ValueError):
        raise Failure(
            Problem(
                "this node has had a database since its container was started, so it makes none",
                "to begin again with an empty volume, restart the container",
            )
        ) from None
    programs = {name: opening.has_program(name, kept["environment"]) for name in TOOLS}
    wanted, _ = loading.load(kept["values"], kept["arguments"], programs)
    return opening.command_context(wanted)._replace(environment=kept["environment"])
