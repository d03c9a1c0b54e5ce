"""What is done at every start once the server accepts connections: password, extensions, start files.

A process of its own, started by PID 1 once. As long as it runs the server is not called ready; if it fails,
PID 1 stops the server. Where there is nothing to do but to compare the password, nobody waits for it.
Killed in the middle it begins anew at the next start, so start files have to be repeatable.
"""

from __future__ import annotations

import math
import os
import sys

from entrypoint import environment, log, sql
from entrypoint.argv import first_line
from entrypoint.effects import files, first_start, opening, probe, ready, sessions, status
from entrypoint.effects.context import Context, at_port, with_password
from entrypoint.errors import Failure, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STORED = """\
SELECT json_build_object(
    'stored', (SELECT rolpassword FROM pg_authid WHERE rolname = current_user),
    'hba', current_setting('hba_file'),
    -- What the owner of a database has set for it is not how the superuser's password is stored.
    'settings', (SELECT json_object_agg(name, CASE WHEN source = 'database' THEN boot_val ELSE setting END)
                 FROM pg_settings WHERE name IN ('password_encryption', 'scram_iterations')))
"""
_ITERATIONS = 4096
"""Of SCRAM, before PostgreSQL 16 let them be set."""


def main() -> int:
    """Do what is asked for and return the exit code; raises Failure, Stopped on a stop signal."""
    context = _receive()
    asked = context.settings.every_start
    if not _wait(context):
        return 0
    port = files.read_text(f"{context.settings.data_folder}/postmaster.pid").split("\n")[3]
    context = at_port(context, port)
    if context.settings.init.password:
        context = check_password(context)
    if asked.extensions or asked.update_extensions:
        from entrypoint.effects import extensions

        if asked.extensions:
            extensions.create(context)
        if asked.update_extensions:
            extensions.update(context)
    if probe.has_start_files():
        run_start_files(context._replace(environment=with_password(context)))
    return 0


def check(context: Context) -> None:
    """Look before anything is touched: can the files be listed, does the image have the extensions."""
    from entrypoint.effects import extensions

    if os.path.isdir(probe.STARTDB_FOLDER):
        first_start.check_init_folder(context, probe.STARTDB_FOLDER)
    extensions.check(context)


def _receive() -> Context:
    """Return the context with the environment that PID 1 has handed on, which is then out of reach."""
    values = environment.unpack(sys.stdin.buffer.read().decode("utf-8", "surrogateescape"))
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.close(nothing)
    wanted, _, _ = opening.read_settings(values, ())  # what is wrong with them was said by the start
    log.debugging = wanted.debug
    return opening.command_context(wanted)


def _wait(context: Context) -> bool:
    """Wait until the server accepts connections; tell whether it takes writes."""
    data = context.settings.data_folder
    while True:
        code, _ = ready.accepts(data, status.read([context.runtime_folder]))
        if code == ready.READY:
            return not status.in_recovery(data)
        context.children.pause(0.02)


def check_password(context: Context) -> Context:
    """Say if POSTGRES_PASSWORD is not the superuser's, or make it so where that is asked for.

    Returns the context with the password that lets us in, where one is needed.
    """
    from entrypoint import passwords

    init, update = context.settings.init, context.settings.every_start.update_password
    try:
        context, found = _stored(context, patience=math.inf if update else sessions.PATIENCE)
    except Failure as failure:
        if update:
            raise
        mend = (
            f"set POSTGRES_PASSWORD to the present password of {init.user}, or let it in without one by "
            f"pg_hba.conf (local all {init.user} peer); until then scheduled backups and SIGHUP fail"
        )
        asks = sessions.asks_for_password(context)
        log.warning(
            f"POSTGRES_PASSWORD could not be compared with the stored one: {failure}", mend if asks else None
        )
        return context
    password = first_line(init.password)
    same = passwords.is_stored(found["stored"], password, init.user) if found["stored"] else False
    if same or (same is None and not update):
        return context
    if not update:
        log.warning(
            f"POSTGRES_PASSWORD is not the password of {init.user}: it is used for a first start only, "
            "and this database had its own already",
            f"connect with that one, or start with -e POSTGRES_PASSWORD_UPDATE=on to make POSTGRES_PASSWORD "
            f"the password of {init.user}",
        )
        return context
    if found["settings"]["password_encryption"].startswith("scram"):
        iterations = int(found["settings"].get("scram_iterations", _ITERATIONS))
        verifier = passwords.scram(password, os.urandom(16), iterations)
    else:
        verifier = passwords.md5(password, init.user)
    _store(context, verifier)
    context = _with(context, password)
    sessions.keep_password(context, found["hba"])
    log.info(f"POSTGRES_PASSWORD is now the password of {init.user}")
    return context


def _stored(context: Context, patience: float) -> tuple[Context, dict[str, Any]]:
    """Return what is stored of the password, and the context with the one that lets us in.

    PGPASSWORD is the stronger one, but may be left from before POSTGRES_PASSWORD was changed.
    """
    password = first_line(context.settings.init.password)
    left_over = context.environment.get("PGPASSWORD") not in (None, "", password)
    try:
        found = sessions.query_json(context, _STORED, dict, patience=0 if left_over else patience)
    except sessions.Unreachable:
        if not left_over:
            raise
        context = _with(context, password)
        found = sessions.query_json(context, _STORED, dict, patience=patience)
    sessions.keep_password(context, found["hba"])
    return context, found


def _with(context: Context, password: str) -> Context:
    return context._replace(environment={**context.environment, "PGPASSWORD": password})


def _store(context: Context, verifier: str) -> None:
    change = f"ALTER ROLE CURRENT_USER PASSWORD {sql.literal(verifier)}"
    try:
        sessions.query(context, change, writes=True, private=True, patience=math.inf)
    except Failure as failure:
        raise Failure(
            Problem(
                f"the password of {context.settings.init.user} could not be changed: {failure}",
                "start without POSTGRES_PASSWORD_UPDATE",
            )
        ) from None


def run_start_files(context: Context) -> None:
    """Run the start files as init files are run; raises Failure with the exit code of one that failed."""
    try:
        first_start.run_files(context, probe.STARTDB_FOLDER)
    except Failure as failure:
        (problem,) = failure.problems
        raise Failure(
            problem._replace(
                what=f"the start file {problem.what}; the server is stopped",
                mend=f"{problem.mend}; to start without it, take it out of {probe.STARTDB_FOLDER}. "
                "All start files run again at the next start",
            )
        ) from None
