"""As whom our sessions log in: where the superuser's password is found, and where it is kept for later."""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.pid1 import status
from entrypoint.postgres import sql
from entrypoint.postgres.argv import first_line
from entrypoint.server.context import Context
from entrypoint.system import files

PASSWORDS = "passfile"
"""Below the runtime folder: the superuser's password, where connections by the socket ask for it."""


def keep_password(context: Context, hba: str = "") -> None:
    """Write the superuser's password down for our later processes, where the server's socket asks for it.

    The file is the server's user's alone, and names this server's socket only. What is in somebody's own
    PGPASSFILE stays there. `hba` is the server's own word for its pg_hba.conf. Where no password is known
    that is told: what connects later cannot.
    """
    path = f"{context.runtime_folder}/{PASSWORDS}"
    user = context.settings.init.user
    own = context.environment.get("PGPASSFILE")
    password = context.environment.get("PGPASSWORD")
    if not password and not (own and _has_line(own, user)):
        password = first_line(context.settings.init.password)
    asks = asks_for_password(context, hba)
    if asks and password:
        # As libpq calls it, and as it is called where another folder is the usual one.
        hosts = ("localhost", status.SOCKET_FOLDER)
        lines = (sql.password_line(user, password, host) for host in hosts)
        files.write_atomically(path, "".join(f"{line}\n" for line in lines))
        return
    if os.path.lexists(path):
        os.unlink(path)
    if asks and not own and not os.path.exists(f"{context.who.home}/.pgpass"):
        log.warning(
            f"pg_hba.conf asks for a password on the server's socket, and that of {user} is not known: "
            "scheduled backups, SIGHUP and what else connects later will fail",
            f"set POSTGRES_PASSWORD, or PGPASSFILE; or let {user} in without one: local all {user} peer",
        )


def asks_for_password(context: Context, hba: str = "") -> bool:
    """Tell whether connections by the server's socket may need a password, by the file that says so."""
    wanted = context.settings
    path = hba or wanted.server.settings.get("hba_file") or wanted.conf.get("hba_file") or "pg_hba.conf"
    try:
        return sql.asks_for_password(files.read_text(os.path.join(wanted.data_folder, path)))
    except (OSError, ValueError):
        return False


def credentials(context: Context) -> dict[str, str]:
    """Return the variables by which a client finds the superuser's password, where it is asked for one."""
    explicit = context.environment.get("PGPASSWORD")
    if explicit:
        return {"PGPASSWORD": explicit}
    kept = f"{context.runtime_folder}/{PASSWORDS}"
    if os.path.exists(kept):
        return {"PGPASSFILE": kept}
    own = context.environment.get("PGPASSFILE")
    found = {"PGPASSFILE": own} if own else {}
    password = first_line(context.settings.init.password)
    if password and not (own and _has_line(own, context.settings.init.user)):
        found["PGPASSWORD"] = password
    return found


def _has_line(path: str, user: str) -> bool:
    try:
        return sql.knows_password(files.read_text(path), user)
    except (OSError, ValueError):
        return False
