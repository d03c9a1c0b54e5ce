"""What began and what ended between two looks; pure.

A condition is a check that does not find all well. It begins with the first look that finds it, and begins
again when the check's worst finding becomes more serious. It ends with the second look in a row that finds
all well, or something less serious, which then begins: what comes and goes with every look is one condition.
A check that could not look changes nothing, and one that is made rarely needs only one good look.

What all nodes of a cluster see, one of them reports. If that node does not see it for half a minute while
this one does, it begins again here: the nodes do not see everything at the same moment.
"""

from __future__ import annotations

from entrypoint.finding import ERROR, OK, WARNING
from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from entrypoint.finding import Level

    Serious = Literal["error", "warning", "info"]
    Kind = Literal["began", "ended", "happened"]

BEGAN: Kind = "began"
ENDED: Kind = "ended"
HAPPENED: Kind = "happened"
INFO: Literal["info"] = "info"
RANK: Mapping[str, int] = {INFO: 0, OK: 0, WARNING: 1, ERROR: 2}
"""How serious a level is."""
_ENOUGH = 2
"""Looks in a row that must find all well before a condition has ended."""
_ALONE = 30.0
"""Seconds for which only this node of a cluster must see something before it reports that."""
EVENTS = 100
"""Number of events that are kept."""


class Found(NamedTuple):
    """The worst finding of a check, with the texts of all its findings of that level."""

    check: str
    level: Level
    found: str
    hint: str
    docs: str
    why: str
    at: float
    """When the check was made, in seconds since 1970."""
    rare: bool = False
    """The check is made rarely, so one look that finds all well is enough."""
    elsewhere: bool = False
    """Another node of the cluster sees the same, or is about to, and reports it."""


class Condition(NamedTuple):
    """Something that is wrong now."""

    check: str
    level: Serious
    """How serious its worst finding is."""
    since: float
    """When it began, in seconds since 1970."""
    found: str
    """The last finding."""
    hint: str = ""
    docs: str = ""
    why: str = ""
    well: int = 0
    """How many of the last looks have found something less serious, or nothing."""
    elsewhere: float = 0.0
    """Until when it counts as reported by another node of the cluster; 0: this one reports it."""


class Event(NamedTuple):
    """Something that began, ended, or just happened."""

    number: int
    """Of all events of this cluster, from 1."""
    at: float
    """In seconds since 1970."""
    kind: Kind
    name: str
    """The check, or what happened: `crash`, `restarts`, `promotion`, `fail-over`, `restore`, `start`."""
    level: Serious
    found: str
    """What was found, or what has ended."""
    since: float
    """When the condition began; for what happened, the same as `at`."""
    hint: str = ""
    docs: str = ""
    elsewhere: bool = False
    """Another node of the cluster reports it: it is in the log, but no message."""


class Noted(NamedTuple):
    """The conditions that exist, and the last events."""

    conditions: tuple[Condition, ...] = ()
    events: tuple[Event, ...] = ()
    """Oldest first."""
    total: int = 0
    """How many events there have been."""

    def add(self, event: Event) -> Noted:
        """Return a copy with one more event, which gets its number."""
        event = event._replace(number=self.total + 1)
        return self._replace(events=(*self.events, event)[-EVENTS:], total=event.number)


def judge(noted: Noted, findings: Sequence[Found], now: float) -> Noted:
    """Return what is noted after a look; `findings` has one entry for each check that has looked."""
    for found in findings:
        noted = _judge(noted, found, now)
    return noted


def _judge(noted: Noted, found: Found, now: float) -> Noted:
    known = next((each for each in noted.conditions if each.check == found.check), None)
    others = tuple(each for each in noted.conditions if each.check != found.check)
    if known is not None:
        if RANK[found.level] == RANK[known.level]:
            same = _condition(found, known.level, known.since, now)
            if not known.elsewhere or (not found.elsewhere and now >= known.elsewhere):
                same = same._replace(elsewhere=0.0)
            elif not found.elsewhere:
                same = same._replace(elsewhere=known.elsewhere)
            noted = noted._replace(conditions=_sorted((*others, same)))
            return noted.add(_begun(same, now)) if known.elsewhere and not same.elsewhere else noted
        better = known._replace(well=known.well + 1)
        if RANK[found.level] < RANK[known.level] and better.well < (1 if found.rare else _ENOUGH):
            return noted._replace(conditions=_sorted((*others, better)))
        noted = noted._replace(conditions=others)
        if RANK[found.level] < RANK[known.level]:
            noted = noted.add(Event(0, now, ENDED, known.check, known.level, known.found, known.since))
    if found.level == OK:
        return noted
    since = known.since if known is not None and RANK[found.level] > RANK[known.level] else now
    begun = _condition(found, found.level, since, now)
    noted = noted._replace(conditions=_sorted((*others, begun)))
    return noted.add(_begun(begun, now))


def _begun(condition: Condition, now: float) -> Event:
    made = Event(0, now, BEGAN, condition.check, condition.level, condition.found, condition.since)
    return made._replace(hint=condition.hint, docs=condition.docs, elsewhere=bool(condition.elsewhere))


def _condition(found: Found, level: Serious, since: float, now: float) -> Condition:
    made = Condition(found.check, level, since, found.found, found.hint, found.docs, found.why)
    return made._replace(elsewhere=now + _ALONE if found.elsewhere else 0.0)


def _sorted(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    return tuple(sorted(conditions, key=lambda each: (each.since, each.check)))
