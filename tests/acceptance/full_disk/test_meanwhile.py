"""A disk that is full for some time while a backup is taken, a cluster is restored, or a standby follows."""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest

import archives
import containers
import disks
import filling
import writers
from archives import TOOLS
from containers import Container, until
from disks import MB

_NO_SPACE = re.compile("o space left|cannot be fetched from the archive")
_BIG = "CREATE TABLE big AS SELECT repeat(md5(i::text), 15) t FROM generate_series(1, 200000) i"


def _is_up(server: Container) -> bool:
    """Return whether it accepts connections; one that has ended is started again, as an orchestrator does."""
    if not server.running:
        server.begin()
    return server.exec("pg_isready", "--host=localhost", check=False).code == 0


@pytest.mark.parametrize("tool", TOOLS)
def test_a_backup_to_a_full_storage(tool: str) -> None:
    """It fails, the server does not, and with space again there is a backup that restores."""
    with filling.serve("ext4", 1024 * MB, tool) as small:
        assert small.archive is not None
        assert small.storage is not None
        small.server.sql(_BIG)
        small.storage.leave(MB)
        failed = small.server.exec("entrypoint", "backup", "push", check=False, timeout=180)
        assert 0 != failed.code
        assert "Traceback" not in failed.output
        small.storage.give_back()
        archives.write(small.server, 1)  # the archiver waits a minute unless there is a new segment
        archives.wait_for_archiving(small.server, 90)
        filling.push(small.server)
        filling.unharmed(small.server)
        filling.archive_all(small)
        assert 0 == small.server.stop(timeout=60)
        with small.archive.serve(archives.LATEST, timeout=120) as restored:
            assert "200000" == restored.sql("SELECT count(*) FROM big")


@pytest.mark.long
@pytest.mark.parametrize("tool", TOOLS)
def test_a_backup_while_transactions_are_read_only(tool: str) -> None:
    """A backup can be taken then, or says why not; afterwards there is one."""
    with filling.serve("ext4", 512 * MB, tool) as small:
        assert small.archive is not None
        with writers.at_full_speed(small.server, ("small",)) as clients:
            small.disk.grow_until(40 * MB)
            filling.refused(small, clients)
            pushed = small.server.exec("entrypoint", "backup", "push", check=False, timeout=180)
            assert "Traceback" not in pushed.output
            small.disk.give_back()
            filling.push(small.server)
        filling.unharmed(small.server)
        filling.archive_all(small)
        assert 0 == small.server.stop(timeout=60)
        filling.restores(small.archive, clients)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_restore_to_a_full_disk(tool: str) -> None:
    """It says why it cannot continue when WAL is replayed; with space again, it restores every row."""
    with filling.serve("ext4", 1024 * MB, tool) as small:
        assert small.archive is not None
        filling.push(small.server)
        small.server.sql(_BIG)
        filling.archive_all(small)
        assert 0 == small.server.stop(timeout=60)
        with disks.disk("ext4", 512 * MB) as disk:
            disk.leave(90 * MB)
            volumes = {containers.data_folder(): disk.folder}
            with small.archive.create(archives.LATEST, volumes=volumes) as restored:
                restored.begin()
                # A tool that cannot write a segment is asked again, until there is space.
                restored.follow(lambda line: bool(_NO_SPACE.search(line)), "the reason", 120)
                disk.give_back()
                until(lambda: _is_up(restored), "it is restored", 180)
                assert "Traceback" not in restored.logs().output
                assert "200000" == restored.sql("SELECT count(*) FROM big")


@pytest.mark.parametrize("streams", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_standby_on_a_full_disk(streams: bool) -> None:
    """It lags while its disk is full, and has every row afterwards."""
    # A standby can remove WAL only when it has replayed a checkpoint.
    often = {"POSTGRES_CONF_max_wal_size": "64MB"}
    with ExitStack() as stack:
        small = stack.enter_context(filling.serve("ext4", 4096 * MB, "pgbackrest", env=often))
        disk = stack.enter_context(disks.disk("ext4", 512 * MB))
        assert small.archive is not None
        filling.push(small.server)
        env = {**often, "STANDBY": "on"}
        if streams:
            small.server.sql("CREATE ROLE follower REPLICATION LOGIN")
            small.server.shell('echo "host replication follower all trust" >>"$PGDATA/pg_hba.conf"')
            small.server.sql("SELECT pg_reload_conf()")
            env["STANDBY_PRIMARY_CONNINFO"] = f"host={small.server.address} user=follower"
        volumes = {containers.data_folder(): disk.folder}
        standby = stack.enter_context(small.archive.create(env, volumes=volumes))
        standby.begin()
        standby.says("database system is ready to accept read-only connections", 60)
        with writers.at_full_speed(small.server, ("small", "bulk")) as clients:
            disk.grow_until(0)
            filling.proceed(small, clients, 300)
        disk.give_back()
        until(lambda: _is_up(standby) and not clients.lost(standby), "the standby has every row", 120)
