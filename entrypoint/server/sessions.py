"""The only way to the server: all our sessions go through this module, and nothing else starts a client.

Nothing that others wrote affects such a session. Its environment is built from scratch, so no variable,
service or psqlrc of the container counts. `sql.settings` override the settings of the database's owner and of
`ALTER ROLE`. Names are quoted, so none is taken for a connection string. The server's messages (it warns at
each connection if a collation has changed) are not part of an answer; they are reported only on a failure.
"""

from __future__ import annotations

import os
import time

from entrypoint import log
from entrypoint.errors import Failure, Problem, Stopped
from entrypoint.light import NamedTuple
from entrypoint.postgres import sql
from entrypoint.server import login
from entrypoint.server.context import Context, server_port, tool_path
from entrypoint.server.data_folder import data_major, live_postmaster
from entrypoint.system.children import memory_file, read_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol, TypeVar

    Kind = TypeVar("Kind")

    class Shown(Protocol):
        """A display of the progress, which is updated now and then."""

        @property
        def step(self) -> float:
            """Seconds until the next update."""

        def look(self) -> None:
            """Update the display."""


PATIENCE = 60.0
"""Seconds for which a start tries to connect: PostgreSQL's default timeout for logins that do not finish."""
QUICK = 30.0
"""Seconds for an answer."""
AMCHECK = "pg_amcheck"
_SAID_AFTER = 5.0
"""Seconds of waiting for a session after which the reason is logged."""
CONNECT = 10
"""Seconds for one connection."""
_OLDEST = 14
TOO_LATE = 124
_NOT_CONNECTED = 2
"""The exit code of psql if there was no connection, or the connection broke."""
_HINT = "look at the server's log; entrypoint status shows what the server is doing"

_GOES_ON = ("--set=ON_ERROR_STOP=0",)


class Unreachable(Failure):
    """There was no session, so nothing was done."""


class _Answer(NamedTuple):
    code: int
    text: str
    words: str
    connected: bool


class _Session(NamedTuple):
    """The server, the user and the settings of a session."""

    context: Context
    user: str
    host: str
    writes: bool
    more: Mapping[str, str | None]
    seconds: float | None


def query(
    context: Context,
    text: str | Sequence[str],
    *,
    database: str | None = None,
    user: str = "",
    host: str = "",
    writes: bool = False,
    settings: Mapping[str, str | None] | None = None,
    seconds: float | None = QUICK,
    patience: float = 0,
    private: bool = False,
    verbose: bool = False,
    shown: Shown | None = None,
) -> str:
    """Return a database's answer without the last line feed; `sql.lines` splits it.

    The server gets one `text` at once, in one transaction; several texts are one session with a transaction
    for each. The default for `database` is any database that accepts connections; for `user`, the superuser;
    for `host`, which is the folder of a socket, the server that runs on the data folder. `settings` are added
    to `sql.settings` (None: as the database has it). An answer may take `seconds` (None: no limit).
    Connecting is retried for `patience` seconds. A `private` text appears in no command line and in no log.
    `verbose` errors have their SQLSTATE. `shown` is updated while time passes.

    Raises Unreachable if there is no session, and Failure with the server's message if the server refuses.
    """
    more = {**(sql.UNLOGGED if private else {}), **(settings or {})}
    session = _Session(context, user, host, writes, more, seconds)
    texts = [text] if isinstance(text, str) else [*text]
    words = [word for each in texts for word in ("--command", each)]
    given = ""
    if private:
        words, given = [], "".join(f"{each.rstrip(';')};\n" for each in texts)
    if verbose:
        words.append("--set=VERBOSITY=verbose")
    answer = _patiently(
        session, database, ["--set=ON_ERROR_STOP=1", *words], given, patience=patience, shown=shown
    )
    if answer.code == 0:
        return answer.text.strip("\n")
    if not answer.connected:
        raise Unreachable(Problem(f"cannot connect to the server:\n{answer.words}", _HINT))
    raise Failure(Problem(answer.words, _HINT))


def query_json(context: Context, text: str | Sequence[str], kind: type[Kind], **how: Any) -> Kind:
    """Return a database's answer as JSON of this kind, see `query`; raises Failure for any other answer."""
    import json

    answer = query(context, text, **how)
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise Failure(Problem(f"the server's answer is malformed: {answer[:200]!r}", _HINT))
    return found


def script(
    context: Context,
    text: str,
    *,
    settings: Mapping[str, str],
    seconds: float,
    database: str | None = None,
) -> tuple[str, str]:
    """Run a psql script, which continues after errors; return its output and its error messages."""
    session = _Session(context, "", "", writes=False, more=settings, seconds=seconds)
    answer = _patiently(session, database, [*_GOES_ON], text)
    return answer.text, answer.words


class Reader:
    """A client that runs a psql script, which continues after errors; see tour.

    The caller must close it, and learns from `context.children` when it has ended.
    """

    def __init__(
        self,
        context: Context,
        text: str,
        database: str,
        *,
        host: str,
        settings: Mapping[str, str],
        seconds: float | None,
        superuser: bool,
    ) -> None:
        session = _Session(context, "", host, writes=False, more=settings, seconds=seconds)
        self._children = context.children
        self._streams = {0: memory_file(text), 1: memory_file(""), 2: memory_file("")}
        environment = _environment(session, superuser=superuser)
        self.pid = context.children.spawn(
            _argv(session, database, _GOES_ON), environment, descriptors=self._streams
        )

    @property
    def printed(self) -> str:
        """The client's output so far."""
        return read_back(self._streams[1])

    def last_printed(self, most: int) -> tuple[int, str]:
        """Return the size of the output so far, and its last `most` bytes."""
        size = os.fstat(self._streams[1]).st_size
        return size, os.pread(self._streams[1], most, max(0, size - most)).decode("utf-8", "replace")

    @property
    def complaints(self) -> str:
        """The client's error messages so far."""
        return read_back(self._streams[2])

    def end(self) -> None:
        """End the client early."""
        self._children.end_group(self.pid)

    def close(self) -> None:
        """Discard the client's output."""
        for descriptor in self._streams.values():
            os.close(descriptor)


def connect(context: Context, database: str, host: str) -> str:
    """Return the line by which a script switches to another database, with the first session's settings.

    The line has a connection string in an identifier's quotes, as pg_dumpall writes it; it cannot contain a
    line break.
    """
    session = _Session(context, "", host, writes=False, more={}, seconds=None)
    place = sql.connection(dbname=database, **_place(session))
    return f"\\connect -reuse-previous=off {sql.identifier(place)}\n"


def file(context: Context, path: str, database: str, *, seconds: float) -> tuple[int, str]:
    """Run the user's own SQL with the database's own settings; return the exit code and all output."""
    session = _Session(context, "", "", writes=True, more={}, seconds=seconds)
    environment = {**_environment(session, superuser=True), "PGOPTIONS": ""}
    argv = _argv(session, database, ["--set=ON_ERROR_STOP=1", "--file", path])
    answer = _run(session, argv, environment, "", None)
    return answer.code, answer.text + answer.words


def amcheck(context: Context, *, seconds: float) -> tuple[int, str]:
    """Run pg_amcheck over all databases; return its exit code and all its output."""
    session = _Session(context, "", "", writes=True, more={}, seconds=seconds)
    place = _place(session)
    argv = [AMCHECK, "--all", "--install-missing", "--no-password", f"--username={place['user']}"]
    argv += [f"--host={place['host']}", f"--port={place['port']}"]
    answer = _run(session, argv, _environment(session, superuser=True), "", None)
    return answer.code, answer.text + answer.words


def analyze(context: Context, *words: str) -> tuple[int, str]:
    """Let vacuumdb collect the planner's statistics of all databases; return the exit code and all output."""
    session = _Session(context, "", "", writes=True, more={}, seconds=None)
    place = _place(session)
    argv = ["vacuumdb", "--all", *words, "--no-password", f"--username={place['user']}"]
    argv += [f"--host={place['host']}", f"--port={place['port']}"]
    answer = _run(session, argv, _environment(session, superuser=True), "", None)
    return answer.code, answer.text + answer.words


def checkpoint(context: Context) -> tuple[list[str], dict[str, str]]:
    """Return the command line and environment, without secrets, of a client that requests a checkpoint."""
    session = _Session(context, "", "", writes=True, more={}, seconds=None)
    environment = _environment(session, superuser=True)
    environment.pop("PGPASSWORD", None)
    environment["PGDATA"] = context.settings.data_folder  # marks whose client it is; psql does not read it
    return _argv(session, "postgres", ["--command", "CHECKPOINT"]), environment


def for_tools(context: Context) -> dict[str, str]:
    """Return the variables that give an archiver's own sessions the same settings as our sessions."""
    session = _Session(context, "", "", writes=True, more={}, seconds=None)
    made = _environment(session, superuser=True)
    return {name: value for name, value in made.items() if name.startswith("PG") and name != "PGAPPNAME"}


def for_upgrade(before: int) -> dict[str, str]:
    """Return the variable with which no role's settings end pg_upgrade's sessions, from this major on."""
    return {"PGOPTIONS": sql.options(sql.of_upgrade(before))}


def database(context: Context) -> str:
    """Return the database for an archiver to connect to; raises Failure if none accepts connections."""
    return query(context, "SELECT current_database()")


def _patiently(
    session: _Session,
    database: str | None,
    words: Sequence[str],
    given: str,
    *,
    patience: float = 0,
    shown: Shown | None = None,
) -> _Answer:
    """Try until there is a session or `patience` seconds have passed; return the answer."""
    began = time.monotonic()
    told = False
    init = session.context.settings.init
    places = (
        [database] if database is not None else [*dict.fromkeys(("postgres", init.database, "template1"))]
    )
    pause = 0.1
    while True:
        answers = []
        for place in places:
            answers.append(_ask(session, place, words, given, shown))
            if answers[-1].connected or any(each in answers[-1].words for each in sql.TO_NO_DATABASE):
                return answers[-1]
        for_good = all(sql.is_for_good(answer.words) for answer in answers)
        passed = time.monotonic() - began
        if for_good or passed + pause > patience:
            return answers[0]
        if not told and passed > _SAID_AFTER:
            told = True
            log.info(f"waiting for a session with the server: {answers[0].words}")
        session.context.children.pause(pause)
        pause = min(2.0, pause * 2)


def _ask(session: _Session, database: str, words: Sequence[str], given: str, shown: Shown | None) -> _Answer:
    argv = _argv(session, database, words)
    superuser = session.user in ("", session.context.settings.init.user)
    answer = _run(session, argv, _environment(session, superuser=superuser), given, shown)
    if superuser and not answer.connected and sql.is_refused_setting(answer.words):
        # Somebody has revoked the superuser's rights; the query may not need them.
        return _run(session, argv, _environment(session, superuser=False), given, shown)
    return answer


def _run(
    session: _Session,
    argv: Sequence[str],
    environment: Mapping[str, str],
    given: str,
    shown: Shown | None,
) -> _Answer:
    streams = {0: memory_file(given), 1: memory_file(""), 2: memory_file("")}
    try:
        pid = session.context.children.spawn(argv, environment, descriptors=streams)
        code = _wait(session, pid, shown)
        words = sql.words_of(read_back(streams[2]))
        if code == TOO_LATE:
            words = f"{words}\n{no_answer(session.seconds or 0)}".lstrip()
        connected = code != _NOT_CONNECTED or "connection to server was lost" in words
        return _Answer(code, read_back(streams[1]), words, connected)
    finally:
        for descriptor in streams.values():
            os.close(descriptor)


def _wait(session: _Session, pid: int, shown: Shown | None) -> int:
    """Return the exit code of a client; end the client if its time is over."""
    children, seconds = session.context.children, session.seconds
    deadline = None if seconds is None else time.monotonic() + seconds + min(seconds, CONNECT)
    while True:
        waits = [] if deadline is None else [max(0.0, deadline - time.monotonic())]
        waits += [] if shown is None else [shown.step]
        try:
            return children.wait(pid, seconds=min(waits) if waits else None)
        except Stopped:
            children.end_group(pid)
            raise
        except TimeoutError:
            if deadline is not None and time.monotonic() >= deadline:
                children.end_group(pid)
                return TOO_LATE
        if shown is not None:
            shown.look()


def no_answer(seconds: float) -> str:
    """Return the message for an answer that did not arrive in time."""
    return f"no answer within {seconds:.0f} seconds"


def _argv(session: _Session, database: str, words: Sequence[str]) -> list[str]:
    place = sql.connection(dbname=database, **_place(session))
    fixed = ("--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only")
    return ["psql", *fixed, "--dbname", place, *words]


def _place(session: _Session) -> dict[str, str]:
    """Return the parts of libpq's connection string for the server and the session's user."""
    wanted = session.context.settings
    found = live_postmaster(wanted.data_folder)
    folder, port = (found.socket_folder, found.port) if found else ("", server_port(wanted))
    return {
        "user": session.user or wanted.init.user,
        "host": session.host or folder,
        "port": port,
    }


def _environment(session: _Session, *, superuser: bool) -> dict[str, str]:
    context = session.context
    try:
        major = data_major(context.settings.data_folder)
    except (OSError, ValueError):
        major = _OLDEST
    values: dict[str, str | None] = {**sql.settings(major, superuser=superuser, writes=session.writes)}
    if session.seconds is not None:
        values["statement_timeout"] = f"{max(1, int(session.seconds))}s"
    values |= session.more
    waits = CONNECT if session.seconds is None else min(CONNECT, max(2, int(session.seconds)))
    return {
        "PATH": tool_path(context),
        "LC_ALL": "C",
        "HOME": context.who.home,
        "PGOPTIONS": sql.options({name: value for name, value in values.items() if value is not None}),
        "PGAPPNAME": "entrypoint",
        "PGCLIENTENCODING": "UTF8",
        "PGCONNECT_TIMEOUT": str(waits),
        **login.credentials(context),
    }
