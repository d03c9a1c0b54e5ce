"""Queries about collations: to the server that runs, or to a private server that nobody else can reach."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import contextmanager

from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.server import programs, sessions, temporary, tour
from entrypoint.server.context import Context, server_port
from entrypoint.server.data_folder import data_major
from entrypoint.server.private_server import ACCESS, LIBRARY, out_of_reach
from entrypoint.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from entrypoint.collation.dependents import Dependent
    from entrypoint.system import progress

_RUNTIME = "collation"
"""The folder below the runtime folder for the socket of the private server, and its log."""

LEAST = 60
"""Seconds that the expressions of one object may always take."""
_LOCKS = {"lock_timeout": f"{LEAST}s"}
"""A lock that is never released delays one object, not all of them."""
_SLOWEST = 2**20
"""Bytes of a table and its index that add one second to the limit."""
_STRIKES = 3
"""The number of an owner's objects that may exceed the limit."""


class Session(NamedTuple):
    """A server that answers queries."""

    context: Context
    host: str = ""
    """The folder of its socket; empty: libpq's default."""
    serving: bool = True
    """Whether clients can use this server; they cannot use a private one."""

    @property
    def major(self) -> int:
        """PostgreSQL's major version."""
        return data_major(self.context.settings.data_folder)


def ask(
    session: Session,
    database: str | None,
    text: str,
    *,
    writes: bool = False,
    settings: Mapping[str, str | None] | None = None,
    seconds: float | None = None,
    verbose: bool = False,
    shown: progress.Progress | None = None,
) -> str:
    """Return the answer of a database; no time limit by default. Raises Failure with the server's error."""
    return sessions.query(
        session.context,
        text,
        database=database,
        host=session.host,
        writes=writes,
        settings={**_LOCKS, **(settings or {})},
        seconds=seconds,
        patience=_patience(session),
        verbose=verbose,
        shown=shown,
    )


def _patience(session: Session) -> float:
    """Return the seconds to wait for a connection: after a crash, a private server replays WAL first."""
    return 0 if session.serving else sessions.PATIENCE


def ask_each(
    session: Session, names: Sequence[str], questions: Mapping[str, str], seconds: float | None
) -> Iterator[tuple[str, tour.Look]]:
    """Return the answers of each database to the named questions; query no further one after `seconds`."""
    return tour.ask(
        session.context,
        names,
        questions,
        host=session.host,
        settings=_LOCKS,
        seconds=seconds,
        patience=_patience(session),
    )


class Turns:
    """Time limits for expressions of users; once an owner was too slow too often, the rest is skipped."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._slow: Counter[str] = Counter()

    def ask(
        self, each: Dependent, text: str, *, limited: bool = True, least: float = LEAST, **how: Any
    ) -> str:
        """Query one object; raises Failure, also if it took too long."""
        if limited and self._slow[each.owner] >= _STRIKES:
            words = f"{_STRIKES} other objects of {each.owner} took too long, so this one was not tried"
            raise Failure(Problem(words, "see the findings about the others"))
        seconds = least + (each.bytes + each.stored) / _SLOWEST
        began = time.monotonic()
        try:
            return ask(self._session, each.database, text, seconds=seconds if limited else None, **how)
        except Failure:
            if limited and time.monotonic() - began > LEAST / 2:
                self._slow[each.owner] += 1
            raise


@contextmanager
def private_server(context: Context, given: list[str]) -> Iterator[Session]:
    """Run a private server during a block, which nobody else can reach.

    archive_mode stays as it is: with archive_mode=off, the server would remove segments that still wait to be
    archived. With an empty command they keep waiting.
    """
    folder = f"{context.runtime_folder}/{_RUNTIME}"
    files.ensure_folder(folder, 0o700)
    try:
        for name, text in ACCESS.items():
            files.write_atomically(f"{folder}/{name}", text)
        session = Session(context, folder, serving=False)
        closed = {
            **out_of_reach(folder),
            "port": server_port(context.settings),
            "autovacuum": "off",
            # No standby follows this server, and the external PID file belongs to the real one.
            "synchronous_standby_names": "",
            "external_pid_file": "",
        }
        if session.major >= LIBRARY:
            closed["archive_library"] = ""
        if _preloads(context, given):
            # Tables and WAL may need the preloaded libraries, but their background workers must not run.
            closed["max_worker_processes"] = "0"
        arguments = [word for name, value in closed.items() for word in ("-c", f"{name}={value}")]
        output = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # No time limit: after a crash the server replays WAL first.
            with temporary.serve(context, [*given, *arguments], seconds=None, output=output):
                yield session
        except Failure as failure:
            words = "\n".join(files.read_text(f"{folder}/log").split("\n")[-9:])
            raise Failure(
                *(each._replace(what=f"{each.what}\n{words}") for each in failure.problems)
            ) from failure
        finally:
            os.close(output)
    finally:
        files.remove_tree(folder)


def _preloads(context: Context, given: Sequence[str]) -> bool:
    code, text = programs.ask(context, "shared_preload_libraries", given, context.settings.data_folder)
    return code != 0 or bool(text)
