"""A server on small disks, for the tests of what fills them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import archives
import containers
import disks
import writers
from archives import Archive
from containers import FRESH, Container, until
from disks import MB, Disk
from writers import Clients

__all__ = [
    "LONGEST",
    "OPEN",
    "Small",
    "archive_all",
    "drained",
    "proceed",
    "push",
    "refused",
    "restores",
    "serve",
    "unharmed",
    "write_again",
]

OPEN: Mapping[str, str] = {**FRESH, "POSTGRES_HOST_AUTH_METHOD": "trust"}
"""The least that a first start needs, with clients that need no password."""

LONGEST = 10.0
"""Seconds that a reader may wait for an answer on a busy machine."""

_ENDS = re.compile("PANIC|was terminated by signal|server process .* exited with exit code|Traceback")


class Small(NamedTuple):
    """A server whose cluster is on a small disk, and whose archive is on a disk of its own."""

    server: Container
    disk: Disk
    archive: Archive | None
    storage: Disk | None
    """The disk of the archive."""

    def away(self) -> None:
        """Let the storage of the archive go away."""
        assert self.storage is not None
        self.storage.away()

    def back(self) -> None:
        """Let it come back."""
        assert self.storage is not None
        self.storage.back()


@contextmanager
def serve(
    kind: str = "ext4",
    size: int = 512 * MB,
    tool: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    volumes: Mapping[str, str] | None = None,
    storage: int = 8192 * MB,
    options: Sequence[str] = (),
    mount: Sequence[str] = (),
) -> Iterator[Small]:
    """Yield a new server on a disk of this kind and size, with the tables of the writers, and an archive if asked."""
    with ExitStack() as stack:
        disk = stack.enter_context(disks.disk(kind, size, options, mount))
        given = {containers.data_folder(): disk.folder, **(volumes or {})}
        place, archive = None, None
        settings = {**OPEN, **(env or {})}
        if tool is not None:
            place = stack.enter_context(disks.disk("ext4", storage))
            archive = Archive(tool, place.folder, None, "")
            settings.update(archive.env())
            given["/archive"] = place.folder
        command = ("postgres", *arguments) if arguments else ()
        server = stack.enter_context(containers.serve(*command, env=settings, volumes=given))
        writers.prepare(server)
        yield Small(server, disk, archive, place)


def push(server: Container) -> str:
    """Take a base backup, and return its name."""
    pushed = server.exec("entrypoint", "backup", "push", "--json", timeout=180)
    return str(json.loads(pushed.stdout)[0]["name"])


def unharmed(server: Container) -> None:
    """Check that the server has never ended by itself, and that no process of it has."""
    found = [line for line in server.logs().output.splitlines() if _ENDS.search(line)]
    assert [] == found, "\n".join(found[:20])


def drained(server: Container, timeout: float = 180) -> float:
    """Wait until no segment waits to be archived, and return the moment."""
    until(lambda: archives.waiting(server) == 0, "everything is archived", timeout)
    return time.monotonic()


def refused(small: Small, clients: Clients, timeout: float = 180) -> None:
    """Wait until writes are refused, as long as reads are answered."""

    def seen() -> bool:
        if clients.reader.waited > LONGEST:
            unharmed(small.server)
            raise AssertionError(f"no reads for {clients.reader.waited} s, {small.disk.free} bytes free")
        return clients.refused() > 0

    until(seen, "writes are refused", timeout)


def archive_all(small: Small) -> None:
    """Wait until all WAL up to now is in the archive, with no segment missing."""
    assert small.archive is not None
    small.server.sql("SELECT pg_switch_wal()")
    archives.wait_until_whole(small.archive, small.server, 180)


def write_again(clients: Clients, since: float, timeout: float = 30) -> None:
    """Wait until every writer has had a transaction acknowledged since this moment."""
    until(lambda: clients.all_write(since), f"writes are accepted again ({clients.errors})", timeout)


def proceed(clients: Clients, answers: int = 100) -> None:
    """Let the clients work until the reader has got this many more answers."""
    wanted = clients.reader.answers + answers
    until(lambda: clients.reader.answers >= wanted, "reads are answered", 60)


def restores(archive: Archive, clients: Clients, timeout: float = 180) -> None:
    """Restore the archive into a new container, and check that it has every acknowledged row."""
    with archive.serve({**archives.LATEST}, timeout=timeout) as restored:
        assert [] == clients.lost(restored)
