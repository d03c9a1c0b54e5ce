"""WAL archiving that runs unattended: with or without the helper, through outages, to the last segment of a stop."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

import archives
import containers
from archives import LATEST, Archive
from containers import FRESH, Container, script, until

DATA = containers.data_folder()
WAITING = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
SWITCH = "SELECT pg_switch_wal()"


@pytest.fixture
def walg_archive() -> Iterator[Archive]:
    """An empty archive for wal-g alone."""
    with archives.made("wal-g", None) as made:
        yield made


def _write(server: Container, segments: int = 1) -> None:
    """Fill this many segments, with one row each."""
    server.sql("CREATE TABLE IF NOT EXISTS kept (i int)")
    for _ in range(segments):
        server.sql("INSERT INTO kept VALUES (1)")
        server.sql(SWITCH)


def _all_archived(server: Container) -> None:
    until(lambda: server.sql(WAITING) == "0", "everything is archived", 60)


def _status(server: Container) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.exec("entrypoint", "archive", "status", "--json").stdout)
    return found


def _lock(server: Container) -> None:
    """Make the storage inaccessible; the mount stays."""
    server.shell("chmod 000 /archive", user="0")


def _unlock(server: Container) -> None:
    server.shell("chmod 700 /archive", user="0")


def test_status_reports_an_outage(archive: Archive) -> None:
    """`archive status`, `status` and doctor show the backlog, ages, last success and archiver's output."""
    with archive.serve(FRESH) as server:
        _write(server)
        _all_archived(server)
        well = _status(server)
        assert {
            "tool": archive.tool,
            "url": "file:///archive",
            "backlog_segments": 0,
            "last_error": None,
        } == {name: well[name] for name in ("tool", "url", "backlog_segments", "last_error")}
        assert server.sql("SELECT last_archived_wal FROM pg_stat_archiver") == well["last_archived"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", well["last_archived_at"])
        assert well["archived_per_minute"] > 0
        _lock(server)
        _write(server, 3)
        until(lambda: _status(server)["last_error"] is not None, "the outage is noticed")
        bad = _status(server)
        assert (3, 3 * 16 * 1024**2) == (bad["backlog_segments"], bad["backlog_bytes"])
        assert 0 <= bad["oldest_ready_seconds"] < 60
        assert bad["oldest_ready"] > well["last_archived"] == bad["last_archived"]
        assert "ermission denied" in bad["last_error"]
        assert bad["failing_since"] >= well["last_archived_at"]
        until(
            lambda: (_status(server)["seconds_until_full"] or 0) > 0,
            "the time until the volume is full is known",
        )
        assert (
            bad["backlog_segments"]
            == json.loads(server.exec("entrypoint", "status", "--json").stdout)["archive"]["backlog_segments"]
        )
        doctor = server.exec("entrypoint", "doctor", "--json", check=False)
        assert 2 == doctor.code
        _unlock(server)
        _all_archived(server)
        again = _status(server)
        assert (None, None, 0) == (again["last_error"], again["failing_since"], again["backlog_segments"])


def test_an_outage_is_logged_once_and_its_backlog_archived_in_order(archive: Archive) -> None:
    """One line at the beginning, one at the end, one message of PostgreSQL; no restart; the oldest first."""
    with archive.serve(FRESH) as server:
        _lock(server)
        _write(server, 5)
        until(lambda: "archiving fails" in server.logs().stderr, "the outage is reported")
        tries: set[str] = set()

        def tried(times: int) -> bool:
            tries.add(server.shell("stat -c %Y.%y /run/entrypoint/archive-words"))
            return len(tries) >= times

        until(lambda: tried(5), "archiving is tried again and again", 40)
        _unlock(server)
        _all_archived(server)
        log = server.logs().stderr
        assert (1, 1) == (log.count("archiving fails"), log.count("archiving works again"))
        assert 1 == log.count("archive command failed")
        assert "failed too many times" not in log
        order = server.shell(
            f"cd {DATA}/pg_wal/archive_status; ls -tr --time=ctime | grep -E '^[0-9A-F]{{24}}.done'"
        )
        assert sorted(order.split()) == order.split()


def test_a_stop_leaves_nothing_unarchived(archive: Archive) -> None:
    """The last segment of a clean stop is in the archive as well."""
    with archive.serve(FRESH) as server:
        _write(server, 2)
        server.sql("INSERT INTO kept VALUES (1)")
        assert 0 == server.stop()
        assert "not archived yet" not in server.logs().stderr
    assert 3 <= len([name for name in archive.digest() if re.search(r"/0000000100000000000000\d\d", name)])


def test_a_stop_reports_what_is_not_archived(archive: Archive) -> None:
    """During an outage a stop is orderly and quick, and names the waiting files; the next start archives them."""
    with archive.serve(FRESH) as server:
        _lock(server)
        _write(server, 2)
        until(lambda: "archiving fails" in server.logs().stderr, "the outage is reported")
        assert 0 == server.stop(timeout=25)
        log = server.logs().stderr
        assert re.search(r"not archived yet: \d WAL files, starting with 000000010000000000000002", log)
        assert "immediate shutdown" not in log
        containers.in_volume(archive.volume, "chmod 700 .")
        server.again()
        _all_archived(server)


def test_an_idle_database_archives(archive: Archive) -> None:
    """The last row is in the archive after ARCHIVE_TIMEOUT, even if nothing else is written."""
    with archive.serve({**FRESH, "ARCHIVE_TIMEOUT": "2s"}) as server:
        server.sql("CREATE TABLE kept ()")
        segment = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
        until(lambda: (_status(server)["last_archived"] or "") >= segment, "the segment is archived", 15)


def test_check_sends_a_segment_and_reads_it_back(archive: Archive) -> None:
    """The check proves the whole way with a new segment, or says why it cannot."""
    # The server has not written its WAL when the check asks for the segment.
    with archive.serve({**FRESH, "POSTGRES_CONF_wal_writer_delay": "10s"}) as server:
        first, proof = (
            json.loads(server.exec("entrypoint", "archive", "check", "--json").stdout) for _ in range(2)
        )
        assert (True, 24) == (proof["compared"], len(proof["segment"]))
        assert any(proof["segment"] in name for name in archive.digest())
        assert first["segment"] < proof["segment"]
        _lock(server)
        failed = server.exec("entrypoint", "archive", "check", "--timeout", "2", check=False)
        assert 12 == failed.code
        assert "ermission denied" in failed.stderr
        _unlock(server)


def test_push_pending_with_and_without_a_server(archive: Archive) -> None:
    """The server's archiver archives the waiting files; without a server, the command itself does."""
    with containers.volume() as data:
        with archive.serve(FRESH, volumes={DATA: data}) as server:
            _lock(server)
            _write(server, 3)
            until(lambda: "archiving fails" in server.logs().stderr, "the outage is reported")
            pushed = server.exec("entrypoint", "archive", "push-pending", "--timeout", "1", check=False)
            assert 12 == pushed.code
            assert "still wait" in pushed.stderr
            server.stop(timeout=25)
        containers.in_volume(archive.volume, "chmod 700 .")
        pushed = archive.run(None, "archive", "push-pending", "--json", volumes={DATA: data})
        assert 0 == pushed.code, pushed.output
        names = json.loads(pushed.stdout)
        assert "000000010000000000000002" == names[0]
        stored = " ".join(archive.digest())
        assert [] == [name for name in names if name not in stored]
        assert (
            "[]"
            == archive.run(None, "archive", "push-pending", "--json", volumes={DATA: data}).stdout.strip()
        )
        with archive.serve(None, volumes={DATA: data}) as server:
            _write(server)
            server.exec("entrypoint", "archive", "push-pending")
            assert "0" == server.sql(WAITING)


def test_another_clusters_archive_is_refused_at_a_warm_start(archive: Archive) -> None:
    """Both system identifiers are in the message, and nothing in the archive has changed."""
    with containers.volume() as data, archives.made(archive.tool, None) as own:
        identifiers = []
        for place, volumes in ((archive, {}), (own, {DATA: data})):
            with place.serve(FRESH, volumes=volumes) as server:
                _write(server)
                _all_archived(server)
                identifiers.append(server.sql("SELECT system_identifier FROM pg_control_system()"))
                assert 0 == server.stop()
        before = archive.digest()
        ended = archive.run(None, volumes={DATA: data})
        assert 12 == ended.code, ended.output
        assert [] == [number for number in identifiers if number not in ended.stderr]
        assert before == archive.digest()


def test_a_second_cluster_does_not_start_in_an_archive_without_backups(archive: Archive) -> None:
    """An archive that belongs to a cluster is not free, even if nothing can be restored from it."""
    with archive.serve(FRESH) as server:
        identifier = server.sql("SELECT system_identifier FROM pg_control_system()")
        assert 0 == server.stop()
    before = archive.digest()
    ended = archive.run({"POSTGRES_PASSWORD": "x"})
    assert 12 == ended.code, ended.output
    assert identifier in ended.stderr
    assert before == archive.digest()


@pytest.mark.parametrize("megabytes", [1, 64])
def test_other_segment_sizes_and_a_wal_folder_elsewhere_are_restored(
    archive: Archive, megabytes: int
) -> None:
    """Segments of 1 and 64 MB, .backup files, and pg_wal on a separate volume are all restored."""
    with containers.volume() as wal:
        env = {
            **FRESH,
            "POSTGRES_INITDB_ARGS": f"--no-sync --wal-segsize={megabytes}",
            "POSTGRES_INITDB_WALDIR": "/wal",
        }
        with archive.serve(env, volumes={"/wal": wal}) as server:
            _write(server, 2)
            server.exec("entrypoint", "backup", "push", timeout=60)
            _write(server, 2)
            proof = json.loads(server.exec("entrypoint", "archive", "check", "--json").stdout)
            assert proof["compared"]
            assert 0 == server.stop()
    with archive.serve(LATEST) as restored:
        assert "4" == restored.sql("SELECT count(*) FROM kept")
        assert f"{megabytes}MB" == restored.sql("SHOW wal_segment_size")
        # The .history file of the new timeline is archived too.
        _all_archived(restored)
    assert any("00000002.history" in name for name in archive.digest())


@pytest.mark.walg
@pytest.mark.parametrize("times", [4, pytest.param(20, marks=pytest.mark.long)])
def test_the_daemon_archives_and_nothing_is_lost_when_it_dies(walg_archive: Archive, times: int) -> None:
    """Segments go through the helper; after each kill it comes back, and until then the archiver steps in."""
    with walg_archive.serve(FRESH) as server:
        assert ["running"] == [each["state"] for each in _daemons(server)]
        _write(server, 2)
        _all_archived(server)
        killed = 0
        while killed < times:
            (daemon,) = _daemons(server)
            if daemon["pid"]:
                server.shell(f"kill -KILL {daemon['pid']}", user="0")
                killed += 1
            _write(server)
        _all_archived(server)
        assert "archiving fails" not in server.logs().stderr
        rows = server.sql("SELECT count(*) FROM kept")
        server.exec("entrypoint", "backup", "push", timeout=60)
        assert 0 == server.stop()
    with walg_archive.serve(LATEST) as restored:
        assert rows == restored.sql("SELECT count(*) FROM kept")


def _daemons(server: Container) -> list[dict[str, Any]]:
    """Return what status reports about the helper that sends segments."""
    helpers = json.loads(server.exec("entrypoint", "status", "--json").stdout)["helpers"]
    return [each for each in helpers if each["role"] == "wal-g-daemon"]


@pytest.mark.walg
def test_without_the_client_the_archiver_itself_runs(walg_archive: Archive) -> None:
    """An image that lacks the small client has no helper, and archives anyway."""
    options = ("--entrypoint", "bash")
    away = "rm /usr/local/bin/walg-daemon-client; exec entrypoint postgres"
    with walg_archive.create(FRESH, "-c", away, options=options) as server:
        server.again()
        _write(server)
        _all_archived(server)
        assert [] == _daemons(server)


def test_a_wal_volume_that_is_nearly_full_loses_nothing(archive: Archive) -> None:
    """During an outage, doctor reports how little room is left; nothing is lost when the storage is back."""
    small = ("--mount", "type=tmpfs,destination=/wal,tmpfs-size=160m")
    waits = {**FRESH, "POSTGRES_INITDB_WALDIR": "/wal", "ARCHIVE_WHEN_FULL": "wait"}
    with archive.serve(waits, options=small) as server:
        _lock(server)
        _write(server, 5)
        until(lambda: "archiving fails" in server.logs().stderr, "the outage is reported")
        state = _status(server)
        assert state["free_bytes"] < 100 * 1024**2
        doctor = server.exec("entrypoint", "doctor", "--json", check=False).stdout
        assert "the volume will be full in" in doctor or "cannot write to /archive" in doctor
        _unlock(server)
        _all_archived(server)
        assert "5" == server.sql("SELECT count(*) FROM kept")


@pytest.mark.parametrize("compression", ["gz", "lz4"])
def test_an_encrypted_archive_of_pgbackrest_is_unreadable(compression: str) -> None:
    """With a passphrase, nothing readable is stored with any of the safe compressions."""
    secrets = {
        "PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc",
        "PGBACKREST_REPO1_CIPHER_PASS_FILE": "/secret",
        "PGBACKREST_COMPRESS_TYPE": compression,
    }
    with archives.made("pgbackrest", None) as archive:
        with containers.create(
            env={**FRESH, **archive.env(), **secrets},
            volumes={"/archive": archive.volume},
            files={"/secret": script("a pass phrase\n", 0o444)},
        ) as server:
            server.again()
            server.sql("CREATE TABLE kept AS SELECT 'plain words' AS t")
            proof = json.loads(server.exec("entrypoint", "archive", "check", "--json").stdout)
            assert proof["compared"]
        listed = containers.in_volume(archive.volume, "grep -rl 'plain words' . || true")
        assert "" == listed
        assert any(name.endswith(f".{compression}") for name in archive.digest())
