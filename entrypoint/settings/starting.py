"""Where the cluster is, what a first start creates, and what every start does; pure."""

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
        "Password of the superuser; required on an empty volume unless the authentication method is `trust`.",
        secret=True,
        from_file=True,
    ),
    Variable("POSTGRES_USER", "postgres", "Name of the superuser that initdb creates.", from_file=True),
    Variable(
        "POSTGRES_DB",
        "value of `POSTGRES_USER`",
        "Database to create on an empty volume.",
        from_file=True,
    ),
    Variable(
        "POSTGRES_INITDB_ARGS",
        "",
        "Arguments for initdb; a shell evaluates them.",
        from_file=True,
    ),
    Variable("POSTGRES_INITDB_WALDIR", "", "Folder for the write-ahead log, outside `PGDATA`."),
    Variable(
        "POSTGRES_HOST_AUTH_METHOD",
        "the server's `password_encryption`",
        "Authentication method of the `host all all all` line in pg_hba.conf; `trust` needs no password.",
        mixed=True,  # ldapbindpasswd
    ),
    Variable("PGDATA", "set by the image", "The data folder."),
    Variable("PGPORT", "5432", "Port of the server, also during the first start."),
    Variable(
        "PGUSER",
        "",
        "libpq's variable, passed to init files and to the server's environment.",
    ),
    Variable(
        "PGPASSWORD",
        "value of `POSTGRES_PASSWORD`",
        "Password that psql uses during the first start. The running server gets it only if "
        "`POSTGRES_ENVIRONMENT` names it.",
        secret=True,
    ),
    Variable(
        "PGCTLTIMEOUT",
        "60",
        "Seconds to wait for the temporary server of a first start to come up, and to shut down.",
    ),
)
"""The variables that the official image has as well."""

OURS = (
    Variable(
        "POSTGRES_INIT_UNFINISHED",
        "refuse",
        "What to do if an init file of an earlier first start failed or was killed: `refuse`, or `restart` "
        "(move the unfinished database to `$PGDATA/unfinished-<time>/` and start from scratch).",
    ),
    Variable(
        "POSTGRES_PASSWORD_UPDATE",
        "off",
        "`on`: at each start, set the superuser's password to `POSTGRES_PASSWORD` if it differs. `off`: only "
        "warn.",
    ),
    Variable(
        "POSTGRES_EXTENSIONS",
        "",
        "Extensions for `POSTGRES_DB` and template1, separated by commas or spaces. Missing ones are created "
        "before the init files run and at every start.",
    ),
    Variable(
        "POSTGRES_EXTENSIONS_UPDATE",
        "off",
        "`on`: at every start, update all extensions in all databases to the version in the image.",
    ),
    Variable(
        "POSTGRES_UPGRADE",
        "off",
        "`on`: a start upgrades a cluster of an older major version, if the image has that major's programs, "
        "also where an older layout of the official image has it. `off`: the start refuses it.",
    ),
)

_ALL = {each.name: each for each in OFFICIAL + OURS}

AUTH_METHODS = frozenset("trust reject scram-sha-256 md5 password gss ident pam ldap radius oauth".split())
"""Methods that work in a `host` line on Linux; with any other method the server would not start."""
PLAIN_METHODS = ("", "trust", "reject", "scram-sha-256", "md5", "password")
"""Methods that every server accepts without options, so that the server's parser need not check them."""


class Init(NamedTuple):
    """What a first start creates."""

    user: str
    password: str
    database: str
    initdb_args: str
    wal_folder: str | None
    auth_method: str
    """Empty: use the server's password_encryption."""
    restart_unfinished: bool


class EveryStart(NamedTuple):
    """What every start does once the server is up."""

    extensions: tuple[str, ...]
    update_extensions: bool
    update_password: bool


class Cluster(NamedTuple):
    """Where the cluster is, and what a first start creates."""

    data_folder: str
    port: str
    server_timeout: int
    """Seconds that the temporary server may take to come up or to shut down."""
    init: Init


def parse(values: Mapping[str, str]) -> tuple[Cluster, list[Problem]]:
    """Return where the cluster is and what a first start creates, and the problems with that."""
    problems: list[Problem] = []
    if not values.get("PGDATA"):
        problems.append(Problem("PGDATA is empty", "set PGDATA to the data folder", docs="mount-the-volume"))
    elif not values["PGDATA"].startswith("/"):
        problems.append(
            Problem(
                f"PGDATA={values['PGDATA']} is not an absolute path",
                "set PGDATA to an absolute path",
                docs="mount-the-volume",
            )
        )
    user = _ALL["POSTGRES_USER"].of(values)
    wal_folder = values.get("POSTGRES_INITDB_WALDIR") or None
    if wal_folder and not wal_folder.startswith("/"):
        problems.append(
            Problem(
                f"POSTGRES_INITDB_WALDIR={wal_folder} is not an absolute path",
                "set POSTGRES_INITDB_WALDIR to an absolute path",
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
    """Return what every start does, and the problems with that."""
    problems: list[Problem] = []
    names = values.get("POSTGRES_EXTENSIONS", "").replace(",", " ").split()
    update_password = choice(values, _ALL["POSTGRES_PASSWORD_UPDATE"], ("off", "on"), problems) == "on"
    if update_password and not values.get("POSTGRES_PASSWORD"):
        problems.append(
            Problem(
                "POSTGRES_PASSWORD_UPDATE=on, but POSTGRES_PASSWORD is empty",
                "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE to the new password",
                docs="handle-secrets",
            )
        )
    update = choice(values, _ALL["POSTGRES_EXTENSIONS_UPDATE"], ("off", "on"), problems) == "on"
    return EveryStart(tuple(dict.fromkeys(names)), update, update_password), problems


def _auth_method(values: Mapping[str, str], problems: list[Problem]) -> str:
    """Return the text after `host all all all`; the server checks the part after the method, see first_start.

    Further lines may follow: compose files often set up replicas' access in this way.
    """
    text = values.get("POSTGRES_HOST_AUTH_METHOD", "")
    words = text.partition("\n")[0].split()
    if text and (not words or words[0].strip('"') not in AUTH_METHODS):
        problems.append(
            Problem(
                "POSTGRES_HOST_AUTH_METHOD is not an authentication method for TCP connections",
                f"use one of {', '.join(sorted(AUTH_METHODS))}",
                docs="finish-a-first-start",
            )
        )
    return text
