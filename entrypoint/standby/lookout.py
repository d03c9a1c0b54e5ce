"""The look of a serving primary into its archive, whether another server was promoted: PID 1 starts it often.

It ends with an exit code for that, and then PID 1 stops the server. Whatever else goes wrong has no say.
"""

import os
import signal

from entrypoint import exits, log
from entrypoint.archive import fork, writer
from entrypoint.archive.opened import OpenedArchive
from entrypoint.config import charge_now
from entrypoint.pid1 import lifecycle, status
from entrypoint.server import opening
from entrypoint.server.context import Context
from entrypoint.server.data_folder import live_postmaster
from entrypoint.system import files, processes

_PATIENCE = 20
"""Seconds for one call of the archiver."""


def main(*, whole: bool = False) -> int:
    """Look once and return the exit code; tells PID 1 when to look again.

    `whole` is for the first segment after an outage, in which much can have happened.
    """
    # Whatever else may be wrong with the variables by now, it is no reason to be a second primary.
    wanted, _, _ = opening.read_settings(opening.environ(), ())
    context = opening.command_context(wanted)
    archive = wanted.our_archive
    if archive is None:
        return 0
    code = look(OpenedArchive(context, archive), whole=whole)
    if code and whole:
        _hurry(context)
    if not code and not whole:
        charge_now.notice(context)
        files.write_atomically(
            status.pause_path(context.runtime_folder, lifecycle.LOOK), f"{archive.fork_interval}", 0o644
        )
    return code


def _hurry(context: Context) -> None:
    """Let PID 1, which is the server's parent, start its own look now; that one stops the server."""
    found = live_postmaster(context.settings.data_folder)
    known = status.read([context.runtime_folder])
    if found is not None and known is not None and known.server == found.pid:
        os.kill(processes.parent_of(found.pid), signal.SIGUSR1)


def look(opened: OpenedArchive, *, whole: bool) -> int:
    """Look once and return the exit code."""
    data = opened.data_folder
    if status.in_recovery(data):
        return 0
    told = fork.is_superseded(data)
    if not told:
        problem = writer.look(opened, seconds=_PATIENCE, whole=whole)
        if problem is not None:
            log.debug(problem.what)  # an outage is told where it matters: by archive-segment and doctor
    if not fork.is_superseded(data):
        return 0
    refused = fork.refusal(data)
    if refused is not None and not whole:
        log.problem(refused)
    return exits.SUPERSEDED
