"""The context that every effect of a start needs, and the environments of the programs that it starts."""

from __future__ import annotations

import os

from entrypoint.archivers import tool_variables
from entrypoint.light import NamedTuple
from entrypoint.postgres.argv import parse_server
from entrypoint.settings import foreign, serving, variables
from entrypoint.settings.fields import HIDDEN_VALUE, INJECTED, PATRONI
from entrypoint.settings.values import Settings, ours
from entrypoint.system import files
from entrypoint.system.children import Children
from entrypoint.system.doors import path_without
from entrypoint.system.identity import Identity
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

OUR_PROGRAM = "/usr/local/bin/entrypoint"
"""Our program, which PID 1 starts again. The full path rules out another `entrypoint` earlier on PATH."""
SETTINGS_VARIABLE = "ENTRYPOINT_SETTINGS"
"""Names the file of variables for the programs that PID 1 starts, whose environment holds no secret."""
SETTINGS_FILE = "settings.json"
OWN_PREFIX = "ENTRYPOINT_"
"""Variables that this program passes to itself."""


class Context(NamedTuple):
    """Everything that each effect of a start needs."""

    settings: Settings
    children: Children
    who: Identity
    """The server's user."""
    runtime_folder: str
    environment: dict[str, str]
    """For helpers of a first start and for init files: the same as in the official image's script."""
    near: bool = False
    """The storage of the archive answers within milliseconds."""


def helper_environment(settings: Settings, who: Identity, *, stepped_down: bool) -> dict[str, str]:
    """Return the environment of init files and of our own psql and initdb."""
    environment = {name: value for name, value in settings.values.items() if not name.startswith(OWN_PREFIX)}
    environment |= {
        "POSTGRES_USER": settings.init.user,
        "POSTGRES_PASSWORD": settings.init.password,
        "POSTGRES_DB": settings.init.database,
        "POSTGRES_INITDB_ARGS": settings.init.initdb_args,
        "POSTGRES_HOST_AUTH_METHOD": settings.init.auth_method,
        "PGDATA": settings.data_folder,
    }
    if stepped_down:
        environment["HOME"] = who.home
    return environment


def with_password(context: Context) -> dict[str, str]:
    """Return the environment with PGPASSWORD, which psql needs if local connections require a password."""
    password = context.environment.get("PGPASSWORD") or context.settings.init.password
    return context.environment | {"PGPASSWORD": password}


def later_environment(context: Context) -> dict[str, str]:
    """Return the environment, without secrets, of our program when PID 1 or archive-segment starts it."""
    made = {
        "PATH": tool_path(context),
        "LC_ALL": "C",
        "HOME": context.runtime_folder,
        SETTINGS_VARIABLE: f"{context.runtime_folder}/{SETTINGS_FILE}",
    }
    cluster = notes.cluster(context.settings.data_folder)
    return made | {notes.CLUSTER: cluster} if cluster else made


def later_command(context: Context, *words: str) -> str:
    """Return a sh command that becomes our own program, with `later_environment` and nothing else."""
    import shlex

    made = (f"{name}={value}" for name, value in later_environment(context).items())
    return f"exec {shlex.join(['env', '-i', *made, OUR_PROGRAM, 'internal', *words])}"


def write_down_settings(context: Context) -> None:
    """Write the variables that later programs of PID 1 may need to a file, without secrets.

    The archiver's secrets are in its own settings file, which already exists.
    """
    import json

    # A scratch cluster has the variables of the server that runs next to it, but its own data folder.
    values = {**kept_values(context.settings.values), "PGDATA": context.settings.data_folder}
    path = f"{context.runtime_folder}/{SETTINGS_FILE}"
    files.write_atomically(path, json.dumps(values))


def kept_values(values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to keep: ours, libpq's, the archivers' and Patroni's, their secrets hidden."""
    found = {}
    for name, value in values.items():
        declared = variables.find(name)
        if variables.is_of_archiver(name, values):
            found[name] = HIDDEN_VALUE if value and variables.is_secret_of_archiver(name) else value
        elif name.startswith(PATRONI):
            found[name] = HIDDEN_VALUE if value and _is_secret_of_patroni(name) else value
        elif name == "POSTGRES_PASSWORD" and value and values.get(f"{PATRONI}SCOPE"):
            found[f"{PATRONI}SUPERUSER_PASSWORD"] = HIDDEN_VALUE  # what Patroni does with it
        elif (declared is not None and declared.secret) or name.startswith("STANDBY"):
            continue  # only the server needs to know how it follows
        elif declared is not None or name.startswith(("PG", serving.CONF_PREFIX)):
            found[name] = value
    return found


def _is_secret_of_patroni(name: str) -> bool:
    from entrypoint.settings import patroni_variables

    return patroni_variables.is_secret(name)


def handed_on_folder() -> str | None:
    """Return the runtime folder of the process that started us with `later_environment`, or None."""
    path = os.environ.get(SETTINGS_VARIABLE)
    return os.path.dirname(path) if path else None


def server_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the server, which every superuser of the database can read.

    If the entrypoint archives or restores, the container's environment holds keys, and each tool has further
    names for them. The server then gets only the variables that it and its libraries read, and those that
    POSTGRES_ENVIRONMENT names. Otherwise it gets the same variables as in the official image: functions,
    COPY PROGRAM and the user's own archive_command rely on them. The server never gets the variables that
    are only for the start: POSTGRES_* (docker-library/postgres#1412) and PGPASSWORD.
    """
    asked, all_else = settings.serving.handed_on, not is_guarded(settings)
    return {
        name: value
        for name, value in environment.items()
        if serving.is_for_server(name, value, asked, all_else=all_else)
    }


def is_guarded(settings: Settings) -> bool:
    """Return whether the container's environment may hold secrets of archives that the entrypoint uses."""
    archives = (settings.archive, settings.source)
    return not settings.own_recovery and any(ours(each) is not None for each in archives)


def withheld_variables(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """Return the variables that nobody here knows and that the server loses because of the archive."""
    handed_on = server_environment(settings, environment)
    return [
        name
        for name, value in sorted(environment.items())
        if name not in handed_on
        and name.isidentifier()  # Docker Compose 1 adds `affinity:container`, which no program reads
        and serving.is_for_server(name, value, (), all_else=True)
        and variables.find(name) is None
        and not name.startswith(foreign.STRICT_GROUPS + foreign.OUR_GROUPS)
        and not INJECTED.fullmatch(name)
        and not tool_variables.is_own(name, settings.values)
    ]


def server_port(settings: Settings) -> str:
    """Return the port of the real server, as far as it is known before the server runs."""
    return settings.server.settings.get("port") or settings.conf.get("port") or settings.port


def tool_path(context: Context) -> str:
    """Return the PATH for the archiver, on which the archiver itself comes before our wrapper of it."""
    wanted = context.settings
    names = {each.tool.name for each in (wanted.archive, wanted.source) if each is not None}
    folders, doors = path_without([*names], context.environment.get("PATH", ""))
    return ":".join([*folders, *doors])


def at_port(context: Context, number: str) -> Context:
    """Return the context of a server on this port, whatever the settings say."""
    wanted = context.settings
    conf = {name: value for name, value in wanted.conf.items() if name != "port"}
    settings = wanted._replace(port=number, conf=conf, server=parse_server(()))
    return context._replace(settings=settings, environment={**context.environment, "PGPORT": number})
