"""The steps of every start once the server accepts connections: password, extensions, start files.

PID 1 runs them once, in a separate process. The server is not ready until that process ends; if it fails,
PID 1 stops the server. If the only step is to compare the password, the server is ready without waiting. If
the process is killed, the next start begins from scratch, so start files must be repeatable.
"""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.errors import Failure
from entrypoint.every_start import superuser_password, user_files
from entrypoint.pid1 import ready, status
from entrypoint.server import opening
from entrypoint.server.context import Context, at_port, with_password
from entrypoint.system import files
from entrypoint.volume import probe, room


def main() -> int:
    """Perform the steps and return the exit code; raises Failure, or Stopped on a stop signal."""
    context = _receive()
    asked = context.settings.every_start
    if not wait(context):
        return 0
    if _is_full(context):
        return 0
    port = files.read_text(f"{context.settings.data_folder}/postmaster.pid").split("\n")[3]
    context = at_port(context, port)
    if context.settings.init.password:
        context = superuser_password.check(context)
    if asked.extensions or asked.update_extensions:
        from entrypoint.every_start import extensions

        if asked.extensions:
            extensions.create(context)
        if asked.update_extensions:
            extensions.update(context)
    if probe.has_start_files():
        run_start_files(context._replace(environment=with_password(context)))
    return 0


def check(context: Context) -> None:
    """Check that the start files can be listed and that the image has the extensions; changes nothing."""
    from entrypoint.every_start import extensions

    if os.path.isdir(probe.STARTDB_FOLDER):
        user_files.check_folder(context, probe.STARTDB_FOLDER)
    extensions.check(context)


def _receive() -> Context:
    """Return the context with the environment that PID 1 passed on."""
    wanted, _, _ = opening.read_settings(opening.received(), ())  # the start has reported the problems
    log.debugging = wanted.serving.debug
    return opening.command_context(wanted)


def wait(context: Context) -> bool:
    """Wait until the server accepts connections; return whether it accepts writes."""
    data = context.settings.data_folder
    while True:
        code, _ = ready.accepts(data, status.read([context.runtime_folder]))
        if code == ready.READY:
            return not status.in_recovery(data)
        context.children.pause(0.02)


def _is_full(context: Context) -> bool:
    """Return whether transactions are read-only, so that nothing of this can be done now."""
    known = status.read([context.runtime_folder])
    if known is None or known.level != room.FULL or not probe.asks_for_startdb(context.settings):
        return False
    log.warning(
        "the disk is about to be full, so the steps of every start are left out: "
        f"{probe.STARTDB_FOLDER}, POSTGRES_EXTENSIONS, POSTGRES_PASSWORD_UPDATE",
        "make room, then restart the container",
        docs="when-the-disk-fills",
    )
    return True


def run_start_files(context: Context) -> None:
    """Run the start files like init files; raises Failure with the exit code of the file that failed."""
    try:
        user_files.run(context, probe.STARTDB_FOLDER)
    except Failure as failure:
        (problem,) = failure.problems
        raise Failure(
            problem._replace(
                what=f"the start file {problem.what}; the server is stopped",
                hint=f"{problem.hint}; to start without the file, remove it from {probe.STARTDB_FOLDER}. "
                "All start files run again at the next start",
                docs="run-scripts-at-every-start",
            )
        ) from None
