"""Starts that were refused: what is remembered of them, and which of them people hear of; pure.

With a restart policy, a start that was refused is tried again and again. Its first time is news, its retries
are not. A reason is news again after a day, or after a start that served: then everything is forgotten.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple, re
from entrypoint.noted import ledger
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from entrypoint.errors import Problem

MOST = 20
"""Reasons that are remembered."""
NEWS = 10
"""Messages a day, however many reasons there are."""
AGAIN = 86400.0
"""Seconds after which the same reason is news again."""
RETRY = 60.0
"""Seconds after which a message is tried again that no target has taken."""
_MOST_WORDS = 500


class Refusal(NamedTuple):
    """A reason for which starts were refused."""

    reason: str
    """Its digest."""
    what: str
    first: float
    """When a start was refused for it first, in seconds since 1970."""
    last: float
    tried: float
    """When people were to hear of it last."""
    heard: bool = False
    """A target has taken that message."""
    times: int = 1
    """How many starts were refused for it."""


def digest(problems: Sequence[Problem]) -> str:
    """Return what identifies a reason; numbers, for example process IDs and sizes, do not count."""
    import hashlib

    text = "\n".join(f"{each.code} {re.sub('[0-9]+', '#', each.what)}" for each in problems)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def note(known: Sequence[Refusal], reason: str, what: str, now: float) -> tuple[tuple[Refusal, ...], bool]:
    """Return what is known after one more refusal, and whether to report it now."""
    mine = next((each for each in known if each.reason == reason), None)
    others = [each for each in known if each.reason != reason]
    others = sorted(others, key=lambda each: each.tried)[1 - MOST :]  # what was reported last must stay known
    news = sum(_is_recent(each.tried, AGAIN, now) for each in others)
    if mine is None:
        made, due = Refusal(reason, what[:_MOST_WORDS], now, now, 0.0), news < NEWS
    else:
        made = mine._replace(last=now, times=mine.times + 1)
        due = news < NEWS and not _is_recent(mine.tried, AGAIN if mine.heard else RETRY, now)
    if due:
        made = made._replace(tried=now, heard=False)
    return (*others, made), due


def _is_recent(at: float, seconds: float, now: float) -> bool:
    """Return whether something happened within this time; a clock that was set back silences nothing."""
    return 0 <= now - at < seconds


def heard(known: Sequence[Refusal], reason: str) -> tuple[Refusal, ...]:
    """Return what is known after a target has taken the message about a reason."""
    return tuple(each._replace(heard=True) if each.reason == reason else each for each in known)


def join(known: Sequence[Refusal], more: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """Return what two files say; the first one counts where both know a reason."""
    reasons = {each.reason for each in known}
    return (*(each for each in more if each.reason not in reasons), *known)[-MOST:]


def summary(known: Sequence[Refusal]) -> str:
    """Return all of them in words."""
    count = sum(each.times for each in known)
    last = max(known, key=lambda each: each.last)
    starts = "1 start was" if count == 1 else f"{count} starts were"
    return f"{starts} refused{'' if len(known) == 1 else ', the last one'}: {last.what}"


def write(known: Sequence[Refusal]) -> str:
    """Return the text of the file, a line each."""
    import json

    return "".join(f"{json.dumps(each._asdict(), ensure_ascii=False)}\n" for each in known)


def parse(text: str) -> tuple[Refusal, ...]:
    """Read the file; raises ValueError for anything that `write` cannot have written."""
    with guest.Reading("the record of refused starts"):
        return tuple(_refusal(guest.parse_json(line)) for line in text.splitlines()[-MOST:])


def _refusal(row: Mapping[str, Any]) -> Refusal:
    return Refusal(
        guest.word(row["reason"]),
        str(row["what"])[:_MOST_WORDS],
        ledger.number(row["first"]),
        ledger.number(row["last"]),
        ledger.number(row["tried"]),
        bool(row["heard"]),
        int(ledger.number(row["times"])),
    )
