"""Checks of the start and of the server."""

from entrypoint.doctor import judge
from entrypoint.doctor.sight import ALWAYS, CLUSTER, Check, Sight
from entrypoint.finding import OK, Finding
from entrypoint.first_start import init_files
from entrypoint.pid1 import status, stops
from entrypoint.server import control_file, opening, programs
from entrypoint.server.context import server_environment
from entrypoint.start import objections, plan
from entrypoint.system import files
from entrypoint.volume import probe


def _settings(sight: Sight) -> list[Finding]:
    return judge.server.settings(sight.problems, sight.doubts)


def _start(sight: Sight) -> list[Finding]:
    # A start that is under way judges for itself, in the same scratch folder.
    if sight.facts is None or sight.status is not None or sight.tended:
        return []
    decided = plan.decide(sight.settings, sight.facts)
    return judge.server.start([*decided.refusals, *objections.objections(sight.context, decided)])


_NEEDED = (
    *("cat", "date", "env", "find", "grep", "mv", "rm", "sed", "seq", "sha1sum", "sleep", "tail", "timeout"),
    "touch",
)
"""What shims/archive-segment and shims/fetch-segment call."""


def _shell(sight: Sight) -> list[Finding]:
    context = sight.context
    found = programs.check_shell(context)
    missing: list[str] = []
    if found is None:
        # As PostgreSQL would: /bin/sh with the server's PATH looks for each.
        script = 'for name in "$@"; do command -v "$name" >/dev/null || printf "%s\\n" "$name"; done'
        tool = [sight.archive.tool.name] if sight.archive is not None else []
        argv = ["/bin/sh", "-c", script, "sh", *_NEEDED, "/usr/bin/env", *tool]
        environment = server_environment(sight.settings, context.environment)
        _, text = context.children.output(argv, environment)
        missing = text.split()
    return judge.server.shell(found, missing, context.who.uid)


_PROGRAMS = ("postgres", "initdb", "pg_ctl", "pg_controldata", "pg_waldump", "psql")


def _version(sight: Sight) -> list[Finding]:
    missing = [name for name in _PROGRAMS if not opening.has_program(name, sight.context.environment)]
    binary = None if "postgres" in missing else str(programs.binary_major(sight.context))
    return judge.server.versions(_first_line(f"{sight.data_folder}/PG_VERSION"), binary, missing)


def _first_line(path: str) -> str | None:
    try:
        return files.read_text(path).split("\n")[0] or None
    except OSError:
        return None


def _server(sight: Sight) -> list[Finding]:
    refused = sight.status == "ready" and not sight.runs
    return judge.server.server(
        sight.status, f"the server cannot be asked:\n{sight.asked[1]}" if refused else ""
    )


def _last_stop(sight: Sight) -> list[Finding]:
    told = judge.server.stops(judge.server.parse_stops(stops.read(sight.data_folder)))
    if sight.status is not None:
        return told
    found = judge.server.last_stop(control_file.read_control(sight.context).get("Database cluster state", ""))
    return found if {each.level for each in found} - {OK} else told or found


def _init_files(sight: Sight) -> list[Finding]:
    recorded = init_files.noted(sight.data_folder)
    if recorded is None:
        return []
    return judge.server.init_files(recorded, init_files.digests(probe.INIT_FOLDER))


def _helpers(_: Sight) -> list[Finding]:
    return judge.server.helpers(status.failing(status.RUNTIME_FOLDERS))


CHECKS = (
    Check(
        "settings",
        "a misspelt variable does nothing, and a wrong one ends the start",
        "names and values of all variables, and the files of X_FILE",
        _settings,
        ALWAYS,
    ),
    Check(
        "shell",
        "PostgreSQL runs archive_command by /bin/sh; without it WAL fills the volume, and the log says 127",
        "/bin/sh, /usr/bin/env and the programs of archive_command, executed as the server's user",
        _shell,
        ALWAYS,
    ),
    Check(
        "start",
        "what would end the next start is better known before it",
        "data folder, init files, arguments and settings, as a start judges them; not while a server runs",
        _start,
    ),
    Check(
        "version",
        "a server starts only on data of its own major",
        "PG_VERSION against the image's postgres, and whether PostgreSQL's programs are all there",
        _version,
    ),
    Check(
        "last stop",
        "a server that was killed repairs itself at the next start, which takes time and trusts the disk",
        "how the last stops ended and how long they took; the state in pg_control, while no server runs",
        _last_stop,
        CLUSTER,
    ),
    Check(
        "init files",
        "they run once, on an empty volume: a change in them never reaches this database",
        "/docker-entrypoint-initdb.d against its digests from the first start, where they were noted",
        _init_files,
        CLUSTER,
    ),
    Check("server", "without it nobody is served", "postmaster.pid, and one question", _server),
    Check(
        "helpers",
        "a backup or an archiver that keeps ending never takes the server down, so nobody notices",
        "what PID 1 tells of its helpers",
        _helpers,
    ),
)
