"""The values exchanged with an archiver: commands and answers, backups, segments, owners; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple, re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    Kind = Literal["full", "incremental"]
    """The kind of a base backup; an incremental backup builds on another."""

IDENTITY = "cluster.json"
"""File in the runtime folder, and object in an archive, that names the archive's cluster."""

PROBE = "entrypoint.probe"
"""Object in an archive that is written, read back and removed as a test."""


class Storage(NamedTuple):
    """The place of an archive."""

    url: str
    """Shown to people; never contains a secret."""
    folder: str | None
    """The folder of a `file://` storage, else None."""
    from_url: bool
    """Whether ARCHIVE_URL names the place; otherwise the tool's own variables do."""
    below: str = ""
    """The folder below the place that is set, which url and folder include; see `at`."""

    def at(self, below: str) -> Storage:
        """Return the place with another folder below it, or with none.

        >>> Storage("s3://b/p", None, from_url=True).at("upgraded-17-1").at("upgraded-18-2").url
        's3://b/p/upgraded-18-2'
        """
        old, new = (f"/{each}" if each else "" for each in (self.below, below))
        folder = self.folder and self.folder.removesuffix(old).rstrip("/") + new
        url = self.url.removesuffix(old).rstrip("/") + new if new else self.url.removesuffix(old)
        return Storage(url, folder, self.from_url, below)


class NoSegment(ValueError):
    """An archive has no segment of a cluster."""


class Server(NamedTuple):
    """The server that an archiver works for."""

    data_folder: str
    socket_folder: str
    port: str
    user: str
    """The database superuser."""
    runtime_folder: str
    """Folder under /run that only the server's user can read; contains the rendered settings."""
    segment_bytes: int
    """Size of a WAL segment."""
    client: str
    """Path of the archiver's client for its helper, or empty."""
    processes: int
    """Maximum number of processes that an archiver may use at once."""
    database: str = "postgres"
    """A database that accepts connections."""


class Command(NamedTuple):
    """A command line and its complete environment."""

    argv: tuple[str, ...]
    environment: dict[str, str]

    def filled(self, name: str, path: str) -> Command:
        """Return the command for one segment or history.

        `%f` becomes its name and `%p` its path, as in archive_command.
        """
        placed = {"%f": name, "%p": path}
        return self._replace(argv=tuple(placed.get(word, word) for word in self.argv))


class Answer(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    stdout: str
    stderr: str


class Backup(NamedTuple):
    """A base backup, with the same fields for both tools."""

    name: str
    kind: Kind
    started: str
    """ISO 8601 with offset."""
    finished: str
    size_bytes: int
    """Size of the cluster, uncompressed."""
    start_lsn: str
    stop_lsn: str
    permanent: bool
    system_identifier: str | None
    parent: str | None = None
    """Name of the backup that an incremental one builds on; that backup may be gone."""
    timeline: int = 1
    stored_bytes: int = 0
    """Size in the archive of this backup alone."""
    damaged: bool = False
    """Whether the tool found damaged pages of the database while it took the backup."""
    first_segment: str = ""
    """The segment that contains its start."""
    major: int = 0
    """Major version of PostgreSQL; 0: unknown."""
    folders: tuple[str, ...] = ()
    """The names of the folders with its cluster's WAL, if the tool has several for a cluster or an archive.

    A cluster whose upgrade was undone has two.
    """


class Stored(NamedTuple):
    """A WAL segment or a timeline's history in an archive."""

    name: str
    """The name that PostgreSQL uses."""
    path: str
    """The path for `read_object`."""
    modified: str
    """ISO 8601 with offset."""


class Owner(NamedTuple):
    """The cluster that an archive belongs to."""

    identifier: str
    """Its system identifier."""
    major: int
    """Major version of PostgreSQL, as recorded in the archive."""
    last_segment: str | None
    """The highest segment name of this cluster in the archive; None: there is no segment."""


class Resources(NamedTuple):
    """The resources that a call may use; the rest stays with the server."""

    processes: int = 1
    memory_bytes: int | None = None
    """None: there is no limit."""
    rate_limit: int | None = None
    """Bytes per second; None: there is no limit."""
    near: bool = False
    """Whether the storage answers within milliseconds."""


class Check(NamedTuple):
    """The input of a verification."""

    backups: Sequence[Backup]
    """All backups of this cluster, oldest first; at least one."""
    root: Backup
    """The backup from whose start on every segment must exist."""
    timeline: int
    """The cluster's current timeline."""
    forks: Sequence[tuple[int, int]]
    """Earlier timelines and the LSN at which each ended, oldest first."""
    segment_bytes: int
    live: bool
    """Whether the server is running and can report its current position."""
    damaged: Mapping[str, str] = {}
    """Objects that reading has found damaged, and why."""


class Verification(NamedTuple):
    """The faults of an archive."""

    holes: tuple[tuple[str, str], ...] = ()
    """First and last name of each run of segments that are missing or damaged."""
    broken: Mapping[str, str] = {}
    """Backups that cannot be restored, and why."""

    @property
    def sound(self) -> bool:
        """Whether the archive has no fault."""
        return not self.holes and not self.broken


class Removal(NamedTuple):
    """What a tool reported as removed, or as to be removed."""

    backups: frozenset[str]
    segments: tuple[str, ...]
    """Names of segments; of each range, the first and the last."""


_HIDDEN = "***"


def hide_address(text: str) -> str:
    """Return an archive's address without user, password and query.

    >>> hide_address("ssh://me:secret@host/folder"), hide_address("s3://bucket/db")
    ('ssh://***@host/folder', 's3://bucket/db')
    """
    scheme, parted, rest = text.partition("://")
    if scheme == "file":
        return text if rest.isprintable() else f"file://{_HIDDEN}"
    if not parted or not re.fullmatch("[a-z][a-z0-9]*", scheme):
        return _HIDDEN
    if re.fullmatch(r"([\w.-]+(:[0-9]+)?)?(/[^@?#\s]*)?", rest):
        return text
    behind = re.fullmatch(r"[^/\s]*(@[\w.-]+(?::[0-9]+)?(?:/[^@?#\s]*)?)", rest)
    return f"{scheme}://{_HIDDEN}{behind[1] if behind else ''}"


_REQUEST = re.compile(
    r"(?s):\n\s*\*\*\* Path/Query \*\*\*:.*?(?:<Code>(.*?)</Code>\s*<Message>(.*?)</Message>.*?</Error>|\Z)"
)


def brief(text: str) -> str:
    r"""Return a tool's output without the headers of a failed request.

    >>> brief("403 (Forbidden):\n*** Path/Query ***:\nGET /\n<Code>No</Code><Message>m</Message></Error>")
    '403 (Forbidden): No: m'
    """
    return _REQUEST.sub(lambda found: f": {found[1]}: {found[2]}" if found[1] else "", text)


class Object(NamedTuple):
    """An object in an archive whose damage is found by reading it."""

    path: str
    size: int
    modified: int
    """Seconds since 1970, by the storage's clock."""
    group: str
    """A backup, or a number of segments."""
    closed: bool
    """Whether its group is complete: nothing is added to it later, and it is only removed as a whole."""
