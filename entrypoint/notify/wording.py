"""What a message says: plain text that can be read on a phone; pure."""

from __future__ import annotations

from datetime import UTC, datetime

from entrypoint.light import NamedTuple
from entrypoint.noted.conditions import BEGAN, ENDED
from entrypoint.settings.hiding import hide_known, hide_within
from entrypoint.shown import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from entrypoint.noted.conditions import Condition, Event, Serious

    Tone = Literal["failure", "warning", "info", "success"]
    """What apprise colors a message by."""

_MOST = 1500
"""Characters of a finding in a message; the rest is in the output of doctor."""
_TONES: dict[Serious, Tone] = {"error": "failure", "warning": "warning", "info": "info"}


class Origin(NamedTuple):
    """Which server a message is about."""

    host: str
    """The container's host name."""
    database: str = ""
    """The server's cluster_name, or the name of its database if somebody has chosen one."""
    identifier: str = ""
    """The system identifier; empty if there is no cluster yet."""

    @property
    def name(self) -> str:
        """The name for a title."""
        return f"{self.database} on {self.host}" if self.database else self.host


class Message(NamedTuple):
    """A message."""

    title: str
    body: str
    tone: Tone


def describe(event: Event, origin: Origin, secrets: Sequence[str] = ()) -> Message:
    """Return the message for an event; `secrets` are texts that it must not contain."""
    found = _found(event.found, secrets)
    if event.kind == ENDED:
        lines = [
            f"ended after {span(event.at - event.since)}: {event.name}",
            f"it was: {found}",
            f"from {moment(event.since)} to {moment(event.at)}",
        ]
        return _message("ENDED", event.name, origin, lines, "success")
    when = f"at {moment(event.at)}"
    if event.kind == BEGAN:
        when = f"since {moment(event.since)}"
        if event.at - event.since >= 1:
            when += f", more serious since {moment(event.at)}"
    return _message(
        event.level.upper(),
        event.name,
        origin,
        [found, when, *_advice(event.hint, event.docs, secrets)],
        _TONES[event.level],
    )


def short(event: Event, origin: Origin, secrets: Sequence[str] = ()) -> Message:
    """Return the one message for what has ended before anybody heard that it had begun."""
    made = describe(event, origin, secrets)
    return made._replace(body=f"{made.body}\nno message could be sent before it ended")


def sample(origin: Origin) -> Message:
    """Return the message of `entrypoint notify test`."""
    lines = ["messages about this server reach you here", "sent by: entrypoint notify test"]
    return _message("TEST", "notify", origin, lines, "info")


def findings(conditions: Sequence[Condition], origin: Origin, secrets: Sequence[str] = ()) -> str:
    """Return what is wrong now as one text, the oldest first."""
    parts = [
        "\n".join(
            (
                f"{each.level.upper()} {each.check}: {_found(each.found, secrets)}",
                f"since {moment(each.since)}",
                *_advice(each.hint, each.docs, secrets),
            )
        )
        for each in conditions
    ]
    return "\n\n".join([*parts, _signature(origin)])


def span(seconds: float) -> str:
    """Return a duration in words.

    >>> span(-3), span(59.6), span(7800), span(90000), span(86400 * 3)
    ('0 s', '60 s', '2 h 10 min', '1 d 1 h', '3 d')
    """
    left = max(0, round(seconds))
    if left < 120:
        return f"{left} s"
    for unit, length, smaller, size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if left >= length:
            rest = left % length // size
            return f"{left // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{left // 60} min"


def moment(at: float) -> str:
    """Return a time for people.

    >>> moment(1e9)
    '2001-09-09 01:46 UTC'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _message(mark: str, name: str, origin: Origin, lines: Sequence[str], tone: Tone) -> Message:
    return Message(f"{mark} {name}: {origin.name}", "\n".join((*lines, _signature(origin))), tone)


def _advice(hint: str, docs: str, secrets: Sequence[str]) -> list[str]:
    found = [f"hint: {printable(hide_known(hint, secrets))}"] if hint else []
    return [*found, f"docs: {docs} (entrypoint help {docs})"] if docs else found


def _signature(origin: Origin) -> str:
    which = f", system identifier {origin.identifier}" if origin.identifier else ""
    return f"-- {origin.name}{which}"


def _found(text: str, secrets: Sequence[str]) -> str:
    hidden = printable(hide_within(text.strip(), secrets))
    return hidden if len(hidden) <= _MOST else f"{hidden[:_MOST]} …"
