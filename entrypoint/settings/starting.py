"""Where the cluster lies, what a first start makes, and what is done at every start; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.light import NamedTuple
from entrypoint.settings.fields import Variable, choice, normal, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


OFFICIAL = (
    Variable(
        "POSTGRES_PASSWORD",
        "",
        "Password of the superuser; needed on an empty volume unless the method is `trust`.",
        secret=True,
        from_file=True,
    ),
    Variable("POSTGRES_USER", "postgres", "Name of the superuser that initdb makes.", from_file=True),
    Variable(
        "POSTGRES_DB",
        "value of `POSTGRES_USER`",
        "Database to create on an empty volume.",
        from_file=True,
    ),
    Variable(
        "POSTGRES_INITDB_ARGS",
        "",
        "Arguments for initdb, evaluated as a shell would.",
        from_file=True,
    ),
    Variable("POSTGRES_INITDB_WALDIR", "", "Folder for the write-ahead log, outside `PGDATA`."),
    Variable(
        "POSTGRES_HOST_AUTH_METHOD",
        "the server's `password_encryption`",
        "Method of the `host all all all` line in pg_hba.conf; `trust` needs no password.",
        mixed=True,  # ldapbindpasswd
    ),
    Variable("PGDATA", "set by the image", "The data folder."),
    Variable("PGPORT", "5432", "Port of the server, also during the first start."),
    Variable(
        "PGUSER",
        "",
        "libpq's variable, handed on to init files and to the server's environment.",
    ),
    Variable(
        "PGPASSWORD",
        "value of `POSTGRES_PASSWORD`",
        "Password that psql uses during the first start; in the running server's environment only where "
        "`POSTGRES_ENVIRONMENT` names it.",
        secret=True,
    ),
    Variable(
        "PGCTLTIMEOUT",
        "60",
        "Seconds to wait for the temporary server of a first start to come up and to go down.",
    ),
)
"""Those that the official image has as well."""

OURS = (
    Variable(
        "POSTGRES_INIT_UNFINISHED",
        "refuse",
        "What to do when an init file of an earlier first start failed or was killed: `refuse`, or "
        "`restart` (move what is there to `$PGDATA/unfinished-<time>/` and begin anew).",
    ),
    Variable(
        "POSTGRES_PASSWORD_UPDATE",
        "off",
        "`on`: make `POSTGRES_PASSWORD` the superuser's password at each start where it is not. `off`: warn.",
    ),
    Variable(
        "POSTGRES_EXTENSIONS",
        "",
        "Extensions that `POSTGRES_DB` and template1 are to have, parted by commas or spaces. Created where "
        "they are missing, before init files and at every start.",
    ),
    Variable(
        "POSTGRES_EXTENSIONS_UPDATE",
        "off",
        "`on`: at every start update all extensions of all databases to the version that the image brings.",
    ),
)

_ALL = {each.name: each for each in OFFICIAL + OURS}

AUTH_METHODS = frozenset("trust reject scram-sha-256 md5 password gss ident pam ldap radius oauth".split())
"""Those that work in a `host` line on Linux; with any other one the server would not start."""
PLAIN_METHODS = ("", "trust", "reject", "scram-sha-256", "md5", "password")
"""Those that every server takes without options, so that nobody has to be asked."""


class Init(NamedTuple):
    """What a first start makes."""

    user: str
    password: str
    database: str
    initdb_args: str
    wal_folder: str | None
    auth_method: str
    """Empty: ask the server for its password_encryption."""
    restart_unfinished: bool


class EveryStart(NamedTuple):
    """What is done at every start, once the server is up."""

    extensions: tuple[str, ...]
    update_extensions: bool
    update_password: bool


class Cluster(NamedTuple):
    """Where it lies, and what a first start makes."""

    data_folder: str
    port: str
    server_timeout: int
    """Seconds that the temporary server may take to come up or go down."""
    init: Init


def parse(values: Mapping[str, str]) -> tuple[Cluster, list[Problem]]:
    """Return where the cluster lies and what a first start makes, and what is wrong with it."""
    problems: list[Problem] = []
    if not values.get("PGDATA"):
        problems.append(Problem("PGDATA is empty", "set PGDATA to the data folder"))
    elif not values["PGDATA"].startswith("/"):
        problems.append(Problem(f"PGDATA={values['PGDATA']} is not an absolute path", "give PGDATA in full"))
    user = _ALL["POSTGRES_USER"].of(values)
    wal_folder = values.get("POSTGRES_INITDB_WALDIR") or None
    if wal_folder and not wal_folder.startswith("/"):
        problems.append(
            Problem(
                f"POSTGRES_INITDB_WALDIR={wal_folder} is not an absolute path",
                "give POSTGRES_INITDB_WALDIR in full",
            )
        )
    server_timeout = seconds(values, _ALL["PGCTLTIMEOUT"], problems)
    auth_method = _auth_method(values, problems)
    unfinished = choice(values, _ALL["POSTGRES_INIT_UNFINISHED"], ("refuse", "restart"), problems)
    init = Init(
        user=user,
        password=values.get("POSTGRES_PASSWORD", ""),
        database=values.get("POSTGRES_DB") or user,
        initdb_args=values.get("POSTGRES_INITDB_ARGS", ""),
        wal_folder=wal_folder,
        auth_method=auth_method,
        restart_unfinished=unfinished == "restart",
    )
    port = _ALL["PGPORT"].of(values)
    return Cluster(normal(values.get("PGDATA") or "/"), port, server_timeout, init), problems


def parse_every_start(values: Mapping[str, str]) -> tuple[EveryStart, list[Problem]]:
    """Return what is done at every start, and what is wrong with it."""
    problems: list[Problem] = []
    names = values.get("POSTGRES_EXTENSIONS", "").replace(",", " ").split()
    update_password = choice(values, _ALL["POSTGRES_PASSWORD_UPDATE"], ("off", "on"), problems) == "on"
    if update_password and not values.get("POSTGRES_PASSWORD"):
        problems.append(
            Problem(
                "POSTGRES_PASSWORD_UPDATE=on, but POSTGRES_PASSWORD is empty",
                "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE to the new password",
            )
        )
    update = choice(values, _ALL["POSTGRES_EXTENSIONS_UPDATE"], ("off", "on"), problems) == "on"
    return EveryStart(tuple(dict.fromkeys(names)), update, update_password), problems


def _auth_method(values: Mapping[str, str], problems: list[Problem]) -> str:
    """Return what is put behind `host all all all`; the server judges the rest of it, see first_start.

    It may go on with further lines: most replicas that are set up by a compose file have theirs here.
    """
    text = values.get("POSTGRES_HOST_AUTH_METHOD", "")
    words = text.partition("\n")[0].split()
    if text and (not words or words[0].strip('"') not in AUTH_METHODS):
        problems.append(
            Problem(
                "POSTGRES_HOST_AUTH_METHOD is no authentication method for TCP connections",
                f"use one of {', '.join(sorted(AUTH_METHODS))}",
            )
        )
    return text
