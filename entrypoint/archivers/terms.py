"""What goes to an archiver and comes back from it: commands and answers, backups, segments, owners; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple, re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    Kind = Literal["full", "incremental"]
    """Of a base backup; an incremental one builds on another."""

IDENTITY = "cluster.json"
"""File in the runtime folder, and object in an archive, that says whose archive it is."""

PROBE = "entrypoint.probe"
"""Object in an archive that is written, read back and removed to see whether that works."""


class Storage(NamedTuple):
    """Where the archive is."""

    url: str
    """For people; never with a secret."""
    folder: str | None
    """The folder of a `file://` storage, else None."""
    from_url: bool
    """Given by ARCHIVE_URL; otherwise by the tool's own variables."""


class NoSegment(ValueError):
    """An archive holds no segment of a cluster."""


class Server(NamedTuple):
    """The server that an archiver works for."""

    data_folder: str
    socket_folder: str
    port: str
    user: str
    """Superuser of the database."""
    runtime_folder: str
    """Folder under /run that only the server's user can read; holds the rendered settings."""
    segment_bytes: int
    """Size of a WAL segment."""
    client: str
    """Path of the archiver's own client, or empty."""
    processes: int
    """How many processes an archiver may use at once."""
    database: str = "postgres"
    """One that takes connections."""


class Command(NamedTuple):
    """A command line and the complete environment it runs with."""

    argv: tuple[str, ...]
    environment: dict[str, str]

    def filled(self, name: str, path: str) -> Command:
        """Return it for one segment or history: `%f` is its name and `%p` its path, as in archive_command."""
        placed = {"%f": name, "%p": path}
        return self._replace(argv=tuple(placed.get(word, word) for word in self.argv))


class Answer(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    stdout: str
    stderr: str


class Backup(NamedTuple):
    """One base backup, with the same fields for both tools."""

    name: str
    kind: Kind
    started: str
    """ISO 8601 with offset."""
    finished: str
    size_bytes: int
    """Of the cluster, uncompressed."""
    start_lsn: str
    stop_lsn: str
    permanent: bool
    system_identifier: str | None
    parent: str | None = None
    """Name of the backup that an incremental one builds on; it may be gone."""
    timeline: int = 1
    stored_bytes: int = 0
    """What this backup alone takes in the archive."""
    damaged: bool = False
    """The tool saw damaged pages of the database while it took it."""
    first_segment: str = ""
    """The segment in which it starts."""
    major: int = 0
    """Of PostgreSQL; 0: not known."""


class Stored(NamedTuple):
    """A WAL segment or a timeline's history in an archive."""

    name: str
    """As PostgreSQL calls it."""
    path: str
    """As `read_object` wants it."""
    modified: str
    """ISO 8601 with offset."""


class Owner(NamedTuple):
    """The cluster that an archive belongs to."""

    identifier: str
    """Its system identifier."""
    major: int
    """Of PostgreSQL, as the archive knows it."""
    last_segment: str | None
    """The greatest name of its segments in the archive; None: there is none."""


class Resources(NamedTuple):
    """What a call may use, so that the server keeps the rest."""

    processes: int = 1
    memory_bytes: int | None = None
    """None: there is no limit."""
    rate_limit: int | None = None
    """Bytes per second."""
    near: bool = False
    """The storage answers within milliseconds."""


class Check(NamedTuple):
    """What a verification looks at."""

    backups: Sequence[Backup]
    """All of this cluster, oldest first; at least one."""
    root: Backup
    """From its start on every segment must be there."""
    timeline: int
    """The cluster's present one."""
    forks: Sequence[tuple[int, int]]
    """Earlier timelines and the LSNs where each ended, oldest first."""
    segment_bytes: int
    live: bool
    """The server runs and can be asked where it is."""
    damaged: Mapping[str, str] = {}
    """Objects that were found damaged by reading, and why."""


class Verification(NamedTuple):
    """What is wrong with the archive."""

    holes: tuple[tuple[str, str], ...] = ()
    """First and last name of runs of segments that are missing or damaged."""
    broken: Mapping[str, str] = {}
    """Backups that do not restore, and why."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.holes and not self.broken


class Removal(NamedTuple):
    """What a tool said that it removes, or would remove."""

    backups: frozenset[str]
    segments: tuple[str, ...]
    """Names of segments, of ranges the first and the last."""


_HIDDEN = "***"


def hide_address(text: str) -> str:
    """Return where an archive is, without user, password and query.

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
    r"""Return what a tool said without the headers of a failed request.

    >>> brief("403 (Forbidden):\n*** Path/Query ***:\nGET /\n<Code>No</Code><Message>m</Message></Error>")
    '403 (Forbidden): No: m'
    """
    return _REQUEST.sub(lambda found: f": {found[1]}: {found[2]}" if found[1] else "", text)


class Object(NamedTuple):
    """Something in an archive whose damage would be seen by reading it."""

    path: str
    size: int
    modified: int
    """Seconds since 1970, by the storage's clock."""
    group: str
    """A backup, or some segments."""
    closed: bool
    """Nothing is added to its group later, and nothing removed but the whole."""
