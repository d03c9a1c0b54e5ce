"""A standby: built from the archive, follows it or the primary, and takes over; for each archiver in the image."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import archives
import containers
from archives import FOLDERS, PLACES, Archive
from containers import FRESH, Container

DATA = containers.data_folder()
STANDBY = {"STANDBY": "on"}

_OUT_OF_REACH = (
    "for each in archive backup basebackups_005 wal_005; do [ ! -e $each ] || chmod u-rwx $each; done"
)
_IN_REACH = _OUT_OF_REACH.replace("u-rwx", "u+rwx")
"""These work for the archive of either tool."""


class Pair(NamedTuple):
    """A primary with one backup and a table `kept`, and its archive."""

    archive: Archive
    primary: Container


@pytest.fixture(scope="module", params=FOLDERS)
def source(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """One primary for a tool's tests that change nothing of it and its archive except rows."""
    tool, place = request.param
    storage = request.getfixturevalue("s3_server") if place == "s3" else None
    with archives.made(tool, storage) as archive, archive.serve(FRESH) as primary:
        primary.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i")
        primary.exec("entrypoint", "backup", "push", timeout=60)
        yield Pair(archive, primary)


def _count(server: Container) -> int:
    return int(server.sql("SELECT count(*) FROM kept"))


def _follows(source: Pair, standby: Container, timeout: float = 30) -> None:
    """Write a row to the primary, archive its segment, and wait for the row on the standby."""
    source.primary.sql("INSERT INTO kept VALUES (0)")
    source.primary.sql("SELECT pg_switch_wal()")
    wanted = _count(source.primary)
    containers.until(lambda: _count(standby) == wanted, "the row arrives", timeout)


def _status(server: Container) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.exec("entrypoint", "status", "--json").stdout)
    return found


def _serve_standby(container: Container) -> None:
    """Start a standby and wait until its log says that it accepts read-only connections."""
    container.begin()
    container.says("database system is ready to accept read-only connections", 60)


@pytest.mark.parametrize("source", PLACES, indirect=True, scope="module")
def test_a_standby_follows_by_the_archive_alone(source: Pair) -> None:
    """Built from the newest backup, it follows row by row, reports its progress, and writes nothing there."""
    env = {**STANDBY, "BACKUP_RETAIN_FULL": "1"}
    with source.archive.create(env) as standby:
        _serve_standby(standby)
        _follows(source, standby)
        assert "ready: standby\n" == standby.exec("entrypoint", "ready").stdout
        found = _status(standby)
        assert ("standby", "archive") == (found["role"], found["following"]["by"])
        assert 0 <= found["following"]["seconds_since_transaction"] < 60
        lsn = found["following"]["replayed_lsn"]
        assert "t" == standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")
        text = standby.exec("entrypoint", "status").stdout
        assert f"replayed        {found['following']['replayed_lsn'][:3]}" in text
        looked = standby.exec("entrypoint", "doctor", "round trip").stdout
        assert "it can be read (1 backups); nothing is written: this is a standby" in looked
        # Nothing of the entrypoint is left in the data folder.
        assert "" == standby.shell(f"ls -A {DATA} | grep '^[.]entrypoint$' || true")
        for command in (("push",), ("expire",)):
            refused = standby.exec("entrypoint", "backup", *command, check=False)
            assert 0 != refused.code
            assert "in recovery" in refused.stderr
    assert _status(source.primary)["following"] is None


def test_an_archive_out_of_reach_does_not_end_a_standby(source: Pair) -> None:
    """The standby waits for an archive that cannot be read; the server neither ends nor promotes."""
    with source.archive.create(STANDBY) as standby:
        _serve_standby(standby)
        _follows(source, standby)
        containers.in_volume(source.archive.volume, _OUT_OF_REACH)
        try:
            standby.follow(lambda line: "permission denied" in line.lower(), "the archiver has no access")
            standby.shell("sleep 7")  # PostgreSQL tries again every five seconds
            assert standby.running
            assert "t" == standby.sql("SELECT pg_is_in_recovery()")
        finally:
            containers.in_volume(source.archive.volume, _IN_REACH)
        _follows(source, standby)


def test_a_standby_stays_one_whatever_the_variables_say(source: Pair) -> None:
    """Killed and started without STANDBY, it still follows, and a warning says why."""
    with containers.volume() as data:
        volumes = {DATA: data}
        with source.archive.create(STANDBY, volumes=volumes) as standby:
            _serve_standby(standby)
            standby.kill()
            standby.wait()
            _serve_standby(standby)
            assert "t" == standby.sql("SELECT pg_is_in_recovery()")
            assert 0 == standby.stop()
        with source.archive.create({}, volumes=volumes) as without:
            _serve_standby(without)
            _follows(source, without)
            assert "although STANDBY is not on" in without.logs().stderr
            assert 0 == without.stop()
        # The state that an early killed promotion leaves.
        containers.in_volume(data, "rm standby.signal")
        with source.archive.create(STANDBY, volumes=volumes) as again:
            _serve_standby(again)
            _follows(source, again)
            assert "a promotion was interrupted" in again.logs().stderr


def test_a_killed_build_continues_or_starts_again(source: Pair) -> None:
    """After SIGKILL at any point of the build, the next start is a standby with every row, never a primary."""
    for sign in ("fetching backup", "the standby is built", "entering standby mode", "redo starts"):
        with source.archive.create(STANDBY) as standby:
            standby.begin()
            standby.says(sign)
            standby.kill()
            standby.wait()
            _serve_standby(standby)
            assert "t" == standby.sql("SELECT pg_is_in_recovery()"), sign
            _follows(source, standby)


def test_a_standby_streams_with_a_slot(source: Pair) -> None:
    """A row arrives within seconds although its segment is not archived; the password is not visible anywhere."""
    primary = source.primary
    primary.sql("CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'geheim'")
    primary.sql("COPY (SELECT 'host replication all all scram-sha-256') TO PROGRAM 'cat >> pg_hba.conf'")
    primary.sql("SELECT pg_reload_conf(), pg_create_physical_replication_slot('second')")
    env = {
        **STANDBY,
        "STANDBY_PRIMARY_CONNINFO": f"host={primary.address} user=replicator password=geheim",
        "STANDBY_SLOT": "second",
    }
    with source.archive.create(env, options=containers.LOOK_INSIDE) as standby:
        _serve_standby(standby)
        streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        containers.until(lambda: primary.sql(streaming) == "1", "streaming", 30)
        primary.sql("INSERT INTO kept VALUES (0)")
        wanted = _count(primary)
        containers.until(lambda: _count(standby) == wanted, "the row arrives", 5)
        assert "streaming" == _status(standby)["following"]["by"]
        assert "t" == primary.sql("SELECT active FROM pg_replication_slots")
        for pid in (1, standby.postmaster()):
            assert "geheim" not in json.dumps(standby.environ(pid))
        assert "geheim" not in standby.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '", user="0")
        assert "geheim" not in standby.logs().output
        holders = standby.shell(f"grep -rl geheim /run /tmp /etc {DATA} || true", user="0")
        assert "/run/entrypoint/postgresql.conf" == holders
        assert "600 postgres" == standby.shell(f"stat -c '%a %U' {holders}", user="0")
    primary.sql("SELECT pg_drop_replication_slot('second')")


@pytest.mark.parametrize("tool", archives.TOOLS)
def test_a_standby_takes_over(tool: str) -> None:
    """After its promotion it takes writes and scheduled backups, archives its timeline, and stays a primary."""
    env = {**STANDBY, "BACKUP_SCHEDULE": "* * * * *", "ARCHIVE_TIMEOUT": "5"}
    with archives.made(tool, None) as archive:
        with archive.serve(FRESH) as primary:
            refused = primary.exec("entrypoint", "promote", check=False)
            assert 1 == refused.code
            assert "is already a primary" in refused.stderr
            primary.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i")
            primary.exec("entrypoint", "backup", "push", timeout=60)
            primary.sql("INSERT INTO kept VALUES (0)")
            assert 0 == primary.stop()
        with archive.create(env) as standby:
            _serve_standby(standby)
            containers.until(lambda: _count(standby) == 1001, "all rows")
            assert [] == [name for name in archive.segments() if name > "00000002"]
            # The archive may be lost together with the primary.
            containers.in_volume(archive.volume, _OUT_OF_REACH)
            standby.exec("entrypoint", "promote", timeout=70, user="postgres" if tool == "wal-g" else "0")
            assert "" == standby.shell(f"ls {DATA} | grep signal || true")
            standby.sql("INSERT INTO kept VALUES (0)")
            containers.in_volume(archive.volume, _IN_REACH)
            assert "primary" == _status(standby)["role"]
            archived = "SELECT last_archived_wal LIKE '00000002________________' FROM pg_stat_archiver"
            containers.until(lambda: standby.sql(archived) == "t", "a segment of timeline 2 is archived", 30)
            listed = ("entrypoint", "backup", "list", "--json")
            containers.until(
                lambda: json.loads(standby.exec(*listed).stdout)[-1]["timeline"] == 2,
                "a scheduled backup",
                180,
            )
            assert 0 == standby.stop()
            standby.again()
            assert "1002" == standby.sql("SELECT count(*) FROM kept")
            assert "STANDBY=on has no effect" in standby.logs().stderr
        with archive.serve(archives.LATEST) as restored:
            assert "1002" == restored.sql("SELECT count(*) FROM kept")


@pytest.mark.parametrize("tool", archives.TOOLS)
def test_a_backup_right_after_a_promotion(tool: str) -> None:
    """The backup needs no manual checkpoint, although PostgreSQL spreads its own checkpoint over minutes."""
    env = {**STANDBY, "BACKUP_VERIFY": "names"}
    with archives.made(tool, None) as archive, archive.serve(FRESH) as primary:
        primary.exec("entrypoint", "backup", "push", timeout=60)
        primary.sql("CREATE TABLE kept AS SELECT i, repeat('x', 500) FROM generate_series(1, 20000) AS i")
        archives.write(primary, 1)
        archives.wait_for_archiving(primary)
        with archive.create(env) as standby:
            _serve_standby(standby)
            written = "SELECT count(*) FROM pg_class WHERE relname = 'kept'"
            containers.until(lambda: standby.sql(written) == "1", "the table", 30)
            assert 0 == primary.stop()
            standby.exec("entrypoint", "promote", timeout=70)
            ended = "SELECT timeline_id FROM pg_control_checkpoint()"
            assert "1" == standby.sql(ended)
            taken = standby.exec("entrypoint", "backup", "push", "--json", timeout=90)
            assert [2] == [each["timeline"] for each in json.loads(taken.stdout)]
            assert "2" == standby.sql(ended)


def test_a_standby_without_an_archive_is_refused() -> None:
    """Without an archive no standby can be built, and above all no new primary is created."""
    env = {**FRESH, **STANDBY, "STANDBY_PRIMARY_CONNINFO": "host=nowhere"}
    with containers.volume() as data:
        ended = containers.run(env=env, volumes={DATA: data})
        assert 1 == ended.code
        (complaint,) = containers.complaints(ended)
        assert "no archive to build the standby from" in complaint
        assert "" == containers.in_volume(data, "ls -A")
