"""Which sources set the server's settings, which of them wins, and what a running one has; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from entrypoint.light import NamedTuple
from entrypoint.postgres.configfile import Entry
from entrypoint.settings.hiding import hide_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    Origin = Literal[
        "image",
        "cluster file",
        "POSTGRES_TUNE",
        "archive",
        "standby",
        "variable",
        "conf.d",
        "ALTER SYSTEM",
        "command line",
        "/dev/shm",  # noqa: S108 - the name of an origin
        "default",
    ]

IMAGE: Final = "image"
"""What initdb wrote, from the image's sample."""
FILE: Final = "cluster file"
TUNE: Final = "POSTGRES_TUNE"
ARCHIVE: Final = "archive"
STANDBY: Final = "standby"
VARIABLE: Final = "variable"
FOLDER: Final = "conf.d"
ALTER: Final = "ALTER SYSTEM"
COMMAND: Final = "command line"
ADAPTED: Final = "/dev/shm"  # noqa: S108 - the name of an origin
DEFAULT: Final = "default"
"""Nobody sets it."""
OWN_COMMENT = "entrypoint: "
"""Before the reason behind a line that the entrypoint has put into a new cluster's file."""

_INITDB = {
    "dynamic_shared_memory_type": "posix",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "min_wal_size": "80MB",
    "shared_buffers": "128MB",
}
"""What initdb puts in, whatever the machine; a person who writes the same value cannot be told apart."""
_INITDB_CHOOSES = ("lc_", "datestyle", "timezone", "log_timezone", "default_text_search_config")


class Source(NamedTuple):
    """One place that sets a setting."""

    name: str
    value: str
    origin: Origin
    where: str
    """The file and line, the variable, or the option."""
    reason: str = ""
    """Why, where nobody has asked for this value by name."""


def of_files(entries: Iterable[Entry], origin: Origin) -> list[Source]:
    """Return what files set, in their order."""
    return [Source(entry.name, entry.value, origin, entry.where, "") for entry in entries]


def of_base(entries: Iterable[Entry], sample: Mapping[str, str]) -> list[Source]:
    """Return what the cluster's own file sets: what initdb wrote is the image's, all else a person's.

    `sample` is what the image's sample file sets.
    """
    found: list[Source] = []
    seen = set()
    for entry in entries:
        usual = {**sample, **_INITDB}.get(entry.name)
        ours = entry.comment.startswith(OWN_COMMENT)
        initdbs = ours or entry.value == usual or entry.name.startswith(_INITDB_CHOOSES)
        origin: Origin = IMAGE if initdbs and entry.name not in seen else FILE
        seen.add(entry.name)
        reason = entry.comment.removeprefix(OWN_COMMENT) if ours else ""
        found.append(Source(entry.name, entry.value, origin, entry.where, reason))
    return found


def by_name(sources: Iterable[Source]) -> dict[str, list[Source]]:
    """Return all that sets each setting, the strongest first; `sources` come weakest first."""
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(source.name, []).insert(0, source)
    return found


def winners(sources: Iterable[Source]) -> dict[str, Source]:
    """Return what counts for each setting."""
    return {source.name: source for source in sources}


class Running(NamedTuple):
    """What the running server says about one setting."""

    setting: str
    """In the setting's own unit."""
    shown: str
    """As SHOW prints it."""
    context: str
    """From when on a change holds, in PostgreSQL's words: `postmaster` is a restart."""
    source: str
    pending_restart: bool
    default: str
    """In the setting's own unit."""


class Change(NamedTuple):
    """What a start, or a reload, changes."""

    name: str
    old: str
    new: str
    restart: bool
    """A reload is not enough."""
    where: str

    def hidden(self) -> Change:
        """Return it as people may see it: without secrets."""
        return self._replace(old=hide_secrets(self.old, self.name), new=hide_secrets(self.new, self.name))


_OF_A_FILE = ("configuration file", "command line", "default", "environment variable")
"""Others are the session's own: what the server has for all does not show behind them."""
_SIZED_BY_ITSELF = (
    "wal_buffers",
    "commit_timestamp_buffers",
    "subtransaction_buffers",
    "transaction_buffers",
)
"""With -1 or 0 the server chooses, and shows what it has chosen."""


def doubtful(wanted: Mapping[str, Source], running: Mapping[str, Running]) -> list[str]:
    """Return the settings whose value is written in another way than the server shows it."""
    return [
        name
        for name, source in wanted.items()
        if (known := running.get(name)) is not None
        and known.source in _OF_A_FILE
        and source.value not in (known.setting, known.shown)
    ]


def changes(
    wanted: Mapping[str, Source], running: Mapping[str, Running], plain: Mapping[str, str]
) -> list[Change]:
    """Return what is to be otherwise than the running server has it.

    `plain` are the values of `doubtful` ones as the server's binary writes them.
    """
    found = []
    for name in doubtful(wanted, running):
        known, source = running[name], wanted[name]
        value = plain.get(name, source.value)
        if value != known.setting and not (name in _SIZED_BY_ITSELF and value in ("-1", "0")):
            where = f"{source.origin}: {source.where}"
            # A reload looks at files, and the command line stays stronger than all of them.
            restart = known.context == "postmaster" or known.source == "command line"
            found.append(Change(name, known.shown, source.value, restart, where))
    for name, known in running.items():
        if name not in wanted and known.source in _OF_A_FILE[:2] and known.setting != known.default:
            change = Change(name, known.shown, known.default, known.context == "postmaster", "default")
            found.append(change)
    return sorted(found)
