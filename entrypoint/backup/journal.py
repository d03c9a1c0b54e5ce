"""What is remembered of backups and drills, in one line of JSON each, oldest first; pure."""

from __future__ import annotations

from datetime import datetime

from entrypoint.errors import Failure, Stopped
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Literal, Protocol, Self, TypeVar

    Why = Literal["schedule", "command"]
    Outcome = Literal["running", "ok", "damaged", "failed", "interrupted", "stopped"]

    class Entry(Protocol):
        """A run of a backup, or a drill."""

        @property
        def started(self) -> str:
            """ISO 8601 with offset."""

        @property
        def seconds(self) -> float:
            """How long it took."""

        @property
        def outcome(self) -> Outcome:
            """How it ended."""

        def _asdict(self) -> dict[str, Any]: ...
        def _replace(self, *, outcome: Outcome, words: str) -> Self: ...

    E = TypeVar("E", bound=Entry)

KEPT = 100
"""How many entries are remembered."""

SCHEDULE: Why = "schedule"
COMMAND: Why = "command"
"""Why something is done."""

RUNNING: Outcome = "running"
OK: Outcome = "ok"
FAILED: Outcome = "failed"
INTERRUPTED: Outcome = "interrupted"
"""It was killed, or the container with it, before it could say how it ended."""
STOPPED: Outcome = "stopped"
"""A stop of the container came first."""
DAMAGED: Outcome = "damaged"
"""It is complete, but so are the damaged pages of the database in it."""


def ended_by(error: BaseException) -> tuple[Outcome, str]:
    """Return the outcome and the words of what this error has ended."""
    if isinstance(error, Stopped):
        return STOPPED, "a stop was asked for"
    return FAILED, error.problems[0].what if isinstance(error, Failure) else "the entrypoint itself failed"


def parse(text: str, make: Callable[[Any], E]) -> list[E]:
    """Read the file; lines that are none are left out, since history must never stop a backup.

    `make` returns the entry of a line's value; whatever goes wrong in it means that the line is none.
    """
    found = []
    for line in text.split("\n"):
        try:
            with guest.Reading("the line"):
                found.append(make(guest.parse_json(line)))
        except ValueError:
            continue
    return found


def write(entries: Sequence[E], lasting: Sequence[Callable[[E], bool]]) -> str:
    """Return the text of the file: the last entries, and the last one of each kind that is to last."""
    import json

    cut = len(entries) - KEPT
    keep = {index for index in range(len(entries)) if index >= cut}
    for lasts in lasting:
        keep |= set([index for index, entry in enumerate(entries) if lasts(entry)][-1:])
    return "".join(
        json.dumps(entry._asdict(), ensure_ascii=False) + "\n"
        for index, entry in enumerate(entries)
        if index in keep
    )


def settled(entries: Iterable[E]) -> list[E]:
    """Return the entries with those that were killed told as such."""
    words = "it was killed before it could end"
    return [
        each._replace(outcome=INTERRUPTED, words=words) if each.outcome == RUNNING else each
        for each in entries
    ]


def last(entries: Sequence[E]) -> tuple[E | None, E | None, E | None]:
    """Return the entries that matter now.

    The last success, the last one that failed or was interrupted if nothing succeeded since, and what runs.
    """
    success = failure = running = None
    for each in entries:
        if each.outcome in (OK, DAMAGED):
            success, failure = each, None
        elif each.outcome in (FAILED, INTERRUPTED):
            failure = each
        elif each.outcome == RUNNING:
            running = each
    return success, failure, running


def began(entry: Entry) -> float:
    """Return when something began, in seconds since 1970."""
    return datetime.fromisoformat(entry.started).timestamp()


def ended(entry: Entry) -> float:
    """Return when something ended, in seconds since 1970."""
    return began(entry) + entry.seconds


def believed(entries: Sequence[E], now: float) -> list[E]:
    """Return the entries without those of a clock that was ahead: they do not tell when anything is due."""
    return [each for each in entries if guest.moment(each.started, now) is not None]
