"""The settings of our private servers, which nobody else can reach; pure."""

from __future__ import annotations

from entrypoint.postgres import ruled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ACCESS = {"pg_hba.conf": "local all all trust\n", "pg_ident.conf": ""}
"""The files for `out_of_reach`: any client that can open the socket may log in as any user."""
LIBRARY = 15
"""The first major version with an archive_library."""


def out_of_reach(folder: str) -> dict[str, str]:
    """Return the settings of a server that can only be reached through a socket in our folder.

    The files in `ACCESS` are in that folder too. The server archives nothing and logs to stderr.
    """
    return {
        "listen_addresses": "",
        "unix_socket_directories": folder,
        "hba_file": f"{folder}/pg_hba.conf",
        "ident_file": f"{folder}/pg_ident.conf",
        "archive_command": "",
        # A subscription would consume its publisher's changes, and the real server would miss them.
        "max_logical_replication_workers": "0",
        "logging_collector": "off",
        "log_destination": "stderr",
    }


def recovering(options: Mapping[str, str], port: str, major: int) -> list[str]:
    """Return the arguments of a server that recovers with these options and that no client can reach.

    The server archives nothing: its segments wait until the real server runs.
    """
    closed = {"listen_addresses": "", "archive_mode": "on", "archive_command": "", **options}
    if major >= LIBRARY:
        closed["archive_library"] = ""
    return [*ruled.words(closed), "-p", port]
