"""The archivers that exist; pure."""

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
"""Their names; if both would do, the first one is used."""


IN_GO = "wal-g"
"""The tool whose memory Go's own limit restricts."""
KEEPING_PARENTS = "wal-g"
"""The tool with which the parents of a permanent backup cannot be made impermanent."""
LOCKING = "pgBackRest"
"""The tool that locks files in the runtime folder, by its product name."""
WORK_FOLDERS = ("pgbackrest",)
"""The working folders of the tools, in the runtime folder."""
BACKUP_NAME = re.compile(r"(?i)base_[0-9A-F_D]+|[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?")
"""Matches every name that a tool gives to a base backup."""


def adapter(name: str, values: Mapping[str, str]) -> Archiver:
    """Return the adapter that has this name, for these settings."""
    if name == "wal-g":
        from entrypoint.archivers.walg import WalG

        return WalG(values)
    from entrypoint.archivers.pgbackrest import PgBackRest

    return PgBackRest(values)


def adapters(values: Mapping[str, str]) -> dict[str, Archiver]:
    """Return all adapters by name, for these settings."""
    return {name: adapter(name, values) for name in TOOLS}
