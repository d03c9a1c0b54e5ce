"""A restore to a target: refused if it cannot reach it, never promoted before it, continued after a kill."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import archives
import containers
from archives import FOLDERS, LATEST, TOOLS, Archive, write
from containers import FRESH, Container

DATA = containers.data_folder()


class Source(NamedTuple):
    """A stopped cluster's archive: 3 rows, the restore point `three`, 2 more rows, and a second backup."""

    archive: Archive
    backups: tuple[str, str]
    time: str
    """Between the third and the fourth row."""


@pytest.fixture(scope="module", params=FOLDERS)
def source(request: pytest.FixtureRequest) -> Iterator[Source]:
    """A source whose archive must not be changed."""
    with archives.made(request.param[0], None) as archive:
        with archive.serve(FRESH) as server:
            server.exec("entrypoint", "backup", "push", timeout=60)
            write(server, 3)
            time.sleep(1.1)
            between = server.sql(
                "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
            )
            server.sql("SELECT pg_create_restore_point('three')")
            time.sleep(1.1)
            write(server, 2)
            server.exec("entrypoint", "backup", "push", timeout=60)
            server.sql("SELECT pg_switch_wal()")
            listed = json.loads(server.exec("entrypoint", "backup", "list", "--json", timeout=30).stdout)
            assert server.stop() == 0
        first, second = [each["name"] for each in listed]
        yield Source(archive, (first, second), between)


@pytest.fixture
def data() -> Iterator[str]:
    """An empty volume."""
    with containers.volume() as name:
        yield name


def _from(source: Source, **target: str) -> dict[str, str]:
    """Return the variables for a restore that does not archive."""
    given = source.archive.env()
    return {
        "ARCHIVE_URL": "",
        "ARCHIVE_TOOL": "",
        "RESTORE_ARCHIVE_URL": given["ARCHIVE_URL"],
        "RESTORE_ARCHIVE_TOOL": given["ARCHIVE_TOOL"],
        "RESTORE_FROM": "LATEST",
        **target,
    }


def _rows(server: Container) -> str:
    return server.sql("SELECT count(*) FROM kept")


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ({"RESTORE_TARGET_TIME": "2020-02-02T02:02:02Z"}, 12, "is before the end of the first backup"),
        ({"RESTORE_TARGET_TIME": "2099-02-02"}, 12, "is after the end of the archive"),
        ({"RESTORE_TARGET_LSN": "0/1"}, 12, "is before the end of the first backup"),
        ({"RESTORE_TARGET_LSN": "FF/1"}, 12, "is after the end of the archive"),
        ({"RESTORE_TARGET_TIMELINE": "9"}, 12, "it has no timeline 9"),
        ({"RESTORE_TARGET_TIME": "noon"}, 1, "RESTORE_TARGET_TIME=noon is malformed"),
        ({"RESTORE_TARGET_XID": "1000", "RESTORE_TARGET_NAME": "three"}, 1, "several targets are set"),
        ({"RESTORE_FROM": "", "RESTORE_TARGET_NAME": "three"}, 1, "RESTORE_FROM is not set"),
    ],
)
def test_refused_before_a_byte_is_written(
    source: Source, data: str, target: dict[str, str], code: int, words: str
) -> None:
    """A target out of reach is reported within seconds, with the range that the archive covers."""
    began = time.monotonic()
    ended = source.archive.run(_from(source, **target), volumes={DATA: data})
    assert code == ended.code, ended.output
    assert words in ended.stderr
    assert "hint: " in ended.stderr
    assert containers.in_volume(data, "ls -A") == ""
    assert time.monotonic() - began < 15


def test_the_dry_run_prints_the_plan_and_writes_nothing(source: Source, data: str) -> None:
    """The plan names the backup that fits, as text and as JSON."""
    first, second = source.backups
    options = ("restore", "--dry-run", "--json")
    env = _from(source)
    with_time = ("--target-time", source.time)
    found = [
        json.loads(source.archive.run(env, *options, *more, volumes={DATA: data}).stdout)
        for more in ((), with_time, ("--target-name", "three"), ("--from", first))
    ]
    assert [second, first, second, first] == [plan["backup"] for plan in found]
    assert ["end", "time", "name", "end"] == [plan["target"] for plan in found]
    for plan in found:
        assert plan["timeline"] == 1
        assert 0 < plan["bytes"] < plan["free_bytes"]
        assert plan["segments"] > 0
    told = source.archive.run(env, "restore", "--dry-run", *with_time, volumes={DATA: data})
    assert f"base backup {first}" in told.output
    assert "has no offset: taken as UTC" in told.output
    assert containers.in_volume(data, "ls -A") == ""


def test_a_target_that_the_archive_does_not_hold_never_promotes(source: Source, data: str) -> None:
    """This holds for the first start and later ones; a corrected target starts from scratch."""
    volumes = {DATA: data}
    for _ in range(2):
        ended = source.archive.run(_from(source, RESTORE_TARGET_NAME="nosuch"), volumes=volumes, timeout=60)
        assert ended.code == 13, ended.output
        assert "has not reached its target (name nosuch)" in ended.stderr
        assert "selected new timeline" not in ended.output
    # The newest backup was taken after the target.
    late = source.archive.run(_from(source, RESTORE_TARGET_NAME="three"), volumes=volumes, timeout=60)
    assert late.code == 13, late.output
    assert "name an older backup" in late.stderr
    older = _from(source, RESTORE_TARGET_NAME="three", RESTORE_FROM=source.backups[0])
    with source.archive.serve(older, volumes=volumes, timeout=60) as restored:
        assert _rows(restored) == "3"
        assert restored.shell(f"cd {DATA}; ls -A | grep -E '^[.]entrypoint$|signal' || true") == ""
        settings = "'restore_command', 'recovery_target_name', 'recovery_target_timeline'"
        assert (
            restored.sql(
                f"SELECT count(*) FROM pg_settings WHERE name IN ({settings}) AND source <> 'default'"
            )
            == "0"
        )
        assert restored.stop() == 0


def test_a_restored_volume_simply_starts(source: Source, data: str) -> None:
    """It starts without another restore, whatever the variables say by then."""
    volumes = {DATA: data}
    with source.archive.serve(
        _from(source, RESTORE_TARGET_TIME=source.time), volumes=volumes, timeout=60
    ) as first:
        assert _rows(first) == "3"
        first.sql("INSERT INTO kept VALUES (9)")
        assert first.stop() == 0
    with source.archive.serve(_from(source, RESTORE_TARGET_TIME="2099-01-01"), volumes=volumes) as second:
        assert _rows(second) == "4"


def test_pause_serves_read_only_until_the_promotion(source: Source, data: str) -> None:
    """The promoted cluster is an ordinary one, which no other target throws away."""
    volumes = {DATA: data}
    first = source.backups[0]
    pause = _from(source, RESTORE_TARGET_NAME="three", RESTORE_FROM=first, RESTORE_TARGET_ACTION="pause")
    with source.archive.create(pause, volumes=volumes) as server:
        server.begin()
        server.says("ready to accept read-only connections", 60)
        containers.until(
            lambda: server.sql("SELECT pg_get_wal_replay_pause_state()") == "paused", "the pause"
        )
        assert _rows(server) == "3"
        assert "t" == server.sql("SELECT pg_is_in_recovery()")
        assert server.stop() == 0
        server.begin()
        server.says("ready to accept read-only connections", 60)
        containers.until(
            lambda: server.sql("SELECT pg_get_wal_replay_pause_state()") == "paused", "the pause"
        )
        server.sql("SELECT pg_wal_replay_resume()")
        containers.until(lambda: server.sql("SELECT pg_is_in_recovery()") == "f", "the promotion")
        server.sql("INSERT INTO kept VALUES (9)")
        assert server.stop() == 0
    with source.archive.serve(_from(source, RESTORE_FROM=source.backups[1]), volumes=volumes) as later:
        assert _rows(later) == "4"
        assert later.shell(f"cd {DATA}; ls -A | grep -E '^[.]entrypoint$|signal' || true") == ""


def test_shutdown_ends_at_the_target_and_another_action_continues(source: Source, data: str) -> None:
    """The same restore continues where it ended."""
    volumes = {DATA: data}
    target = {"RESTORE_TARGET_NAME": "three", "RESTORE_FROM": source.backups[0]}
    ended = source.archive.run(
        _from(source, **target, RESTORE_TARGET_ACTION="shutdown"), volumes=volumes, timeout=60
    )
    assert ended.code == 0, ended.output
    assert "has shut down at its target (name three)" in ended.stderr, ended.output
    assert "selected new timeline" not in ended.output
    with source.archive.serve(_from(source, **target), volumes=volumes, timeout=60) as server:
        assert _rows(server) == "3"
        assert "fetching backup" not in server.logs().output


@pytest.mark.parametrize("tool", TOOLS)
def test_a_restore_from_one_archive_continues_into_another(source: Source, tool: str) -> None:
    """The source may be another tool's read-only storage elsewhere; it stays as it was."""
    before = source.archive.digest()
    given = source.archive.env()
    with containers.volume() as new, containers.volume() as data:
        containers.in_volume(new, "chown 999:999 .")
        env = {
            "ARCHIVE_URL": "file:///new",
            "ARCHIVE_TOOL": tool,
            "RESTORE_ARCHIVE_URL": given["ARCHIVE_URL"],
            "RESTORE_ARCHIVE_TOOL": given["ARCHIVE_TOOL"],
            **LATEST,
        }
        volumes = {"/archive": f"{source.archive.volume}:ro", "/new": new, DATA: data}
        with source.archive.serve(env, volumes=volumes, timeout=60) as server:
            assert _rows(server) == "5"
            write(server, 1)
            archives.wait_for_archiving(server)
            server.exec("entrypoint", "backup", "push", timeout=60)
            assert server.stop() == 0
        moved = archives.Archive(tool, new, None, "")
        assert any(name.startswith("00000002") for name in moved.segments())
    assert before == source.archive.digest()


@pytest.mark.parametrize("tool", TOOLS)
def test_everything_is_restored(tool: str) -> None:
    """That includes tablespaces, a separate pg_wal, small segments and, with pgBackRest, encryption."""
    secret = {"PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc", "PGBACKREST_REPO1_CIPHER_PASS": "long enough"}
    env = {
        "POSTGRES_INITDB_WALDIR": "/wal/pg_wal",
        **(secret if tool == "pgbackrest" else {"WALG_COMPRESSION_METHOD": "zstd"}),
    }
    with archives.made(tool, None) as archive, containers.volume() as wal, containers.volume() as space:
        first = {**FRESH, **env, "POSTGRES_INITDB_ARGS": "--wal-segsize=4"}
        for name in (wal, space):
            containers.in_volume(name, "chown 999:999 .")
        with archive.serve(first, volumes={"/wal": wal, "/space": space}) as server:
            server.shell("mkdir /space/one", user="postgres")
            server.sql("CREATE TABLESPACE one LOCATION '/space/one'")
            server.sql("CREATE TABLE apart TABLESPACE one AS SELECT generate_series(1, 5000) AS i")
            server.exec("entrypoint", "backup", "push", timeout=60)
            server.sql("INSERT INTO apart VALUES (5001)")
            assert server.stop() == 0
        with containers.volume() as new_wal, containers.volume() as new_space:
            for name in (new_wal, new_space):
                containers.in_volume(name, "chown 999:999 .")
            volumes = {"/wal": new_wal, "/space": new_space}
            with archive.serve({**env, **LATEST}, volumes=volumes, timeout=60) as restored:
                assert restored.sql("SELECT count(*) FROM apart") == "5001"
                assert (
                    restored.sql(
                        "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'one'"
                    )
                    == "/space/one"
                )
                assert restored.sql("SHOW wal_segment_size") == "4MB"
                assert restored.shell(f"readlink {DATA}/pg_wal") == "/wal/pg_wal"
                assert restored.stop() == 0
        if tool == "pgbackrest":
            wrong = archive.run({**env, **LATEST, "PGBACKREST_REPO1_CIPHER_PASS": "wrong"}, timeout=20)
            assert wrong.code == 12, wrong.output
            assert "Error" in wrong.stderr, "the archiver's output, not a parser's error"
            assert "the passphrase or key that it was written with" in wrong.stderr


@pytest.mark.parametrize("tool", TOOLS)
def test_a_disk_that_fills_up_during_the_replay_serves_nothing(tool: str) -> None:
    """Each start ends and says that space is missing; with space, the replay continues to the last row."""
    with archives.made(tool, None) as archive, containers.small_volume("500m") as disk:
        with archive.serve(FRESH) as server:
            server.exec("entrypoint", "backup", "push", timeout=60)
            server.sql(
                "CREATE TABLE kept AS SELECT i, repeat('x', 1000) FROM generate_series(1, 150000) AS i"
            )
            server.sql("SELECT pg_switch_wal()")
            assert server.stop() == 0
        containers.in_volume(
            disk, "fallocate --length 340M filler && mkdir --mode 700 data && chown 999 data"
        )
        env = {**LATEST, "PGDATA": "/disk/data", "ARCHIVE_COMMAND_TIMEOUT": "8"}
        with archive.create(env, volumes={"/disk": disk}) as restored:
            for _ in range(2):
                restored.begin()
                assert restored.wait(90) not in (0, 137)
            said = restored.logs().output
            assert "No space left on device" in said
            assert "accept" not in said
            containers.in_volume(disk, "rm filler")
            restored.begin()
            restored.ready(90)
            assert restored.sql("SELECT count(*) FROM kept") == "150000"
            assert restored.stop() == 0


def test_a_promotion_that_was_killed_half_way_starts_again(source: Source, data: str) -> None:
    """The server removes its signal file before the new timeline exists: the cluster is no primary yet.

    Started as a primary, it would replay the files in pg_wal on the old timeline, beyond the target.
    """
    volumes = {DATA: data}
    target = {"RESTORE_TARGET_NAME": "three", "RESTORE_FROM": source.backups[0]}
    ended = source.archive.run(
        _from(source, **target, RESTORE_TARGET_ACTION="shutdown"), volumes=volumes, timeout=60
    )
    assert ended.code == 0, ended.output
    containers.in_volume(data, "rm recovery.signal")
    without = {"ARCHIVE_URL": "", "ARCHIVE_TOOL": ""}
    refused = source.archive.run(without, volumes=volumes)
    assert (refused.code, "accept" in refused.output) == (13, False), refused.output
    with source.archive.serve(_from(source, **target), volumes=volumes, timeout=60) as server:
        assert _rows(server) == "3"
        assert server.sql("SELECT timeline_id FROM pg_control_checkpoint()") == "2"


@pytest.mark.long
def test_a_kill_at_any_point_of_a_promotion(source: Source) -> None:
    """After a kill at twenty moments around the change of the timeline, a start reaches the new one intact."""
    env = _from(source, RESTORE_TARGET_NAME="three", RESTORE_FROM=source.backups[0])
    for number in range(20):
        with source.archive.create(env) as server:
            server.begin()
            server.says("recovery stopping at restore point", 60)
            time.sleep(number * 0.02)
            server.kill()
            server.wait()
            server.again()
            assert (_rows(server), "f") == ("3", server.sql("SELECT pg_is_in_recovery()")), number
            assert server.stop() == 0


@pytest.mark.long
def test_a_kill_at_any_point_of_a_restore(source: Source) -> None:
    """After a kill at twenty points from the plan to the promotion, the next start ends with the same rows."""
    env = _from(source, RESTORE_TARGET_NAME="three", RESTORE_FROM=source.backups[0])
    with source.archive.serve(env, timeout=60) as whole:
        assert _rows(whole) == "3"
    with source.archive.create(env) as timed:
        began = time.monotonic()
        timed.begin()
        timed.ready(60)
        length = time.monotonic() - began
    for number in range(20):
        with source.archive.create(env) as server:
            server.begin()
            time.sleep(length * (number + 0.5) / 20)
            server.kill()
            server.wait()
            server.again()
            server.ready(60)
            assert _rows(server) == "3", number
            assert server.sql("SELECT pg_is_in_recovery()") == "f"
            assert server.stop() == 0
