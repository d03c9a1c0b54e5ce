"""An upgrade to a newer major version: everything is there, and it can be undone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import archives
import containers
import upgrades
from archives import Archive
from containers import FRESH
from upgrades import ALONE, COUNTS, DATA, EXPECTED, LONG, NEW, OLD, Home


@pytest.fixture(scope="module")
def dumped(old: Home) -> str:
    """The dump of the old cluster."""
    with old.copy() as home, containers.serve(env=FRESH, volumes=home.volumes, image=OLD) as server:
        return upgrades.dump(server)


@pytest.fixture
def archive() -> Iterator[Archive]:
    """An empty archive of pgBackRest."""
    with archives.made("pgbackrest", None) as made:
        yield made


def test_a_start_upgrades_and_everything_is_there(dumped: str, home: Home) -> None:
    """The dumps are equal; settings are carried over one by one; statistics follow; undo brings 15 back."""
    env = {**ALONE, "POSTGRES_UPGRADE": "on", "POSTGRES_CONF_max_connections": "20"}
    with containers.start(env=env, volumes=home.volumes, image=NEW) as server:
        server.ready(LONG)
        said = server.logs().stderr
        assert "upgraded from PostgreSQL 15 to 17" in said
        assert "postgresql.auto.conf:4: PostgreSQL 17 does not accept old_snapshot_threshold" in said
        assert "17" == server.sql("SHOW server_version").split(".", maxsplit=1)[0]
        assert "7MB" == server.sql("SHOW work_mem")
        assert "20" == server.sql("SHOW max_connections")
        assert dumped == upgrades.dump(server)
        server.says("the planner has its statistics", 120)
        assert "t" == server.sql("SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'shop'")
        server.sql("CREATE TABLE since AS SELECT 1 AS i")
        known = json.loads(server.exec("entrypoint", "upgrade", "status", "--json").stdout)
        assert ("17", False, "15") == (known["major"], known["unfinished"], known["upgrade"]["before"])
        assert 0 == server.stop(timeout=60)
    undone = home.upgrade("undo")
    assert 0 == undone.code, undone.output
    assert f"What was written since is in {DATA}/pgsql_tmp/new-17" in undone.stderr
    with containers.start(env={}, volumes=home.volumes, image=OLD) as server:
        server.ready(LONG)
        assert dumped == upgrades.dump(server)
        finished = server.exec("entrypoint", "upgrade", "finish")
        assert "is undone for good" in finished.stderr
        assert dumped == upgrades.dump(server)
        assert 0 == server.stop(timeout=60)
    assert "fast/PG_15_202209061" == containers.in_volume(home.volumes["/spaces"], "echo fast/*")


@pytest.mark.long
def test_wal_outside_the_data_folder() -> None:
    """The new WAL takes the place of the old one there, undo brings it back, and finish removes the other one."""
    with containers.volume() as data, containers.volume() as wal:
        volumes = {DATA: data, "/wal": wal}
        env = {**FRESH, "POSTGRES_INITDB_WALDIR": "/wal/log"}
        with containers.serve(env=env, volumes=volumes, image=OLD) as server:
            server.sql("CREATE TABLE kept AS SELECT 1 AS i")
            assert 0 == server.stop(timeout=60)
        env = {**ALONE, "POSTGRES_UPGRADE": "on"}
        with containers.start(env=env, volumes=volumes, image=NEW) as server:
            server.ready(LONG)
            server.sql("INSERT INTO kept VALUES (2)")
            assert 0 == server.stop(timeout=60)
        assert "old-15" in containers.in_volume(wal, "ls log")
        undone = containers.run("entrypoint", "upgrade", "undo", volumes=volumes, image=NEW, timeout=LONG)
        assert 0 == undone.code, undone.output
        with containers.start(env={}, volumes=volumes, image=OLD) as server:
            server.ready(LONG)
            assert "1" == server.sql("SELECT count(*) FROM kept")
            server.exec("entrypoint", "upgrade", "finish")
            assert 0 == server.stop(timeout=60)
        assert "new-17" not in containers.in_volume(wal, "ls log")


def test_without_a_word_a_start_refuses_and_names_the_way(home: Home) -> None:
    """Nothing is changed, and without an archive nothing is upgraded either until a person says so."""
    ended = containers.run(volumes=home.volumes, image=NEW)
    assert 1 == ended.code, ended.output
    assert "entrypoint upgrade check; then start with -e POSTGRES_UPGRADE=on" in ended.stderr
    ended = containers.run(env={"POSTGRES_UPGRADE": "on"}, volumes=home.volumes, image=NEW, timeout=60)
    assert 1 == ended.code, ended.output
    assert "there is no archive, so there is no proven way back" in ended.stderr
    assert f"15:{EXPECTED}" == home.served()


def test_check_changes_nothing(home: Home) -> None:
    """It says what the new server refuses, and leaves no file."""
    look = "ls -A . global base pg_xact"
    before = containers.in_volume(home.volumes[DATA], look)
    done = home.upgrade("check")
    assert 1 == done.code, done.output
    assert "pg_upgrade --check: 15 can be upgraded to 17" in done.stdout
    assert "does not accept old_snapshot_threshold" in done.stdout
    assert before == containers.in_volume(home.volumes[DATA], look)
    assert "fast" == containers.in_volume(home.volumes["/spaces"], "ls")


def test_after_a_link_the_way_back_is_the_backup(home: Home) -> None:
    """It says so when it is asked to undo, and finish removes the old names, also next to the server."""
    done = home.upgrade("run", "link")
    assert 0 == done.code, done.output
    undone = home.upgrade("undo")
    assert 1 == undone.code
    assert "restore the base backup from before the upgrade" in undone.stderr
    with containers.start(env={}, volumes=home.volumes, image=NEW) as server:
        server.ready(LONG)
        elsewhere = home.upgrade("finish")
        assert "is in use by container" in elsewhere.stderr
        server.exec("entrypoint", "upgrade", "finish")
        assert EXPECTED == server.sql(COUNTS)
        assert 0 == server.stop(timeout=60)
    assert "PG_17" in containers.in_volume(home.volumes["/spaces"], "ls fast")
    assert "PG_15" not in containers.in_volume(home.volumes["/spaces"], "ls fast")
    assert f"17:{EXPECTED}" == home.served()


def _restored(archive: Archive, image: str, env: dict[str, str]) -> str:
    """Return how many rows a restore on a new volume has."""
    given = {"/archive": archive.volume}
    with containers.start(env={"ARCHIVE_TOOL": "pgbackrest", **env}, volumes=given, image=image) as server:
        server.ready(LONG)
        return server.sql("SELECT count(*) FROM kept")


def _restore_by_its_major(archive: Archive, backup: str) -> None:
    """The image of an upgrade restores the old major's backup by itself, also if its starts would upgrade."""
    env = {"ARCHIVE_TOOL": "pgbackrest", "RESTORE_ARCHIVE_URL": "file:///archive", "POSTGRES_UPGRADE": "on"}
    with containers.volume() as data:
        done = containers.run(
            *("entrypoint", "restore", "--from", backup),
            env=env,
            volumes={DATA: data, "/archive": archive.volume},
            image=NEW,
            timeout=LONG,
        )
        assert 0 == done.code, done.output
        assert "restoring with the programs of PostgreSQL 15" in done.stderr
        assert "15" == containers.in_volume(data, "cat PG_VERSION")


def test_the_archive_continues(archive: Archive) -> None:
    """A backup is taken first, the archive is handed over, and moments before and after can be restored.

    The old server was killed, so its last rows were in no segment that the archive had.
    """
    env = archive.env()
    with containers.volume() as data:
        volumes = {DATA: data, "/archive": archive.volume}
        with containers.serve(env={**FRESH, **env}, volumes=volumes, image=OLD) as server:
            archives.write(server, 2)
            server.exec("entrypoint", "backup", "push", timeout=60)
            server.sql("INSERT INTO kept VALUES (1)")
            server.kill()
            server.wait(60)
        # 15 does not know this setting, which is for the new server. The rebuild of indexes needs a backup, and
        # the new cluster has none before it serves.
        started = {**env, "POSTGRES_UPGRADE": "on", "POSTGRES_CONF_event_triggers": "on"}
        started["COLLATION_POLICY"] = "reindex"
        with containers.start(env=started, volumes=volumes, image=NEW) as server:
            server.ready(LONG)
            said = server.logs().stderr
            assert "taking a base backup first, with the server of PostgreSQL 15" in said
            assert "was upgraded with the cluster: from PostgreSQL 15" in said
            assert "pgbackrest archives PostgreSQL 17" in said
            assert "before clients can connect (COLLATION_POLICY=reindex)" in said
            containers.until(lambda: server.logs().stderr.count("(full):") == 2, "the full backup", 120)
            listed = json.loads(server.exec("entrypoint", "backup", "list", "--json").stdout)
            assert [15, 15, 17] == [each["major"] for each in listed]
            archives.write(server, 2)
            server.exec("entrypoint", "backup", "push", timeout=60)
            assert 0 == server.stop(timeout=60)
        copy = {"RESTORE_ARCHIVE_URL": "file:///archive"}
        assert "5" == _restored(archive, NEW, {**copy, "RESTORE_FROM": "LATEST"})
        assert "3" == _restored(archive, OLD, {**copy, "RESTORE_FROM": listed[0]["name"]})
        _restore_by_its_major(archive, listed[0]["name"])
        undone = containers.run("entrypoint", "upgrade", "undo", volumes=volumes, image=NEW, timeout=LONG)
        assert 0 == undone.code, undone.output
        with containers.start(env={**env, "BACKUP_RETAIN_FULL": "1"}, volumes=volumes, image=OLD) as server:
            server.ready(LONG)
            assert "belongs to this cluster again, as the upgrade was undone" in server.logs().stderr
            server.says("verified:", 120)
            assert "missing from the archive" not in server.logs().output
            server.exec("entrypoint", "backup", "expire", timeout=60)
            left = json.loads(server.exec("entrypoint", "backup", "list", "--json").stdout)
            assert [17, 15] == [each["major"] for each in left], "of each major the newest"
            assert "3" == server.sql("SELECT count(*) FROM kept")
            archives.write(server, 1)
            archives.wait_for_archiving(server)
            assert 0 == server.stop(timeout=60)
    assert "4" == _restored(archive, OLD, {**env, "RESTORE_FROM": "LATEST"})
