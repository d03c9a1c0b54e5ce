"""Archives of either tool on either storage, for tests that apply to all of them."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import pytest

import containers
import s3
from containers import Container, Outcome

__all__ = [
    "FOLDERS",
    "FOLDERS_FIRST",
    "LATEST",
    "PLACES",
    "TOOLS",
    "Archive",
    "made",
    "wait_until_whole",
    "waiting",
    "write",
]

TOOLS = (pytest.param("pgbackrest"), pytest.param("wal-g", marks=pytest.mark.walg))
FOLDERS = tuple(
    pytest.param((tool.values[0], "folder"), marks=tool.marks, id=f"{tool.values[0]}-folder")
    for tool in TOOLS
)
_BUCKETS = tuple(
    pytest.param((tool.values[0], "s3"), marks=tool.marks, id=f"{tool.values[0]}-s3") for tool in TOOLS
)
PLACES = (*FOLDERS, *_BUCKETS)
"""A tool and a storage."""
FOLDERS_FIRST = (
    *FOLDERS,
    *(pytest.param(*each.values, marks=(*each.marks, pytest.mark.long), id=each.id) for each in _BUCKETS),
)
"""The same, where a test on S3 takes long and finds hardly more than one on a folder."""

LATEST: Mapping[str, str] = {"RESTORE_FROM": "LATEST"}

_SEGMENT = re.compile("[0-9A-F]{24}(?=[-.]|$)")

_numbers = itertools.count(1)


class Archive(NamedTuple):
    """An archive of one cluster, and everything that a container needs to use it."""

    tool: str
    volume: str
    """The volume of an archive in a folder, otherwise empty."""
    server: s3.S3 | None
    prefix: str
    """The prefix of an archive on S3, otherwise empty."""

    def env(self) -> dict[str, str]:
        """Return the variables that configure a container for this archive."""
        place = {"ARCHIVE_URL": "file:///archive"} if self.server is None else self.server.env(self.prefix)
        return {**place, "ARCHIVE_TOOL": self.tool}

    def create(
        self,
        env: Mapping[str, str] | None = None,
        *command: str,
        volumes: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        files: containers.Files | None = None,
    ) -> AbstractContextManager[Container]:
        """Return a container on this archive that has not started yet."""
        return containers.create(
            *command,
            env={**self.env(), **(env or {})},
            files={**({} if self.server is None else self.server.files), **(files or {})},
            volumes={**({"/archive": self.volume} if self.volume else {}), **(volumes or {})},
            options=(*(() if self.server is None else self.server.options), *options),
        )

    @contextmanager
    def serve(
        self,
        env: Mapping[str, str] | None = None,
        *command: str,
        volumes: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        timeout: float = 30,
    ) -> Iterator[Container]:
        """Yield a container on this archive whose server accepts connections."""
        with self.create(env, *command, volumes=volumes, options=options) as container:
            container.begin()
            container.ready(timeout)
            yield container

    def run(
        self,
        env: Mapping[str, str] | None = None,
        *command: str,
        volumes: Mapping[str, str] | None = None,
        timeout: float = 20,
    ) -> Outcome:
        """Return how a container on this archive ended that ends by itself."""
        with self.create(env, *command, volumes=volumes) as container:
            return container.finish(timeout)

    def segments(self) -> list[str]:
        """Return the names of the WAL segments in the archive, in order."""
        names = (path.rpartition("/")[2] for path in self.digest() if path.startswith(("wal_", "archive/")))
        return sorted({found[0] for found in map(_SEGMENT.match, names) if found})

    def digest(self) -> dict[str, str]:
        """Return the files of the archive, each with the digest of its bytes."""
        if self.server is not None:
            return self.server.digest(self.prefix)
        listed = containers.in_volume(self.volume, "find . -type f -exec sha256sum {} +")
        return {name.removeprefix("./"): digest for digest, name in map(str.split, listed.splitlines())}

    @contextmanager
    def copy(self) -> Iterator[Archive]:
        """Yield a copy that a test may write to."""
        if self.server is None:
            with containers.copied_volume(self.volume) as volume:
                yield self._replace(volume=volume)
            return
        prefix = f"copy{next(_numbers)}"
        for folder in self.server.folders:
            if (folder / self.prefix).exists():
                shutil.copytree(folder / self.prefix, folder / prefix)
        yield self._replace(prefix=prefix)
        for folder in self.server.folders:
            shutil.rmtree(folder / prefix, ignore_errors=True)

    @contextmanager
    def unreadable(self, segment: str) -> Iterator[None]:
        """Make a segment one that exists but cannot be read: not permitted, or truncated."""
        if self.server is None:
            name = f'"$(find . -name "{segment}*")"'
            containers.in_volume(self.volume, f"chown 0:0 {name}; chmod 000 {name}")
            yield
            containers.in_volume(self.volume, f"chown 999:999 {name}; chmod 600 {name}")
            return
        (path,) = (self.server.folder / self.prefix).rglob(f"{segment}*")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        yield
        path.write_bytes(whole)


def write(server: Container, segments: int) -> None:
    """Fill this many segments, with one row of the table `kept` each."""
    each = "-c", "INSERT INTO kept VALUES (1)", "-c", "SELECT pg_switch_wal()"
    server.exec(
        *(
            "psql",
            "--username=postgres",
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--output=/dev/null",
        ),
        *("-c", "CREATE TABLE IF NOT EXISTS kept (i int)", *each * segments),
    )


def waiting(server: Container) -> int:
    """Return how many segments wait to be archived."""
    return int(server.sql("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"))


def wait_for_archiving(server: Container, timeout: float = 60) -> None:
    """Wait until no segment waits to be archived."""
    containers.until(lambda: waiting(server) == 0, "everything archived", timeout)


def wait_until_whole(archive: Archive, server: Container, timeout: float = 60) -> None:
    """Wait until nothing waits any more; then check that every segment from the first to the last is in the archive."""
    wait_for_archiving(server, timeout)
    last = server.sql("SELECT last_archived_wal FROM pg_stat_archiver")[:24]
    present = [name for name in archive.segments() if name <= last]
    first, end = (_number(name) for name in (present[0], last))
    assert first <= 2, "a copy of the image's cluster begins at segment 2, a cluster of initdb at 1"
    assert present == [f"{last[:8]}{number >> 8:08X}{number & 255:08X}" for number in range(first, end + 1)]


def _number(segment: str) -> int:
    """Return the number of a segment of 16 MB on its timeline."""
    return int(segment[8:16], 16) * 256 + int(segment[16:], 16)


@contextmanager
def made(tool: str, server: s3.S3 | None) -> Iterator[Archive]:
    """Yield a new, empty archive of this tool: on S3 if there is a server, otherwise in a folder."""
    if server is None:
        with containers.volume() as volume:
            yield Archive(tool, volume, None, "")
    else:
        yield Archive(tool, "", server, f"archive{next(_numbers)}")
