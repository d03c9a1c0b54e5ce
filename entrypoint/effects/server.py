"""The server: its environment, its configuration, and what tells whether it is at work."""

from __future__ import annotations

import os

from entrypoint import log, own, ruled
from entrypoint.archivers.interface import Server
from entrypoint.argv import NOT_A_SERVER
from entrypoint.cluster import parse_control
from entrypoint.effects import capacity, files, notes, small, status
from entrypoint.effects.children import find_program
from entrypoint.effects.context import Context, server_environment, server_port, tool_path
from entrypoint.errors import Failure, Problem
from entrypoint.hiding import hide_words
from entrypoint.light import re
from entrypoint.limits import MOST_PROCESSES
from entrypoint.postmaster import Postmaster, parse_postmaster
from entrypoint.settings import Archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONF_FOLDER = "/docker-entrypoint-conf.d"
"""The user's own `*.conf` files: stronger than variables, weaker than ALTER SYSTEM."""
CHOSEN_FILE = "chosen.conf"
"""In the runtime folder: what the entrypoint chooses for this container, with the reasons."""
OURS = "entrypoint\n"
"""In a standby.signal that is ours; PostgreSQL looks at the file's name alone."""
OLD_RECOVERY = "recovery.conf"
"""Of PostgreSQL 11 and older."""
SAMPLE = "postgresql.conf.sample"
"""Of which initdb makes postgresql.conf; extensions lie beside it."""


def describe(context: Context) -> Server:
    """Return the server as an archiver needs to know it."""
    return Server(
        data_folder=context.settings.data_folder,
        socket_folder=status.SOCKET_FOLDER,
        port=server_port(context.settings),
        user=context.settings.init.user,
        runtime_folder=context.runtime_folder,
        segment_bytes=segment_bytes(context),
        processes=min(capacity.processors(), MOST_PROCESSES),
        client=_client(context),
    )


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


def check_shell(context: Context) -> Problem | None:
    """Run /bin/sh as PostgreSQL does for archive_command: by this path, as the server's user."""
    mend = "use an image that has /bin/sh: archive_command, restore_command and COPY OUR_PROGRAM need it"
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
