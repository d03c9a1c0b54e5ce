"""How our sessions log in: where the superuser's password comes from, and where it is kept for later."""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.pid1 import status
from entrypoint.postgres import sql
from entrypoint.postgres.argv import first_line
from entrypoint.server.context import Context
from entrypoint.system import files

PASSWORDS = "passfile"
"""The superuser's password, in the runtime folder, if connections through the socket require it."""


def keep_password(context: Context, hba: str = "") -> None:
    """Write the superuser's password to a file for our later processes, if the server's socket requires one.

    Only the server's user can read the file, and it names only this server's socket. The content of the
    user's own PGPASSFILE is not copied. `hba` is the path of pg_hba.conf as the server reports it. If no
    password is known, a warning says that later connections will fail.
    """
    path = f"{context.runtime_folder}/{PASSWORDS}"
    user = context.settings.init.user
    own = context.environment.get("PGPASSFILE")
    password = context.environment.get("PGPASSWORD")
    if not password and not (own and _has_line(own, user)):
        password = first_line(context.settings.init.password)
    asks = asks_for_password(context, hba)
    if asks and password:
        # libpq's name for a socket in its default folder, and the folder's own name if the default differs.
        hosts = ("localhost", status.SOCKET_FOLDER)
        lines = (sql.password_line(user, password, host) for host in hosts)
        files.write_atomically(path, "".join(f"{line}\n" for line in lines))
        return
    if os.path.lexists(path):
        os.unlink(path)
    if asks and not own and not os.path.exists(f"{context.who.home}/.pgpass"):
        log.warning(
            f"pg_hba.conf requires a password on the server's socket, and the password of {user} is unknown: "
            "scheduled backups, SIGHUP and everything else that connects later will fail",
            f"set POSTGRES_PASSWORD or PGPASSFILE, or let {user} in without a password by this line in "
            f"pg_hba.conf: local all {user} peer",
        )


def asks_for_password(context: Context, hba: str = "") -> bool:
    """Return whether pg_hba.conf may require a password for connections through the server's socket."""
    wanted = context.settings
    path = hba or wanted.server.settings.get("hba_file") or wanted.conf.get("hba_file") or "pg_hba.conf"
    try:
        return sql.asks_for_password(files.read_text(os.path.join(wanted.data_folder, path)))
    except (OSError, ValueError):
        return False


def credentials(context: Context) -> dict[str, str]:
    """Return the variables by which a client finds the superuser's password, if one is required."""
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
