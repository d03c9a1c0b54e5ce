"""Everything that the watch saw at its last look, as one value that every face shows; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple, re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.archivers.terms import Backup
    from entrypoint.backup.runs import Run
    from entrypoint.backup.window import Window
    from entrypoint.drill.drills import Drill
    from entrypoint.failover.member import Member
    from entrypoint.full_disk.parts import Part
    from entrypoint.noted.conditions import Condition, Event, Found
    from entrypoint.pid1.lifecycle import KnownHelper
    from entrypoint.volume.facts import ArchiveState, Following, Volume


class Sample(NamedTuple):
    """A value that was read from the server for a metric."""

    name: str
    """The metric's name."""
    labels: tuple[tuple[str, str], ...]
    value: float


class Server(NamedTuple):
    """The server as it answered at the last look."""

    role: str
    """`primary` or `standby`."""
    version: str
    """As in `SHOW server_version`."""
    identifier: str
    """The system identifier."""
    timeline: int
    started: float
    """When the postmaster was started, in seconds since 1970."""
    recovered: float
    """When the checkpointer was started: later than `started` if the server has recovered from a crash."""
    samples: tuple[Sample, ...]
    lag_bytes: int | None
    """On a standby that streams: WAL that it has received but not replayed, or that it has not received."""
    standbys: tuple[Mapping[str, str], ...]
    """On a primary: the rows of pg_stat_replication, as text; a value that is not known is missing."""

    @property
    def major(self) -> int:
        """The major version, also of a release candidate (`19rc1`); 0 if the server did not say it."""
        found = re.match("[0-9]+", self.version)
        return int(found[0]) if found else 0


class Seen(NamedTuple):
    """What the watch saw. A part that is not known is None, or an empty tuple where nothing may exist."""

    at: float
    """When the look ended, in seconds since 1970."""
    whole_at: float | None = None
    """When all checks were made last, also those that query the archive and each database."""
    server: Server | None = None
    """None: no server that accepts queries was running."""
    findings: tuple[Found, ...] = ()
    """The result of each check that had something to report, when it was last made."""
    conditions: tuple[Condition, ...] = ()
    """What is wrong now, the oldest first."""
    events: tuple[Event, ...] = ()
    """What happened last, the newest last."""
    archive: ArchiveState | None = None
    following: Following | None = None
    runs: tuple[Run, ...] = ()
    """The recorded backup runs, oldest first."""
    drills: tuple[Drill, ...] = ()
    backups: tuple[Backup, ...] | None = None
    """The archive's base backups when all checks were made last."""
    window: Window | None = None
    """The moments that can be restored; None: there are none, or they are not known."""
    next_backup: float | None = None
    """The first scheduled moment after the last backup, in seconds since 1970; in the past: it is overdue."""
    next_drill: float | None = None
    """As `next_backup`, for drills."""
    volumes: tuple[Volume, ...] = ()
    filling: Mapping[str, tuple[Part, ...]] = {}
    """What fills the filesystems that are worth a warning, by a folder on them, the largest part first."""
    reserve_missing: bool | None = None
    """The reserve for a clean stop on a full disk is not there."""
    helpers: tuple[KnownHelper, ...] = ()
    member: Member | None = None
    """What Patroni on this node said; None: the server is not under Patroni."""
    tool_version: str = ""
    """The archiver's version."""
    unsent: int = 0
    """Messages that wait to be sent."""
    failed_sends: int = 0
    """How often a message or a ping could not be sent since the watch was started."""
