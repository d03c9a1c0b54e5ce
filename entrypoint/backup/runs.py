"""What is remembered of backup runs; pure."""

from __future__ import annotations

from entrypoint.backup import journal
from entrypoint.backup.journal import DAMAGED, FAILED, INTERRUPTED, OK, RUNNING
from entrypoint.light import NamedTuple
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal

    from entrypoint.archivers.terms import Kind
    from entrypoint.backup.journal import Outcome

    Why = Literal[journal.Why, "hole", "restore"]
    """Why a backup is taken."""

HOLE: Literal["hole"] = "hole"
"""A segment was missing before."""
RESTORE: Literal["restore"] = "restore"
"""Nothing else is on this timeline yet."""


class Run(NamedTuple):
    """One run of a backup."""

    kind: Kind
    started: str
    """ISO 8601 with offset."""
    why: Why
    outcome: Outcome = RUNNING
    seconds: float = 0
    bytes: int = 0
    """Stored in the archive."""
    name: str = ""
    """Of the backup, where one was made."""
    words: str = ""
    """The tool's own last words, or what was found wrong."""
    url: str = ""
    """Of the archive."""
    holes: tuple[tuple[str, str], ...] = ()
    """What the verification after it found; see `terms.Verification`."""
    broken: Mapping[str, str] = {}
    verified: bool = False
    read_files: int = 0
    """So many objects of the archive were read by the verification, and so many bytes."""
    read_bytes: int = 0
    archive_bytes: int = 0
    """How much there was to be read."""

    @property
    def succeeded(self) -> bool:
        """Whether there is a backup of it."""
        return self.outcome in (OK, DAMAGED)


class LastRuns(NamedTuple):
    """What status and doctor tell."""

    success: Run | None
    failure: Run | None
    """The last run that failed or was interrupted, if nothing succeeded since."""
    running: Run | None
    verified: Run | None
    """The last run with a verification."""


def parse(text: str) -> list[Run]:
    """Read the file of all runs."""
    return journal.parse(text, _run)


def _run(row: Mapping[str, Any]) -> Run:
    made = Run(**{name: row[name] for name in Run._fields if name in row})
    holes = tuple((str(first), str(last)) for first, last in row.get("holes", ()))
    broken = {str(name): str(why) for name, why in made.broken.items()}
    run: Run = guest.typed(made._replace(holes=holes, broken=broken))
    return run


def write(runs: Sequence[Run]) -> str:
    """Return the text of the file: the last runs, and of older ones the last success and verification."""
    return journal.write(runs, (lambda run: run.succeeded, lambda run: run.verified))


def last(runs: Sequence[Run]) -> LastRuns:
    """Return the runs that matter now."""
    return LastRuns(*journal.last(runs), next((run for run in reversed(runs) if run.verified), None))


def failures_in_a_row(runs: Sequence[Run]) -> int:
    """Return how many runs failed since the last one that succeeded."""
    count = 0
    for run in reversed(runs):
        if run.succeeded:
            break
        count += run.outcome in (FAILED, INTERRUPTED)
    return count
