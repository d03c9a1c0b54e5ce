"""What the checks look at: each thing is looked at once, when the first check asks for it.

Nothing here changes anything but files of our own below the runtime folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property

from entrypoint.archive import backlog, claim
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archive.storage import storage_problem
from entrypoint.archivers.terms import Backup
from entrypoint.collation import queries
from entrypoint.config import chosen, memory
from entrypoint.doctor import questions
from entrypoint.errors import Failure, Problem
from entrypoint.finding import Finding
from entrypoint.light import NamedTuple
from entrypoint.pid1 import lifecycle, status
from entrypoint.server import opening
from entrypoint.server.data_folder import data_major, live_postmaster
from entrypoint.start import objections
from entrypoint.system import files
from entrypoint.volume.facts import ArchiveState, Facts

_PATIENCE = 30
"""Seconds for all calls of the archiver together: somebody waits for them."""
_LEAST = 5
"""Seconds without which a call of the archiver is not begun: what it then lacks would look like a fault."""
SECONDS = 10.0
"""For looking into the databases, where nothing else is asked for."""


class NotLooked(Failure):
    """There was no time left for a look."""


class _Answers(dict[str, questions.Rows]):
    """Answers by the name of the question; one that is missing is a Failure."""

    def __init__(self, found: Mapping[str, questions.Rows], words: str) -> None:
        super().__init__(found)
        self._words = words

    def __missing__(self, name: str) -> questions.Rows:
        what = f"not looked at, for the server gave no answer about its {name}: {self._words}"
        raise Failure(Problem(what, "see its own words, and ask again"))


class Sight:
    """One look at a container, as the server's user where we may become it."""

    def __init__(
        self,
        raw: Mapping[str, str],
        say: Callable[[str], None] = lambda _: None,
        seconds: float = SECONDS,
    ) -> None:
        self.raw = raw
        self.seconds = seconds
        """For looking into the databases."""
        self.say = say
        """Is told what is done next, for somebody who waits."""
        self.settings, self.problems, self.doubts = opening.read_settings(raw, ())
        self.data_folder = self.settings.data_folder
        # As who we were started: root sees what it would mend.
        known = bool(self.settings.values.get("PGDATA"))
        self.facts: Facts | None = objections.look(self.settings) if known else None
        self.context = opening.command_context(self.settings)

    @cached_property
    def mounts(self) -> list[files.Mount]:
        """The mounts of this container."""
        return files.mounts()

    @cached_property
    def phase(self) -> str:
        """What PID 1 of this container is at; empty: none is at work."""
        known = status.read(status.RUNTIME_FOLDERS)
        return "" if known is None else known.phase

    @property
    def tended(self) -> bool:
        """Whether PID 1 of this container is at work, so that the runtime folder is its own."""
        return bool(self.phase)

    @cached_property
    def status(self) -> str | None:
        """Status in postmaster.pid, or None without a server."""
        found = live_postmaster(self.data_folder)
        return (found.status or "starting") if found else None

    @cached_property
    def asked(self) -> tuple[dict[str, questions.Rows], str]:
        """The server's answers about the cluster, and why there are none."""
        if self.status != "ready":
            return {}, "no server runs here that could be asked"
        changed = queries.changed_databases_query(data_major(self.data_folder))
        return questions.ask(self.context, {**questions.CLUSTER, "collations": changed})

    @cached_property
    def answers(self) -> dict[str, questions.Rows]:
        """The server's answers about the cluster; raises Failure where one is missing."""
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
        """Seconds that are left for looking into the databases."""
        return max(0.0, self._databases_deadline - time.monotonic())

    @cached_property
    def conf(self) -> dict[str, questions.Row]:
        """The running server's settings by name, as pg_settings has them."""
        return {str(row["name"]): row for row in self.answers["settings"]}

    @cached_property
    def _planned(self) -> dict[str, str]:
        return memory.planned(chosen.beside(self.context))

    def wanted(self, name: str) -> str | None:
        """Return the value of a setting: the running server's, else what a start would set."""
        if self.asked[0]:
            row = self.conf.get(name)
            return None if row is None else str(row["value"])
        return self._planned.get(name)

    @cached_property
    def archive(self) -> OpenedArchive | None:
        """The archive, where the archiving is ours and its settings are good."""
        archive = self.settings.our_archive
        return None if archive is None or self.problems else OpenedArchive(self.context, archive)

    @cached_property
    def archive_problem(self) -> Problem | None:
        """What is wrong with the storage, as far as it can be seen without a call of the archiver."""
        return None if self.archive is None else storage_problem(self.archive.archive)

    @cached_property
    def archiving(self) -> ArchiveState | None:
        """How archiving goes."""
        if self.archive is None:
            return None
        return backlog.look(self.archive.archive, self.data_folder, self.context.runtime_folder)

    @cached_property
    def last_segment(self) -> tuple[str, float] | None:
        """The last archived segment and when it was archived, while a primary runs that archives."""
        state = self.archiving
        if state is None or state.fork_refused is not None or not self.runs:
            return None
        present = self.answers["recovery"][0]["segment"]
        if present is None:
            return None
        return backlog.last_segment(self.data_folder, self.context.runtime_folder, str(present)[:8])

    @cached_property
    def backups(self) -> list[Backup]:
        """The base backups; raises Failure with the tool's words."""
        if self.archive is None or self.archive_problem is not None:
            return []
        self.render()
        return self.archive.list_backups(seconds=self.patience)

    @cached_property
    def _deadline(self) -> float:
        return time.monotonic() + _PATIENCE

    @property
    def patience(self) -> float:
        """Seconds that the next call of the archiver may take; raises NotLooked where there are too few."""
        left = self._deadline - time.monotonic()
        if left < _LEAST:
            what = f"not looked at within {_PATIENCE} s, which the archiver has needed for other answers"
            raise NotLooked(Problem(what, "ask for it alone: entrypoint doctor NAME"))
        return left

    @cached_property
    def untouchable(self) -> str:
        """Why nothing may be written to the archive now; raises Failure where it is not for this cluster."""
        if self.archive is None or (self.tended and self.phase != lifecycle.SERVING):
            return f"PID 1 is at work (phase {self.phase})"
        settled = self.tended and self.archiving is not None and self.archiving.prepared
        self.render()
        return claim.objection(self.archive, settled=settled, seconds=self.patience)

    def render(self) -> None:
        """Write the archiver's settings file, unless PID 1 has: that one is what the server archives by."""
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
        """Whether there is an archive that can be asked."""
        return self.archive is not None and self.archive_problem is None

    @property
    def has_cluster(self) -> bool:
        """Whether there is a database."""
        return self.facts is not None and self.facts.data_folder.has_cluster

    @property
    def has_folder(self) -> bool:
        """Whether it is known where to look at all."""
        return self.facts is not None


class Need(NamedTuple):
    """What must be there before a check can look."""

    is_met: Callable[[Sight], bool]
    otherwise: str
    """Why a check that was asked for by name was not made."""


ALWAYS = Need(lambda _: True, "")
FOLDER = Need(lambda sight: sight.has_folder, "PGDATA is not known")
CLUSTER = Need(lambda sight: sight.has_cluster, "there is no database yet")
SERVER = Need(lambda sight: sight.runs, "no server runs here that could be asked")
ARCHIVE = Need(lambda sight: sight.archive is not None, "archiving is off, or not the entrypoint's")
ARCHIVING = Need(
    lambda sight: sight.archive is not None and sight.runs, "archiving is off, or no server runs here"
)
STORAGE = Need(lambda sight: sight.has_storage, "there is no archive that could be asked")


class Check(NamedTuple):
    """One check: it looks, changes nothing, and gives findings; none where there is nothing to say."""

    name: str
    why: str
    """Why it matters: one sentence."""
    looks_at: str
    """What is looked at."""
    look: Callable[[Sight], list[Finding]]
    """May raise Failure, which is an error that was found."""
    need: Need = FOLDER
    docs: str = ""
    """The page of docs/how-to/ for its findings that name none themselves."""
