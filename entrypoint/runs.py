"""What is remembered of backup runs: one line of JSON each, oldest first; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrypoint import guest
from entrypoint.errors import Failure, Stopped
from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEPT = 100
"""How many runs are remembered."""

RUNNING = "running"
OK = "ok"
FAILED = "failed"
INTERRUPTED = "interrupted"
"""It was killed, or the container with it, before it could say how it ended."""
STOPPED = "stopped"
"""A stop of the container came first."""
DAMAGED = "damaged"
"""It is complete, but so are the damaged pages of the database in it."""


class Run(NamedTuple):
    """One run of a backup."""

    kind: str
    """`full` or `incremental`."""
    started: str
    """ISO 8601 with offset."""
    why: str
    """`schedule`, `command`, or `hole`: a segment was missing before."""
    outcome: str = RUNNING
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
    """What the verification after it found; see `archivers.Verification`."""
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


def ended_by(error: BaseException) -> tuple[str, str]:
    """Return the outcome and the words of a run that this error has ended."""
    if isinstance(error, Stopped):
        return STOPPED, "a stop was asked for"
    return FAILED, error.problems[0].what if isinstance(error, Failure) else "the entrypoint itself failed"


def parse(text: str) -> list[Run]:
    """Read the file; lines that are none are left out, since history must never stop a backup."""
    found = []
    for line in text.split("\n"):
        try:
            with guest.Reading("the line"):
                found.append(_run(guest.parse_json(line)))
        except ValueError:
            continue
    return found


def _run(row: Mapping[str, Any]) -> Run:
    made = Run(**{name: row[name] for name in Run._fields if name in row})
    holes = tuple((str(first), str(last)) for first, last in row.get("holes", ()))
    broken = {str(name): str(why) for name, why in made.broken.items()}
    run: Run = guest.typed(made._replace(holes=holes, broken=broken))
    return run


def write(runs: Sequence[Run]) -> str:
    """Return the text of the file: the last runs, and of older ones the last success and verification."""
    import json

    cut = len(runs) - KEPT
    keep = {index for index in range(len(runs)) if index >= cut}
    keep |= set([index for index, run in enumerate(runs) if run.succeeded][-1:])
    keep |= set([index for index, run in enumerate(runs) if run.verified][-1:])
    return "".join(
        json.dumps(run._asdict(), ensure_ascii=False) + "\n"
        for index, run in enumerate(runs)
        if index in keep
    )


def last(runs: Sequence[Run]) -> LastRuns:
    """Return the runs that matter now."""
    success = _last(runs, OK, DAMAGED)
    failure = _last(runs, FAILED, INTERRUPTED)
    if failure is not None and success is not None and _place(runs, success) > _place(runs, failure):
        failure = None
    verified = [run for run in runs if run.verified]
    return LastRuns(success, failure, _last(runs, RUNNING), verified[-1] if verified else None)


def _last(runs: Sequence[Run], *outcomes: str) -> Run | None:
    return next((run for run in reversed(runs) if run.outcome in outcomes), None)


def _place(runs: Sequence[Run], run: Run) -> int:
    return max(index for index, each in enumerate(runs) if each is run)


def failures_in_a_row(runs: Sequence[Run]) -> int:
    """Return how many runs failed since the last one that succeeded."""
    count = 0
    for run in reversed(runs):
        if run.succeeded:
            break
        count += run.outcome in (FAILED, INTERRUPTED)
    return count
