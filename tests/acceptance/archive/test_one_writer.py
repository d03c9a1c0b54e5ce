"""An old primary gives way to the server that was promoted from its archive; for each archiver."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

import archives
import containers
from archives import FOLDERS_FIRST, PLACES, Archive
from containers import FRESH, Container

DATA = containers.data_folder()
STANDBY = {"STANDBY": "on"}
OFTEN = {"ARCHIVE_FORK_INTERVAL": "1"}
CONFIRM = {"ARCHIVE_FORK": "confirm"}
SUPERSEDED = 15
UNFINISHED = 13
"""Exit codes."""


@contextmanager
def _pair(
    archive: Archive, volume: str, env: Mapping[str, str], *, options: tuple[str, ...] = ()
) -> Iterator[tuple[Container, Container]]:
    """A primary on the volume with 1000 rows, and a standby that has them all."""
    with archive.serve({**FRESH, **env}, volumes={DATA: volume}, options=options) as primary:
        primary.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i")
        primary.exec("entrypoint", "backup", "push", timeout=60)
        with archive.create({**STANDBY, **env}) as standby:
            standby.begin()
            standby.says("database system is ready to accept read-only connections", 60)
            yield primary, standby


def _write(server: Container, value: int) -> None:
    server.sql(f"INSERT INTO kept VALUES ({value})")


def _rows(server: Container) -> str:
    """Return how many rows only the old primary wrote, and how many the new one."""
    return server.sql("SELECT count(*) FILTER (WHERE i = -1), count(*) FILTER (WHERE i = -2) FROM kept")


def _promote(standby: Container, timeline: int = 2) -> None:
    """Promote and write; the history is in the archive before another server can be promoted."""
    done = standby.exec("entrypoint", "promote", timeout=70)
    assert f"{timeline:08X}.history is in the archive" in done.stdout
    _write(standby, -2)


def _refused(server: Container) -> str:
    """Start a server that must end with the exit code; return its complaint."""
    ended = server.finish(40)
    assert SUPERSEDED == ended.code, ended.output
    return containers.complaints(ended)[-1]


@pytest.mark.parametrize("archive", PLACES, indirect=True)
def test_an_old_primary_that_comes_back_is_refused(archive: Archive, volume: str) -> None:
    """Killed and started after the promotion, it ends and says where they diverged; later starts say so too."""
    with _pair(archive, volume, {}) as (primary, standby):
        _write(primary, -1)
        primary.kill()
        primary.wait()
        _promote(standby)
        for _ in range(2):
            complaint = _refused(primary)
            assert re.search(
                r"holds its timeline 2, and this server is on timeline 1; "
                r"they diverged at 0/[0-9A-F]+ of timeline 1, \d{4}-",
                complaint,
            ), complaint
            assert re.search(
                r"since then, this server has written [\d.]+ \w+ of WAL, with \d+ transactions, "
                r"the last at \d{4}-",
                complaint,
            ), complaint
            for way in ("STANDBY=on", "ARCHIVE_FORK=confirm", "ARCHIVE_FORK=readonly"):
                assert way in complaint, complaint
        with archive.create({}, "doctor", "archive fork", volumes={DATA: volume}) as doctor:
            told = doctor.finish(60)
            assert (2, True) == (told.code, "holds its timeline 2" in told.output), told.output
        assert "0|1" == _rows(standby)
        assert 0 == standby.stop()
        standby.again()
        assert "0|1" == _rows(standby)


@pytest.mark.walg
@pytest.mark.parametrize("archive", [pytest.param(("wal-g", "s3"))], indirect=True)
def test_a_history_that_is_missing_hides_no_later_timeline(archive: Archive, volume: str) -> None:
    """wal-g's archive on S3 is queried for one history after the other, so a backup reveals the timeline."""
    with _pair(archive, volume, {}) as (primary, standby):
        primary.kill()
        primary.wait()
        _promote(standby)
        standby.exec("entrypoint", "backup", "push", timeout=60)
        standby.exec("wal-g", "st", "rm", "wal_005/00000002.history.lz4")
        assert re.search(
            r"holds its timeline 2, and this server is on timeline 1; where .* not known", _refused(primary)
        )


def test_an_old_primary_that_still_serves_stops(archive: Archive, volume: str) -> None:
    """It stops within the interval, stays down while the storage is away, and the new one still archives."""
    with _pair(archive, volume, OFTEN) as (primary, standby):
        _promote(standby)
        assert SUPERSEDED == primary.wait(40)
        said = primary.logs().output
        assert "another server has taken over: fast shutdown" in said
        assert "holds its timeline 2, and this server is on timeline 1" in said
        archives.write(standby, 1)
        archives.wait_for_archiving(standby)
        assert "00000002" == archive.segments()[-1][:8]
        with archives.made(archive.tool, None) as away:
            containers.in_volume(away.volume, "chown 0:0 . && chmod 0 .")
            moved = {"/archive": away.volume, DATA: volume}
            with archive.create({}, volumes=moved, options=("--user", "999:999")) as blind:
                assert "holds its timeline 2" in _refused(blind)


def test_a_new_standby_does_not_replay_the_old_primary_after_the_fork(archive: Archive, volume: str) -> None:
    """Until the new primary archives, a standby waits at the fork and a restore stops; then the standby follows."""
    env = {"ARCHIVE_FORK_INTERVAL": "3600", "ARCHIVE_TIMEOUT": "1h"}
    with _pair(archive, volume, env) as (primary, standby):
        archives.write(primary, 1)
        archives.wait_for_archiving(primary)
        containers.until(lambda: standby.sql("SELECT count(*) FROM kept") == "1001", "all rows", 30)
        _promote(standby)
        containers.docker("pause", standby.name)
        _write(primary, -1)
        archives.write(primary, 2)
        archives.wait_for_archiving(primary)
        assert "00000001" == archive.segments()[-1][:8]
        primary.kill()
        with archive.create(STANDBY) as third:
            third.begin()
            third.says("forked off before the end of that segment", 60)
            assert "0|0" == _rows(third)
            restore = archive.run({"RESTORE_FROM": "LATEST"}, timeout=60)
            assert "cannot replace it, because timeline 2 forked off" in restore.output, restore.output
            assert UNFINISHED == restore.code
            containers.docker("unpause", standby.name)
            standby.sql("SELECT pg_switch_wal()")
            containers.until(lambda: _rows(third) == "0|1", "the new primary's row", 30)


@contextmanager
def _cut(archive: Archive, server: Container) -> Iterator[None]:
    """Cut one server off from the storage, but not the others."""
    if archive.server is None:
        server.shell("mount -t tmpfs -o mode=0 cut /archive", user="0")
        yield
        server.shell("umount /archive", user="0")
    else:
        containers.docker("network", "disconnect", "bridge", server.name)
        yield
        containers.docker("network", "connect", "bridge", server.name)


MAY_MOUNT = ("--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined")


@pytest.mark.parametrize("archive", FOLDERS_FIRST, indirect=True)
def test_an_old_primary_that_was_cut_off_gives_way(archive: Archive, volume: str) -> None:
    """It serves while it is cut off. Then it gives way at its first segment, before the interval ends."""
    env = {"ARCHIVE_FORK_INTERVAL": "3600", "ARCHIVE_COMMAND_TIMEOUT": "20"}
    with _pair(archive, volume, env, options=MAY_MOUNT) as (primary, standby):
        with _cut(archive, primary):
            archives.write(primary, 1)
            primary.says("archiving fails", 90)
            _promote(standby)
            _write(primary, -1)
            assert primary.running
        assert SUPERSEDED == primary.wait(90)
        assert "another server has taken over: fast shutdown" in primary.logs().output
        assert "0|1" == _rows(standby)
        assert 0 == standby.stop()
        standby.again()


def test_an_old_primary_can_be_read_or_confirmed(archive: Archive, volume: str) -> None:
    """It can serve read-only; confirmed, it continues above the other server, which then gives way."""
    with _pair(archive, volume, OFTEN) as (primary, standby):
        _write(primary, -1)
        primary.kill()
        primary.wait()
        _promote(standby)
        with archive.create({"ARCHIVE_FORK": "readonly", **STANDBY}, volumes={DATA: volume}) as looked_at:
            before = archive.segments()
            looked_at.begin()
            looked_at.says("database system is ready to accept read-only connections", 60)
            assert "1|0" == _rows(looked_at)
            for words in ("CREATE TABLE t ()", "BEGIN READ WRITE; CREATE TABLE t ()"):
                with pytest.raises(AssertionError, match=r"read-only transaction|during recovery"):
                    looked_at.sql(words)
            told = looked_at.exec("entrypoint", "promote", check=False)
            assert (SUPERSEDED, True) == (told.code, "ARCHIVE_FORK=confirm" in told.stderr), told.output
            assert 0 == looked_at.stop()
            assert before == archive.segments()
        for command in ((), ("-c", "archive_command=true")):
            alone = {} if not command else archive.env()
            mounted = {DATA: volume, "/archive": archive.volume} if archive.volume else {DATA: volume}
            with containers.create(*command, env=alone, volumes=mounted) as unaware:
                complaint = _refused(unaware)
                assert "holds its timeline 2" in complaint
                assert "ARCHIVE_URL of its own" in complaint
        assert "holds its timeline 2" in _refused(primary)
        assert "remains a standby" not in primary.logs().output
        with archive.create({**CONFIRM, **OFTEN, **STANDBY}, volumes={DATA: volume}) as kept:
            kept.begin()
            kept.says("continues on timeline 3", 60)
            kept.ready(60)
            assert SUPERSEDED == standby.wait(60)
            assert "holds its timeline 3, and this server is on timeline 2" in standby.logs().output
            assert "1|0" == _rows(kept)
            _write(kept, -1)
            assert 0 == kept.stop()
            kept.again()  # the same timeline needs no second confirmation
            assert "2|0" == _rows(kept)
            archives.write(kept, 1)
            archives.wait_for_archiving(kept)
            listed = ("entrypoint", "backup", "list", "--json")
            containers.until(
                lambda: json.loads(kept.exec(*listed).stdout)[-1]["timeline"] == 3, "a full backup", 90
            )
            with archive.serve(archives.LATEST) as restored:
                assert "2|0" == _rows(restored)


def test_the_other_server_of_a_pair_is_queried(archive: Archive, volume: str) -> None:
    """If the archive has no answer because the promoted server does not archive, that server's answer counts."""
    with _pair(archive, volume, {}) as (primary, standby):
        primary.sql("CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'geheim'")
        primary.sql("SELECT pg_switch_wal()")
        containers.until(
            lambda: standby.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'replicator'") == "1",
            "the role",
            30,
        )
        standby.sql(
            "COPY (SELECT 'host replication all all scram-sha-256') TO PROGRAM 'cat >> $PGDATA/pg_hba.conf'"
        )
        standby.sql("SELECT pg_reload_conf()")
        assert 0 == primary.stop()
        standby.sql("ALTER SYSTEM SET archive_command = 'false'")
        standby.sql("SELECT pg_reload_conf(), pg_promote()")
        conninfo = f"host={standby.address} user=replicator password=geheim"
        asking = {**STANDBY, "STANDBY_PRIMARY_CONNINFO": conninfo}
        with archive.create(asking, volumes={DATA: volume}) as again:
            complaint = _refused(again)
            assert "is already a primary of this cluster, on timeline 2" in complaint
            assert "geheim" not in again.logs().output
            standby.kill()
            standby.wait()
            again.begin()
            again.ready(40)
