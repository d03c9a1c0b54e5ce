"""The record of backup runs; pure."""

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

    Why = Literal[journal.Why, "gap", "hole", "restore"]
    """The reason for a backup."""

GAP: Literal["gap"] = "gap"
"""WAL was given up since the last full backup."""
HOLE: Literal["hole"] = "hole"
"""A segment is missing since the last full backup."""
RESTORE: Literal["restore"] = "restore"
"""This timeline has no backup yet."""


class Run(NamedTuple):
    """A backup run."""

    kind: Kind
    started: str
    """ISO 8601 with offset."""
    why: Why
    outcome: Outcome = RUNNING
    seconds: float = 0
    bytes: int = 0
    """Size in the archive."""
    name: str = ""
    """Name of the backup, if one was made."""
    words: str = ""
    """The last lines of the tool's output, or the faults that were found."""
    url: str = ""
    """The archive's address."""
    holes: tuple[tuple[str, str], ...] = ()
    """The faults that the verification after the run found; see `terms.Verification`."""
    broken: Mapping[str, str] = {}
    verified: bool = False
    read_files: int = 0
    """Number of objects that the verification read."""
    read_bytes: int = 0
    """Number of bytes that the verification read."""
    archive_bytes: int = 0
    """Size of the whole archive."""

    @property
    def succeeded(self) -> bool:
        """Whether the run made a backup."""
        return self.outcome in (OK, DAMAGED)


class LastRuns(NamedTuple):
    """The runs that status and doctor show."""

    success: Run | None
    failure: Run | None
    """The last run that failed or was interrupted, if none has succeeded since."""
    running: Run | None
    verified: Run | None
    """The last run that was verified."""


def parse(text: str) -> list[Run]:
    """Parse the journal of runs."""
    return journal.parse(text, _run)


def _run(row: Mapping[str, Any]) -> Run:
    made = Run(**{name: row[name] for name in Run._fields if name in row})
    holes = tuple((str(first), str(last)) for first, last in row.get("holes", ()))
    broken = {str(name): str(why) for name, why in made.broken.items()}
    run: Run = guest.typed(made._replace(holes=holes, broken=broken))
    return run


def write(runs: Sequence[Run]) -> str:
    """Return the journal's text: the last runs, and the last success and verification if these are older."""
    return journal.write(runs, (lambda run: run.succeeded, lambda run: run.verified))


def last(runs: Sequence[Run]) -> LastRuns:
    """Return the runs that matter now."""
    return LastRuns(*journal.last(runs), next((run for run in reversed(runs) if run.verified), None))


def failures_in_a_row(runs: Sequence[Run]) -> int:
    """Return how many runs have failed since the last success."""
    count = 0
    for run in reversed(runs):
        if run.succeeded:
            break
        count += run.outcome in (FAILED, INTERRUPTED)
    return count
