"""A server on small disks, for the tests of what fills them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    "WITHIN",
    "Small",
    "archive_all",
    "describe",
    "proceed",
    "push",
    "refused",
    "restores",
    "serve",
    "unharmed",
    "until_free",
    "write_again",
]

OPEN: Mapping[str, str] = {**FRESH, "POSTGRES_HOST_AUTH_METHOD": "trust"}
"""The least that a first start needs, with clients that need no password."""

LONGEST = 10.0
"""Seconds that a reader may wait for an answer on a busy machine."""

WITHIN = 30.0
"""Seconds from the end of the backlog until writes are accepted."""

_COLLECTED = "PostgreSQL init process complete"
"""After it, nothing is in the container's log if the server's collector has it."""

_ENDS = re.compile("PANIC|was terminated by signal|server process .* exited with exit code|Traceback")


class Small(NamedTuple):
    """A server with its cluster, or a part of it, on a small disk, and its archive on a disk of its own."""

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
    place: str | None = None,
) -> Iterator[Small]:
    """
    Yield a new server on a disk of this kind and size, with the tables of the writers, and an archive if asked.

    With `place`, the container has the disk there, and the cluster is in a volume of its own.
    """
    with ExitStack() as stack:
        disk = stack.enter_context(disks.disk(kind, size, options))
        given = {place or containers.data_folder(): disk.folder, **(volumes or {})}
        behind, archive = None, None
        settings = {**OPEN, **(env or {})}
        if tool is not None:
            behind = stack.enter_context(disks.disk("ext4", storage))
            archive = Archive(tool, behind.folder, None, "")
            settings.update(archive.env())
            given["/archive"] = behind.folder
        command = ("postgres", *arguments) if arguments else ()
        server = stack.enter_context(containers.start(*command, env=settings, volumes=given))
        if "logging_collector=on" in command:
            server.says(_COLLECTED)
            until(lambda: _answers(server), "the server answers")
        else:
            server.ready()
        writers.prepare(server)
        yield Small(server, disk, archive, behind)


def _answers(server: Container) -> bool:
    return server.exec("pg_isready", "--host=localhost", check=False).code == 0


def push(server: Container) -> str:
    """Take a base backup, and return its name."""
    pushed = server.exec("entrypoint", "backup", "push", "--json", timeout=180)
    return str(json.loads(pushed.stdout)[0]["name"])


def unharmed(server: Container) -> None:
    """Check that the server has never ended by itself, and that no process of it has."""
    found = [line for line in server.logs().output.splitlines() if _ENDS.search(line)]
    assert [] == found, "\n".join(found[:20])


def refused(small: Small, clients: Clients, timeout: float = 180) -> None:
    """Wait until writes are refused, as long as reads are answered."""
    before = clients.refused()
    _until(small, clients, lambda: clients.refused() > before, "writes are refused", timeout)


def ended(small: Small, clients: Clients, timeout: float = 180) -> None:
    """Wait until sessions that write were ended."""
    state = "57P01"
    _until(small, clients, lambda: clients.errors[state] > 0, "sessions that write are ended", timeout)


def lowest(small: Small, clients: Clients, answers: int) -> int:
    """Let the clients work until the reader has got this many more answers; return the fewest free bytes seen."""
    seen = [small.disk.free]
    wanted = clients.reader.answers + answers

    def done() -> bool:
        seen.append(small.disk.free)
        return clients.reader.answers >= wanted

    _until(small, clients, done, "reads are answered", 120)
    return min(seen)


def until_free(small: Small, clients: Clients, most: int = 2 * MB) -> None:
    """Wait until only this many bytes are free on the disk."""
    _until(small, clients, lambda: small.disk.free <= most, f"only {most} bytes are free", 120)


def write_again(small: Small, clients: Clients, since: float, timeout: float = 180) -> None:
    """
    Wait until every writer has had a transaction acknowledged since this moment.

    At most 30 seconds may pass from the moment when no segment waits to be archived any more.
    """
    drained: list[float] = []

    def done() -> bool:
        if clients.all_write(since):
            return True
        if not drained and archives.waiting(small.server) == 0:
            drained.append(time.monotonic())
        assert not drained or time.monotonic() - drained[0] < WITHIN, describe(small, clients)
        return False

    _until(small, clients, done, "writes are accepted again", timeout)


def archive_all(small: Small) -> None:
    """Wait until all WAL up to now is in the archive, with no segment missing."""
    assert small.archive is not None
    small.server.sql("SELECT pg_switch_wal()")
    archives.wait_until_whole(small.archive, small.server, 180)


def proceed(small: Small, clients: Clients, answers: int = 100) -> None:
    """Let the clients work until the reader has got this many more answers."""
    wanted = clients.reader.answers + answers
    _until(small, clients, lambda: clients.reader.answers >= wanted, "reads are answered", 60)


def _until(small: Small, clients: Clients, condition: Callable[[], bool], what: str, timeout: float) -> None:
    """Wait until the condition is true; fail at once if reads are no longer answered."""
    deadline = time.monotonic() + timeout
    while not condition():
        if clients.reader.waited > LONGEST or time.monotonic() > deadline:
            unharmed(small.server)
            raise AssertionError(f"{what}: not seen. {describe(small, clients)}")
        time.sleep(0.05)


def describe(small: Small, clients: Clients) -> str:
    """Return what is known, for the message of a test that fails."""
    log = "\n".join(
        line
        for line in small.server.logs().output.splitlines()[-2000:]
        if not re.search("read-only transaction|STATEMENT", line)
    )
    facts = {
        "free MB": small.disk.free // MB,
        "without an answer": clients.reader.waited,
        "acknowledged": clients.count,
        "errors": clients.errors,
        "words": [each.words for each in clients.writers],
    }
    return f"{facts}\n{log[-6000:]}"


def restores(archive: Archive, clients: Clients, timeout: float = 180) -> None:
    """Restore the archive into a new container, and check that it has every acknowledged row."""
    with archive.serve({**archives.LATEST}, timeout=timeout) as restored:
        assert [] == clients.lost(restored)
