"""Starts and stops on a disk without a free byte: the server comes up, answers, and shuts down in order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

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


def _reserve(disk: Disk) -> int:
    """The bytes of the reserve, which the start has made."""
    return sum(path.stat().st_size for path in Path(disk.folder, "pg_wal", own.RESERVE).iterdir())


def _remove_reserve(disk: Disk) -> None:
    """Remove it, and wait until its space is free: XFS says so only some time later."""
    before = disk.free
    freed = reserve.give_up(disk.folder)
    assert freed >= 2 * SEGMENT
    containers.until(lambda: disk.free >= before + freed // 10 * 9, "the space of the reserve is free")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_a_start_on_a_full_disk(kind: str) -> None:
    """After SIGKILL and without a free byte, the reserve lets the server start, answer, stop and start again."""
    with disks.disk(kind, 512 * MB) as disk, _serving(disk) as server:
        made = _reserve(disk)
        assert made >= 2 * SEGMENT
        server.kill()
        server.wait()
        disk.fill_up()
        server.again()
        assert "10000" == server.sql(ROWS)
        server.says(f"given up for this start: the reserve ({made // MB} MiB)")
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
        _remove_reserve(disk)
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


@pytest.mark.parametrize("kept", [True, False])
def test_no_inode_is_free(kept: bool) -> None:
    """Spare inodes let the server start; without them, the log names the disk, and nothing is lost."""
    with disks.disk("ext4", 512 * MB, options=("-N", "2400")) as disk, _serving(disk) as server:
        server.kill()
        server.wait()
        if not kept:
            reserve.give_up(disk.folder)
        disk.take_files(0)
        server.begin()
        server.says(f"the disk of {DATA} is full: ")
        if kept:
            server.ready()
            assert "10000" == server.sql(ROWS)
            assert 0 == server.stop()
            assert stops.is_clean(disk.folder)
            server.again()
        else:
            server.kill()
            server.wait()
            disk.give_back("others")
            server.again()
        assert "10000" == server.sql(ROWS)


def test_nothing_at_all_is_free() -> None:
    """Without a reserve and without a byte, the log names the disk; with space, everything is there again."""
    with disks.disk("ext4", 512 * MB) as disk, _serving(disk) as server:
        server.kill()
        server.wait()
        reserve.give_up(disk.folder)
        disk.fill_up()
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
        server.sql("UPDATE kept SET repeat = 'y'")
        disk.fill_up()
        code = server.stop(signal)
        assert 0 == code, server.logs().output
        server.says("gave up the reserve of")
        assert stops.is_clean(disk.folder)
        server.again()
        assert "10000" == server.sql(f"{ROWS} WHERE repeat = 'y'")
        assert 0 == server.stop()
        assert stops.is_clean(disk.folder)


@pytest.mark.parametrize("kept", [True, False])
def test_everything_that_a_start_writes(kept: bool) -> None:
    """With an archive, the watch, a log in JSON, init files and rendered settings, a full disk ends no start."""
    wanted = {
        "ARCHIVE_URL": "file:///archive",
        "ARCHIVE_TOOL": "pgbackrest",
        "BACKUP_SCHEDULE": "0 3 * * *",
        "DRILL_SCHEDULE": "0 4 * * 0",
        "STATUS_LISTEN": "0.0.0.0:8080",
        "STATUS_LOG_FORMAT": "json",
        "POSTGRES_EXTENSIONS": "pg_trgm",
        "POSTGRES_CONF_work_mem": "5MB",
    }
    with (
        disks.disk("ext4", 512 * MB) as disk,
        containers.volume() as storage,
        _serving(disk, wanted, {"/archive": storage}) as server,
    ):
        server.kill()
        server.wait()
        if kept:
            disk.fill_up()
        else:
            _remove_reserve(disk)
            disk.leave(4 * MB)
        server.begin()
        server.says("database system is ready to accept connections")
        containers.until(lambda: server.sql(ROWS) == "10000", "the server answers")
        assert 0 == server.stop()
        assert stops.is_clean(disk.folder)
        assert "Traceback" not in server.logs().output


def test_run_is_full() -> None:
    """A full /run with another place for the sockets: the runtime folder is where there is room."""
    with disks.disk("tmpfs", MB) as disk:
        os.chown(disk.folder, 0, 0)
        os.chmod(disk.folder, 0o755)
        disk.fill_up()
        options = ("--tmpfs", "/run/postgresql:mode=3777")
        mounted = {"/run": disk.folder}
        wanted = {**FRESH, "POSTGRES_CONF_work_mem": "5MB"}
        with containers.create(env=wanted, volumes=mounted, options=options) as server:
            server.begin()
            server.ready()
            assert "5MB" == server.sql("SHOW work_mem")
            server.says(
                "/var/run/postgresql/entrypoint is used, because the filesystem of /run/entrypoint is full: 0 kB"
            )
            assert "serving" in server.exec("entrypoint", "status").output
            assert 0 == server.stop()


def test_run_and_the_sockets_are_full() -> None:
    """Without room for the lock file of its socket, no server can start; the log says so, and what helps."""
    with disks.disk("tmpfs", MB) as disk:
        os.chown(disk.folder, 0, 0)
        os.chmod(disk.folder, 0o755)
        disk.fill_up()
        with containers.create(env=FRESH, volumes={"/run": disk.folder}) as server:
            outcome = server.finish()
            assert 0 != outcome.code
            assert (
                "the server may not start, because /var/run/postgresql has no room for its" in outcome.stderr
            )
            assert "--tmpfs /var/run/postgresql" in outcome.stderr
            assert "Traceback" not in outcome.output, outcome.output
