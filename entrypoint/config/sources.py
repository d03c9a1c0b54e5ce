"""The sources of the server's settings, which of them wins, and what a running server has; pure."""

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
        "small disk",
        "DCS",
        "Patroni",
        "default",
    ]

IMAGE: Final = "image"
"""Written by initdb, from the image's sample file."""
FILE: Final = "cluster file"
TUNE: Final = "POSTGRES_TUNE"
ARCHIVE: Final = "archive"
STANDBY: Final = "standby"
VARIABLE: Final = "variable"
FOLDER: Final = "conf.d"
ALTER: Final = "ALTER SYSTEM"
COMMAND: Final = "command line"
ADAPTED: Final = "/dev/shm"  # noqa: S108 - the name of an origin
SMALL_DISK: Final = "small disk"
DCS: Final = "DCS"
"""What all nodes under Patroni share."""
PATRONI: Final = "Patroni"
"""What Patroni sets for this node."""
COMMANDED = ("listen_addresses", "port", "cluster_name", "hot_standby", "config_file", "data_directory")
"""Settings that Patroni itself puts on the server's command line, from its own configuration."""
DEFAULT: Final = "default"
"""Set nowhere."""
OWN_COMMENT = "entrypoint: "
"""Begins the comment with the reason on a line that the entrypoint has put into a new cluster's file."""

_INITDB = {
    "dynamic_shared_memory_type": "posix",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "min_wal_size": "80MB",
    "shared_buffers": "128MB",
}
"""The values that initdb writes on every machine; the same value from a person looks the same."""
_INITDB_CHOOSES = ("lc_", "datestyle", "timezone", "log_timezone", "default_text_search_config")


class Source(NamedTuple):
    """One place that sets a setting."""

    name: str
    value: str
    origin: Origin
    where: str
    """The file and line, the variable, or the option."""
    reason: str = ""
    """Why the setting has this value, if no person has set it."""


def of_files(entries: Iterable[Entry], origin: Origin) -> list[Source]:
    """Return the settings of files, in their order."""
    return [Source(entry.name, entry.value, origin, entry.where, "") for entry in entries]


def of_base(entries: Iterable[Entry], sample: Mapping[str, str]) -> list[Source]:
    """Return the settings of the cluster's own file; those that initdb wrote are the image's, not a person's.

    `sample` holds the settings of the image's sample file.
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
    """Return all sources of each setting, the strongest first; `sources` come weakest first."""
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(source.name, []).insert(0, source)
    return found


def winners(sources: Iterable[Source]) -> dict[str, Source]:
    """Return the source that wins for each setting."""
    return {source.name: source for source in sources}


class Running(NamedTuple):
    """One setting of the running server."""

    setting: str
    """In the setting's own unit."""
    shown: str
    """As SHOW prints it."""
    context: str
    """When a change takes effect, in PostgreSQL's terms: `postmaster` means a restart."""
    source: str
    pending_restart: bool
    default: str
    """In the setting's own unit."""


class Change(NamedTuple):
    """A change by a start or a reload."""

    name: str
    old: str
    new: str
    restart: bool
    """Whether a reload is not enough."""
    where: str

    def hidden(self) -> Change:
        """Return the change without secrets, as people may see it."""
        return self._replace(old=hide_secrets(self.old, self.name), new=hide_secrets(self.new, self.name))


_OF_A_FILE = ("configuration file", "command line", "default", "environment variable")
"""The other sources are the session's own, and hide the value that the server has for all sessions."""
_SIZED_BY_ITSELF = (
    "wal_buffers",
    "commit_timestamp_buffers",
    "subtransaction_buffers",
    "transaction_buffers",
)
"""With -1 or 0, the server chooses the value, and shows its choice."""


def doubtful(wanted: Mapping[str, Source], running: Mapping[str, Running]) -> list[str]:
    """Return the settings whose value is written in another form than the server shows."""
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
    """Return the settings whose wanted value differs from the running server's.

    `plain` holds the values of the `doubtful` settings in the form of the server's binary.
    """
    found = []
    for name in doubtful(wanted, running):
        known, source = running[name], wanted[name]
        value = plain.get(name, source.value)
        if value != known.setting and not (name in _SIZED_BY_ITSELF and value in ("-1", "0")):
            where = f"{source.origin}: {source.where}"
            # A reload reads files, and the command line stays stronger than all of them.
            restart = known.context == "postmaster" or known.source == "command line"
            found.append(Change(name, known.shown, source.value, restart, where))
    for name, known in running.items():
        if name not in wanted and known.source in _OF_A_FILE[:2] and known.setting != known.default:
            change = Change(name, known.shown, known.default, known.context == "postmaster", "default")
            found.append(change)
    return sorted(found)
