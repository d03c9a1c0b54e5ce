"""The first start of a cluster under Patroni, which runs it on the one node that creates the cluster.

It is our own first start, with all that belongs to it: Patroni gets a complete database, or none.
"""

from __future__ import annotations

import json

from entrypoint import exits
from entrypoint.archivers.known import TOOLS
from entrypoint.collation import remembered
from entrypoint.config import render
from entrypoint.errors import Failure, Problem, Stopped
from entrypoint.first_start import initialize
from entrypoint.pid1 import guided
from entrypoint.server import opening
from entrypoint.server.context import Context, handed_on_folder
from entrypoint.settings import loading
from entrypoint.system import files
from entrypoint.volume import notes
from entrypoint.volume.unfinished import Unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FOR = "--datadir="


def run(arguments: Sequence[str]) -> None:
    """Create the cluster, as the start has prepared it; raises Failure if that is impossible.

    Until Patroni has begun to serve the result, a file says that it may not be served otherwise.
    """
    folder = handed_on_folder()
    if folder is None:
        raise Failure(Problem("this command is for Patroni only", "do not run it yourself"))
    mark = f"{folder}/{guided.FIRST_START}"
    context = _context(f"{mark}.json")
    data = context.settings.data_folder
    if f"{_FOR}{data}" not in arguments:
        raise Failure(Problem(f"Patroni's data folder is not {data}", "remove PATRONI_POSTGRESQL_DATA_DIR"))
    files.write_atomically(mark, "running\n")
    try:
        _refuse_to_replace(data)
        context = _initialized(context)
        remembered.remember_match(context)
    except Failure as failure:
        files.write_atomically(mark, f"{failure.code}\n")
        raise
    except Stopped as stopped:
        files.write_atomically(mark, f"{exits.SIGNAL_BASE + stopped.signal_number}\n")
        raise
    initialize.say_complete()


def _initialized(context: Context) -> Context:
    """Create the cluster, and claim the archive for it: nobody else's may be there."""
    if context.settings.archive is not None:
        from entrypoint.config import charge

        context = charge.settle(context)
    archive = context.settings.our_archive
    if archive is None:
        return initialize.initialize(context, render.arguments(context))[0]
    from entrypoint.archive import claim
    from entrypoint.archive.opened import OpenedArchive

    claim.check_unused(OpenedArchive(context, archive))
    context, _ = initialize.initialize(context, render.arguments(context))
    opened = OpenedArchive(context, archive)
    opened.render()  # only now does the cluster exist, with its segment size
    claim.prepare(opened, must_work=True)
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


def _context(path: str) -> Context:
    """Return the context of the start that has prepared this one."""
    try:
        kept = json.loads(files.read_text(path))
    except (OSError, ValueError):
        raise Failure(
            Problem(
                "this node has a database already, so it creates none",
                "to create the cluster again, empty the volume and restart the container",
            )
        ) from None
    programs = {name: opening.has_program(name, kept["environment"]) for name in TOOLS}
    wanted, _ = loading.load(kept["values"], kept["arguments"], programs)
    return opening.command_context(wanted)._replace(environment=kept["environment"])
