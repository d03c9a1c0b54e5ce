"""Turns lines of text into objects: whose they are, how bad, and which lines are one message; pure."""

from __future__ import annotations

from entrypoint.light import re
from entrypoint.logs.objects import LEVELS, Lines, Zones, pack, spell
from entrypoint.shown import BREAK, MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["ours", "server", "client", "program", "traceback", "line"]

LONGEST = 1024**2
"""The most bytes of a line; a longer one is cut."""
PATIENCE = 0.1
"""Seconds after its last line until a message counts as complete."""

_OURS = re.compile(r"(?s)entrypoint: (?:(debug|info|warning|error): )?(.*)")
_PREFIX = re.compile(r"(?s)(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \S+) \[(\d+)\] (.*)")
"""PostgreSQL's default log_line_prefix."""
_SEVERITY = re.compile(
    r"(?s)(?:([^\n]{0,300}?) )?(DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC):  (.*)"
)
_PART = re.compile(r"(?s)(?:[^\n]{0,300}? )?(DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION|BACKTRACE):  (.*)")
"""A further part of a message; STATEMENT and the like come with the prefix again."""
_QUOTE = re.compile(r"LINE \d+: .*|\s+\^\s*")
"""How a client points at the place of a mistake."""
_PROGRAM = re.compile(r"(initdb|psql|pg_\w+|createdb): (?:(fatal|error|warning|detail|hint): (.*))?")
_PROGRAMS = {"fatal": "error", "error": "error", "warning": "warning"}
_TOOL = re.compile(r"(?:\d[\d :./-]*|P\d+ +|\d[\d :./-]*P\d+ +)?(DEBUG|DETAIL|INFO|WARN|WARNING|ERROR): ")
"""How archivers begin a line."""
_TOOLS = {"DEBUG": "debug", "DETAIL": "info", "INFO": "info", "WARN": "warning", "WARNING": "warning"}
_TRACEBACK = "Traceback (most recent call last):"


class Message:
    """A message, to which further lines may belong."""

    def __init__(self, source: str, text: str, now: float, zones: Zones) -> None:
        self.source = source
        self.kind: Kind = "line"
        self.level = "info"
        self.moment = spell(now)
        self.fields: dict[str, object] = {}
        self.texts = {"msg": text}
        """The texts that further lines may continue."""
        self.last = "msg"
        self.touched = now
        self._read(text, now, zones)
        self.open = self.kind != "line"

    def _read(self, text: str, now: float, zones: Zones) -> None:
        if (found := _OURS.fullmatch(text)) is not None:
            self.kind, self.level = "ours", found[1] or "info"
            self.texts["msg"] = found[2]
        elif (found := _PREFIX.fullmatch(text)) is not None and (said := _SEVERITY.fullmatch(found[3])):
            self.kind, self.level = "server", LEVELS[said[2]]
            self.moment = zones.moment(found[1], now)
            self.texts["msg"] = said[3]
            self.fields = {"pid": int(found[2]), "error_severity": said[2]}
            if said[1]:
                self.fields["prefix"] = said[1]
        elif (found := _SEVERITY.fullmatch(text)) is not None:
            self.kind, self.level = "client", LEVELS[found[2]]
        elif (found := _PROGRAM.match(text)) is not None:
            self.kind = "program"
            self.level = _PROGRAMS.get(found[2] or "", "info")
        elif text == _TRACEBACK:
            self.kind, self.level = "traceback", "error"
        elif (found := _TOOL.match(text)) is not None:
            self.level = _TOOLS.get(found[1], "error")

    def takes(self, text: str, now: float) -> bool:
        """Return whether a line belongs to this message, and add it."""
        if not getattr(self, f"_{self.kind}")(text):
            return False
        self.touched = now
        return True

    def _ours(self, text: str) -> bool:
        if not text.startswith("  "):
            return False
        name, found, rest = text[2:].partition(": ")
        if found and name in ("hint", "docs"):
            # The page's name is followed by how people read it here.
            return self._begin(name, rest.partition(" ")[0] if name == "docs" else rest)
        return self._add(text[2:])

    def _server(self, text: str) -> bool:
        if text.startswith("\t"):
            return self._add(text[1:])
        found = _PREFIX.fullmatch(text)
        return found is not None and int(found[2]) == self.fields["pid"] and self._part(found[3])

    def _client(self, text: str) -> bool:
        if text.startswith("\t") or _QUOTE.fullmatch(text):
            return self._add(text.removeprefix("\t"))
        return self._part(text)

    def _program(self, text: str) -> bool:
        found = _PROGRAM.fullmatch(text)
        if found is None or found[2] not in ("detail", "hint"):
            return False
        return self._begin(found[2], found[3])

    def _traceback(self, text: str) -> bool:
        self.open = text.startswith(" ")
        return self._add(text)

    def _part(self, text: str) -> bool:
        found = _PART.fullmatch(text)
        if found is None:
            return False
        name = {"QUERY": "internal_query", "LOCATION": "location"}.get(found[1], found[1].lower())
        return self._begin(name, found[2])

    def _begin(self, name: str, text: str) -> bool:
        self.texts[name] = f"{self.texts[name]}\n{text}" if name in self.texts else text
        self.last = name
        return True

    def _add(self, text: str) -> bool:
        self.texts[self.last] += f"\n{text}"
        return True

    def pack(self) -> bytes:
        """Return the message as one line."""
        texts = {**self.texts}
        message = texts.pop("msg")
        return pack(self.level, self.source, message, self.moment, {**self.fields, **texts})


class Text:
    """One stream of text, in which lines of several processes may alternate.

    A line with a mark says whose it is: `MARK source: text`. PID 1's own messages come in one such line.
    After a line `MARK MARK source`, the lines without a mark are of that source. Messages leave in the order
    of their first lines.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines = Lines(LONGEST)
        self._zones = Zones()
        self._queue: list[Message] = []
        self._open: dict[str, Message] = {}

    @property
    def waits(self) -> bool:
        """Whether a message waits for further lines."""
        return bool(self._queue)

    def feed(self, data: bytes, now: float) -> bytes:
        """Return the objects that are complete now."""
        for line in self._lines.cut(data):
            self._take(line.decode("utf-8", "backslashreplace"), now)
        return self._complete()

    def flush(self, now: float, *, all_: bool) -> bytes:
        """Return the messages that nothing was added to for a while; with `all_`, everything."""
        for line in self._lines.end() if all_ else ():
            self._take(line.decode("utf-8", "backslashreplace"), now)
        for message in self._queue:
            message.open = message.open and not all_ and now - message.touched < PATIENCE
        return self._complete()

    def _take(self, text: str, now: float) -> None:
        source, marked = self._source, text.startswith(MARK)
        if text.startswith(MARK + MARK):
            self._source = text[2:]
            return
        if marked:
            source, _, text = text[1:].partition(": ")
        text = text.removesuffix("\r")
        if not text.strip():
            return
        if marked and source == "entrypoint":
            self._add_ours(text, now)
            return
        before = self._open.get(source)
        if before is not None and before.open and before.takes(text, now):
            return
        if before is not None:
            before.open = False
        message = Message(source, text, now, self._zones)
        if not marked:
            message.source = _owner(message, source)
        self._queue.append(message)
        self._open[source] = message

    def _add_ours(self, text: str, now: float) -> None:
        """Add a message of PID 1, which is complete."""
        first, *rest = text.split(BREAK)
        message = Message("entrypoint", first, now, self._zones)
        for line in rest:
            message.takes(line, now)
        message.open = False
        self._queue.append(message)

    def _complete(self) -> bytes:
        count = 0
        while count < len(self._queue) and not self._queue[count].open:
            count += 1
        done = b"".join([message.pack() for message in self._queue[:count]])
        del self._queue[:count]
        if not self._queue:
            self._open.clear()
        return done


def _owner(message: Message, source: str) -> str:
    """Return whose message this is that has no mark."""
    if message.kind == "ours":
        return "entrypoint"
    if message.kind == "server":
        return "postgres"
    if message.kind == "program" or message.texts["msg"].startswith("psql:"):
        return message.texts["msg"].partition(":")[0]
    return source
