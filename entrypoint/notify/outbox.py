"""The messages that wait to be sent, to which targets, and when to try again; pure.

A message is queued once: the number of its event is remembered. It waits until each target has taken it. A
target that fails is tried again alone, after 1 minute, 2, 4 … up to an hour, and with all that waits for it.
If the container is killed while a message is on its way, that message is sent again: better twice than never.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple
from entrypoint.noted.conditions import BEGAN, ENDED, RANK
from entrypoint.notify.wording import Message
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    from entrypoint.noted.conditions import Event, Kind, Noted, Serious

MOST = 100
"""Messages in the queue; the oldest gives way to a newer one."""
BATCH = 5
"""Messages that are sent in one go: apprise waits some seconds between two for the same service."""
NEWS = 3600.0
"""Seconds: what happened earlier, and has ended, is no news for those who have just asked for messages."""
_FIRST, _LONGEST = 60.0, 3600.0
"""Seconds between two attempts."""
_KINDS = ("began", "ended", "happened")
_TONES = ("failure", "warning", "info", "success")


class Waiting(NamedTuple):
    """A message that a target has not taken yet."""

    number: int
    """The number of its event."""
    name: str
    kind: Kind
    message: Message
    sent: tuple[str, ...] = ()
    """The targets that have taken it."""
    attempts: int = 0


class Target(NamedTuple):
    """A target that has failed."""

    failures: int
    """Attempts in a row."""
    since: float
    """When the first of them failed, in seconds since 1970."""
    words: str
    """What it or apprise said."""
    retry: float
    """When to try again, in seconds since 1970."""


class Mark(NamedTuple):
    """The last run of backups or drills that a ping was sent for."""

    started: str
    ended: bool
    """Not only its start was reported."""


class Outbox(NamedTuple):
    """Everything that is remembered about messages and pings."""

    queued: int = 0
    """Number of the last event that was looked at."""
    queued_at: float = 0.0
    waiting: tuple[Waiting, ...] = ()
    """Oldest first."""
    begun: tuple[str, ...] = ()
    """What has begun, with a message, and has not ended."""
    dropped: int = 0
    """Messages that gave way to newer ones since the last one was sent."""
    failing: Mapping[str, Target] = {}
    """By the target's name, or the variable of a ping."""
    marks: Mapping[str, Mark] = {}
    """By the variable of a ping."""


def take(
    box: Outbox,
    noted: Noted,
    now: float,
    level: Serious,
    make: Callable[[Event, bool], Message],
    *,
    flying: Collection[int] = (),
) -> Outbox:
    """Return the queue with the messages of all new events.

    `make` returns the message of an event; its second argument says that the event's begin was never sent.
    Messages whose number is `flying` are on their way.
    """
    restarted = noted.total < box.queued  # the record of the watch was lost
    for event in noted.events:
        if event.at <= box.queued_at if restarted else event.number <= box.queued:
            continue
        if event.at > now - NEWS or _is_open(event, noted):
            box = _add(box, event, level, make, flying)
        box = box._replace(queued_at=max(box.queued_at, event.at))
    return box._replace(queued=noted.total)


def _is_open(event: Event, noted: Noted) -> bool:
    """Return whether what this event has begun still exists."""
    return event.kind == BEGAN and any(
        (each.check, each.level, each.since) == (event.name, event.level, event.since)
        for each in noted.conditions
    )


def _add(
    box: Outbox,
    event: Event,
    level: Serious,
    make: Callable[[Event, bool], Message],
    flying: Collection[int],
) -> Outbox:
    unheard = False
    if event.elsewhere:
        return box
    if event.kind == ENDED:
        if event.name not in box.begun:
            return box
        box = box._replace(begun=tuple(name for name in box.begun if name != event.name))
        begins = [each for each in box.waiting if (each.name, each.kind) == (event.name, BEGAN)]
        heard = any(each.sent or each.number in flying for each in begins)
        if begins and not heard:
            numbers = [each.number for each in begins]
            box = box._replace(waiting=tuple(each for each in box.waiting if each.number not in numbers))
            unheard = True
    elif RANK[event.level] < RANK[level]:
        return box
    elif event.kind == BEGAN:
        box = box._replace(begun=tuple(dict.fromkeys((*box.begun, event.name))))
    entry = Waiting(event.number, event.name, event.kind, make(event, unheard))
    waiting = (*box.waiting, entry)
    lost = max(0, len(waiting) - MOST)
    return box._replace(waiting=waiting[lost:], dropped=box.dropped + lost)


def due(box: Outbox, targets: Sequence[str], now: float) -> tuple[str, tuple[Waiting, ...]] | None:
    """Return the target to try now, with the messages for it; None: there is nothing to do yet.

    What was tried least comes first, so that one message that a target refuses does not hold up the others.
    """
    # A clock that was set back must not silence a target for long.
    ready = [
        target
        for target in targets
        if target not in box.failing or not now < box.failing[target].retry <= now + _LONGEST
    ]
    for target in sorted(ready, key=lambda each: box.failing[each].retry if each in box.failing else 0.0):
        found = [each for each in box.waiting if target not in each.sent]
        if found:
            return target, tuple(sorted(found, key=lambda each: (each.attempts, each.number))[:BATCH])
    return None


def wake(box: Outbox, targets: Sequence[str]) -> float | None:
    """Return when the next attempt is due, in seconds since 1970; 0: now; None: nothing waits."""
    times = [
        box.failing[target].retry if target in box.failing else 0.0
        for target in targets
        if any(target not in each.sent for each in box.waiting)
    ]
    return min(times, default=None)


def delivered(box: Outbox, target: str, number: int, targets: Sequence[str]) -> Outbox:
    """Return the queue after a target has taken a message."""
    left = []
    for each in box.waiting:
        one = each._replace(sent=(*each.sent, target)) if each.number == number else each
        if set(targets) - set(one.sent):
            left.append(one)
    return worked(box._replace(waiting=tuple(left), dropped=0), target)


def refused(box: Outbox, number: int) -> Outbox:
    """Return the queue after a target has not taken a message."""
    return box._replace(
        waiting=tuple(
            each._replace(attempts=each.attempts + 1) if each.number == number else each
            for each in box.waiting
        )
    )


def worked(box: Outbox, target: str) -> Outbox:
    """Return what is remembered after a target has worked."""
    if target not in box.failing:
        return box
    return box._replace(failing={name: each for name, each in box.failing.items() if name != target})


def failed(box: Outbox, target: str, words: str, now: float, longest: float = _LONGEST) -> Outbox:
    """Return what is remembered after an attempt in which a target took nothing."""
    known = box.failing.get(target)
    count = 1 if known is None else known.failures + 1
    pause = min(_FIRST * 2 ** min(count - 1, 10), longest)
    made = Target(count, now if known is None else known.since, words, now + pause)
    return box._replace(failing={**box.failing, target: made})


def prune(box: Outbox, targets: Sequence[str], variables: Sequence[str]) -> Outbox:
    """Return the queue without what nobody waits for any longer, after the settings may have changed."""
    known = {*targets, *variables}
    return box._replace(
        waiting=tuple(each for each in box.waiting if set(targets) - set(each.sent)),
        failing={name: each for name, each in box.failing.items() if name in known},
        marks={name: each for name, each in box.marks.items() if name in variables},
    )


def write(box: Outbox) -> str:
    """Return the text of the file."""
    import json

    value = {
        "queued": box.queued,
        "queued_at": box.queued_at,
        "waiting": [{**each._asdict(), "message": each.message._asdict()} for each in box.waiting],
        "begun": box.begun,
        "dropped": box.dropped,
        "failing": {name: each._asdict() for name, each in box.failing.items()},
        "marks": {name: each._asdict() for name, each in box.marks.items()},
    }
    return json.dumps(value) + "\n"


def parse(text: str) -> Outbox:
    """Read the file; raises ValueError for anything that `write` cannot have written."""
    with guest.Reading("the queue of messages"):
        row = guest.parse_json(text)
        return Outbox(
            queued=int(_number(row["queued"])),
            queued_at=_number(row["queued_at"]),
            waiting=tuple(_waiting(each) for each in row["waiting"])[-MOST:],
            begun=tuple(str(each) for each in row["begun"]),
            dropped=int(_number(row["dropped"])),
            failing={str(name): _target(each) for name, each in row["failing"].items()},
            marks={
                str(name): Mark(str(each["started"]), bool(each["ended"]))
                for name, each in row["marks"].items()
            },
        )


def _waiting(row: Mapping[str, Any]) -> Waiting:
    said = row["message"]
    if row["kind"] not in _KINDS or said["tone"] not in _TONES:
        raise ValueError("a message has an unknown kind")
    return Waiting(
        int(_number(row["number"])),
        str(row["name"]),
        row["kind"],
        Message(str(said["title"]), str(said["body"]), said["tone"]),
        tuple(str(each) for each in row["sent"]),
        int(_number(row["attempts"])),
    )


def _target(row: Mapping[str, Any]) -> Target:
    return Target(
        int(_number(row["failures"])), _number(row["since"]), str(row["words"]), _number(row["retry"])
    )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > _LARGE:
        raise ValueError("a number is none")
    return float(value)


_LARGE = 10.0**15
