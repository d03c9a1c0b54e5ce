"""Messages about PGPASSWORD, which the container has but the server does not get."""

import os

from entrypoint import log
from entrypoint.config import collect, sources
from entrypoint.postgres import conninfo
from entrypoint.server.context import Context

_HINT = "if it is needed: -e POSTGRES_ENVIRONMENT=PGPASSWORD"


def say_password(context: Context) -> None:
    """Report which connections get no password from PGPASSWORD, and which variable passes it on.

    The official image passes it on if it finds a database. Here it must be requested, because every superuser
    of the database can read the server's environment.
    """
    what = "PGPASSWORD is not in the server's environment, so {} gets no password from it"
    if not os.path.exists(f"{context.settings.data_folder}/standby.signal"):
        own = "a connection that the server itself makes (dblink, postgres_fdw, a subscription)"
        log.info(f"{what.format(own)}; {_HINT}")
    elif _lacks_password(_primary(context)):
        log.warning(what.format("the connection to the primary"), _HINT, docs="handle-secrets")


def _primary(context: Context) -> str:
    """Return the connection string of the primary, wherever it is set; empty if it is not set."""
    wanted = context.settings
    if wanted.standby is not None and wanted.standby.conninfo:
        return wanted.standby.conninfo
    found = sources.winners([*collect.base(context), *collect.overriding(context)])
    return found["primary_conninfo"].value if "primary_conninfo" in found else ""


def _lacks_password(text: str) -> bool:
    """Return whether a connection string has no password, and so needs one from elsewhere."""
    try:
        return bool(text) and not any(part.name in ("password", "passfile") for part in conninfo.parse(text))
    except ValueError:
        return True
