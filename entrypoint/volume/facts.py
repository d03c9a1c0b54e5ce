"""Facts that are looked up once and passed on as values; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Stage = Literal["building", "files", "recovery", "promoted", "unknown"]
    Place = Literal["volume", "anonymous volume", "container layer", "unknown"]


class Unfinished(NamedTuple):
    """What an earlier start left behind in the work folder."""

    stage: Stage
    """`building` (only our own work so far), `files` (init files have started), `recovery`, `promoted` (the
    server itself has ended the recovery), or `unknown`."""
    detail: str
    """For `files` the last init file that started; for `recovery` the text from `record.record`."""


class DataFolder(NamedTuple):
    """The data folder before the start changes anything in it."""

    path: str
    exists: bool
    readable: bool
    has_cluster: bool
    """PG_VERSION exists and is not empty."""
    unfinished: Unfinished | None
    foreign: tuple[str, ...]
    """Names of the entries that are not ours, if the folder does not hold a finished cluster."""
    owner: int | None
    """The owner's uid."""
    place: Place
    """The kind of mount that the folder is on."""
    mount_point: str
    filesystem: str
    standby: bool
    """The folder holds a standby, that is, a standby.signal, which PostgreSQL removes at the promotion."""


class Facts(NamedTuple):
    """The facts that a start needs."""

    uid: int
    data_folder: DataFolder
    old_databases: tuple[str, ...]
    """Data of other major versions or in other folders; looked for only when the official image does."""
    stray_mounts: tuple[str, ...]
    """Volumes mounted in /var/lib/postgresql that do not contain the data folder."""
    init_files: tuple[str, ...]


class Following(NamedTuple):
    """How far a standby has replayed."""

    replayed_lsn: str | None
    seconds_since_transaction: float | None
    """Seconds since the last replayed transaction was committed on the primary, which may have been idle."""
    by: Literal["streaming", "archive"]


class Volume(NamedTuple):
    """A filesystem that holds the data, the WAL or the archive, or the space that a quota gives them."""

    name: str
    """`data`, `wal`, `archive`, `tablespace OID`, `log` or `drill`; a filesystem has only its first name."""
    folder: str
    size: int
    """Bytes, without those that are reserved for root."""
    free: int
    full_seconds: int | None
    """After how many seconds it is full at the present rate; None: it does not fill up."""
    files: int | None = None
    """How many inodes there are; None: as many as there is space for."""
    free_files: int | None = None

    @property
    def percent(self) -> float:
        """How full it is."""
        return 100 * (1 - self.free / max(1, self.size))

    @property
    def files_percent(self) -> float:
        """How many of its inodes are used."""
        return 0.0 if not self.files else 100 * (1 - (self.free_files or 0) / self.files)


class OwnCommand(NamedTuple):
    """A message about the user's own archive_command."""

    what: str
    """Whose archive_command is in effect, and where it is set."""
    hint: str
    lost: bool = False
    """The entrypoint no longer archives although it did at the start, or nobody archives."""


class ArchiveState(NamedTuple):
    """The state of archiving, in the order of `entrypoint archive status`."""

    tool: str
    url: str
    backlog_segments: int
    """WAL files that are waiting to be archived, including .history and .backup files."""
    backlog_bytes: int
    oldest_ready: str | None
    oldest_ready_seconds: int | None
    """How long the oldest file has been waiting, in seconds."""
    archived_per_minute: float
    """Files per minute, over the last ten minutes."""
    last_archived: str | None
    last_archived_at: str | None
    """ISO 8601 with offset."""
    failing_since: str | None
    """When the current outage began; None if there is none."""
    last_error: str | None
    """The archiver's last error message of the current outage."""
    prepared: bool
    """The archive is known to belong to this cluster; a standby has to know it only when it is promoted."""
    fork_refused: str | None
    """Why a restored cluster archives nothing: another server continued the archive. None: it archives."""
    fork_hint: str | None
    fork_docs: str | None
    free_bytes: int | None
    """Free space in the filesystem of pg_wal."""
    seconds_until_full: int | None
    """At the rate at which the backlog has grown; None while there is no outage."""
    lost: bool = False
    """The archive belonged to this cluster and is now empty: it was emptied, or is not mounted."""
    idle: bool = False
    """Nothing waits, and nothing was written since the last segment was archived."""
    own_command: str | None = None
    """See OwnCommand."""
    own_command_hint: str | None = None
    gaps: int = 0
    """How many gaps ARCHIVE_WHEN_FULL=drop has made."""
    gap: str | None = None
    """What the last gap is, and why."""
    gap_at: str | None = None
    """When WAL was given up last; ISO 8601 with offset."""
    gap_open: bool = False
    """A gap still waits for the full backup behind it."""
    dropping: bool = False
    """WAL is given up now."""
