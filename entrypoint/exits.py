"""The exit codes of the program, in one place, with which the README's table is compared; pure.

Codes of other programs are passed on as they are: what postgres, psql, initdb or an init file
ended with is what the container ends with, and 128 + signal where a signal ended it.
"""

FAILURE = 1
"""A setting, the environment or the data folder is wrong, or a helper program failed."""
UNREADABLE_INIT_FOLDER = 2
"""The folder of init files is missing or cannot be read, or that of start files; also psql's and bash's."""
UNFINISHED_FIRST_START = 10
"""An init file had begun in an earlier first start that did not finish."""
VOLUME_IN_USE = 11
"""Another container or process runs a server on this data folder."""
ARCHIVE_REFUSED = 12
"""The archive is not ours, not reachable at a first start, or the archiver is missing."""
UNFINISHED_RESTORE = 13
"""A restore began on this volume and cannot go on with the settings of this start."""
COLLATION_CHANGED = 14
"""Text may sort otherwise than when it was indexed, and COLLATION_POLICY does not let the server start."""
SUPERSEDED = 15
"""Another server was promoted and goes on on a newer timeline: this one takes no writes."""
NOT_EXECUTABLE = 126
"""The command was found but cannot be executed."""
NOT_FOUND = 127
"""The command was not found."""
SIGNAL_BASE = 128
"""Added to the number of the signal that ended a child, or that asked us to stop too early."""

DOCTOR_WARNINGS = 1
"""`entrypoint doctor` found warnings only."""
DOCTOR_ERRORS = 2
"""`entrypoint doctor` found errors."""


def from_wait_status(status: int) -> int:
    """Return the exit code for a status of `waitpid`: the child's own, or 128 + signal."""
    signal_number = status & 0x7F
    return SIGNAL_BASE + signal_number if signal_number else (status >> 8) & 0xFF
