"""Starts and stops on a disk without a free byte: the server comes up, answers, and shuts down in order."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

import containers
import disks
from containers import FRESH, Container
from disks import MB, Disk
from entrypoint import own
from entrypoint.pid1 import stops
from entrypoint.volume import reserve

SEGMENT = 16 * MB
DATA = "/var/lib/postgresql/data"
ROWS = "SELECT count(*) FROM kept"


@contextmanager
def _serving(
    disk: Disk, env: Mapping[str, str] | None = None, volumes: Mapping[str, str] | None = None
) -> Iterator[Container]:
    """A server on a disk, with some rows."""
    given, mounted = {**FRESH, **(env or {})}, {DATA: disk.folder, **(volumes or {})}
    with containers.create(env=given, volumes=mounted) as server:
        server.begin()
        server.ready()
        server.sql("CREATE TABLE kept AS SELECT repeat('x', 500) FROM generate_series(1, 10000)")
        yield server


def _keep_reserve(disk: Disk) -> int:
    """Make the reserve, as the server's user would have."""
    made = reserve.make(disk.folder, SEGMENT)
    subprocess.run(("chown", "-R", "999:999", f"{disk.folder}/pg_wal/{own.RESERVE}"), check=True)
    return made


def _fill(disk: Disk) -> None:
    """Take every last byte: what the filesystem had set aside comes back bit by bit."""
    for number in range(8):
        for size in (MB, 4096, 512):
            try:
                with open(disk.top / f"rest-{number}", "ab", buffering=0) as rest:
                    while True:
                        rest.write(bytes(size))
            except OSError:
                continue
        subprocess.run(("sync", "--file-system", disk.top), check=True)
    assert disk.free < 256 * 1024


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_a_start_on_a_full_disk(kind: str) -> None:
    """After SIGKILL and without a free byte, the reserve lets the server start, answer, stop and start again."""
    with disks.disk(kind, 512 * MB) as disk, _serving(disk) as server:
        assert _keep_reserve(disk) == 2 * (SEGMENT + 2 * MB)
        server.kill()
        server.wait()
        _fill(disk)
        server.again()
        assert "10000" == server.sql(ROWS)
        server.says("given up for this start: the reserve (36 MiB)")
        for _ in range(2):
            assert 0 == server.stop()
            assert stops.is_clean(disk.folder)
            server.again()
            assert "10000" == server.sql(ROWS)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_start_without_a_reserve(kind: str) -> None:
    """Without a reserve, little space is enough, even where a new segment has to be created.

    Where blocks are not overwritten in place, as on btrfs, this cannot be promised.
    """
    with disks.disk(kind, 512 * MB) as disk, _serving(disk) as server:
        server.kill()
        server.wait()
        disk.leave(4 * MB)
        server.again()
        assert "10000" == server.sql(ROWS)
        server.says("there is nothing to give up for this start")
        assert "off" == server.sql("SHOW wal_init_zero")
        for _ in range(2):
            assert 0 == server.stop()
            assert stops.is_clean(disk.folder)
            server.again()
            assert "10000" == server.sql(ROWS)


def test_nothing_at_all_is_free() -> None:
    """Without a reserve and without a byte, the log names the disk; with space, everything is there again."""
    with disks.disk("ext4", 512 * MB) as disk, _serving(disk) as server:
        server.kill()
        server.wait()
        _fill(disk)
        server.begin()
        server.says(f"the disk of {DATA} is full: 0 kB of")
        server.kill()
        server.wait()
        for rest in disk.top.glob("rest-*"):
            rest.unlink()
        server.again()
        assert "10000" == server.sql(ROWS)


@pytest.mark.parametrize("signal", ["INT", "TERM"])
def test_a_stop_on_a_full_disk(signal: str) -> None:
    """With dirty buffers and without a free byte, the reserve lets the shutdown checkpoint be written.

    With an archive, that checkpoint is in a new segment. What the running server has got of the reserve is taken
    by whatever fills the disk.
    """
    archive = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    with (
        disks.disk("ext4", 512 * MB) as disk,
        containers.volume() as storage,
        _serving(disk, archive, {"/archive": storage}) as server,
    ):
        _keep_reserve(disk)
        server.sql("UPDATE kept SET repeat = 'y'")
        _fill(disk)
        code = server.stop(signal)
        assert 0 == code, server.logs().output
        server.says("gave up the reserve of")
        assert stops.is_clean(disk.folder)
        server.again()
        assert "10000" == server.sql(f"{ROWS} WHERE repeat = 'y'")
        assert 0 == server.stop()
        assert stops.is_clean(disk.folder)
