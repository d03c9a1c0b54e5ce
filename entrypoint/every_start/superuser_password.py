"""Compares POSTGRES_PASSWORD with the stored password at every start: warns, or updates it on request."""

from __future__ import annotations

import math
import os

from entrypoint import log
from entrypoint.errors import Failure, Problem
from entrypoint.postgres import passwords, sql
from entrypoint.postgres.argv import first_line
from entrypoint.server import login, sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from entrypoint.server.context import Context

_STORED = """\
SELECT json_build_object(
    'stored', (SELECT rolpassword FROM pg_authid WHERE rolname = current_user),
    'hba', current_setting('hba_file'),
    -- A database owner's settings for the database do not decide how the superuser's password is stored.
    'settings', (SELECT json_object_agg(name, CASE WHEN source = 'database' THEN boot_val ELSE setting END)
                 FROM pg_settings WHERE name IN ('password_encryption', 'scram_iterations')))
"""
_ITERATIONS = 4096
"""SCRAM iterations before PostgreSQL 16, which has a setting for them."""


def check(context: Context) -> Context:
    """Warn if POSTGRES_PASSWORD is not the superuser's password, or set it if the user requests that.

    Returns the context with the password that our sessions can log in with, if one is needed.
    """
    init, update = context.settings.init, context.settings.every_start.update_password
    try:
        context, found = _stored(context, patience=math.inf if update else sessions.PATIENCE)
    except Failure as failure:
        if update:
            raise
        hint = (
            f"set POSTGRES_PASSWORD to the current password of {init.user}, or let {init.user} in without a "
            f"password by this line in pg_hba.conf: local all {init.user} peer; until then scheduled backups "
            "and SIGHUP fail"
        )
        asks = login.asks_for_password(context)
        log.warning(
            f"cannot compare POSTGRES_PASSWORD with the stored password: {failure}", hint if asks else ""
        )
        return context
    password = first_line(init.password)
    same = passwords.is_stored(found["stored"], password, init.user) if found["stored"] else False
    if same or (same is None and not update):
        return context
    if not update:
        log.warning(
            f"POSTGRES_PASSWORD is not the password of {init.user}: it is used only for a first start",
            "connect with the database's password, or start with -e POSTGRES_PASSWORD_UPDATE=on to make "
            f"POSTGRES_PASSWORD the password of {init.user}",
            docs="handle-secrets",
        )
        return context
    if found["settings"]["password_encryption"].startswith("scram"):
        iterations = int(found["settings"].get("scram_iterations", _ITERATIONS))
        verifier = passwords.scram(password, os.urandom(16), iterations)
    else:
        verifier = passwords.md5(password, init.user)
    _store(context, verifier)
    context = _with(context, password)
    login.keep_password(context, found["hba"])
    log.info(f"POSTGRES_PASSWORD is now the password of {init.user}")
    return context


def _stored(context: Context, patience: float) -> tuple[Context, dict[str, Any]]:
    """Return the stored verifier of the password, and the context with the password that logs us in.

    PGPASSWORD takes precedence, but may date from before POSTGRES_PASSWORD was changed.
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
    login.keep_password(context, found["hba"])
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
                f"cannot change the password of {context.settings.init.user}: {failure}",
                "fix the reported error, or start without POSTGRES_PASSWORD_UPDATE",
                docs="handle-secrets",
            )
        ) from None
