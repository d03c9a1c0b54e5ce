"""The archive that WAL and base backups go to, and the archive that a restore reads; pure."""

from __future__ import annotations

from entrypoint.archivers import tool_variables
from entrypoint.archivers.known import TOOLS, adapter
from entrypoint.archivers.terms import Storage
from entrypoint.archivers.tool_variables import SOURCE_PREFIX, is_of_source
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re
from entrypoint.postgres.argv import parse_server
from entrypoint.settings.fields import OF_FEW, Variable, choice, normal, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from entrypoint.archivers.interface import Archiver

    AtFork = Literal["refuse", "confirm", "readonly"]


VARIABLES = (
    Variable(
        "ARCHIVE_URL",
        "",
        "The archive's place, which turns WAL archiving on: `file:///folder` or `s3://bucket/prefix`.",
        mixed=True,
        from_file=True,
    ),
    Variable(
        "ARCHIVE_TOOL",
        "the tool whose own settings are set, else wal-g if the image has it, else pgbackrest",
        "The archiver: `wal-g` or `pgbackrest`.",
    ),
    Variable(
        "ARCHIVE_TIMEOUT",
        "60",
        "Archive a segment within this time, even if it is not full: seconds, or a number with one of "
        "PostgreSQL's units.",
    ),
    Variable(
        "ARCHIVE_COMMAND_TIMEOUT",
        str(tool_variables.COMMAND_TIMEOUT),
        "Seconds that the archiver may take for one segment. A call that takes longer is ended and tried "
        "again; for the next ten minutes, segments are then archived one by one. A recovery waits this long "
        "for a storage that does not answer.",
    ),
    Variable(
        "ARCHIVE_UPGRADED_FROM",
        "",
        "After pg_upgrade: the old cluster's system identifier, so that its archive is continued. "
        "pgBackRest only; may stay set.",
    ),
    Variable(
        "ARCHIVE_FORK",
        "refuse",
        "What to do if another server has continued to write to the archive: `refuse` (a restored copy "
        "archives nothing, an old primary does not start), `confirm` (the other server is gone for good and "
        "this one takes its place; set it for one start) or `readonly` (an old primary starts read-only, so "
        "that you can inspect it).",
    ),
    Variable(
        "ARCHIVE_FORK_INTERVAL",
        "30",
        "Seconds between two checks by a primary whether the archive shows that another server was promoted.",
    ),
)
_ALL = {each.name: each for each in VARIABLES}


class Archive(NamedTuple):
    """Where and how WAL and base backups are kept."""

    tool: Archiver
    storage: Storage
    timeout: str
    """archive_timeout, with PostgreSQL's units."""
    command_timeout: int
    """Seconds for one archiver call for one segment."""
    by_user: bool
    """The user's own archive_command archives. Known here if it is on the command line; see `precedence`."""
    asked: str
    """Our variables that request archiving; empty if only the tool's own variables are set."""
    upgraded_from: str
    """System identifier of the cluster that pg_upgrade upgraded to this one, or empty."""
    fork: AtFork
    """What to do if another server has continued to write to the archive."""
    fork_interval: int
    """Seconds between two checks whether another server has."""

    @property
    def fork_confirmed(self) -> bool:
        """Whether this cluster continues the archive, whatever another one has archived since."""
        return self.fork == "confirm"


class Archives(NamedTuple):
    """The archive to write to and the archive to restore from, which usually is the same one."""

    archive: Archive | None
    source: Archive | None
    source_values: dict[str, str]
    """The variables as `source` must see them."""


def parse(
    values: Mapping[str, str],
    arguments: Sequence[str],
    has_program: Mapping[str, bool],
    ours: Sequence[str],
    below: str = "",
) -> tuple[Archives, list[Problem]]:
    """Return both archives, and the problems with them.

    `arguments` are those of postgres. `has_program` says for each archiver whether the image has it.
    `ours` are the names of all our variables, in their order. `below` is the folder of the cluster below the
    place that is set, which it has after an upgrade.
    """
    problems: list[Problem] = []
    archive = _archive(values, arguments, has_program, ours, problems)
    source_values = _source_values(values, archive)
    source = archive
    if source_values != dict(values):
        found: list[Problem] = []
        source = _archive(source_values, arguments, has_program, ours, found)
        problems += [_of_source(problem, values) for problem in found if problem not in problems]
    if values.get("RESTORE_FROM") and source is None and not problems:
        problems.append(
            Problem(
                f"RESTORE_FROM={values['RESTORE_FROM']} is set, but there is no archive to restore from",
                "set ARCHIVE_URL to the archive, for example ARCHIVE_URL=file:///archive",
                docs="restore-a-lost-volume",
            )
        )
    if below:
        archive, source = at(archive, below), at(source, below)
    return Archives(archive, source, source_values), problems


def at(archive: Archive | None, below: str) -> Archive | None:
    """Return an archive at another folder below its place, if its tool cannot keep two clusters apart."""
    if archive is None or archive.tool.capabilities.dividing is None:
        return archive
    return archive._replace(storage=archive.storage.at(below))


def _archive(
    values: Mapping[str, str],
    arguments: Sequence[str],
    has_program: Mapping[str, bool],
    ours: Sequence[str],
    problems: list[Problem],
) -> Archive | None:
    storage, chosen = _storage(values, problems)
    if storage is None:
        return None
    chosen = chosen or _default_tool(values, has_program)
    if not has_program[chosen]:
        other = next((name for name in TOOLS if has_program[name]), None)
        problems.append(
            Problem(
                f"the archiver {chosen} is not in this image",
                f"set ARCHIVE_TOOL={other}" if other else f"use an image that contains {chosen}",
                docs="set-up-archiving",
            )
        )
    tool = adapter(chosen, values)
    problems += tool.check(values)
    timeout = _ALL["ARCHIVE_TIMEOUT"].of(values)
    if not re.fullmatch(r"[0-9]{1,9} *(us|ms|s|min|h|d)?", timeout):
        problems.append(
            Problem(
                f"ARCHIVE_TIMEOUT={timeout} is not a time",
                "give seconds, or a number with us, ms, s, min, h or d",
            )
        )
    given = parse_server(arguments).settings
    return Archive(
        tool=tool,
        storage=storage,
        timeout=timeout,
        command_timeout=seconds(values, _ALL["ARCHIVE_COMMAND_TIMEOUT"], problems),
        by_user="archive_command" in given or bool(given.get("archive_library")),
        asked=_asked(values, ours),
        upgraded_from=_identifier(values, problems),
        fork=choice(values, _ALL["ARCHIVE_FORK"], ("refuse", "confirm", "readonly"), problems),
        fork_interval=seconds(values, _ALL["ARCHIVE_FORK_INTERVAL"], problems),
    )


def _asked(values: Mapping[str, str], ours: Sequence[str]) -> str:
    names = (name for name in ours if name.startswith(OF_FEW) and values.get(name))
    return ", ".join(name for name in names if (name, values[name]) != ("STANDBY", "off"))


def _own_of_source(values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are set only for the archive to restore from, without their prefix."""
    return {
        name.removeprefix(SOURCE_PREFIX): value
        for name, value in values.items()
        if value and name.startswith(SOURCE_PREFIX) and is_of_source(name)
    }


def _is_elsewhere(own: Mapping[str, str]) -> bool:
    """Return whether the variables that are set only for the archive to restore from name its place."""
    return any(name in tool_variables.STORAGES for name in own)


def _is_of_place(name: str) -> bool:
    if name.startswith("ARCHIVE_"):
        return not name.startswith(("ARCHIVE_TOOL", "ARCHIVE_TIMEOUT", "ARCHIVE_COMMAND_TIMEOUT"))
    return tool_variables.is_place(name)


def _source_values(values: Mapping[str, str], archive: Archive | None) -> dict[str, str]:
    """Return the variables for the archive to restore from.

    If that is another archive, the place of the archive to write to is left out. The tool is the same,
    unless the variables that are set only for the archive to restore from name or imply another one.
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
    """Return a problem with the archive to restore from, with the full names of its variables."""
    names = "|".join([*_own_of_source(values), "ARCHIVE_URL", "ARCHIVE_TOOL"])
    full = re.compile(rf"(?<![A-Z0-9_])({names})(?![A-Z0-9_])")
    what, hint = (full.sub(rf"{SOURCE_PREFIX}\1", text) for text in (problem.what, problem.hint))
    return problem._replace(what=f"for the archive to restore from (RESTORE_*): {what}", hint=hint)


def _identifier(values: Mapping[str, str], problems: list[Problem]) -> str:
    text = values.get("ARCHIVE_UPGRADED_FROM", "")
    if text and not re.fullmatch(r"[1-9][0-9]{0,19}", text):
        problems.append(
            Problem(
                f"ARCHIVE_UPGRADED_FROM={text} is not a system identifier",
                "give the system identifier that pg_controldata prints for the old cluster, a number",
                docs="upgrade-to-a-newer-major",
            )
        )
    return text


def _storage(values: Mapping[str, str], problems: list[Problem]) -> tuple[Storage | None, str]:
    """Return the storage that is set, and the tool that belongs to it or was chosen."""
    url = values.get("ARCHIVE_URL", "")
    chosen = values.get("ARCHIVE_TOOL", "")
    given = {
        tool: [each for each in places if values.get(each)] for tool, places in tool_variables.PLACES.items()
    }
    names = {tool: " and ".join(set_) for tool, set_ in given.items() if set_}
    own = {name: storage for name in names if (storage := adapter(name, values).storage(values)) is not None}
    owner = next(iter(own), "")
    problem = None
    if chosen and chosen not in TOOLS:
        problem = Problem(
            f"ARCHIVE_TOOL={chosen} is not a valid value", f"set ARCHIVE_TOOL to {' or '.join(TOOLS)}"
        )
    elif len(own) > 1:
        where = ", ".join(f"{storage.url} for {name}" for name, storage in own.items())
        problem = Problem(
            f"storages for both archivers are set: {where}",
            f"keep the variables of one archiver: remove {', or '.join(names.values())}",
            docs="set-up-archiving",
        )
    elif url and own:
        problem = Problem(
            f"two storages are set: ARCHIVE_URL, and {own[owner].url} by {owner}'s own variables",
            f"keep one: remove ARCHIVE_URL, or {names[owner]}",
            docs="set-up-archiving",
        )
    elif own and chosen and chosen != owner:
        problem = Problem(
            f"ARCHIVE_TOOL={chosen}, but the storage is set by {owner}'s variables",
            f"set ARCHIVE_TOOL={owner}, or set ARCHIVE_URL instead of {names[owner]}",
            docs="set-up-archiving",
        )
    elif chosen and not own and not url and not _is_elsewhere(_own_of_source(values)):
        problem = Problem(
            f"ARCHIVE_TOOL={chosen} is set, but no storage is set",
            "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive",
            docs="set-up-archiving",
        )
    if problem is not None:
        problems.append(problem)
        return None, ""
    if own:
        return own[owner], owner
    return (_url_storage(url, problems) if url else None), chosen


def _only_tool(values: Mapping[str, str]) -> str:
    """Return the tool whose own variables are set; empty if those of both or of neither are."""
    own = [
        name
        for name, group in tool_variables.GROUPS.items()
        if any(value and each.startswith(group) for each, value in values.items())
    ]
    return own[0] if len(own) == 1 else ""


def _default_tool(values: Mapping[str, str], has_program: Mapping[str, bool]) -> str:
    """Return the tool whose own variables are set, else the first one that the image has."""
    return _only_tool(values) or next((name for name in TOOLS if has_program[name]), TOOLS[-1])


def _url_storage(url: str, problems: list[Problem]) -> Storage | None:
    if re.fullmatch(r"file:///[^\s'\"%]*", url) and normal(url.removeprefix("file://")) != "/":
        return Storage(url, normal(url.removeprefix("file://")), from_url=True)
    if re.fullmatch(r"s3://[A-Za-z0-9][A-Za-z0-9._-]+(/[^\s'\"%]*)?", url):
        return Storage(url.rstrip("/"), None, from_url=True)
    wrong = "begins with neither file:/// nor s3://"
    if url.startswith(("file:///", "s3://")):
        wrong = "has a space, a quote, a percent sign, a user or a password, or lacks a folder or bucket"
    problems.append(
        Problem(
            f"ARCHIVE_URL is malformed: it {wrong}",
            "use file:///folder or s3://bucket/prefix, without spaces, quotes, user or password; set keys in "
            "variables of their own, such as AWS_ACCESS_KEY_ID",
            docs="set-up-archiving",
        )
    )
    return None
