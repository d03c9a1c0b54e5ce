"""The evidence that the checks share: each part is gathered once, when the first check needs it.

This module changes nothing except our own files below the runtime folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property

from entrypoint.archive import backlog, claim, known_gaps
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archive.storage import storage_problem
from entrypoint.archivers.terms import Backup
from entrypoint.collation import queries
from entrypoint.config import chosen, memory
from entrypoint.doctor import questions
from entrypoint.errors import Failure, Problem
from entrypoint.finding import Finding
from entrypoint.full_disk import disks, filling
from entrypoint.full_disk.parts import Part
from entrypoint.light import NamedTuple
from entrypoint.pid1 import lifecycle, status
from entrypoint.server import opening
from entrypoint.server.data_folder import data_major, live_postmaster
from entrypoint.start import objections
from entrypoint.system import files
from entrypoint.volume import installing, reserve
from entrypoint.volume.facts import ArchiveState, Facts, Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.failover.member import Member

_PATIENCE = 30
"""Seconds for all calls of the archiver together: a person waits for them."""
_LEAST = 5
"""Seconds that must be left before a call of the archiver starts: a call that runs out of time looks like a
fault."""
SECONDS = 10.0
"""The default time for looking into the databases."""


class NotLooked(Failure):
    """Raised if no time is left to gather the evidence."""


class Unanswered(Failure):
    """Raised if the server gave no answer to a question."""


class _Answers(dict[str, questions.Rows]):
    """Answers by the name of the question; a missing one raises Failure."""

    def __init__(self, found: Mapping[str, questions.Rows], words: str) -> None:
        super().__init__(found)
        self._words = words

    def __missing__(self, name: str) -> questions.Rows:
        what = f"not looked at, since the server gave no answer about its {name}: {self._words}"
        raise Unanswered(Problem(what, "fix the cause that the message names, then run doctor again"))


class Sight:
    """One look at a container, as the server's user if the process may change to that user."""

    def __init__(
        self,
        raw: Mapping[str, str],
        say: Callable[[str], None] = lambda _: None,
        seconds: float = SECONDS,
        *,
        forecast: Mapping[str, int] | None = None,
        further: Callable[[int], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self.raw = raw
        self.further = further
        """Returns more questions to the server, given its major version."""
        self.forecast = forecast or {}
        """After how many seconds each filesystem is full, by a folder on it; only the watch knows."""
        self.seconds = seconds
        """The time for looking into the databases."""
        self.filled: dict[str, tuple[Part, ...]] = {}
        """What fills the filesystems that are worth a warning, by a folder on them."""
        self.say = say
        """Called with the name of the next step, for a person who waits."""
        self.settings, self.problems, self.doubts = opening.read_settings(raw, ())
        self.data_folder = self.settings.data_folder
        # Before the change of user: root must see what a start as root would repair.
        known = bool(self.settings.values.get("PGDATA"))
        self.facts: Facts | None = objections.look(self.settings) if known else None
        self.context = opening.command_context(self.settings)

    @cached_property
    def mounts(self) -> list[files.Mount]:
        """The mounts of this container."""
        return files.mounts()

    @cached_property
    def phase(self) -> str:
        """The phase of PID 1 of this container; empty if PID 1 is not the entrypoint."""
        return "" if self.known is None else self.known.phase

    @cached_property
    def known(self) -> status.Known | None:
        """What PID 1 of this container reports; None if PID 1 is not the entrypoint."""
        return status.read(status.RUNTIME_FOLDERS)

    @cached_property
    def member(self) -> Member | None:
        """What Patroni on this node says; None: the server is not under Patroni, or is stopping."""
        node = self.settings.failover
        if node is None or self.phase != lifecycle.SERVING:
            return None
        from entrypoint.failover import rest  # only under Patroni

        return rest.look(node)

    @cached_property
    def volumes(self) -> list[Volume]:
        """The filesystems of the server and of a local archive, each once."""
        return disks.volumes(self.settings, self.forecast)

    @cached_property
    def segment(self) -> int:
        """The bytes of a WAL segment."""
        return installing.segment_bytes(self.data_folder)

    @cached_property
    def lacks_reserve(self) -> bool:
        """Whether the reserve for a clean stop is missing; without our PID 1, nobody makes it."""
        return self.known is not None and reserve.missing(self.data_folder, self.segment)

    def filling(self, folder: str) -> tuple[Part, ...]:
        """Return what fills the filesystem of a folder."""
        if folder not in self.filled:
            self.filled[folder] = filling.look(self.context, folder)
        return self.filled[folder]

    @property
    def tended(self) -> bool:
        """Whether PID 1 of this container is the entrypoint, so that it owns the runtime folder."""
        return bool(self.phase)

    @cached_property
    def status(self) -> str | None:
        """The status in postmaster.pid, or None without a server."""
        found = live_postmaster(self.data_folder)
        return (found.status or "starting") if found else None

    @cached_property
    def asked(self) -> tuple[dict[str, questions.Rows], str]:
        """The server's answers about the cluster, and the reason if some are missing."""
        if self.status != "ready":
            return {}, "no server that accepts queries runs here"
        major = data_major(self.data_folder)
        changed = queries.changed_databases_query(major)
        asked = {**questions.CLUSTER, "collations": changed, **self.further(major)}
        return questions.ask(self.context, asked)

    @cached_property
    def answers(self) -> dict[str, questions.Rows]:
        """The server's answers about the cluster; a missing one raises Failure."""
        return _Answers(*self.asked)

    @cached_property
    def of_databases(self) -> dict[str, questions.Answers]:
        """The answers of each database that allows connections."""
        names = [str(row["name"]) for row in self.answers["databases"] if row["connectable"]]
        major = data_major(self.data_folder)
        asked = {**questions.DATABASE, "collations": queries.changed_query(major)}
        return questions.ask_databases(self.context, names, asked, seconds=self.databases_patience)

    @cached_property
    def _databases_deadline(self) -> float:
        return time.monotonic() + self.seconds

    @property
    def databases_patience(self) -> float:
        """The seconds that are left for looking into the databases."""
        return max(0.0, self._databases_deadline - time.monotonic())

    @cached_property
    def conf(self) -> dict[str, questions.Row]:
        """The running server's settings by name, from pg_settings."""
        return {str(row["name"]): row for row in self.answers["settings"]}

    @cached_property
    def planned(self) -> dict[str, str]:
        """The values that files, variables and the server's arguments set."""
        return memory.planned(chosen.beside(self.context))

    def wanted(self, name: str) -> str | None:
        """Return a setting of the running server, or without one the value that a start would set."""
        if self.asked[0]:
            row = self.conf.get(name)
            return None if row is None else str(row["value"])
        return self.planned.get(name)

    @cached_property
    def archive(self) -> OpenedArchive | None:
        """The archive, if the entrypoint archives and its settings are valid."""
        archive = self.settings.our_archive
        return None if archive is None or self.problems else OpenedArchive(self.context, archive)

    @cached_property
    def archive_problem(self) -> Problem | None:
        """The problem with the storage that is visible without a call of the archiver, if there is one."""
        return None if self.archive is None else storage_problem(self.archive.archive)

    @cached_property
    def archiving(self) -> ArchiveState | None:
        """The state of archiving."""
        if self.archive is None:
            return None
        state = backlog.look(self.archive.archive, self.data_folder, self.context.runtime_folder)
        return known_gaps.tell(state, self.context)

    @cached_property
    def last_segment(self) -> tuple[str, float] | None:
        """The last archived segment and the time when it was archived, if a primary runs and archives."""
        state = self.archiving
        if state is None or state.fork_refused is not None or not self.runs:
            return None
        present = self.answers["recovery"][0]["segment"]
        if present is None:
            return None
        return backlog.last_segment(self.data_folder, self.context.runtime_folder, str(present)[:8])

    @cached_property
    def backups(self) -> list[Backup]:
        """The base backups; raises Failure with the archiver's output."""
        if self.archive is None or self.archive_problem is not None:
            return []
        self.render()
        return self.archive.list_backups(seconds=self.patience)

    @cached_property
    def _deadline(self) -> float:
        return time.monotonic() + _PATIENCE

    @property
    def patience(self) -> float:
        """The seconds that the next call of the archiver may take; raises NotLooked if too few are left."""
        left = self._deadline - time.monotonic()
        if left < _LEAST:
            what = f"not looked at within {_PATIENCE} s: the archiver needed that time for other answers"
            raise NotLooked(Problem(what, "run this check alone: entrypoint doctor NAME"))
        return left

    @cached_property
    def untouchable(self) -> str:
        """Why nothing may be written to the archive now; raises Failure if it belongs to another cluster."""
        if self.archive is None or (self.tended and self.phase != lifecycle.SERVING):
            return f"the server is not up yet, or is stopping (phase {self.phase})"
        settled = self.tended and self.archiving is not None and self.archiving.prepared
        self.render()
        return claim.objection(self.archive, settled=settled, seconds=self.patience)

    def render(self) -> None:
        """Write the archiver's settings file, unless PID 1 has: the server archives with that one."""
        if self.archive is None:
            return
        path = f"{self.context.runtime_folder}/{self.archive.tool.config_name}"
        if not self.tended or not os.path.exists(path):
            self.archive.render()

    @property
    def runs(self) -> bool:
        """Whether a server runs and answers."""
        return bool(self.asked[0])

    @property
    def has_storage(self) -> bool:
        """Whether there is an archive that can be queried."""
        return self.archive is not None and self.archive_problem is None

    @property
    def has_cluster(self) -> bool:
        """Whether there is a database."""
        return self.facts is not None and self.facts.data_folder.has_cluster

    @property
    def has_folder(self) -> bool:
        """Whether the data folder is known."""
        return self.facts is not None


class Need(NamedTuple):
    """What a check needs before it can look."""

    is_met: Callable[[Sight], bool]
    otherwise: str
    """The reason to report if a check that was requested by name cannot run."""


ALWAYS = Need(lambda _: True, "")
FOLDER = Need(lambda sight: sight.has_folder, "PGDATA is not known")
CLUSTER = Need(lambda sight: sight.has_cluster, "there is no database yet")
SERVER = Need(lambda sight: sight.runs, "no server that accepts queries runs here")
ARCHIVE = Need(
    lambda sight: sight.archive is not None, "archiving is off, or you use your own archive_command"
)
ARCHIVING = Need(
    lambda sight: sight.archive is not None and sight.runs, "archiving is off, or no server runs here"
)
STORAGE = Need(lambda sight: sight.has_storage, "there is no archive that can be queried")


class Check(NamedTuple):
    """One check: it looks, changes nothing, and returns findings; none if there is nothing to say."""

    name: str
    why: str
    """Why the check matters, in one sentence."""
    looks_at: str
    """The evidence that it looks at."""
    look: Callable[[Sight], list[Finding]]
    """May raise Failure, which becomes an error."""
    need: Need = FOLDER
    docs: str = ""
    """The page in docs/how-to/ for findings that do not name one themselves."""
    costly: bool = False
    """It queries the archive or each database, or starts programs: the watch makes it rarely."""
