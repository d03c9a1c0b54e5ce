"""The reader of postmaster.pid; pure, and light, since `entrypoint ready` needs it every few seconds."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Postmaster(NamedTuple):
        """What postmaster.pid says."""

        pid: int
        data_folder: str
        started: int
        """Seconds since 1970."""
        status: str
        """`starting`, `stopping`, `ready`, `standby`, or empty."""
else:
    # The import of typing would take as long as all the rest of a health check.
    from collections import namedtuple

    Postmaster = namedtuple("Postmaster", "pid data_folder started status")  # noqa: PYI024


def parse_postmaster(text: str) -> Postmaster | None:
    r"""Read postmaster.pid; None while it is being written.

    >>> parse_postmaster("42\n/data\n1795364442\n5432\n/run\n*\n 1 2\nready   \n")
    Postmaster(pid=42, data_folder='/data', started=1795364442, status='ready')
    """
    lines = text.split("\n")
    if len(lines) < 4:
        return None
    pid = lines[0].removeprefix("-")
    for word, most in ((pid, 9), (lines[2], 18), (lines[3], 9)):
        if not (word.isascii() and word.isdigit() and len(word) <= most):
            return None
    status = lines[7].strip() if len(lines) > 8 else ""
    return Postmaster(int(pid), lines[1], int(lines[2]), status)
