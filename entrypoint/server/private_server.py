"""The settings of a server of ours that nobody else reaches; pure."""

from __future__ import annotations

from entrypoint.postgres import ruled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ACCESS = {"pg_hba.conf": "local all all trust\n", "pg_ident.conf": ""}
"""The files of `out_of_reach`: whoever gets to the socket is let in as whom he says."""
LIBRARY = 15
"""The first major with an archive_library."""


def out_of_reach(folder: str) -> dict[str, str]:
    """Return the settings of a server whose one door is a socket in a folder of ours.

    The files of `ACCESS` lie there too. It archives nothing, and says what it has to say on stderr.
    """
    return {
        "listen_addresses": "",
        "unix_socket_directories": folder,
        "hba_file": f"{folder}/pg_hba.conf",
        "ident_file": f"{folder}/pg_ident.conf",
        "archive_command": "",
        # A subscription would take its publisher's changes away from the real server.
        "max_logical_replication_workers": "0",
        "logging_collector": "off",
        "log_destination": "stderr",
    }


def recovering(options: Mapping[str, str], port: str, major: int) -> list[str]:
    """Return the arguments of a server that recovers by these options, and is closed to all clients.

    It archives nothing: its segments wait until the real server runs.
    """
    closed = {"listen_addresses": "", "archive_mode": "on", "archive_command": "", **options}
    if major >= LIBRARY:
        closed["archive_library"] = ""
    return [*ruled.words(closed), "-p", port]
