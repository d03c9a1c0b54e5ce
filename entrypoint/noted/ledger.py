"""What the watch remembers across restarts, as one JSON object; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple
from entrypoint.noted.conditions import EVENTS, RANK, Condition, Event, Noted
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

STARTS = 10
"""Number of starts that are remembered."""
_KINDS = ("began", "ended", "happened")


class Start(NamedTuple):
    """A start of the container."""

    at: float
    """In seconds since 1970."""
    requested: bool
    """Somebody had stopped the container before, so it did not restart by itself."""


class Record(NamedTuple):
    """What the watch remembers."""

    noted: Noted = Noted()
    starts: tuple[Start, ...] = ()
    """Oldest first."""
    role: str = ""
    """The server's role at the last look: `primary` or `standby`."""
    recovered: float = 0.0
    """When the checkpointer of the last look was started, see `seen.Server`."""
    started: float = 0.0
    """When the postmaster of the last look was started."""
    node: str = ""
    """The name of this node of a cluster: the copy of another node has its record."""
    leader: str = ""
    """The name of the node that led the cluster at the last look that knew it."""


def write(record: Record) -> str:
    """Return the text of a record."""
    import json

    noted = record.noted
    value = {
        "conditions": [each._asdict() for each in noted.conditions],
        "events": [each._asdict() for each in noted.events],
        "total": noted.total,
        "starts": [each._asdict() for each in record.starts],
        "role": record.role,
        "recovered": record.recovered,
        "started": record.started,
        "node": record.node,
        "leader": record.leader,
    }
    return json.dumps(value, ensure_ascii=False) + "\n"


def parse(text: str) -> Record:
    """Read a record; raises ValueError for anything that `write` cannot have written."""
    with guest.Reading("the record of the watch"):
        row = guest.parse_json(text)
        conditions = tuple(_condition(each) for each in row["conditions"])
        events = tuple(_event(each) for each in row["events"])[-EVENTS:]
        total = number(row["total"])
        last = events[-1].number if events else 0
        starts = tuple(Start(number(each["at"]), bool(each["requested"])) for each in row["starts"])
        noted = Noted(conditions, events, max(int(total), last))
        times = number(row["recovered"]), number(row["started"])
        names = (str(row.get(name, ""))[:80] for name in ("node", "leader"))
        return Record(noted, starts[-STARTS:], str(row["role"]), *times, *names)


def _condition(row: Mapping[str, Any]) -> Condition:
    made = Condition(
        check=str(row["check"]),
        level=_one_of(row["level"], [*RANK]),
        since=number(row["since"]),
        found=str(row["found"]),
        hint=str(row["hint"]),
        docs=str(row["docs"]),
        why=str(row["why"]),
    )
    return made._replace(well=int(number(row["well"])), elsewhere=number(row.get("elsewhere", 0)))


def _event(row: Mapping[str, Any]) -> Event:
    return Event(
        number=int(number(row["number"])),
        at=number(row["at"]),
        kind=_one_of(row["kind"], _KINDS),
        name=str(row["name"]),
        level=_one_of(row["level"], [*RANK]),
        found=str(row["found"]),
        since=number(row["since"]),
        hint=str(row["hint"]),
        docs=str(row["docs"]),
        elsewhere=bool(row.get("elsewhere")),
    )


def number(value: object) -> float:
    """Return a time or a count from a file; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise ValueError("a number is expected")
    return value


def _one_of(value: object, words: Sequence[str]) -> Any:
    if value not in words:
        raise ValueError("an unknown word")
    return value
