"""The record of a first start or a restore that is not finished: `$PGDATA/entrypoint.unfinished/`.

PGDATA itself is often the mounted volume, so a record next to it would not survive the container. The record
is therefore a folder in PGDATA. The cluster is built in its folder `cluster`, whose entries are renamed into
PGDATA when the cluster is complete; its file `state` says how far the start came. One step makes the first
start count: renaming the record to `$PGDATA/entrypoint.finished`, which is then removed.

Stages: `building` (nothing of the user's has run: the next start discards our work and starts from scratch),
`files` (init files have started: only the user can decide whether the result is good), `recovery` (a base
backup is in place: the next start continues the replay).

Another program may have used the folder in between: the official image serves whatever cluster is there. So
our work is discarded only if the cluster is the one that we moved into place, and nobody has served it.
"""

from __future__ import annotations

import os
import time

from entrypoint import log, own
from entrypoint.postgres.cluster import SERVER_ENTRIES, WAL_ENTRY
from entrypoint.system import files, small
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Stage = Literal["building", "files", "recovery"]

STAGES: dict[str, Stage] = {"building": "building", "files": "files", "recovery": "recovery"}
"""The stages by their words in the file `state`."""
DISCARDED = "discarded"
"""The detail of the stage `building` once our work is being discarded."""


class Unfinished:
    """The work folder of one data folder."""

    def __init__(self, data_folder: str) -> None:
        self.data_folder = data_folder
        self.folder = notes.path(data_folder, own.UNFINISHED)
        self.cluster = f"{self.folder}/cluster"
        """The folder in which a cluster is built before it is moved into place."""
        self.state = f"{self.folder}/state"
        self.names = f"{self.folder}/names"
        self.done = notes.path(data_folder, own.FINISHED)

    def begin(self) -> None:
        """Create the work folder; from now on, the next start recognizes an interrupted one."""
        os.mkdir(self.folder, 0o700)
        self.enter("building")
        os.mkdir(self.cluster, 0o700)

    def enter(self, stage: Stage, detail: str = "") -> None:
        """Record the stage, durably."""
        files.write_atomically(self.state, f"{stage} {detail}\n")

    def noted(self) -> tuple[Stage | None, str]:
        """Return the stage and its detail; None if nothing is noted."""
        try:
            lines = small.read_text(self.state).split("\n")
        except FileNotFoundError:
            return None, ""
        stage: Stage | None = None
        detail = ""
        for line in lines:
            word, _, rest = line.partition(" ")
            if word in STAGES:
                stage, detail = STAGES[word], rest
            elif word == "file":
                detail = rest
        return stage, detail

    def move_into_place(self) -> None:
        """Rename the finished cluster into the data folder; PG_VERSION, which marks a cluster, comes last."""
        names = sorted(os.listdir(self.cluster), key=lambda name: (name == "PG_VERSION", name))
        # The list is written first: a backup may contain unusual files, and a kill may come in between.
        files.write_atomically(self.names, "\0".join([notes.cluster(self.cluster), *names]))
        for name in names:
            os.rename(f"{self.cluster}/{name}", f"{self.data_folder}/{name}")
        os.rmdir(self.cluster)
        files.sync_folder(self.data_folder)

    def made(self) -> frozenset[str]:
        """Return the names that we or the server created; the data folder was empty when the start began."""
        try:
            return SERVER_ENTRIES.union(small.read_text(self.names).split("\0"))
        except OSError as error:
            if isinstance(error, PermissionError) and os.geteuid() != os.getuid():
                raise  # root must look itself
            return SERVER_ENTRIES

    def moved(self) -> str:
        """Return which cluster was moved into place, as `notes.cluster` does; empty if that is not noted."""
        try:
            first = small.read_text(self.names).partition("\0")[0]
        except OSError:
            return ""
        # Earlier versions noted only names.
        return first if len(first) == 16 and not first.strip("0123456789abcdef") else ""

    def is_served(self) -> bool:
        """Return whether a server other than our private one, which has no TCP port, ran on the cluster.

        postmaster.opts contains the arguments of the last server.
        """
        try:
            return '"listen_addresses="' not in small.read_text(f"{self.data_folder}/postmaster.opts")
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def finish(self) -> None:
        """Remove the record: from now on the data folder is an ordinary one."""
        self.remove_finished()
        try:
            os.rename(self.folder, self.done)
        except FileNotFoundError:
            return  # an init file has removed the record, together with its cluster
        files.sync_folder(self.data_folder)
        self.remove_finished()

    def remove_finished(self) -> None:
        """Remove the record of a finished start, which a kill may have left."""
        if os.path.exists(self.done):
            files.remove_tree(self.done)

    def discard(self) -> None:
        """Remove what our interrupted start has built, and nothing else."""
        self.enter("building", DISCARDED)  # so that nobody continues work that is removed only in part
        made = self.made()
        self._remove(self.cluster, os.listdir(self.cluster) if os.path.isdir(self.cluster) else [])
        self._remove(self.data_folder, [name for name in os.listdir(self.data_folder) if name in made])
        files.remove_tree(self.folder)
        files.sync_folder(self.data_folder)
        log.info("removed what an interrupted start had built; starting from scratch")

    def _remove(self, parent: str, names: list[str]) -> None:
        wal = f"{parent}/pg_wal"
        if "pg_wal" in names and os.path.islink(wal) and os.path.isdir(wal):
            _empty_wal_folder(os.path.realpath(wal))
        if "pg_tblspc" in names:
            self._empty_tablespaces(f"{parent}/pg_tblspc")
        # PG_VERSION first: without it nothing takes the rest for a database.
        for name in sorted(names, key=lambda name: (name != "PG_VERSION", name)):
            files.remove_tree(f"{parent}/{name}")

    @staticmethod
    def _empty_tablespaces(folder: str) -> None:
        """Remove what was fetched into tablespaces: their locations were empty when the restore began."""
        for name in os.listdir(folder):
            location = os.path.realpath(f"{folder}/{name}")
            if os.path.islink(f"{folder}/{name}") and os.path.isdir(location):
                for version in os.listdir(location):
                    if version.startswith("PG_"):
                        files.remove_tree(f"{location}/{version}")

    def move_aside(self) -> None:
        """Move an unfinished cluster, all of it, to another folder inside the data folder."""
        aside = f"{self.data_folder}/{own.ASIDE_PREFIX}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        while os.path.exists(aside):
            aside += "+"
        os.mkdir(aside, 0o700)
        names = [
            name
            for name in os.listdir(self.data_folder)
            if not own.is_aside(name) and name != os.path.basename(self.folder)
        ]
        for name in sorted(names, key=lambda name: (name != "PG_VERSION", name)):
            os.rename(f"{self.data_folder}/{name}", f"{aside}/{name}")
        os.rename(self.folder, f"{aside}/{own.UNFINISHED}")  # last, so that a kill in between is repeated
        files.sync_folder(self.data_folder)
        log.info(f"moved the unfinished database to {aside}; remove that folder when you no longer need it")


def _empty_wal_folder(folder: str) -> None:
    """Remove WAL, its status folders and our own files from a WAL folder, and nothing else."""
    for entry in os.listdir(folder):
        if WAL_ENTRY.fullmatch(entry) or own.is_ours_in_wal(entry):
            files.remove_tree(f"{folder}/{entry}")
