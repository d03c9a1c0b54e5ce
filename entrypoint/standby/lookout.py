"""A running primary's check of its archive for another promoted server; PID 1 starts it regularly.

If there is such a server, the check reports it by its exit code, and PID 1 stops our server. No other failure
of the check has any effect.
"""

import os
import signal

from entrypoint import exits, log
from entrypoint.archive import calls, fork, one_leader, writer
from entrypoint.archive.opened import OpenedArchive
from entrypoint.config import charge_now
from entrypoint.pid1 import lifecycle, status
from entrypoint.server import opening
from entrypoint.server.context import Context
from entrypoint.server.data_folder import live_postmaster
from entrypoint.standby import gap_ahead
from entrypoint.system import files, processes

_PATIENCE = 20
"""Seconds for one call of the archiver."""


def main(*, whole: bool = False) -> int:
    """Check once and return the exit code; also leave a note for PID 1 about when to check again.

    `whole` is for the first segment after an outage, since much can have happened meanwhile.
    """
    # Other mistakes in the variables are no reason to become a second primary.
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
    """Make PID 1, the server's parent, start its own check now; that check stops the server."""
    found = live_postmaster(context.settings.data_folder)
    known = status.read([context.runtime_folder])
    if found is not None and known is not None and known.server == found.pid:
        os.kill(processes.parent_of(found.pid), signal.SIGUSR1)


def look(opened: OpenedArchive, *, whole: bool) -> int:
    """Check once and return the exit code."""
    data = opened.data_folder
    if status.in_recovery(data):
        gap_ahead.tell(opened)
        if opened.settings.failover is not None:
            # It may have led until now, and a standby archives nothing.
            calls.forget_outage(opened.runtime_folder, data)
        return 0
    if opened.settings.failover is not None:
        return _under_patroni(opened, whole=whole)
    known = fork.is_superseded(data)
    if not known:
        problem = writer.look(opened, seconds=_PATIENCE, whole=whole)
        if problem is not None:
            log.debug(problem.what)  # archive-segment and doctor report an outage
    if not fork.is_superseded(data):
        return 0
    refused = fork.refusal(data)
    if refused is not None and not whole:
        log.problem(refused)
    return exits.SUPERSEDED


def _under_patroni(opened: OpenedArchive, *, whole: bool) -> int:
    """Check a leader, which may be cut off, or whose Patroni may hang, and return the exit code."""
    if not one_leader.is_leading(opened):
        return 0
    problem = one_leader.objection(opened, seconds=_PATIENCE, whole=whole)
    if problem is None or problem.code != exits.SUPERSEDED:
        return 0  # archive-segment and doctor report an outage
    if not whole:
        log.problem(problem._replace(hint="restart the container: this node then follows the leader"))
    return exits.SUPERSEDED
