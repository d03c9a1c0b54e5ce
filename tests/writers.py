"""
Clients at full speed, over TCP: some write, some read, some set their own transactions read-write.

Each is a thread with a session of its own. A client that gets an error notes its SQLSTATE, connects again if it
has to, and tries again. A row counts as acknowledged only after the answer to its COMMIT, and `lost` compares
that ledger with a server.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

import containers
from containers import Container

__all__ = [
    "KINDS",
    "READ_ONLY",
    "STUBBORN",
    "Asker",
    "Clients",
    "Reader",
    "Writer",
    "asking",
    "at_full_speed",
    "growing",
    "prepare",
    "working",
]

READ_ONLY = "25006"
"""The SQLSTATE of a write in a read-only transaction."""

AWAY = "no connection"
"""In place of an SQLSTATE: nobody answers, or the session was ended without one."""

Session = psycopg.Connection[Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS ledger (writer text, number int);
CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer;
"""
_ACKNOWLEDGE = "INSERT INTO ledger VALUES (%s, %s)"
_ROWS = 20_000
"""Rows of a bulk load, of about 500 bytes."""
_PAUSE = 0.02
"""Seconds that a client that got an error waits before it tries again."""


def prepare(server: Container) -> None:
    """Create the tables of the writers, and the roles `plain` and `stubborn`."""
    server.sql(_TABLES)
    server.sql(
        "CREATE ROLE plain LOGIN; GRANT ALL ON SCHEMA public TO plain; GRANT ALL ON ledger, kept TO plain"
    )


# what a writer does with the table `own`; the row of the ledger is in the same transaction


def _small(session: Session, own: str) -> None:
    session.execute(f"INSERT INTO {own} VALUES (1, 'small')")


def _bulk(session: Session, own: str) -> None:
    # The table is emptied, so that WAL takes the space and not the table.
    session.execute(f"TRUNCATE {own}")
    session.execute(
        f"INSERT INTO {own} SELECT i, repeat(md5(i::text), 15) FROM generate_series(1, {_ROWS}) i"
    )


def _copy(session: Session, own: str) -> None:
    session.execute(f"TRUNCATE {own}")
    line = "x" * 480
    with session.cursor().copy(f"COPY {own} FROM STDIN") as copy:
        for begin in range(0, _ROWS, 1000):
            copy.write("".join(f"{number}\t{line}\n" for number in range(begin, begin + 1000)))


def _grow(session: Session, own: str) -> None:
    session.execute(
        f"INSERT INTO {own} SELECT i, repeat(md5(i::text), 15) FROM generate_series(1, {_ROWS}) i"
    )


KINDS: Mapping[str, Callable[[Session, str], None]] = {
    "small": _small,
    "bulk": _bulk,
    "copy": _copy,
    "grow": _grow,
}
"""`small`: many small transactions; `bulk`: INSERT … SELECT; `copy`: COPY; `grow`: a table that only grows."""

STUBBORN: Mapping[str, tuple[str, str]] = {
    "session": ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "BEGIN"),
    "transaction": ("SELECT 1", "BEGIN READ WRITE"),
    "default": ("SET default_transaction_read_only = off", "BEGIN"),
    "later": ("SELECT 1", "BEGIN; SET TRANSACTION READ WRITE"),
    "options": ("SELECT 1", "BEGIN"),
}
"""How a session makes its transactions read-write: once, and at the begin of each; `options` when it connects."""


class Client(threading.Thread):
    """A client that works until it is asked to end."""

    def __init__(self, name: str, address: str, role: str, options: str = "") -> None:
        """Be a client of this role."""
        super().__init__(name=name, daemon=True)
        self.address, self.role, self.options = address, role, options
        self.ended = threading.Event()
        self.errors: Counter[str] = Counter()
        self.words: dict[str, str] = {}
        """The first message of each SQLSTATE."""
        self.session: Session | None = None

    def run(self) -> None:
        """Work."""
        while not self.ended.is_set():
            try:
                if self.session is None or self.session.closed:
                    self.session = self._connect()
                self.work(self.session)
            except psycopg.Error as error:
                self._note(error)
                self.ended.wait(_PAUSE)
        if self.session is not None:
            self.session.close()

    def work(self, session: Session) -> None:
        """Do one piece of work."""
        raise NotImplementedError

    def begin(self, session: Session) -> None:
        """Prepare a new session."""

    def _connect(self) -> Session:
        session: Session = psycopg.connect(
            host=self.address,
            user=self.role,
            dbname="postgres",
            connect_timeout=5,
            autocommit=True,
            application_name=self.name,
            options=self.options,
            tcp_user_timeout=5000,
        )
        try:
            self.begin(session)
        except psycopg.Error:
            session.close()
            raise
        return session

    def _note(self, error: psycopg.Error) -> None:
        state = error.sqlstate or AWAY
        self.errors[state] += 1
        self.words.setdefault(state, str(error))
        if self.session is not None and not self.session.closed:
            with suppress(psycopg.Error):
                self.session.execute("ROLLBACK")
                return
            self.session.close()

    def close(self) -> None:
        """Ask it to end."""
        self.ended.set()


class Writer(Client):
    """A client that writes, and knows what was acknowledged."""

    def __init__(self, name: str, address: str, role: str, kind: str, stubborn: str = "") -> None:
        """Be a writer of one of the kinds, and if asked, one that makes its transactions read-write."""
        options = "-c default_transaction_read_only=off" if stubborn == "options" else ""
        super().__init__(name, address, role, options)
        self.kind = kind
        self.first, self.each = STUBBORN.get(stubborn, ("SELECT 1", "BEGIN"))
        self.acknowledged: list[tuple[int, float]] = []
        """The numbers of the rows of the ledger, and when each was acknowledged."""
        self.number = 0

    def begin(self, session: Session) -> None:
        """Make the session read-write, and its table if it is not there."""
        session.execute(self.first)
        if not self.acknowledged:
            session.execute(f"{self.each}; CREATE TABLE IF NOT EXISTS {self.name} (i int, t text); COMMIT")

    def work(self, session: Session) -> None:
        """Write a transaction."""
        self.number += 1
        session.execute(self.each)
        KINDS[self.kind](session, self.name)
        session.execute(_ACKNOWLEDGE, (self.name, self.number))
        assert session.execute("COMMIT").statusmessage == "COMMIT"
        self.acknowledged.append((self.number, time.monotonic()))

    def since(self, moment: float) -> int:
        """The number of rows that were acknowledged after this moment."""
        return sum(1 for _, when in self.acknowledged if when > moment)


class Reader(Client):
    """A client that asks all the time, and knows how long it was without an answer."""

    def __init__(self, name: str, address: str, role: str) -> None:
        """Be a reader."""
        super().__init__(name, address, role)
        self.answers = 0
        self.longest = 0.0
        self.last = time.monotonic()

    def work(self, session: Session) -> None:
        """Ask once."""
        assert session.execute("SELECT answer FROM kept").fetchall() == [(42,)]
        self._answered()
        self.ended.wait(_PAUSE)

    def _answered(self) -> None:
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now
        self.answers += 1

    @property
    def waited(self) -> float:
        """The longest time without an answer, in seconds, up to now."""
        return max(self.longest, (0.0 if self.ended.is_set() else time.monotonic() - self.last))


class Asker(Client):
    """A client that repeats one query, whatever comes of it."""

    def __init__(self, name: str, address: str, query: str) -> None:
        """Be a client that asks this."""
        super().__init__(name, address, "plain")
        self.query = query

    def work(self, session: Session) -> None:
        """Ask once."""
        session.execute(self.query.encode())


@contextmanager
def asking(server: Container, query: str) -> Iterator[Asker]:
    """Let a client repeat this query for the time of the block."""
    asker = Asker("asker", server.address, query)
    asker.start()
    try:
        yield asker
    finally:
        asker.close()
        server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'asker'")
        asker.join(30)
        assert not asker.is_alive(), query[:100]


@contextmanager
def growing(server: Container) -> Iterator[Writer]:
    """Let the table `growing` grow for the time of the block."""
    writer = Writer("growing", server.address, "plain", "grow")
    writer.start()
    try:
        yield writer
    finally:
        writer.close()
        writer.join(30)
        assert not writer.is_alive()


class Clients:
    """Some writers and one reader, and what they have seen together."""

    def __init__(self, writers: Sequence[Writer], reader: Reader) -> None:
        """Know these clients."""
        self.writers, self.reader = writers, reader

    @property
    def count(self) -> int:
        """The number of acknowledged transactions."""
        return sum(len(each.acknowledged) for each in self.writers)

    @property
    def errors(self) -> Counter[str]:
        """All errors of the writers, by SQLSTATE."""
        return sum((each.errors for each in self.writers), Counter[str]())

    def refused(self) -> int:
        """The number of writes that were refused since transactions were read-only."""
        return self.errors[READ_ONLY]

    def all_write(self, since: float) -> bool:
        """Whether each writer has had a transaction acknowledged since this moment."""
        return all(each.since(since) for each in self.writers)

    def lost(self, server: Container) -> list[tuple[str, int]]:
        """The acknowledged rows that the server does not have."""
        lines = server.sql("SELECT writer, number FROM ledger").splitlines()
        there = {(writer, int(number)) for writer, _, number in (line.partition("|") for line in lines)}
        given = {(each.name, number) for each in self.writers for number, _ in each.acknowledged}
        return sorted(given - there)

    def stop(self) -> None:
        """End all clients."""
        everybody = (*self.writers, self.reader)
        for each in everybody:
            each.close()
        for each in everybody:
            each.join(30)
            assert not each.is_alive(), f"{each.name} waits for an answer"


@contextmanager
def at_full_speed(
    server: Container, kinds: Sequence[str] = ("small", "small", "bulk", "copy"), names: str = "w"
) -> Iterator[Clients]:
    """Let writers of these kinds, and a reader, work for the time of the block; their names have this beginning."""
    address = server.address
    writers = [Writer(f"{names}{number}_{kind}", address, "plain", kind) for number, kind in enumerate(kinds)]
    with working(Clients(writers, Reader("reader", address, "plain"))) as clients:
        yield clients


@contextmanager
def working(clients: Clients) -> Iterator[Clients]:
    """Let these clients work for the time of the block."""
    for each in (*clients.writers, clients.reader):
        each.start()
    try:
        containers.until(lambda: clients.all_write(0.0), "every writer has written", 60)
        yield clients
    finally:
        clients.stop()
