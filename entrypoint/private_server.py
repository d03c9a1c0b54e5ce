"""The settings of a server of ours that nobody else reaches; pure."""

from __future__ import annotations

from entrypoint import ruled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LIBRARY = 15
"""The first major with an archive_library."""


def recovering(options: Mapping[str, str], port: str, major: int) -> list[str]:
    """Return the arguments of a server that recovers by these options, and is closed to all clients.

    It archives nothing: its segments wait until the real server runs.
    """
    closed = {"listen_addresses": "", "archive_mode": "on", "archive_command": "", **options}
    if major >= LIBRARY:
        closed["archive_library"] = ""
    return [*ruled.words(closed), "-p", port]
