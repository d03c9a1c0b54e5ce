"""Whether people can sleep, in a few words, as the page shows it first; pure.

Nothing is judged here: the conditions say what is wrong. If the watch has stopped looking, the page must not
calm anybody: an old look is no good news.
"""

from __future__ import annotations

from entrypoint.finding import ERROR, OK, WARNING
from entrypoint.light import NamedTuple
from entrypoint.shown import ago

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from entrypoint.finding import Level
    from entrypoint.noted.conditions import Condition
    from entrypoint.noted.seen import Seen

    State = Literal[Level, "unknown"]

UNKNOWN: Literal["unknown"] = "unknown"
SYMBOLS = {OK: "✓", WARNING: "!", ERROR: "✕", UNKNOWN: "?"}
"""What a state looks like for those who do not see its colour."""
FULL_DISK = "full disk"
"""The check that says whether transactions are read-only."""
_SERVING = "serving"
_PHASES = {
    "boot": "The server is about to start",
    "upgrade": "The database is being upgraded to a newer major version",
    "init": "A new database is being created",
    "restore": "The database is being restored from the archive",
    "recovery": "The server is recovering",
    "startdb": "The server is up, and prepares its databases",
    "stopping": "The server is stopping",
}
_LATE = 5
"""After this many intervals a look is old."""


class Verdict(NamedTuple):
    """What the page says first."""

    state: State
    title: str
    text: str
    """Why; empty if there is nothing to add."""

    @property
    def symbol(self) -> str:
        """See `SYMBOLS`."""
        return SYMBOLS[self.state]


def judge(seen: Seen | None, phase: str, now: float, interval: int) -> Verdict:
    """Return whether people can sleep; `interval` are the seconds between two looks."""
    conditions = () if seen is None else seen.conditions
    errors = sorted((each for each in conditions if each.level == ERROR), key=_is_later)
    warnings = [each for each in conditions if each.level == WARNING]
    if errors:
        title = "Do not sleep yet: one thing is wrong"
        if len(errors) > 1:
            title = f"Do not sleep yet: {len(errors)} things are wrong"
        return Verdict(ERROR, title, _first(errors[0]))
    if phase != _SERVING:
        title = _PHASES.get(phase, f"Nothing is known of the server (phase: {phase or 'none'})")
        return Verdict(UNKNOWN, title, "Nobody can connect now. This page shows when that changes.")
    if seen is None:
        return Verdict(
            UNKNOWN, "The first look is not finished", "The server is up. This takes some seconds."
        )
    if now - seen.at > _LATE * interval:
        text = "The watch does not look any more, so what this page shows may be wrong."
        return Verdict(UNKNOWN, f"The last look was {ago(now - seen.at)}", text)
    if seen.server is None:
        text = "At the last look, it accepted no query."
        return Verdict(UNKNOWN, "Nothing is known of the server", text)
    if warnings:
        title = "You can sleep, but look at one warning tomorrow"
        if len(warnings) > 1:
            title = f"You can sleep, but look at {len(warnings)} warnings tomorrow"
        return Verdict(WARNING, title, _first(warnings[0]))
    if seen.whole_at is None:
        text = "The server is well. The archive has not been looked at yet."
        return Verdict(UNKNOWN, "Not all checks have been made yet", text)
    return Verdict(OK, "You can sleep: all is well", "")


def _is_later(condition: Condition) -> bool:
    """Return whether another error is worth the one line: no client can write."""
    return condition.check != FULL_DISK


def _first(condition: Condition) -> str:
    line = condition.found.strip().partition("\n")[0]
    return f"{condition.check}: {line}"
