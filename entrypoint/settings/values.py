"""Everything that the user can decide, as one value; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.postgres.argv import ServerArguments
    from entrypoint.settings.archiving import Archive
    from entrypoint.settings.following import Standby
    from entrypoint.settings.restoring import Request
    from entrypoint.settings.serving import Serving
    from entrypoint.settings.starting import EveryStart, Init


# Both are here and have defaults, so that a start with neither loads nothing more of them.


class Backups(NamedTuple):
    """When base backups are taken, how, and which are kept; as it stands: with nothing set."""

    schedule: str | None = None
    """In cron's syntax."""
    timezone: str = "UTC"
    jitter: int = 0
    """Seconds."""
    incrementals: int = 0
    """How many follow each full one of the schedule."""
    retain_full: int | None = None
    retain_days: int | None = None
    timeout: int = 86400
    """Seconds for one backup."""
    rate_limit: int | None = None
    """Bytes per second."""
    contents: bool = True
    """Verification reads what is in the archive."""
    verify_days: int = 30
    """In so many days all of it is read once."""

    @property
    def retains(self) -> bool:
        """Whether anything is ever removed."""
        return self.retain_full is not None or self.retain_days is not None


class Drills(NamedTuple):
    """When restores are rehearsed, and where; as it stands: with nothing set."""

    schedule: str | None = None
    """In cron's syntax."""
    folder: str = "/var/lib/postgresql/drill"


def ours(archive: Archive | None) -> Archive | None:
    """Return an archive that the entrypoint uses, none where the user's own archive_command is in charge."""
    return None if archive is None or archive.by_user else archive


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
    serving: Serving
    files: Mapping[str, str] = {}
    """The files that variables have come from, by the variable's plain name."""
    own_recovery: bool = False
    """A recovery that is not ours fetches WAL by the user's own restore_command: see config/charge.py."""

    @property
    def our_archive(self) -> Archive | None:
        """The archive that the entrypoint archives to; None where nobody does, or the user by himself."""
        return ours(self.archive)
