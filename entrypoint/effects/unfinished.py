"""The record of a first start or a restore that is not finished: `$PGDATA/.entrypoint/`.

PGDATA itself is often the mounted volume, so a record beside it would not survive the container. The
cluster is therefore made in `$PGDATA/.entrypoint/cluster` and its entries are renamed into PGDATA when
it is complete; `$PGDATA/.entrypoint/state` says how far we came. Renaming the folder to
`$PGDATA/.entrypoint.done` is the one step that makes the first start count; then that is removed.

Stages: `building` (nothing of the user's has run: the next start throws our work away and begins anew),
`files` (init files have begun: only the user can say whether the result is good), `recovery` (a base
backup is in place: the next start goes on replaying).
"""

import os
import time

from entrypoint import log
from entrypoint.cluster import CLUSTER_ENTRY
from entrypoint.effects import files, folders
from entrypoint.facts import ASIDE_PREFIX, DONE_FOLDER, WORK_FOLDER


class Unfinished:
    """The work folder of one data folder."""

    def __init__(self, data_folder: str) -> None:
        self.data_folder = data_folder
        self.folder = f"{data_folder}/{WORK_FOLDER}"
        self.cluster = f"{self.folder}/cluster"
        """Where a cluster is made before it is moved into place."""
        self.state = f"{self.folder}/state"

    def begin(self) -> None:
        """Make the work folder; from here on an interrupted start is recognised."""
        os.mkdir(self.folder, 0o700)
        self.enter("building")
        os.mkdir(self.cluster, 0o700)

    def enter(self, stage: str, detail: str = "") -> None:
        """Record the stage, durably."""
        files.write_atomically(self.state, f"{stage} {detail}\n")

    def move_into_place(self) -> None:
        """Rename the finished cluster into the data folder; PG_VERSION, which makes it one, comes last."""
        names = sorted(os.listdir(self.cluster), key=lambda name: (name == "PG_VERSION", name))
        for name in names:
            os.rename(f"{self.cluster}/{name}", f"{self.data_folder}/{name}")
        os.rmdir(self.cluster)
        files.sync_folder(self.data_folder)

    def finish(self) -> None:
        """Remove the record: the data folder is an ordinary one from now on."""
        done = f"{self.data_folder}/{DONE_FOLDER}"
        os.rename(self.folder, done)
        files.sync_folder(self.data_folder)
        files.remove_tree(done)

    def discard(self) -> None:
        """Throw away what an interrupted start of ours has built, by the names that initdb uses."""
        for parent in (self.cluster, self.data_folder):
            if not os.path.isdir(parent):
                continue
            wal = f"{parent}/pg_wal"
            if os.path.islink(wal) and os.path.isdir(wal):
                folders.empty_wal_folder(os.path.realpath(wal))
            # PG_VERSION first: without it nothing takes the rest for a database.
            names = sorted(os.listdir(parent), key=lambda name: (name != "PG_VERSION", name))
            for name in names:
                if CLUSTER_ENTRY.fullmatch(name):
                    files.remove_tree(f"{parent}/{name}")
        files.remove_tree(self.folder)
        files.sync_folder(self.data_folder)
        log.info("removed what an interrupted first start had built; beginning anew")

    def move_aside(self) -> None:
        """Move an unfinished cluster aside, inside the data folder, whole."""
        aside = f"{self.data_folder}/{ASIDE_PREFIX}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        os.mkdir(aside, 0o700)
        names = [
            name
            for name in os.listdir(self.data_folder)
            if not name.startswith(ASIDE_PREFIX) and name != WORK_FOLDER
        ]
        for name in sorted(names, key=lambda name: (name != "PG_VERSION", name)):
            os.rename(f"{self.data_folder}/{name}", f"{aside}/{name}")
        os.rename(self.folder, f"{aside}/{WORK_FOLDER}")  # last, so that a kill in between is repeated
        files.sync_folder(self.data_folder)
        log.info(f"moved the unfinished database to {aside}; remove it when you do not need it")
