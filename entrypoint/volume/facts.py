"""What is, looked at once and passed on as values; pure."""

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
    """`building` (only our own work so far), `files` (init files have begun), `recovery`, `promoted` (the
    server itself has ended the recovery), or `unknown`."""
    detail: str
    """For `files` the last init file that began; for `recovery` what `record.record` has written."""


class DataFolder(NamedTuple):
    """The data folder, before anything is done to it."""

    path: str
    exists: bool
    readable: bool
    has_cluster: bool
    """PG_VERSION is there and not empty."""
    unfinished: Unfinished | None
    foreign: tuple[str, ...]
    """Names of what is in it, if it holds no cluster and is not empty."""
    owner: int | None
    """uid."""
    place: Place
    """What it lies on."""
    mount_point: str
    filesystem: str
    standby: bool
    """It holds a standby: PostgreSQL removes standby.signal at the promotion."""


class Facts(NamedTuple):
    """What a start needs to know."""

    uid: int
    data_folder: DataFolder
    old_databases: tuple[str, ...]
    """Data of other majors or in other places; only looked for where the official image does."""
    stray_mounts: tuple[str, ...]
    """Volumes mounted at /var/lib/postgresql whose data folder lies elsewhere."""
    init_files: tuple[str, ...]


class Following(NamedTuple):
    """How far a standby has come."""

    replayed_lsn: str | None
    seconds_since_transaction: float | None
    """Since the last replayed transaction was committed on the primary, which may have had none since."""
    by: Literal["streaming", "archive"]


class OwnCommand(NamedTuple):
    """What there is to say of an archive_command of the user's own."""

    what: str
    """Whose is in charge, and where it stands."""
    hint: str
    lost: bool = False
    """The entrypoint does not archive although it was in charge at the start, or nobody does."""


class ArchiveState(NamedTuple):
    """How archiving goes, in the order of `entrypoint archive status`."""

    tool: str
    url: str
    backlog_segments: int
    """WAL files that wait to be archived, .history and .backup files included."""
    backlog_bytes: int
    oldest_ready: str | None
    oldest_ready_seconds: int | None
    """For how long the oldest one has been waiting."""
    archived_per_minute: float
    """Over the last ten minutes."""
    last_archived: str | None
    last_archived_at: str | None
    """ISO 8601 with offset."""
    failing_since: str | None
    """When the present outage began; None: there is none."""
    last_error: str | None
    """What the archiver last said of the present outage."""
    prepared: bool
    """The archive is known to be this cluster's."""
    fork_refused: str | None
    """Why a restored cluster archives nothing: somebody else has gone on in the archive. None: it does."""
    fork_hint: str | None
    free_bytes: int | None
    """Of the filesystem of pg_wal."""
    seconds_until_full: int | None
    """At the rate at which the backlog has grown; None while there is no outage."""
    lost: bool = False
    """The archive was this cluster's, and nothing in it is any more: it was emptied, or is not mounted."""
    own_command: str | None = None
    """See OwnCommand."""
    own_command_hint: str | None = None
