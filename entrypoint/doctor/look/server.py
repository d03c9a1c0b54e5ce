"""Checks of the start and of the server."""

from entrypoint.doctor import judge
from entrypoint.doctor.sight import ALWAYS, CLUSTER, Check, Sight
from entrypoint.finding import OK, Finding
from entrypoint.first_start import init_files
from entrypoint.pid1 import status, stops
from entrypoint.server import control_file, opening, programs
from entrypoint.server.context import server_environment
from entrypoint.server.data_folder import data_version
from entrypoint.start import objections, plan
from entrypoint.volume import probe


def _settings(sight: Sight) -> list[Finding]:
    return judge.server.settings(sight.problems, sight.doubts)


def _start(sight: Sight) -> list[Finding]:
    # A start that is in progress judges for itself, in the same scratch folder.
    if sight.facts is None or sight.status is not None or sight.tended:
        return []
    decided = plan.decide(sight.settings, sight.facts)
    return judge.server.start([*decided.refusals, *objections.objections(sight.context, decided)])


_NEEDED = (
    *("cat", "date", "env", "find", "grep", "mv", "rm", "sed", "seq", "sha1sum", "sleep", "tail", "timeout"),
    "touch",
)
"""The programs that shims/archive-segment and shims/fetch-segment call."""


def _shell(sight: Sight) -> list[Finding]:
    context = sight.context
    found = programs.check_shell(context)
    missing: list[str] = []
    if found is None:
        # As PostgreSQL does: /bin/sh looks for each program on the server's PATH.
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
    wrong = objections.wrong_major(sight.context) if binary else None
    return judge.server.versions(data_version(sight.data_folder) or None, binary, missing, wrong)


def _server(sight: Sight) -> list[Finding]:
    refused = sight.status == "ready" and not sight.runs
    return judge.server.server(
        sight.status, f"the server does not answer queries:\n{sight.asked[1]}" if refused else ""
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
        "a misspelled variable has no effect, and a wrong value ends the start",
        "the names and values of all variables, and the files that X_FILE names",
        _settings,
        ALWAYS,
    ),
    Check(
        "shell",
        "PostgreSQL runs archive_command with /bin/sh; without it, WAL fills the volume and the log says 127",
        "/bin/sh, /usr/bin/env and the programs of archive_command, as the server's user",
        _shell,
        ALWAYS,
        costly=True,
    ),
    Check(
        "start",
        "it is better to know what would end the next start before you need that start",
        "data folder, init files, arguments and settings, as a start judges them; not while a server runs",
        _start,
    ),
    Check(
        "version",
        "a server starts only on data of its own major version",
        "PG_VERSION against the image's postgres, and whether all of PostgreSQL's programs are there",
        _version,
        costly=True,
    ),
    Check(
        "last stop",
        "after a kill, the next start has to recover, which takes time and relies on the disk",
        "how the last stops ended and how long they took; while no server runs, the state in pg_control",
        _last_stop,
        CLUSTER,
        "deploy",
    ),
    Check(
        "init files",
        "init files run once, on an empty volume: a later change in them never reaches this database",
        "/docker-entrypoint-initdb.d against its digests from the first start, if there are any",
        _init_files,
        CLUSTER,
        "run-scripts-at-every-start",
        costly=True,
    ),
    Check(
        "server",
        "without a server, clients cannot connect",
        "postmaster.pid, and the answer to one query",
        _server,
        docs="check-health",
    ),
    Check(
        "helpers",
        "a backup or an archiver that keeps exiting does not stop the server, so it can go unnoticed",
        "the states of the helpers, as PID 1 reports them",
        _helpers,
    ),
)
