"""What is said of PGPASSWORD, which the container has and the server has not."""

import os

from entrypoint import log
from entrypoint.config import collect, sources
from entrypoint.postgres import conninfo
from entrypoint.server.context import Context

_MEND = "if it is needed: -e POSTGRES_ENVIRONMENT=PGPASSWORD"


def say_password(context: Context) -> None:
    """Say what gets no password from PGPASSWORD, and which variable hands it on.

    The official image hands it on where it finds a database. Here it must be asked for, since every superuser
    of the database can read the server's environment.
    """
    what = "PGPASSWORD is not in the server's environment, so that {} gets no password from it"
    if not os.path.exists(f"{context.settings.data_folder}/standby.signal"):
        own = "what the server itself connects to (dblink, postgres_fdw, a subscription)"
        log.info(f"{what.format(own)}; {_MEND}")
    elif _lacks_password(_primary(context)):
        log.warning(what.format("the connection to the primary"), _MEND)


def _primary(context: Context) -> str:
    """Return the connection string of the primary, by whoever has set it; empty without one."""
    wanted = context.settings
    if wanted.standby is not None and wanted.standby.conninfo:
        return wanted.standby.conninfo
    found = sources.winners([*collect.base(context), *collect.overriding(context)])
    return found["primary_conninfo"].value if "primary_conninfo" in found else ""


def _lacks_password(text: str) -> bool:
    """Tell whether a connection string needs a password from elsewhere, as far as it can be read."""
    try:
        return bool(text) and not any(part.name in ("password", "passfile") for part in conninfo.parse(text))
    except ValueError:
        return True
