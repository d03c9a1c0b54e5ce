"""Ends the sessions that write although the disk is about to be full, and keeps them from writing again."""

from __future__ import annotations

import json
import time

from entrypoint import log
from entrypoint.errors import Failure
from entrypoint.full_disk import writers_sql
from entrypoint.server import sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context
    from entrypoint.server.sessions import Reader

_SETTINGS = {
    "client_min_messages": "notice",
    "client_connection_check_interval": "1s",
    # The server must not log each end of these sessions, with the whole script.
    "log_min_messages": "panic",
}
_FIRST_WAVE = 2.0
"""Seconds in which transactions are ended that began before; whoever writes later does so on purpose."""
_AGAIN = 1.0
"""Seconds until a client that has failed is started again."""
_REPAIR = 60.0
"""Seconds for a person whose work our locks have stopped."""
_SAY_EVERY = 10.0
"""Seconds between two lines about ended sessions."""


class Writers:
    """Our sessions against those that write; without `begin`, there are none."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.database = ""
        """A database that accepts connections."""
        self.since: float | None = None
        """Since when writers are ended, by the monotonic clock; None: they are not."""
        self.spares = True
        """Superusers through the socket may write."""
        self.ending: Reader | None = None
        self.ending_due = 0.0
        self.heard = 0
        """How many lines of the client were read."""
        self.locks: dict[str, Reader] = {}
        """The sessions that lock the tables of a database, by its name."""
        self.left_alone: dict[str, float] = {}
        """Until when a database is not locked again."""
        self.ended: dict[tuple[str, str], int] = {}
        """How many sessions were ended since the last line, by database and role."""
        self.say_at = 0.0

    def begin(self, *, spares: bool) -> None:
        """End the sessions that write, from now on."""
        now = time.monotonic()
        if self.since is None:
            self.since = now
            self.say_at = now + 1.0
        if spares != self.spares and self.ending is not None:
            self.ending.end()
        self.spares = spares
        self._run(now)

    def end(self) -> None:
        """Let everybody write again."""
        for reader in (*self.locks.values(), *([self.ending] if self.ending else [])):
            reader.end()
            reader.close()
        self._say()
        self.since, self.ending, self.heard = None, None, 0
        self.locks, self.left_alone = {}, {}

    def _run(self, now: float) -> None:
        if self.ending is not None:
            self._hear(self.ending, now)
            if self.context.children.poll(self.ending.pid) is not None:
                self.ending.close()
                self.ending = None
                self.heard = 0
        if self.ending is None and now >= self.ending_due:
            self.ending_due = now + _AGAIN
            self.ending = self._reader(writers_sql.ending(spare_repairs=self.spares), "")
        for database, reader in list(self.locks.items()):
            if self.context.children.poll(reader.pid) is not None:
                reader.close()
                del self.locks[database]
                self.left_alone[database] = now + _REPAIR
        if now >= self.say_at:
            self.say_at = now + _SAY_EVERY
            self._say()

    def _reader(self, text: str, database: str) -> Reader | None:
        try:
            self.database = self.database or sessions.database(self.context)
            return sessions.Reader(
                self.context,
                text,
                database or self.database,
                host="",
                settings=_SETTINGS,
                seconds=None,
                superuser=True,
            )
        except Failure as failure:
            log.problem(failure.problems[0])
            return None

    def _hear(self, reader: Reader, now: float) -> None:
        """Note who was ended; lock the tables of those who write again and again."""
        lines = reader.complaints.split("\n")[:-1]
        for line in lines[self.heard :]:
            _, found, text = line.partition("NOTICE:  ")
            try:
                database, role, _ = json.loads(text) if found else ("", "", "")
            except ValueError:
                continue
            if not database:
                continue
            self.ended[database, str(role)] = self.ended.get((database, str(role)), 0) + 1
            if self.since is not None and now > self.since + _FIRST_WAVE:
                self._lock(str(database), now)
        self.heard = len(lines)

    def _lock(self, database: str, now: float) -> None:
        if database in self.locks or now < self.left_alone.get(database, 0.0):
            return
        reader = self._reader(writers_sql.locking(), database)
        if reader is not None:
            self.locks[database] = reader
            log.warning(
                f"sessions in database {database} set their own transactions to read-write: its tables are "
                "locked against writing until there is space",
                docs="when-the-disk-fills",
            )

    def _say(self) -> None:
        if self.ended:
            names = ", ".join(
                f"{role} in {database} ({count})" for (database, role), count in self.ended.items()
            )
            log.warning(f"ended sessions that were writing, so that the disk does not become full: {names}")
        self.ended = {}
