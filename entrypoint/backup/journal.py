"""The journal of backups and drills, one line of JSON each, oldest first; pure."""

from __future__ import annotations

from datetime import datetime

from entrypoint.errors import Failure, Stopped
from entrypoint.light import re
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Literal, Protocol, Self, TypeVar

    Why = Literal["schedule", "command"]
    Outcome = Literal["running", "ok", "damaged", "failed", "interrupted", "stopped"]

    class Entry(Protocol):
        """A backup run or a drill."""

        @property
        def started(self) -> str:
            """ISO 8601 with offset."""

        @property
        def seconds(self) -> float:
            """The duration."""

        @property
        def outcome(self) -> Outcome:
            """How it ended."""

        def _asdict(self) -> dict[str, Any]: ...
        def _replace(self, *, outcome: Outcome, words: str) -> Self: ...

    E = TypeVar("E", bound=Entry)

KEPT = 100
"""Number of entries that are kept."""

SCHEDULE: Why = "schedule"
COMMAND: Why = "command"
"""The reason for a run: the schedule, or a command that somebody typed."""

RUNNING: Outcome = "running"
OK: Outcome = "ok"
FAILED: Outcome = "failed"
INTERRUPTED: Outcome = "interrupted"
"""It was killed, or the container was, before it could record how it ended."""
STOPPED: Outcome = "stopped"
"""The container was stopped first."""
DAMAGED: Outcome = "damaged"
"""It is complete, but it contains damaged pages of the database."""


def ended_by(error: BaseException) -> tuple[Outcome, str]:
    """Return the outcome and the description of a run that this error has ended."""
    if isinstance(error, Stopped):
        return STOPPED, "a stop was requested"
    return FAILED, error.problems[0].what if isinstance(error, Failure) else "the entrypoint itself failed"


def gist(words: str) -> str:
    r"""Return the line of an archiver's output that says what failed.

    It is the last error; information, hints and our own summary surround it.

    >>> gist("it failed:\nP00   INFO: begin\nP01  ERROR: [041]: no access\n   HINT: x\nP00   INFO: end")
    '[041]: no access'
    >>> gist("ERROR: 2026/11/23 03:00:00.123456 no access"), gist("it was killed"), gist("")
    ('no access', 'it was killed', '')
    >>> gist("panic: open /key: permission denied\n\ngoroutine 1 [running]:\nmain.main()")
    'open /key: permission denied'
    """
    lines = [line.strip() for line in words.split("\n") if line.strip()]
    errors = [found[1] for line in lines if (found := _ERROR.search(line))]
    return (errors or lines or [""])[-1]


_ERROR = re.compile(r"(?:\bERROR: +(?:\d{4}/\d\d/\d\d [\d:.]+ )?|^panic: )(.+)")
"""An error of pgBackRest, wal-g (with the time, or before the stack of a panic) or psql."""


def parse(text: str, make: Callable[[Any], E]) -> list[E]:
    """Parse the journal; invalid lines are skipped, since the journal must never stop a backup.

    `make` returns the entry for a line's value; if it fails in any way, the line is invalid.
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
    """Return the journal's text: the newest entries, and the last entry for each test in `lasting`."""
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
    """Return the entries, with those still running marked as interrupted: they were killed."""
    words = "it was killed before it finished"
    return [
        each._replace(outcome=INTERRUPTED, words=words) if each.outcome == RUNNING else each
        for each in entries
    ]


def last(entries: Sequence[E]) -> tuple[E | None, E | None, E | None]:
    """Return the entries that matter now.

    These are the last success, the last failed or interrupted entry if nothing has succeeded since, and the
    running entry.
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
    """Return when an entry began, in seconds since 1970."""
    return datetime.fromisoformat(entry.started).timestamp()


def ended(entry: Entry) -> float:
    """Return when an entry ended, in seconds since 1970."""
    return began(entry) + entry.seconds


def believed(entries: Sequence[E], now: float) -> list[E]:
    """Return the entries without those dated by a clock that was ahead: these must not set due times."""
    return [each for each in entries if guest.moment(each.started, now) is not None]
