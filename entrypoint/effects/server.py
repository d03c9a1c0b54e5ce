"""The server: its environment, its configuration, and what tells whether it is at work."""

from __future__ import annotations

import os

from entrypoint import archivers, log, own, ruled, variables
from entrypoint.archivers import Server
from entrypoint.argv import NOT_A_SERVER, parse_server
from entrypoint.cluster import parse_control
from entrypoint.effects import files, kernel, notes, small, status
from entrypoint.effects.children import Children, find_program, path_without
from entrypoint.effects.identity import Identity
from entrypoint.errors import Failure, Problem
from entrypoint.hiding import hide_words
from entrypoint.light import NamedTuple, re
from entrypoint.limits import MOST_PROCESSES
from entrypoint.postmaster import Postmaster, parse_postmaster
from entrypoint.settings import SOURCE_PREFIX, Archive, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAM = "/usr/local/bin/entrypoint"
"""Ours, which PID 1 starts again: not what somebody else calls so in a folder that PATH names first."""
CONF_FOLDER = "/docker-entrypoint-conf.d"
"""The user's own `*.conf` files: stronger than variables, weaker than ALTER SYSTEM."""
CHOSEN_FILE = "chosen.conf"
"""In the runtime folder: what the entrypoint chooses for this container, with the reasons."""
SETTINGS = "ENTRYPOINT_SETTINGS"
"""Names the file of variables for what PID 1 starts, whose environment holds no secret."""
SETTINGS_FILE = "settings.json"
OURS = "entrypoint\n"
"""In a standby.signal that is ours; PostgreSQL looks at the file's name alone."""
OLD_RECOVERY = "recovery.conf"
"""Of PostgreSQL 11 and older."""
SAMPLE = "postgresql.conf.sample"
"""Of which initdb makes postgresql.conf; extensions lie beside it."""
OWN_PREFIX = "ENTRYPOINT_"
"""Variables that this program passes to itself."""


class Context(NamedTuple):
    """What every effect of a start needs."""

    settings: Settings
    children: Children
    who: Identity
    """The server's user."""
    runtime_folder: str
    environment: dict[str, str]
    """For helpers of a first start and for init files: as the official image's script has it."""
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
    """Return the environment with PGPASSWORD, which psql needs where local connections ask for one."""
    password = context.environment.get("PGPASSWORD") or context.settings.init.password
    return context.environment | {"PGPASSWORD": password}


def later_environment(context: Context) -> dict[str, str]:
    """Return the environment of our own program where PID 1 or archive-segment starts it: without secrets."""
    made = {
        "PATH": tool_path(context),
        "LC_ALL": "C",
        "HOME": context.runtime_folder,
        SETTINGS: f"{context.runtime_folder}/{SETTINGS_FILE}",
    }
    cluster = notes.cluster(context.settings.data_folder)
    return made | {notes.CLUSTER: cluster} if cluster else made


def helper_role(tool: str) -> str:
    """Return what PID 1 calls the helper that it keeps for an archiver."""
    return f"{tool}-daemon"


def write_down(context: Context) -> None:
    """Keep the variables for what PID 1 starts later: what it may need, and no secret.

    The archiver's secrets are in its own settings file, which is there already.
    """
    import json

    # A scratch cluster has the variables of the server beside it, and a folder of its own.
    values = {**kept_values(context.settings.values), "PGDATA": context.settings.data_folder}
    path = f"{context.runtime_folder}/{SETTINGS_FILE}"
    files.write_atomically(path, json.dumps(values))


HIDDEN = "in the archiver's own settings file"
_SECRET_WORDS = ("KEY", "SECRET", "PASS", "TOKEN", "CREDENTIALS", "SSE_C")


def kept_values(values: Mapping[str, str]) -> dict[str, str]:
    """Return what is kept of the variables: ours, libpq's and the archivers', with their secrets hidden."""
    tools = [archivers.get(name, values) for name in archivers.NAMES]
    found = {}
    for name, value in values.items():
        declared = variables.ALL.get(name)
        if any(tool.is_own_variable(name.removeprefix(SOURCE_PREFIX)) for tool in tools):
            secret = any(word in name for word in _SECRET_WORDS) and not name.endswith("_PATH")
            found[name] = HIDDEN if secret and value else value
        elif (declared is not None and declared.secret) or name.startswith("STANDBY"):
            continue  # the server alone needs to know how it follows
        elif declared is not None or name.startswith(("PG", variables.CONF_PREFIX)):
            found[name] = value
    return found


def handed_on_folder() -> str | None:
    """Return the runtime folder of whoever has started us with `later_environment`."""
    path = os.environ.get(SETTINGS)
    return os.path.dirname(path) if path else None


def server_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the server, which every superuser of the database can read.

    Where the entrypoint archives or restores, the container's environment holds keys, under names that each
    tool adds to. So it is built from what the server and its libraries read, and from what
    POSTGRES_ENVIRONMENT names. Else it is what the official image hands on: people's functions and
    COPY PROGRAM count on it, and so does an archive_command of their own. Never in it is what is for the
    start alone: no POSTGRES_* (docker-library/postgres#1412), no PGPASSWORD.
    """
    asked, all_else = settings.handed_on, not is_guarded(settings)
    return {
        name: value
        for name, value in environment.items()
        if variables.is_for_server(name, value, asked, all_else=all_else)
    }


def is_guarded(settings: Settings) -> bool:
    """Tell whether the container's environment may hold secrets of archives that are the entrypoint's."""
    archives = (settings.archive, settings.source)
    return not settings.own_recovery and any(each is not None and not each.by_user for each in archives)


def withheld(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """Return the variables that the server would have without an archive, and that nobody here knows."""
    handed_on = server_environment(settings, environment)
    tools = [archivers.get(name, settings.values) for name in archivers.NAMES]
    return [
        name
        for name, value in sorted(environment.items())
        if name not in handed_on
        and variables.is_for_server(name, value, (), all_else=True)
        and name not in variables.ALL
        and not name.startswith(variables.STRICT_GROUPS + variables.OUR_GROUPS)
        and not variables.INJECTED.fullmatch(name)
        and not any(tool.is_own_variable(name) for tool in tools)
    ]


def describe(context: Context) -> Server:
    """Return the server as an archiver needs to know it."""
    return Server(
        data_folder=context.settings.data_folder,
        socket_folder=status.SOCKET_FOLDER,
        port=port(context.settings),
        user=context.settings.init.user,
        runtime_folder=context.runtime_folder,
        segment_bytes=segment_bytes(context),
        processes=min(kernel.processors(), MOST_PROCESSES),
        client=_client(context),
    )


def port(settings: Settings) -> str:
    """Return the port of the real server, as far as it is known before it runs."""
    return settings.server.settings.get("port") or settings.conf.get("port") or settings.port


def binary_major(context: Context) -> int:
    """Return the major of the image's server; 0 where it does not say."""
    _, text = context.children.output(["postgres", "--version"], context.environment)
    found = re.search(r"(\d+)", text)
    return int(found[1]) if found else 0


def data_major(data_folder: str) -> int:
    """Return the major of a cluster."""
    return int(files.read_text(f"{data_folder}/PG_VERSION").partition(".")[0])


def segment_bytes(context: Context) -> int:
    """Return the size of a WAL segment of the cluster; PostgreSQL's default before there is one."""
    control = read_control(context)
    return int(control.get("Bytes per WAL segment", 16 * 1024**2))


_controls: dict[tuple[str, int, int], dict[str, str]] = {}
"""What was read, by path, inode and time of change: a start with an archive asks several times."""


def read_control(context: Context) -> dict[str, str]:
    """Return what pg_controldata prints, or nothing without a cluster."""
    path = f"{context.settings.data_folder}/global/pg_control"
    try:
        found = os.stat(path)
    except OSError:
        return {}
    if (known := _controls.get((path, found.st_ino, found.st_mtime_ns))) is not None:
        return known
    environment = {**context.environment, "LC_ALL": "C"}
    argv = ["pg_controldata", "-D", context.settings.data_folder]
    code, text = context.children.output(argv, environment)
    if code:
        return {}
    return _controls.setdefault((path, found.st_ino, found.st_mtime_ns), parse_control(text))


def is_our_standby(context: Context) -> bool:
    """Tell whether this is a standby that STANDBY=on has made, or is to be one."""
    try:
        text = small.read_text(f"{context.settings.data_folder}/standby.signal", follow=True)
    except OSError:
        return False
    return context.settings.standby is not None or text == OURS


def timeline(context: Context) -> int:
    """Return the cluster's own timeline; 0 without a cluster.

    After a promotion the first checkpoint may take minutes, and until then the control file tells of the new
    timeline only by the end of its recovery.
    """
    control = read_control(context)
    return max(
        int(control.get("Latest checkpoint's TimeLineID", 0)),
        int(control.get("Min recovery ending loc's timeline", 0)),
    )


def is_half_promoted(context: Context) -> bool:
    """Tell whether a standby has lost its signal file and was no primary yet.

    PostgreSQL removes the file before the new timeline is complete. Killed in between, the next start would
    be a primary in the old timeline, beside the old one.
    """
    data = context.settings.data_folder
    if any(os.path.exists(f"{data}/{name}") for name in ("standby.signal", "recovery.signal")):
        return False
    state = read_control(context).get("Database cluster state", "")
    return state in ("in archive recovery", "shut down in recovery")


def arguments(context: Context, following: Mapping[str, str] | None = None) -> list[str]:
    """Return the server's arguments; renders its configuration where something is to be rendered.

    `following` are the settings of a standby. Where nothing is to be rendered the arguments are exactly
    those that were given.
    """
    settings = context.settings
    given = list(settings.server.given)
    if following or renders(context):
        archive = settings.archive if settings.archive and not settings.archive.by_user else None
        path = _render(context, archive, describe(context), following)
        given = [*settings.server.without_config_file, "-c", f"config_file={path}"]
        if archive is not None:
            from entrypoint.effects import charge

            given += ruled.words(charge.decide(context).options)
    return given


def renders(context: Context) -> bool:
    """Tell whether variables or files of the user's conf folder configure the server."""
    settings = context.settings
    archives = settings.archive is not None and not settings.archive.by_user
    return bool(archives or settings.conf or settings.tune or _has_conf_folder())


def has_usual_shared_memory(context: Context) -> bool:
    """Tell whether the cluster's file has initdb's line for it, so that the size of /dev/shm matters."""
    try:
        text = files.read_text(f"{context.settings.data_folder}/postgresql.conf")
    except OSError:
        return True
    return "\ndynamic_shared_memory_type = posix" in text


def _has_conf_folder() -> bool:
    try:
        return any(name.endswith(".conf") for name in os.listdir(CONF_FOLDER))
    except PermissionError:
        return os.getuid() == 0  # before root steps down the server's binary says what is wrong with it
    except OSError:
        return False


def has_own_configuration(context: Context) -> bool:
    """Tell whether anything but the cluster's own files configures the server."""
    settings = context.settings
    first = settings.server.given[0] if settings.server.given else ""
    is_server = not settings.server.prints_a_setting and first not in NOT_A_SERVER
    return is_server and bool(settings.server.given or settings.conf or _has_conf_folder())


def is_configured(context: Context) -> bool:
    """Tell whether anybody but initdb has a say in the settings of a new cluster."""
    settings = context.settings
    environment = any(name in context.environment for name in ("PGDATESTYLE", "PGCLIENTENCODING", "PGPORT"))
    return bool(environment or settings.server.given or settings.conf or settings.tune or _has_conf_folder())


def _render(
    context: Context, archive: Archive | None, server: Server, following: Mapping[str, str] | None = None
) -> str:
    path = f"{server.runtime_folder}/postgresql.conf"
    from entrypoint.effects import configuration

    configuration.write_chosen(context, f"{server.runtime_folder}/{CHOSEN_FILE}")
    text = rendered_text(context, archive, server, following)
    files.write_atomically(path, text)
    return path


def rendered_text(
    context: Context,
    archive: Archive | None,
    server: Server,
    following: Mapping[str, str] | None = None,
) -> str:
    """Return the server's configuration file."""
    from entrypoint import conf

    return conf.postgresql_conf(
        context.settings,
        archive,
        server,
        tool_path(context),
        CONF_FOLDER if os.access(CONF_FOLDER, os.R_OK | os.X_OK) else None,
        following=following,
        chosen=f"{server.runtime_folder}/{CHOSEN_FILE}",
    )


def _client(context: Context) -> str:
    archive = context.settings.archive
    if archive is None or not archive.tool.client:
        return ""
    try:
        return find_program(archive.tool.client, context.environment)
    except Failure:
        return ""


def folder_with(name: str, context: Context) -> str:
    """
    Return the folder of the image's server that holds a file, its sample or a library; empty where none does.

    By where `postgres` is found: of nixpkgs' pg_config neither the program nor the view says anything.
    """
    try:
        program = find_program("postgres", context.environment)
    except Failure:
        return ""
    for path in (program, os.path.realpath(program)):
        prefix = os.path.dirname(os.path.dirname(path))
        for folder in (
            f"/usr/share/postgresql/{os.path.basename(prefix)}",  # Debian's
            *(f"{prefix}/{each}" for each in ("share/postgresql", "share", "lib/postgresql", "lib")),
        ):
            if os.path.exists(f"{folder}/{name}"):
                return folder
    return ""


def tool_path(context: Context) -> str:
    """Return the PATH for the archiver, on which it is found itself, and not our door to it."""
    wanted = context.settings
    names = {each.tool.name for each in (wanted.archive, wanted.source) if each is not None}
    folders, doors = path_without([*names], context.environment.get("PATH", ""))
    return ":".join([*folders, *doors])


def check_shell(context: Context) -> Problem | None:
    """Run /bin/sh as PostgreSQL does for archive_command: by this path, as the server's user."""
    mend = "use an image that has /bin/sh: archive_command, restore_command and COPY PROGRAM need it"
    if not os.path.exists("/bin/sh"):
        return Problem("/bin/sh is missing; commands of the server would end with code 127", mend)
    argv = ["/bin/sh", "-c", "exit 0"]
    try:
        code = context.children.run(argv, context.environment, become=context.who)
    except Failure as failure:
        return Problem(f"/bin/sh does not work: {failure.problems[0].what}", mend)
    if code:
        return Problem(f"/bin/sh ends with code {code} when uid {context.who.uid} runs it", mend)
    return None


def check_configuration(context: Context) -> None:
    """Let the server's own binary judge the arguments and our configuration, before anything is made.

    It gets a scratch folder with an empty configuration, since there is no cluster yet. Raises Failure
    with its words.
    """
    settings = context.settings
    with ScratchFolder(context) as scratch:
        files.write_atomically(f"{scratch}/postgresql.conf", "", 0o644)
        given = list(settings.server.given)
        if settings.conf or settings.tune or _has_conf_folder():
            os.mkdir(f"{scratch}/rendered", 0o700)
            server = describe(context)._replace(data_folder=scratch, runtime_folder=f"{scratch}/rendered")
            path = _render(context, None, server)
            given = [*settings.server.without_config_file, "-c", f"config_file={path}"]
        code, text = ask(context, "password_encryption", given, scratch)
    if code == 0:
        return
    from entrypoint.effects import configuration

    found = configuration.overriding(context)
    known = configuration.explain(context, found, configuration.fragments()[1])
    if known:
        raise Failure(*known)
    words = hide_words(text, ((source.name, source.value) for source in found))
    raise Failure(
        Problem(
            f"postgres does not accept its arguments and settings:\n{words}",
            "correct the arguments after the image's name, the POSTGRES_CONF_* variables, or the "
            f"files in {CONF_FOLDER}",
        )
    )


class ScratchFolder:
    """A data folder for questions to the server's binary, of its user; it is removed in the end."""

    def __init__(self, context: Context) -> None:
        self._path = f"{context.runtime_folder}/check-{os.getpid()}"

    def __enter__(self) -> str:
        if os.path.lexists(self._path):
            files.remove_tree(self._path)  # of a process that was killed
        os.mkdir(self._path, 0o700)
        return self._path

    def __exit__(self, *_: object) -> None:
        files.remove_tree(self._path)


def ask(context: Context, setting: str, given: Sequence[str], data: str) -> tuple[int, str]:
    """Return the exit code and the output of `postgres -C setting` for a data folder."""
    argv = ["postgres", "-D", data, *given, "-C", setting]
    environment = server_environment(context.settings, context.environment) | {"PGDATA": data, "LC_ALL": "C"}
    code, text = context.children.output(argv, environment, errors=True, become=context.who)
    return code, text.strip()


def at_port(context: Context, number: str) -> Context:
    """Return the context of a server that has this port, whatever the settings say."""
    wanted = context.settings
    conf = {name: value for name, value in wanted.conf.items() if name != "port"}
    settings = wanted._replace(port=number, conf=conf, server=parse_server(()))
    return context._replace(settings=settings, environment={**context.environment, "PGPORT": number})


def forget_original(data_folder: str) -> None:
    """Remove from a fetched cluster what tells of its original's server.

    pgBackRest leaves a recovery.signal, which beside a standby.signal would outlive the promotion.
    """
    notes.migrate(data_folder)
    gone = ("postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal")
    for name in (*gone, own.STOPS, own.UNFINISHED, own.FINISHED):
        if os.path.lexists(f"{data_folder}/{name}"):
            files.remove_tree(f"{data_folder}/{name}")
    if os.path.lexists(f"{data_folder}/{OLD_RECOVERY}"):
        aside = f"{OLD_RECOVERY}.unused"
        os.rename(f"{data_folder}/{OLD_RECOVERY}", f"{data_folder}/{aside}")
        log.warning(f"the backup holds a {OLD_RECOVERY}, with which no server starts: renamed to {aside}")


def read_postmaster(data_folder: str) -> Postmaster | None:
    """Return what postmaster.pid says, or None without a readable one."""
    try:
        return parse_postmaster(files.read_text(f"{data_folder}/postmaster.pid"))
    except OSError:
        return None


def live_postmaster(data_folder: str) -> Postmaster | None:
    """Return what postmaster.pid says, if its process is there."""
    found = read_postmaster(data_folder)
    return found if found is not None and os.path.exists(f"/proc/{found.pid}") else None


def is_postmaster_of(pid: int, data_folder: str) -> bool:
    """Tell whether a process is the server of this data folder, and not another one with its old pid."""
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        folder = os.readlink(f"/proc/{pid}/cwd")
        return program in ("postgres", "postmaster") and os.path.samefile(folder, data_folder)
    except OSError:
        return False  # another user's process, or gone, as its folder may be
