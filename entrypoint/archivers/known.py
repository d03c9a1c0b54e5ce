"""Which archivers there are; pure."""

from __future__ import annotations

from entrypoint.light import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.archivers.interface import Archiver

__all__ = [
    "BACKUP_NAME",
    "IN_GO",
    "KEEPING_PARENTS",
    "LOCKING",
    "TOOLS",
    "WORK_FOLDERS",
    "adapter",
    "adapters",
]

TOOLS = ("wal-g", "pgbackrest")
"""Their names; of two that serve as well the first one is taken."""


IN_GO = "wal-g"
"""Whose memory Go's own limit holds."""
KEEPING_PARENTS = "wal-g"
"""With which what a permanent backup builds on cannot be made impermanent."""
LOCKING = "pgBackRest"
"""What locks files in the runtime folder, as people know it."""
WORK_FOLDERS = ("pgbackrest",)
"""Below the runtime folder, for what they work on."""
BACKUP_NAME = re.compile(r"(?i)base_[0-9A-F_D]+|[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?")
"""What a base backup of any of them can be called."""


def adapter(name: str, values: Mapping[str, str]) -> Archiver:
    """Return the adapter of this name, for these settings."""
    if name == "wal-g":
        from entrypoint.archivers.walg import WalG

        return WalG(values)
    from entrypoint.archivers.pgbackrest import PgBackRest

    return PgBackRest(values)


def adapters(values: Mapping[str, str]) -> dict[str, Archiver]:
    """Return all of them by their names, for these settings."""
    return {name: adapter(name, values) for name in TOOLS}
