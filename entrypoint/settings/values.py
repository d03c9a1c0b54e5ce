"""All settings of the user, as one value; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.postgres.argv import ServerArguments
    from entrypoint.settings.archiving import Archive
    from entrypoint.settings.failing_over import Failover
    from entrypoint.settings.following import Standby
    from entrypoint.settings.restoring import Request
    from entrypoint.settings.serving import Serving
    from entrypoint.settings.starting import EveryStart, Init
    from entrypoint.settings.upgrading import Upgrade
    from entrypoint.settings.watching import Watching


# Backups and Drills are here and have defaults, so that a start without them need not load their sections.


class Backups(NamedTuple):
    """When base backups are taken, how, and which are kept; the defaults are for no variable set."""

    schedule: str | None = None
    """In cron's syntax."""
    timezone: str = "UTC"
    jitter: int = 0
    """Seconds."""
    incrementals: int = 0
    """How many incremental backups follow each scheduled full backup."""
    retain_full: int | None = None
    retain_days: int | None = None
    timeout: int = 86400
    """Seconds for one backup."""
    rate_limit: int | None = None
    """Bytes per second."""
    contents: bool = True
    """Verification reads the archive's content."""
    verify_days: int = 30
    """Days in which the whole archive is read once."""

    @property
    def retains(self) -> bool:
        """Whether anything is ever removed."""
        return self.retain_full is not None or self.retain_days is not None


class Drills(NamedTuple):
    """When and where restores are rehearsed; the defaults are for no variable set."""

    schedule: str | None = None
    """In cron's syntax."""
    folder: str = "/var/lib/postgresql/drill"


def ours(archive: Archive | None) -> Archive | None:
    """Return an archive if the entrypoint archives to it; None if the user's own archive_command does."""
    return None if archive is None or archive.by_user else archive


class Settings(NamedTuple):
    """All settings of the user."""

    values: dict[str, str]
    """All variables after `X_FILE` was resolved."""
    server: ServerArguments
    data_folder: str
    port: str
    server_timeout: int
    """Seconds that the temporary server may take to come up or to shut down (PGCTLTIMEOUT)."""
    init: Init
    every_start: EveryStart
    archive: Archive | None
    backup: Backups
    drill: Drills
    restore: Request | None
    """What to restore, or what to build a standby from."""
    standby: Standby | None
    source: Archive | None
    """The archive to restore from and to follow; usually the same as `archive`."""
    source_values: dict[str, str]
    """The variables as `source` must see them."""
    conf: dict[str, str]
    """POSTGRES_CONF_*: server settings by name."""
    serving: Serving
    watching: Watching | None
    """None: nothing is watched."""
    upgrade: Upgrade | None = None
    """None: POSTGRES_UPGRADE is not set."""
    failover: Failover | None = None
    """This node of a cluster under Patroni; None: the server runs alone."""
    files: Mapping[str, str] = {}
    """The files that variables were read from, by the variable's plain name."""
    own_recovery: bool = False
    """The user's own restore_command fetches WAL for a recovery that is not ours: see config/charge.py."""

    @property
    def our_archive(self) -> Archive | None:
        """The archive that the entrypoint archives to; None if nobody archives or the user's command does."""
        return ours(self.archive)
