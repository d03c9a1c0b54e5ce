"""Queries many databases: each client goes from one database to the next, and two clients run at once.

Starting a client for each database takes longer than most answers, and a server may have hundreds of
databases. A database that refuses stops none of the others; one that there was no time for is marked late.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from entrypoint.errors import Failure
from entrypoint.light import NamedTuple, re
from entrypoint.postgres import sql
from entrypoint.server import sessions
from entrypoint.server.context import Context

_AT_ONCE = 2
"""Clients at once; not more, since the server has other clients to serve."""
_MOST = 10
"""Databases for one client: with more, one of the two clients would often be idle at the end."""
_STEP = 1.0
"""Seconds between two checks of the clients' progress."""
_STUCK = sessions.CONNECT + 2
"""Seconds for one connection: not every psql obeys PGCONNECT_TIMEOUT in a script."""
_PLACE = re.compile(r"psql:<stdin>:\d+: (?:error: (?:\\connect: )?)?")


class Look(NamedTuple):
    """The answers of one database."""

    answers: Mapping[str, str] = {}
    """By the names of the questions; an answer is missing if the question was refused."""
    words: str = ""
    """The error messages of the server or the client."""
    connected: bool = True
    late: bool = False
    """The time was over before the database had answered everything."""


class _Client:
    """A client on its way through some databases."""

    def __init__(self, tour: _Tour, names: Sequence[str]) -> None:
        self.names = names
        self.superuser = tour.superuser
        # The mark is random, so that no answer and no error can look like one.
        self._mark = f"@{secrets.token_hex(8)}"
        self.reader = sessions.Reader(
            tour.context,
            self._script(tour),
            names[0],
            host=tour.host,
            settings=tour.settings,
            seconds=tour.each,
            superuser=self.superuser,
        )
        self.since = time.monotonic()
        self._size = -1

    def _script(self, tour: _Tour) -> str:
        text = ""
        for number, name in enumerate(self.names):
            text += f"\\warn {self._mark} {number}\n"
            text += sessions.connect(tour.context, name, tour.host) if number else ""
            # psql knows the server's version only while it is connected.
            text += f"\\if :{{?SERVER_VERSION_NUM}}\n\\echo {self._mark} {number} here\n"
            for question, query in tour.questions.items():
                # If the connection is lost, psql leaves ERROR as it is, so it must be true before.
                text += f"\\set ERROR true\n\\echo {self._mark} {number} ask {question}\n{query.strip()}\n;\n"
                text += f"\\echo {self._mark} {number} error :ERROR\n"
            text += f"\\endif\n\\echo {self._mark} {number} done\n"
        return text

    @property
    def is_stuck(self) -> bool:
        """Whether the client has tried to connect for too long."""
        size, last = self.reader.last_printed(len(" done\n"))
        if size != self._size:
            self._size, self.since = size, time.monotonic()
        connects = last in ("", " done\n")
        return connects and time.monotonic() - self.since > _STUCK

    def told(self) -> tuple[dict[str, Look], int]:
        """Return the databases' answers, and how many databases the client has finished."""
        words = dict(self._parts(self.reader.complaints))
        found: dict[str, Look] = {}
        done = 0
        asked = ""
        answers: dict[str, str] = {}
        reached = False
        for head, text in self._parts(self.reader.printed):
            number, _, what = head.partition(" ")
            step, _, rest = what.partition(" ")
            if step == "here":
                answers, reached = {}, True
            elif step == "ask":
                asked, answers[rest] = rest, text
            elif step == "error" and rest != "false":
                del answers[asked]
            elif step == "done":
                found[self.names[int(number)]] = Look(answers, _cleaned(words.get(number, "")), reached)
                done, answers, reached = int(number) + 1, {}, False
        return found, done

    def last_words(self, done: int) -> tuple[str, bool]:
        """Return the errors of the database that the client was at, and whether it was connected to it."""
        complaints = self.reader.complaints
        words = dict(self._parts(complaints)).get(str(done), "") or complaints
        return _cleaned(words), f"{self._mark} {done} here" in self.reader.printed

    def _parts(self, text: str) -> Iterator[tuple[str, str]]:
        """Split a text at the lines with the mark: yield the rest of each such line and the text after it."""
        for part in f"\n{text}".split(f"\n{self._mark} ")[1:]:
            head, _, rest = part.partition("\n")
            yield head, rest


class _Tour:
    """The questions, how they are asked, and the clients that ask them."""

    def __init__(
        self,
        context: Context,
        names: Sequence[str],
        questions: Mapping[str, str],
        *,
        host: str,
        settings: Mapping[str, str],
        each: float | None,
        seconds: float | None,
    ) -> None:
        self.context = context
        self.questions = questions
        self.host = host
        self.settings = settings
        self.each = each
        self.superuser = True
        self.waiting = deque(_parted(names))
        self.clients: list[_Client] = []
        self._deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return float("inf") if self._deadline is None else self._deadline - time.monotonic()

    def looks(self) -> Iterator[tuple[str, Look]]:
        """Yield the answers of each database, until all have answered or the time is over."""
        told: dict[str, Look] = {}
        while (self.waiting and self.left > 0) or self.clients:
            while self.waiting and self.left > 0 and len(self.clients) < _at_once():
                self.clients.append(_Client(self, self.waiting.popleft()))
            # Start new clients before this, since the caller takes a while to read the answers.
            yield from told.items()
            told = {}
            for client in [*self.clients]:
                told |= self._take(client)
            if self.clients and not told:
                self.context.children.pause(min(_STEP, max(0.0, self.left)))
        yield from told.items()

    def _take(self, client: _Client) -> dict[str, Look]:
        """Return the answers of a client that has ended or must end; nothing for any other client."""
        ended = self.context.children.poll(client.reader.pid) is not None
        stuck = not ended and client.is_stuck
        if not ended and not stuck and self.left > 0:
            return {}
        self.clients.remove(client)
        try:
            if not ended:
                client.reader.end()
            found, done = client.told()
            rest = client.names[done:]
            if rest and (ended or stuck):
                words, reached = client.last_words(done)
                if client.superuser and not reached and sql.is_refused_setting(words):
                    # Somebody has revoked the superuser's rights; the questions may not need them.
                    self.superuser = False
                else:
                    words = sessions.no_answer(_STUCK) if stuck else words
                    found[rest[0]] = Look({}, words, connected=reached)
                    rest = rest[1:]
            if rest:
                self.waiting.appendleft(rest)
            return found
        finally:
            client.reader.close()

    def end(self) -> None:
        """End the clients that are still running."""
        for client in self.clients:
            client.reader.end()
            client.reader.close()


def ask(
    context: Context,
    names: Sequence[str],
    questions: Mapping[str, str],
    *,
    host: str = "",
    settings: Mapping[str, str] | None = None,
    each: float | None = None,
    seconds: float | None = None,
    patience: float = 0,
) -> Iterator[tuple[str, Look]]:
    """Ask databases the same questions, and yield the answers of each as they arrive.

    A question is one statement that only reads. `host`, `settings` and `patience` are those of
    `sessions.query`. One statement may take `each` seconds, and all of them `seconds`; the databases that
    were not reached by then are `late`.
    """
    tour = _Tour(context, names, questions, host=host, settings=settings or {}, each=each, seconds=seconds)
    again: list[tuple[str, Look]] = []
    try:
        for name, look in tour.looks():
            if look.connected or sql.is_for_good(look.words):
                yield name, look
            else:
                again.append((name, look))
    finally:
        tour.end()
    for name, look in again:
        # All connections may have been taken, even by the other client, or the server may be replaying WAL.
        yield name, _alone(tour, name, look, patience) if tour.left > 0 else look
    for rest in tour.waiting:
        for name in rest:
            yield name, Look(connected=False, late=True)


def _at_once() -> int:
    return min(_AT_ONCE, len(os.sched_getaffinity(0)))


def _parted(names: Sequence[str]) -> list[Sequence[str]]:
    """Divide names among clients; a name with a line break must be a client's first, see `connect`."""
    most = min(_MOST, -(-len(names) // (2 * _AT_ONCE)))
    found: list[list[str]] = []
    for name in names:
        if not found or len(found[-1]) >= most or "\n" in name or "\r" in name:
            found.append([])
        found[-1].append(name)
    return [*found]


def _alone(tour: _Tour, name: str, look: Look, patience: float) -> Look:
    """Try to connect once more, without other clients, and for `patience` seconds."""
    answers: dict[str, str] = {}
    words = ""
    for question, query in tour.questions.items():
        try:
            answers[question] = sessions.query(
                tour.context,
                query,
                database=name,
                host=tour.host,
                settings=tour.settings,
                seconds=tour.each,
                patience=patience,
            )
        except sessions.Unreachable:
            return look
        except Failure as failure:
            words = words or failure.problems[0].what
    return Look(answers, words)


def _cleaned(words: str) -> str:
    return _PLACE.sub("", sql.words_of(words)).strip()
