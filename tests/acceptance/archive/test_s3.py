"""An archive on S3 that is away, silent, locked or another cluster's: nothing is lost, and the messages say why."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator

import pytest

import archives
import containers
import s3
from archives import PLACES, TOOLS, Archive, wait_until_whole, waiting, write
from containers import FRESH
from s3 import S3

DATA = containers.data_folder()


@pytest.fixture(params=TOOLS)
def archive(request: pytest.FixtureRequest, road: S3) -> Iterator[Archive]:
    """An empty archive on S3."""
    with archives.made(request.param, road) as made:
        yield made


@pytest.mark.parametrize(
    ("state", "seconds"), [("cut", 30), pytest.param("hang", 45, marks=pytest.mark.long)]
)
def test_a_first_start_without_its_archive_is_refused_soon(
    archive: Archive, road: S3, state: str, seconds: int
) -> None:
    """The volume is still empty, so the start shows the tool's output and makes nothing."""
    getattr(road.relay, state)()
    with containers.volume() as data:
        ended = archive.run(FRESH, volumes={DATA: data}, timeout=seconds)
        assert 12 == ended.code, ended.output
        assert re.search("connection refused|timeout|no answer", ended.stderr, re.IGNORECASE)
        assert re.search("hint: check that the storage can be reached", ended.stderr)
        assert "" == containers.in_volume(data, "ls -A")


@pytest.mark.parametrize("state", [pytest.param("cut", marks=pytest.mark.long), "hang"])
def test_a_warm_start_without_its_archive_serves_and_archives_later(
    archive: Archive, road: S3, state: str
) -> None:
    """The server is up soon and reports the fault once; the backlog is archived when the storage is back."""
    with archive.serve(FRESH) as server:
        write(server, 1)
        assert 0 == server.stop()
        getattr(road.relay, state)()
        began = time.monotonic()
        server.begin()
        server.ready(25)
        assert time.monotonic() - began < 20
        write(server, 3)
        if state == "cut":
            server.says("archiving fails, starting with", 60)
        road.relay.restore()
        write(server, 1)
        wait_until_whole(archive, server)
        said = server.logs().output
        assert 1 == said.count("starting without a working archive")
        assert said.count("archiving fails, starting with") <= 1
        assert s3.SECRET not in said


def test_archiving_starts_later_if_it_could_not_be_prepared(archive: Archive, road: S3) -> None:
    """If archiving is turned on for an old cluster while the storage is away, it starts once that is back."""
    with containers.volume() as data:
        volumes = {DATA: data}
        with containers.serve(env=FRESH, volumes=volumes) as before:
            assert 0 == before.stop()
        road.relay.cut()
        with archive.serve(volumes=volumes) as server:
            write(server, 2)
            road.relay.restore()
            write(server, 1)
            archives.wait_for_archiving(server)
            assert server.sql("SELECT last_archived_wal FROM pg_stat_archiver") in archive.segments()
            server.exec("entrypoint", "backup", "push", timeout=60)


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "AKIANOBODY")]
)
def test_wrong_credentials_at_a_first_start_are_refused(archive: Archive, name: str, value: str) -> None:
    """The message has the storage's answer but not the secret, and nothing is made."""
    with containers.volume() as data:
        ended = archive.run({**FRESH, name: value}, volumes={DATA: data}, timeout=30)
        assert 12 == ended.code, ended.output
        assert re.search("SignatureDoesNotMatch|InvalidAccessKey|provided access key ID", ended.stderr)
        assert s3.SECRET not in ended.output
        assert "" == containers.in_volume(data, "ls -A")


def test_a_rotated_key_loses_nothing(archive: Archive, road: S3, volume: str) -> None:
    """The WAL waits, the log has the storage's answer, and after SIGHUP has read the new key, all is archived."""
    env = {**FRESH, "AWS_SECRET_ACCESS_KEY": "", "AWS_SECRET_ACCESS_KEY_FILE": "/keys/secret"}
    containers.in_volume(volume, f"printf '%s\n' '{s3.SECRET}' >secret; chown 999 secret; chmod 400 secret")
    with archive.serve(env, volumes={"/keys": volume}) as server:
        road.rekey("another/Secret")
        write(server, 3)
        server.says("SignatureDoesNotMatch", 60)
        assert 0 < waiting(server)
        server.shell("chown 0 /keys/secret", user="0")
        server.kill("HUP")
        server.says("AWS_SECRET_ACCESS_KEY_FILE=/keys/secret cannot be read again: Permission denied")
        server.shell("chown 999 /keys/secret; echo another/Secret >/keys/secret", user="0")
        server.kill("HUP")
        server.says("new values read from files: AWS_SECRET_ACCESS_KEY")
        write(server, 1)
        wait_until_whole(archive, server)
        server.exec("entrypoint", "backup", "push", timeout=60)
        log = server.logs().output
        assert 1 == log.count("new values read from files")
        assert not {s3.SECRET, "another/Secret"} & set(log.split())


@pytest.mark.long
def test_a_line_too_slow_for_many_segments_at_once(archive: Archive, road: S3) -> None:
    """A backlog that takes longer than several deadlines is still sent, piece by piece."""
    small = {**FRESH, "POSTGRES_INITDB_ARGS": "--wal-segsize=16", "ARCHIVE_COMMAND_TIMEOUT": "5"}
    with archive.serve(small) as server:
        road.relay.cut()
        incompressible = (
            "SELECT string_agg(sha512(random()::text::bytea)::text, '') FROM generate_series(1, 110000)"
        )
        for _ in range(20):
            server.sql(f"SELECT pg_logical_emit_message(true, 'test', ({incompressible}))")
        road.relay.narrow(8e6)
        road.relay.restore()
        assert 15 < waiting(server)
        archives.wait_for_archiving(server, 120)
        assert 15 < len(archive.segments())


@pytest.mark.parametrize("state", ["cut", pytest.param("hang", marks=pytest.mark.long)])
def test_a_stop_without_the_storage_is_orderly(archive: Archive, road: S3, state: str) -> None:
    """`docker stop` ends in time with a shutdown checkpoint; the next start archives the waiting files."""
    with archive.serve(FRESH) as server:
        write(server, 1)
        wait_until_whole(archive, server)
        getattr(road.relay, state)()
        write(server, 2)
        began = time.monotonic()
        assert 0 == server.stop(timeout=60)
        assert time.monotonic() - began < 30
        assert "immediate shutdown" not in server.logs().output
        assert "database system is shut down" in server.logs().output
        road.relay.restore()
        server.again()
        assert "was not properly shut down" not in server.logs().output
        write(server, 1)
        wait_until_whole(archive, server)


def test_a_road_cut_during_the_replay_does_not_promote(archive: Archive, road: S3) -> None:
    """A restore that loses its storage stops; the next start continues to the last row."""
    with archive.serve(FRESH) as server:
        server.exec("entrypoint", "backup", "push", timeout=60)
        write(server, 25)
        assert 0 == server.stop()
    # By default, both tools try for minutes.
    with archive.create({**archives.LATEST, "ARCHIVE_COMMAND_TIMEOUT": "10"}) as restored:
        restored.begin()
        restored.says("redo starts", 60)
        road.relay.cut()
        assert 0 != restored.wait(90)
        assert "selected new timeline" not in restored.logs().output
        assert "recovery stops here" in restored.logs().output
        road.relay.restore()
        restored.begin()
        restored.ready(90)
        assert "25" == restored.sql("SELECT count(*) FROM kept")


@pytest.mark.long
def test_twenty_cuts_at_any_moment_of_a_replay(archive: Archive, road: S3) -> None:
    """However long the storage is away, the server waits and continues, and never promotes early."""
    with archive.serve(FRESH) as server:
        server.exec("entrypoint", "backup", "push", timeout=60)
        write(server, 25)
        assert 0 == server.stop()
    for _ in range(20):
        with archive.copy() as copy, copy.create(archives.LATEST) as restored:
            restored.begin()
            restored.says("redo starts", 60)
            time.sleep(random.uniform(0, 1.5))
            road.relay.cut()
            time.sleep(random.uniform(0.1, 4))
            road.relay.restore()
            restored.ready(90)
            assert "25" == restored.sql("SELECT count(*) FROM kept")


def test_doctor_compares_the_clocks(archive: Archive) -> None:
    """The S3 server sends its time; here it has the same clock."""
    with archive.serve(FRESH) as server:
        found = server.exec("entrypoint", "doctor", "--json", "clock").stdout
        assert re.search(r'"found": "within [12] s of the clock of https://', found), found


def test_no_secret_is_visible_while_it_is_used(archive: Archive) -> None:
    """It is in no log, no argument and no environment except the archiver's own."""
    with archive.serve(FRESH, options=containers.LOOK_INSIDE) as server:
        server.exec("entrypoint", "backup", "push", timeout=60)
        write(server, 2)
        for pid in (1, server.postmaster()):
            assert s3.SECRET not in json.dumps(server.environ(pid))
        assert s3.SECRET not in server.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '", user="0")
        assert s3.SECRET not in server.sql("SHOW archive_command")
        assert 0 == server.stop()
        assert s3.SECRET not in server.logs().output


@pytest.mark.walg
def test_many_segments_at_once_go_to_a_far_storage_only(road: S3) -> None:
    """A near storage is faster with few; a busy machine may take it for a far one, but never the reverse."""
    with (
        archives.made("wal-g", road) as archive,
        archive.serve(FRESH, options=containers.LOOK_INSIDE) as server,
    ):

        def at_once() -> str:
            pids = server.shell("grep -lz '^daemon' /proc/[0-9]*/cmdline | cut -d / -f 3").split()
            (found,) = {server.environ(int(pid))["WALG_UPLOAD_CONCURRENCY"] for pid in pids}
            return found

        seen = [at_once()]
        while "8" not in seen and len(seen) < 6:
            assert 0 == server.stop()
            server.again()
            seen.append(at_once())
        assert "8" == seen[-1]
        road.relay.slow(0.05)
        assert 0 == server.stop()
        server.again()
        assert int(at_once()) > 8


@pytest.fixture(params=PLACES)
def used(request: pytest.FixtureRequest, s3_server: S3) -> Iterator[tuple[Archive, str]]:
    """An archive with segments but no backup, whose cluster has stopped, and its system identifier."""
    tool, place = request.param
    with archives.made(tool, s3_server if place == "s3" else None) as made:
        with made.serve(FRESH) as server:
            write(server, 1)
            identifier = server.sql("SELECT system_identifier FROM pg_control_system()")
            assert 0 == server.stop()
        yield made, identifier


def test_another_clusters_archive_is_refused(used: tuple[Archive, str]) -> None:
    """A new and an old cluster are refused even if the archive has only WAL; the archive does not change."""
    archive, owner = used
    before = archive.digest()
    with containers.volume() as data:
        fresh = archive.run(FRESH, volumes={DATA: data}, timeout=30)
        assert 12 == fresh.code, fresh.output
        assert owner in fresh.stderr
        assert before == archive.digest()
        assert "" == containers.in_volume(data, "ls -A")
        with containers.serve(env=FRESH, volumes={DATA: data}) as other:
            identifier = other.sql("SELECT system_identifier FROM pg_control_system()")
            assert 0 == other.stop()
        warm = archive.run(volumes={DATA: data}, timeout=30)
        assert 12 == warm.code, warm.output
        assert owner in warm.stderr
        assert identifier in warm.stderr
    assert before == archive.digest()
