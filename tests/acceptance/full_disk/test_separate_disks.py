"""Disks for parts of a server: for the WAL, the data, a tablespace, the archive, and one with a project quota."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack

import pytest

import containers
import disks
import filling
import writers
from disks import MB


def test_wal_on_a_disk_of_its_own() -> None:
    """That disk fills, since nobody reads a slot; the disk of the data has space."""
    env = {"POSTGRES_INITDB_WALDIR": "/wal"}
    with filling.serve("xfs", 512 * MB, place="/wal", env=env) as small:
        with writers.at_full_speed(small.server, ("small", "bulk")) as clients:
            small.server.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
            filling.refused(small, clients)
            filling.proceed(small, clients, 100)
            small.server.sql("SELECT pg_drop_replication_slot('forgotten')")
            filling.write_again(small, clients, time.monotonic())
        filling.unharmed(small.server)
        assert [] == clients.lost(small.server)


def test_data_without_its_wal() -> None:
    """The disk of the data is full to the last byte; that of the WAL has space."""
    with disks.disk("ext4", 2048 * MB) as wal:
        env = {"POSTGRES_INITDB_WALDIR": "/wal"}
        with filling.serve("ext4", 512 * MB, env=env, volumes={"/wal": wal.folder}) as small:
            with writers.at_full_speed(small.server, ("small", "bulk")) as clients:
                small.disk.grow_until(0)
                filling.refused(small, clients)
                filling.proceed(small, clients, 100)
                small.disk.give_back()
                filling.write_again(small, clients, time.monotonic())
            filling.unharmed(small.server)
            assert [] == clients.lost(small.server)
            assert 0 == small.server.stop(timeout=60)


def test_a_full_tablespace() -> None:
    """Only what writes there gets errors; everybody else writes on."""
    with filling.serve("ext4", 512 * MB, place="/space") as small:
        small.server.sql("CREATE TABLESPACE space LOCATION '/space'")
        small.server.sql("GRANT CREATE ON TABLESPACE space TO plain")
        with writers.at_full_speed(small.server, ("small", "bulk")) as clients:
            small.server.sql("CREATE TABLE growing (i int, t text) TABLESPACE space")
            small.server.sql("ALTER TABLE growing OWNER TO plain")
            with writers.growing(small.server) as growing:
                containers.until(lambda: growing.errors["53100"] > 3, "the tablespace is full", 120)
                filling.proceed(small, clients, 100)
            assert not clients.errors
            small.server.sql("DROP TABLE growing; CHECKPOINT")
        assert not clients.reader.errors
        filling.unharmed(small.server)
        assert [] == clients.lost(small.server)
        assert 0 == small.server.stop(timeout=60)


@pytest.mark.long  # the archiver waits a minute between its attempts; test_faces has the short form
def test_a_full_archive_folder() -> None:
    """Nothing can be archived while the archive's disk is full, so the WAL fills the other one."""
    with filling.serve("ext4", 512 * MB, "pgbackrest") as small:
        assert small.storage is not None
        assert small.archive is not None
        filling.push(small.server)
        with writers.at_full_speed(small.server, ("small", "bulk")) as clients:
            small.storage.leave(0)
            filling.refused(small, clients)
            filling.proceed(small, clients, 100)
            back = time.monotonic()
            small.storage.give_back()
            filling.write_again(small, clients, back)
        filling.unharmed(small.server)
        filling.archive_all(small)
        assert 0 == small.server.stop(timeout=60)
        filling.restores(small.archive, clients)


def test_a_project_quota() -> None:
    """A folder may take less than its disk has: this limit counts. A kernel without XFS quotas has no such limit."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(disks.disk("xfs", 2048 * MB, mount=("prjquota",)))
        except subprocess.CalledProcessError:
            pytest.skip("this kernel has no project quotas on XFS (CONFIG_XFS_QUOTA)")
        for command in (f"project -s -p {disk.folder} 42", "limit -p bhard=450m 42"):
            subprocess.run(("xfs_quota", "-x", "-c", command, disk.top), check=True, capture_output=True)
        volumes = {containers.data_folder(): disk.folder}
        server = stack.enter_context(containers.serve(env=filling.OPEN, volumes=volumes))
        writers.prepare(server)
        small = filling.Small(server, disk, None, None)
        with writers.at_full_speed(server, ("small", "bulk")) as clients:
            server.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
            filling.refused(small, clients)
            filling.proceed(small, clients, 100)
            server.sql("SELECT pg_drop_replication_slot('forgotten')")
            filling.write_again(small, clients, time.monotonic())
        filling.unharmed(server)
        assert [] == clients.lost(server)
        assert 0 == server.stop(timeout=60)
