"""The exit codes of the program, in one place; pure.

What is said below each of them is its row in `docs/reference/exit-codes.md`.

Codes of other programs are passed on as they are: what postgres, psql, initdb or an init file
ended with is what the container ends with, and 128 + signal where a signal ended it.
"""

FAILURE = 1
"""A setting, the environment or the data folder is wrong; a helper failed; or the server stopped although
nobody asked."""
UNREADABLE_INIT_FOLDER = 2
"""`/docker-entrypoint-initdb.d` is missing or cannot be read, or `/docker-entrypoint-startdb.d` cannot; psql
could not connect."""
UNFINISHED_FIRST_START = 10
"""An init file had begun in an earlier first start that did not finish."""
VOLUME_IN_USE = 11
"""Another container or process runs a server on this data folder."""
ARCHIVE_REFUSED = 12
"""The archive is another cluster's or another tool's, cannot be used at a first start, or holds no such
backup; or the archiver is missing."""
UNFINISHED_RESTORE = 13
"""A restore began on this volume and cannot go on with these settings."""
COLLATION_CHANGED = 14
"""Text may sort otherwise than when it was indexed, and `COLLATION_POLICY` does not let the server start."""
SUPERSEDED = 15
"""Another server was promoted from this one's archive and goes on, so this one takes no writes."""
NOT_EXECUTABLE = 126
"""The command was found but cannot be executed."""
NOT_FOUND = 127
"""The command was not found."""
SIGNAL_BASE = 128
"""A signal ended the server, or a stop arrived before it was up (130 SIGINT, 143 SIGTERM)."""

DOCTOR_WARNINGS = 1
"""There are warnings, but no errors."""
DOCTOR_ERRORS = 2
"""There are errors."""


def from_wait_status(status: int) -> int:
    """Return the exit code for a status of `waitpid`: the child's own, or 128 + signal."""
    signal_number = status & 0x7F
    return SIGNAL_BASE + signal_number if signal_number else (status >> 8) & 0xFF
