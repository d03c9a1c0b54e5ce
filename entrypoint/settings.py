"""What the user wants, typed and checked; all mistakes are reported together."""

from __future__ import annotations

from entrypoint import foreign, recovery, variables
from entrypoint.archivers import tool_variables
from entrypoint.archivers.interface import Archiver
from entrypoint.archivers.known import TOOLS, adapters
from entrypoint.archivers.terms import Storage
from entrypoint.argv import ServerArguments, parse_server
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re
from entrypoint.recovery import Request, Standby

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


class Archive(NamedTuple):
    """Where and how WAL and base backups are kept."""

    tool: Archiver
    storage: Storage
    timeout: str
    """archive_timeout, with PostgreSQL's units."""
    command_timeout: int
    """Seconds for one archiver call for one segment."""
    by_user: bool
    """The user's own archive_command is in charge: see `precedence`; on the command line it is known here."""
    asked: str
    """The variables of ours that ask for archiving of ours; empty where only the tool's own are there."""
    upgraded_from: str
    """System identifier of the cluster that pg_upgrade made this one of, or empty."""
    fork: str
    """What to do where somebody else has gone on in it: `refuse`, `confirm` or `readonly`."""
    fork_interval: int
    """Seconds between two looks whether somebody has."""

    @property
    def fork_confirmed(self) -> bool:
        """This cluster goes on here, whatever another one has archived since."""
        return self.fork == "confirm"


class Backups(NamedTuple):
    """When base backups are taken, how, and which are kept."""

    schedule: str | None
    """In cron's syntax."""
    timezone: str
    jitter: int
    """Seconds."""
    incrementals: int
    """How many follow each full one of the schedule."""
    retain_full: int | None
    retain_days: int | None
    timeout: int
    """Seconds for one backup."""
    rate_limit: int | None
    """Bytes per second."""
    contents: bool
    """Verification reads what is in the archive."""
    verify_days: int
    """In so many days all of it is read once."""

    @property
    def retains(self) -> bool:
        """Whether anything is ever removed."""
        return self.retain_full is not None or self.retain_days is not None


class Drills(NamedTuple):
    """When restores are rehearsed, and where."""

    schedule: str | None
    """In cron's syntax."""
    folder: str


class Stop(NamedTuple):
    """Seconds that each step of the shutdown may take."""

    smart: int
    fast: int
    immediate: int


class Settings(NamedTuple):
    """Everything that the user can decide."""

    values: dict[str, str]
    """All variables after `X_FILE` was resolved."""
    server: ServerArguments
    data_folder: str
    port: str
    server_timeout: int
    """Seconds that the temporary server may take to come up or go down (PGCTLTIMEOUT)."""
    init: Init
    every_start: EveryStart
    archive: Archive | None
    backup: Backups
    drill: Drills
    restore: Request | None
    """Also what a standby is built from."""
    standby: Standby | None
    source: Archive | None
    """The archive to restore from and to follow; mostly the same one."""
    source_values: dict[str, str]
    """The variables as that one is to see them."""
    conf: dict[str, str]
    """POSTGRES_CONF_*: server settings by name."""
    tune: bool
    """Memory, workers and WAL settings follow the container's limits."""
    collation_policy: str
    """`refuse`, `warn` or `reindex`."""
    stop: Stop
    no_new_privileges: bool
    debug: bool
    files: Mapping[str, str] = {}
    """The files that variables have come from, by the variable's plain name."""
    handed_on: tuple[str, ...] = ()
    """Names of variables for the server's environment; one that ends with `*` is the begin of names."""
    own_recovery: bool = False
    """A recovery that is not ours fetches WAL by the user's own restore_command: see effects/charge.py."""


def load(
    values: Mapping[str, str], arguments: Sequence[str], has_program: Mapping[str, bool]
) -> tuple[Settings, list[Problem]]:
    """Return the settings and everything that is wrong with them.

    `has_program` tells for each archiver whether the image has it.
    """
    problems: list[Problem] = []
    everything, others = values, foreign.theirs(values)
    values = {name: value for name, value in everything.items() if name not in others}
    archive = _archive(values, arguments, has_program, problems)
    source_values = _source_values(values, archive)
    source = archive
    if source_values != dict(values):
        found: list[Problem] = []
        source = _archive(source_values, arguments, has_program, found)
        problems += [_of_source(problem, values) for problem in found if problem not in problems]
    if values.get("RESTORE_FROM") and source is None and not problems:
        problems.append(
            Problem(
                f"RESTORE_FROM={values['RESTORE_FROM']}, but no archive is set to restore from",
                "set ARCHIVE_URL to the archive, for example ARCHIVE_URL=file:///archive",
            )
        )
    wrong = bool(problems)
    standby = recovery.parse_standby(values, archive=source is not None or wrong, problems=problems)
    if not values.get("PGDATA"):
        problems.append(Problem("PGDATA is empty", "set PGDATA to the data folder"))
    elif not values["PGDATA"].startswith("/"):
        problems.append(Problem(f"PGDATA={values['PGDATA']} is not an absolute path", "give PGDATA in full"))
    user = values.get("POSTGRES_USER") or "postgres"
    wal_folder = values.get("POSTGRES_INITDB_WALDIR") or None
    if wal_folder and not wal_folder.startswith("/"):
        problems.append(
            Problem(
                f"POSTGRES_INITDB_WALDIR={wal_folder} is not an absolute path",
                "give POSTGRES_INITDB_WALDIR in full",
            )
        )
    settings = Settings(
        values=dict(everything),
        server=parse_server(arguments),
        data_folder=_normal(values.get("PGDATA") or "/"),
        port=values.get("PGPORT") or "5432",
        server_timeout=_seconds(values, "PGCTLTIMEOUT", problems),
        init=Init(
            user=user,
            password=values.get("POSTGRES_PASSWORD", ""),
            database=values.get("POSTGRES_DB") or user,
            initdb_args=values.get("POSTGRES_INITDB_ARGS", ""),
            wal_folder=wal_folder,
            auth_method=_auth_method(values, problems),
            restart_unfinished=_choice(values, "POSTGRES_INIT_UNFINISHED", ("refuse", "restart"), problems)
            == "restart",
        ),
        every_start=_every_start(values, problems),
        archive=archive,
        backup=_backups(values, archive, problems),
        drill=_drills(values, archive, problems),
        restore=_restore(values, source, standby, problems),
        standby=standby,
        source=source,
        source_values=source_values,
        conf=_conf(values, archive, source, problems),
        tune=_choice(values, "POSTGRES_TUNE", ("off", "auto"), problems) == "auto",
        collation_policy=_choice(values, "COLLATION_POLICY", ("refuse", "warn", "reindex"), problems),
        stop=Stop(
            smart=_seconds(values, "STOP_SMART_TIMEOUT", problems),
            fast=_seconds(values, "STOP_FAST_TIMEOUT", problems),
            immediate=_seconds(values, "STOP_IMMEDIATE_TIMEOUT", problems),
        ),
        no_new_privileges=_choice(values, "POSTGRES_NO_NEW_PRIVILEGES", ("off", "on"), problems) == "on",
        debug=_choice(values, "STATUS_LOG_LEVEL", variables.LOG_LEVELS, problems) == "debug",
        handed_on=_handed_on(values, problems),
    )
    return settings, problems


def _every_start(values: Mapping[str, str], problems: list[Problem]) -> EveryStart:
    names = values.get("POSTGRES_EXTENSIONS", "").replace(",", " ").split()
    update_password = _choice(values, "POSTGRES_PASSWORD_UPDATE", ("off", "on"), problems) == "on"
    if update_password and not values.get("POSTGRES_PASSWORD"):
        problems.append(
            Problem(
                "POSTGRES_PASSWORD_UPDATE=on, but POSTGRES_PASSWORD is empty",
                "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE to the new password",
            )
        )
    return EveryStart(
        extensions=tuple(dict.fromkeys(names)),
        update_extensions=_choice(values, "POSTGRES_EXTENSIONS_UPDATE", ("off", "on"), problems) == "on",
        update_password=update_password,
    )


def _handed_on(values: Mapping[str, str], problems: list[Problem]) -> tuple[str, ...]:
    names = tuple(values.get("POSTGRES_ENVIRONMENT", "").replace(",", " ").split())
    if not all(each == "*" or each.removesuffix("*").isidentifier() for each in names):
        problems.append(
            Problem(
                "POSTGRES_ENVIRONMENT holds what is no name of a variable",
                "give names without values, parted by spaces, for example POSTGRES_ENVIRONMENT='TZ APP_*'",
            )
        )
    return names


def _restore(
    values: Mapping[str, str], source: Archive | None, standby: Standby | None, problems: list[Problem]
) -> Request | None:
    if standby is None:
        return recovery.parse(values, problems)
    if source is None:
        return None
    backup = values.get("RESTORE_FROM", "").strip() or recovery.LATEST
    return Request(backup, action=recovery.FOLLOW)


def _normal(path: str) -> str:
    return path.rstrip("/") or "/"


def _value(values: Mapping[str, str], name: str) -> str:
    return values.get(name) or variables.ALL[name].default


def _seconds(values: Mapping[str, str], name: str, problems: list[Problem]) -> int:
    text = _value(values, name)
    if foreign.is_whole(text, 7):
        return int(text)
    problems.append(
        Problem(
            f"{variables.said(name, text)} is not a whole number of seconds",
            f"give {name} as seconds, for example {name}={variables.ALL[name].default}",
        )
    )
    return int(variables.ALL[name].default)


def _choice(values: Mapping[str, str], name: str, choices: Sequence[str], problems: list[Problem]) -> str:
    text = _value(values, name)
    if text not in choices:
        problems.append(
            Problem(f"{variables.said(name, text)} is not known", f"set {name} to {' or '.join(choices)}")
        )
    return text


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


def _conf(
    values: Mapping[str, str], archive: Archive | None, source: Archive | None, problems: list[Problem]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        given = name.removeprefix(variables.CONF_PREFIX)
        if given == name or foreign.is_injected(name, value) or foreign.conf_doubt(name, value) is not None:
            continue
        # A shell exports no name with a dot in it, and no setting has two underscores.
        setting = given.lower().replace("__", ".")
        parts = setting.split(".")
        if len(parts) > 2 or not all(part.isascii() and part.isidentifier() for part in parts):
            problems.append(Problem(f"{name} names no server setting", f"correct or remove {name}"))
        elif (mend := _instead(setting, value, values, archive, source)) is not None:
            problems.append(Problem(f"{name} cannot be set by a variable", mend))
        elif "\n" in value or "\r" in value:
            problems.append(Problem(f"{name} holds a line break", f"correct {name}"))
        elif setting == "primary_conninfo" and (wrong := recovery.conninfo_problem(name, value)) is not None:
            problems.append(wrong)
        elif setting in found:
            problems.append(Problem(f"{name} sets {setting} a second time", f"remove {name}"))
        else:
            found[setting] = value
    return found


def _instead(
    setting: str, value: str, values: Mapping[str, str], archive: Archive | None, source: Archive | None
) -> str | None:
    """Return what to do instead, where a setting is not to be set by POSTGRES_CONF_*."""
    if setting == "config_file":
        return "pass -c config_file=… instead"
    if setting == "data_directory":
        return "set PGDATA instead"
    if setting in ("include", "include_dir", "include_if_exists"):
        return "put the file into /docker-entrypoint-conf.d instead"
    if archive is not None and not archive.by_user and archive.asked:
        if setting == "archive_timeout":
            return "set ARCHIVE_TIMEOUT instead"
        if setting in ("archive_command", "archive_library") or (setting, value) in (
            ("archive_mode", "off"),
            ("wal_level", "minimal"),
        ):
            return f"remove it, or {archive.asked}: with that the archiving is the entrypoint's"
    if source is not None and setting == "restore_command":
        return "remove it: the archive's own is set where something is restored"
    if values.get("RESTORE_FROM") and setting.startswith("recovery_target"):
        return f"set {setting.upper().replace('RECOVERY', 'RESTORE')} instead"
    following = {"primary_conninfo": "STANDBY_PRIMARY_CONNINFO", "primary_slot_name": "STANDBY_SLOT"}
    if values.get("STANDBY") == "on" and setting in following:
        return f"set {following[setting]} instead"
    return None


def _archive(
    values: Mapping[str, str],
    arguments: Sequence[str],
    has_program: Mapping[str, bool],
    problems: list[Problem],
) -> Archive | None:
    tools = adapters(values)
    storage, chosen = _storage(values, tools, problems)
    if storage is None:
        return None
    chosen = chosen or _default_tool(values, has_program)
    if not has_program[chosen]:
        other = next((name for name in TOOLS if has_program[name]), None)
        problems.append(
            Problem(
                f"the archiver {chosen} is not in this image",
                f"set ARCHIVE_TOOL={other}" if other else f"use an image that has {chosen}",
            )
        )
    tool = tools[chosen]
    problems += tool.check(values)
    timeout = _value(values, "ARCHIVE_TIMEOUT")
    if not re.fullmatch(r"[0-9]{1,9} *(us|ms|s|min|h|d)?", timeout):
        problems.append(
            Problem(
                f"ARCHIVE_TIMEOUT={timeout} is no time",
                "give seconds, or a number with us, ms, s, min, h or d",
            )
        )
    given = parse_server(arguments).settings
    return Archive(
        tool=tool,
        storage=storage,
        timeout=timeout,
        command_timeout=_seconds(values, "ARCHIVE_COMMAND_TIMEOUT", problems),
        by_user="archive_command" in given or bool(given.get("archive_library")),
        asked=_asked(values),
        upgraded_from=_identifier(values, problems),
        fork=_choice(values, "ARCHIVE_FORK", ("refuse", "confirm", "readonly"), problems),
        fork_interval=_seconds(values, "ARCHIVE_FORK_INTERVAL", problems),
    )


_ASKING = ("ARCHIVE_", "BACKUP_", "DRILL_", "RESTORE_", "STANDBY")
"""What variables of ours begin with that are of no use without archiving of ours."""


def _asked(values: Mapping[str, str]) -> str:
    names = (name for name in variables.ALL if name.startswith(_ASKING) and values.get(name))
    return ", ".join(name for name in names if (name, values[name]) != ("STANDBY", "off"))


SOURCE_PREFIX = "RESTORE_"
"""Before a variable of the archive: it holds for the one that is restored from."""


def is_of_source(name: str) -> bool:
    """Tell whether a variable is one of the archive's, for the archive to restore from."""
    rest = name.removeprefix(SOURCE_PREFIX)
    return rest != name and (rest in ("ARCHIVE_URL", "ARCHIVE_TOOL") or tool_variables.is_own(rest, {}))


def _own_of_source(values: Mapping[str, str]) -> dict[str, str]:
    """Return what is set for the archive to restore from alone, by the names that the archive has."""
    return {
        name.removeprefix(SOURCE_PREFIX): value
        for name, value in values.items()
        if value and name.startswith(SOURCE_PREFIX) and is_of_source(name)
    }


def _is_elsewhere(own: Mapping[str, str]) -> bool:
    """Tell whether what is set for the archive to restore from alone names its place."""
    return any(name in foreign.STORAGES for name in own)


def _is_of_place(name: str) -> bool:
    if name.startswith("ARCHIVE_"):
        return not name.startswith(("ARCHIVE_TOOL", "ARCHIVE_TIMEOUT", "ARCHIVE_COMMAND_TIMEOUT"))
    return tool_variables.is_place(name)


def _source_values(values: Mapping[str, str], archive: Archive | None) -> dict[str, str]:
    """Return the variables for the archive to restore from; where it is another one the place is not kept.

    Its tool is the archive's, unless what is set for it alone tells of another one.
    """
    own = _own_of_source(values)
    if not own:
        return dict(values)
    kept = {name: value for name, value in values.items() if not (_is_elsewhere(own) and _is_of_place(name))}
    tool = own.get("ARCHIVE_TOOL") or _only_tool(own)
    if not tool and archive is not None:
        tool = archive.tool.name
    return {**kept, **own, "ARCHIVE_TOOL": tool or values.get("ARCHIVE_TOOL", "")}


def _of_source(problem: Problem, values: Mapping[str, str]) -> Problem:
    """Return what is wrong with the archive to restore from, with its variables by their full names."""
    names = "|".join([*_own_of_source(values), "ARCHIVE_URL", "ARCHIVE_TOOL"])
    full = re.compile(rf"(?<![A-Z0-9_])({names})(?![A-Z0-9_])")
    what, mend = (full.sub(rf"{SOURCE_PREFIX}\1", text) for text in (problem.what, problem.mend))
    return problem._replace(what=f"for the archive to restore from (RESTORE_*): {what}", mend=mend)


def _identifier(values: Mapping[str, str], problems: list[Problem]) -> str:
    text = values.get("ARCHIVE_UPGRADED_FROM", "")
    if text and not re.fullmatch(r"[1-9][0-9]{0,19}", text):
        problems.append(
            Problem(
                f"ARCHIVE_UPGRADED_FROM={text} is no system identifier",
                "give the number that pg_controldata prints for the old cluster as its system identifier",
            )
        )
    return text


def _backups(values: Mapping[str, str], archive: Archive | None, problems: list[Problem]) -> Backups:
    schedule = values.get("BACKUP_SCHEDULE", "").strip()
    timezone = _value(values, "BACKUP_TIMEZONE")
    wanted = [
        name for name in values if name.startswith("BACKUP_") and name in variables.ALL and values[name]
    ]
    if wanted and archive is None and not problems:
        problems.append(
            Problem(
                f"{', '.join(sorted(wanted))}, but no archive is set to keep backups in",
                "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive",
            )
        )
    if schedule:
        # cronsim and the time zones are loaded only where there is a schedule.
        from entrypoint import schedule as schedules

        problems += schedules.check(schedule, timezone)
    return Backups(
        schedule=schedule or None,
        timezone=timezone,
        jitter=_seconds(values, "BACKUP_JITTER", problems),
        incrementals=_count(values, "BACKUP_INCREMENTALS", problems, least=0) or 0,
        retain_full=_count(values, "BACKUP_RETAIN_FULL", problems, least=1),
        retain_days=_count(values, "BACKUP_RETAIN_DAYS", problems, least=1),
        timeout=_seconds(values, "BACKUP_TIMEOUT", problems),
        rate_limit=_rate(values, problems),
        contents=_choice(values, "BACKUP_VERIFY", ("content", "names"), problems) == "content",
        verify_days=_count(values, "BACKUP_VERIFY_PERIOD", problems, least=1)
        or int(variables.ALL["BACKUP_VERIFY_PERIOD"].default),
    )


def _drills(values: Mapping[str, str], archive: Archive | None, problems: list[Problem]) -> Drills:
    schedule = values.get("DRILL_SCHEDULE", "").strip()
    folder = _normal(_value(values, "DRILL_FOLDER"))
    if schedule:
        from entrypoint import schedule as schedules

        if archive is None and not problems:
            problems.append(
                Problem(
                    "DRILL_SCHEDULE, but no archive is set to restore from",
                    "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive",
                )
            )
        found = schedules.check(schedule, _value(values, "BACKUP_TIMEZONE"), "DRILL_SCHEDULE")
        problems += [each for each in found if each not in problems]
    if schedule or values.get("DRILL_FOLDER"):
        problem = drill_folder_problem(folder, _normal(values.get("PGDATA") or "/"))
        problems += [problem] if problem is not None else []
    return Drills(schedule or None, folder)


def drill_folder_problem(folder: str, data_folder: str) -> Problem | None:
    """Return what is wrong with the folder of drills."""
    if not folder.startswith("/") or folder == "/":
        return Problem(f"DRILL_FOLDER={folder} is not an absolute path", "give DRILL_FOLDER in full")
    if f"{folder}/".startswith(f"{data_folder}/"):
        return Problem(
            f"DRILL_FOLDER={folder} lies in the data folder {data_folder}: each base backup would hold a "
            "second copy of the database",
            "set DRILL_FOLDER to a folder outside of it, best on a volume of its own",
        )
    return None


def _count(values: Mapping[str, str], name: str, problems: list[Problem], *, least: int) -> int | None:
    text = values.get(name, "")
    if not text:
        return None
    if foreign.is_whole(text, 5) and int(text) >= least:
        return int(text)
    problems.append(
        Problem(
            f"{variables.said(name, text)} is not a whole number from {least} on",
            f"give {name} as a number, or remove it",
        )
    )
    return None


UNITS = {"": 1, "B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
"""PostgreSQL's units of memory, in bytes."""


def _rate(values: Mapping[str, str], problems: list[Problem]) -> int | None:
    text = values.get("BACKUP_RATE_LIMIT", "")
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,12}) *(B|kB|MB|GB)?", text)
    if found and int(found[1]):
        return int(found[1]) * UNITS[found[2] or ""]
    problems.append(
        Problem(
            f"BACKUP_RATE_LIMIT={text} is no number of bytes per second",
            "give bytes, or a number with kB, MB or GB, for example BACKUP_RATE_LIMIT=50MB",
        )
    )
    return None


def _storage(
    values: Mapping[str, str], tools: Mapping[str, Archiver], problems: list[Problem]
) -> tuple[Storage | None, str]:
    """Return the one storage that is set, and the tool that goes with it or was chosen."""
    url = values.get("ARCHIVE_URL", "")
    chosen = values.get("ARCHIVE_TOOL", "")
    own = {name: storage for name, tool in tools.items() if (storage := tool.storage(values)) is not None}
    names = {
        tool: " and ".join(each for each in tool_variables.PLACES[tool] if values.get(each)) for tool in own
    }
    owner = next(iter(own), "")
    problem = None
    if chosen and chosen not in tools:
        problem = Problem(f"ARCHIVE_TOOL={chosen} is not known", f"set ARCHIVE_TOOL to {' or '.join(tools)}")
    elif len(own) > 1:
        where = ", ".join(f"{storage.url} for {name}" for name, storage in own.items())
        problem = Problem(
            f"storages for both archivers are set: {where}",
            f"keep the variables of one: remove {', or '.join(names.values())}",
        )
    elif url and own:
        problem = Problem(
            f"two storages are set: ARCHIVE_URL, and {own[owner].url} by {owner}'s own variables",
            f"keep one: remove ARCHIVE_URL, or {names[owner]}",
        )
    elif own and chosen and chosen != owner:
        problem = Problem(
            f"ARCHIVE_TOOL={chosen}, but the storage is set by {owner}'s variables",
            f"set ARCHIVE_TOOL={owner}, or give the storage by ARCHIVE_URL in place of {names[owner]}",
        )
    elif chosen and not own and not url and not _is_elsewhere(_own_of_source(values)):
        problem = Problem(
            f"ARCHIVE_TOOL={chosen}, but no storage is set",
            "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive",
        )
    if problem is not None:
        problems.append(problem)
        return None, ""
    if own:
        return own[owner], owner
    return (_url_storage(url, problems) if url else None), chosen


def _only_tool(values: Mapping[str, str]) -> str:
    """Return the tool whose own variables are set, and empty where those of both are, or of none."""
    own = [
        name
        for name, prefix in tool_variables.GROUPS.items()
        if any(value and each.startswith(prefix) for each, value in values.items())
    ]
    return own[0] if len(own) == 1 else ""


def _default_tool(values: Mapping[str, str], has_program: Mapping[str, bool]) -> str:
    """Return the tool whose own settings are there, else the first one that the image has."""
    return _only_tool(values) or next((name for name in TOOLS if has_program[name]), TOOLS[-1])


def _url_storage(url: str, problems: list[Problem]) -> Storage | None:
    if re.fullmatch(r"file:///[^\s'\"%]*", url) and _normal(url.removeprefix("file://")) != "/":
        return Storage(url, _normal(url.removeprefix("file://")), from_url=True)
    if re.fullmatch(r"s3://[A-Za-z0-9][A-Za-z0-9._-]+(/[^\s'\"%]*)?", url):
        return Storage(url.rstrip("/"), None, from_url=True)
    wrong = "begins with neither file:/// nor s3://"
    if url.startswith(("file:///", "s3://")):
        wrong = "has a space, a quote, a percent sign, a user, a password, or no folder or bucket"
    problems.append(
        Problem(
            f"ARCHIVE_URL is not understood: it {wrong}",
            "use file:///folder or s3://bucket/prefix, without spaces, quotes, user or password; keys have "
            "variables of their own, such as AWS_ACCESS_KEY_ID",
        )
    )
    return None
