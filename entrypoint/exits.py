"""The exit codes of the program, in one place; pure.

The text below each code is its row in `docs/reference/exit-codes.md`.

Exit codes of other programs are passed on unchanged. If postgres, psql, initdb or an init file ends the
container, the container exits with its code, or with 128 + signal if a signal ended it.
"""

FAILURE = 1
"""A setting, the environment or the data folder is wrong; a helper failed; or the server stopped without a
request."""
UNREADABLE_INIT_FOLDER = 2
"""`/docker-entrypoint-initdb.d` is missing or cannot be read, or `/docker-entrypoint-startdb.d` cannot; psql
could not connect."""
UNFINISHED_FIRST_START = 10
"""An earlier first start did not finish, although it had already begun to run an init file."""
VOLUME_IN_USE = 11
"""Another container or process is running a server on this data folder."""
ARCHIVE_REFUSED = 12
"""The archive belongs to another cluster or another tool, cannot be used at a first start, or does not
contain the requested backup; or the archiver is missing."""
UNFINISHED_RESTORE = 13
"""An unfinished restore on this volume cannot continue with these settings."""
COLLATION_CHANGED = 14
"""Text may sort differently from when it was indexed, and `COLLATION_POLICY` prevents the start."""
SUPERSEDED = 15
"""Another server was promoted from this server's archive and writes to it, so this server takes no writes."""
NOT_EXECUTABLE = 126
"""The command was found but cannot be executed."""
NOT_FOUND = 127
"""The command was not found."""
SIGNAL_BASE = 128
"""A signal ended the server, or a stop signal arrived before it was up (130 SIGINT, 143 SIGTERM)."""

DOCTOR_WARNINGS = 1
"""There are warnings but no errors."""
DOCTOR_ERRORS = 2
"""There are errors."""


def from_wait_status(status: int) -> int:
    """Return the exit code for a status of `waitpid`: the child's own code, or 128 + signal."""
    signal_number = status & 0x7F
    return SIGNAL_BASE + signal_number if signal_number else (status >> 8) & 0xFF
