"""Drills: the newest backup is restored next to the running server, checked, and thrown away; for each archiver."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

import archives
import containers
from archives import PLACES, Archive
from containers import FRESH, Container, Outcome

SQL = "/docker-entrypoint-drill.d"
SCRATCH = "/var/lib/postgresql/drill/entrypoint.drill"
SOCKETS = "/run/entrypoint/drill"
YEARLY = "0 0 1 1 *"


def _find(pattern: str) -> str:
    """Return a command that prints the processes whose command line begins with this pattern."""
    each = f"tr '\\0' ' ' 2>/dev/null <$folder/cmdline | grep -qE '^{pattern}' && echo ${{folder#/proc/}}"
    return f"for folder in /proc/[0-9]*; do {each}; done; true"


SERVER = _find(f"postgres -D {SCRATCH}")
#: Prints what a drill has left.
LEFT = f"ls -A {SCRATCH.rpartition('/')[0]}; ls -d {SOCKETS} 2>/dev/null; {SERVER}"

#: Passes while the table has one row.
ONE_ROW = "SELECT 1 / (2 - count(*)) FROM kept"


@contextmanager
def _serve(archive: Archive, sql: Mapping[str, str], *options: str, **env: str) -> Iterator[Container]:
    """A server with a backup, a row that was written after it, and these SQL files for drills."""
    with archive.create({**FRESH, **env}, options=options) as server:
        server.begin()
        server.ready()
        for name, text in sql.items():
            _put(server, name, text)
        server.sql("CREATE TABLE kept (i int)")
        _backup(server, "push")
        _add_row(server)
        yield server


def _put(server: Container, name: str, text: str) -> None:
    server.exec("bash", "-c", f"mkdir -p {SQL} && cat >{SQL}/{name}", user="0", stdin=text)


def _add_row(server: Container) -> None:
    """Add a row, and have it archived."""
    server.sql("INSERT INTO kept VALUES (1)")
    server.sql("SELECT pg_switch_wal()")
    archives.wait_for_archiving(server, 30)


def _backup(server: Container, *words: str, check: bool = True) -> Outcome:
    return server.exec("entrypoint", "backup", *words, check=check, timeout=120)


def _drills(server: Container) -> dict[str, Any]:
    """Return what status reports about the drills."""
    found: dict[str, Any] = json.loads(server.exec("entrypoint", "status", "--json").stdout)["drills"]
    return found


def _doctor(server: Container) -> list[str]:
    """Return what doctor reports about the drills."""
    findings = json.loads(server.exec("entrypoint", "doctor", "--json", check=False).stdout)
    return [f"{each['level']}: {each['found']}" for each in findings if each["check"] == "drills"]


@contextmanager
def _halted(server: Container) -> Iterator[subprocess.Popen[str]]:
    """A manual drill that hangs in its last check; its client is ended after the block."""
    _put(server, "90_wait.sql", "SELECT pg_sleep(600)")
    command = ("docker", "exec", server.name, "entrypoint", "backup", "drill")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        waits = "SELECT 1 FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'"
        asked = ("psql", "--host", SOCKETS, "-U", "postgres", "-Atc", waits)
        containers.until(lambda: server.exec(*asked, check=False).stdout == "1\n", "a drill runs", 60)
        try:
            yield client
        finally:
            client.kill()


@pytest.mark.parametrize("archive", PLACES, indirect=True)
def test_a_good_drill_reports_its_figures_and_leaves_no_trace(archive: Archive) -> None:
    """It restores everything up to the end of the archive; the server, its data and its archive do not change."""
    with _serve(archive, {"10_rows.sql": ONE_ROW, "20_more.sql": "CREATE TABLE more ()"}) as server:
        server.sql("SELECT pg_switch_wal()")
        began, before = server.sql("SELECT pg_postmaster_start_time()"), archive.digest()
        drill = json.loads(_backup(server, "drill", "--json").stdout)
        (backup,) = json.loads(_backup(server, "list", "--json").stdout)
        assert ("ok", "command", backup["name"]) == (drill["outcome"], drill["why"], drill["backup"])
        assert ["pg_amcheck", "10_rows.sql", "20_more.sql"] == drill["checks"]
        assert backup["finished"] <= drill["last_transaction"] <= drill["started"]
        assert drill["bytes"] > 20 * 1024**2
        parts = [drill[f"{part}_seconds"] for part in ("fetch", "replay", "check")]
        assert min(parts) > 0
        assert sum(parts) <= drill["seconds"] + 0.2
        assert "" == server.shell(LEFT)
        assert before == archive.digest()
        assert began == server.sql("SELECT pg_postmaster_start_time()")
        assert "" == server.sql("SELECT relname FROM pg_class WHERE relname = 'more'")
        _add_row(server)
        assert drill == _drills(server)["success"]
        assert f"  {backup['name']}, " in _backup(server, "list").stdout
        assert [f"ok: the last good one was {drill['started']}"] == _doctor(server)
        # A container next to the server, which has no cluster and remembers nothing.
        told = archive.run({}, "backup", "drill", timeout=120)
        assert (0, True) == (told.code, told.stdout.startswith(backup["name"])), told.output


def test_a_check_that_fails_fails_the_drill(archive: Archive) -> None:
    """Every report has psql's output; the last good drill is still known; other files do not run."""
    files = {"10_rows.sql": ONE_ROW, "20_not.txt": "SELECT 1 / 0"}
    with _serve(archive, files) as server:
        good = json.loads(_backup(server, "drill", "--json").stdout)
        _add_row(server)
        failed = _backup(server, "drill", check=False)
        assert 1 == failed.code
        (told,) = containers.complaints(failed)
        assert "the restored copy failed 10_rows.sql" in told
        assert "division by zero" in told
        last = _drills(server)
        assert (good, "failed", None) == (last["success"], last["failure"]["outcome"], last["running"])
        assert "division by zero" in last["failure"]["words"]
        assert "division by zero" in _backup(server, "list").stdout
        assert "drill failed" in server.exec("entrypoint", "status").stdout
        (finding,) = _doctor(server)
        assert finding.startswith("warning: ")
        assert f"the last good one was {good['started']}" in finding
        assert "" == server.shell(LEFT)


def test_a_damaged_backup_fails_the_drill(archive: Archive) -> None:
    """The report has the tool's output."""
    with _serve(archive, {}) as server:
        where = (
            "backup/main/*F/bundle/1"
            if archive.tool == "pgbackrest"
            else "basebackups_005/*/tar_partitions/*"
        )
        containers.in_volume(
            archive.volume, f"for f in {where}; do truncate -s $(($(stat -c %s $f) / 2)) $f; done"
        )
        failed = _backup(server, "drill", check=False)
        assert 12 == failed.code, failed.output
        (told,) = containers.complaints(failed)
        assert f"{archive.tool} could not fetch backup" in told
        words = _drills(server)["failure"]["words"]
        assert f"{archive.tool} could not fetch backup" in words
        assert "ERROR" in words
        assert "" == server.shell(LEFT)


def test_a_drill_that_cannot_work_is_refused_first(archive: Archive) -> None:
    """The reasons: too little room, with figures; tablespaces; a folder below the data; no backup; no archive."""
    small = ("--tmpfs", "/drill:size=10m,mode=1777")
    with archive.create({**FRESH, "DRILL_FOLDER": "/drill"}, options=small) as server:
        server.begin()
        server.ready()
        (told,) = containers.complaints(_backup(server, "drill", check=False))
        assert "holds no backup" in told
        _backup(server, "push")
        (told,) = containers.complaints(_backup(server, "drill", check=False))
        assert " MiB are free for it on /drill" in told
        assert "set DRILL_FOLDER" in told
        assert "" == server.shell("ls -A /drill")
        server.shell("install -d -o postgres /space", user="0")
        server.sql("CREATE TABLESPACE space LOCATION '/space'")
        (told,) = containers.complaints(_backup(server, "drill", check=False))
        assert "tablespaces" in told
        inside = {"DRILL_FOLDER": f"{containers.data_folder()}/drill"}
        failed = server.exec("entrypoint", "backup", "drill", env=inside, check=False)
        (told,) = containers.complaints(failed)
        assert "is in the data folder" in told
    (told,) = containers.complaints(containers.run("backup", "drill"))
    assert "no archive is set" in told


def test_a_running_drill_disturbs_nobody(archive: Archive) -> None:
    """Its server is niced and closed and archives nothing; no backup is taken meanwhile; a stop ends it."""
    with _serve(archive, {}) as server:
        with _halted(server):
            shown = "archive_mode listen_addresses port hot_standby fsync".split()
            query = " || '|' || ".join(f"current_setting('{name}')" for name in shown)
            asked = ("psql", "--host", SOCKETS, "-U", "postgres", "-Atc", f"SELECT {query}")
            assert "off||5432|off|off\n" == server.exec(*asked).stdout
            assert 0 != server.exec(*asked, user="nobody", check=False).code
            pid = server.shell(f"head -n 1 {SCRATCH}/cluster/postmaster.pid")
            assert "10" == server.shell(f"cut -d ' ' -f 19 /proc/{pid}/stat")
            waiting = server.exec("timeout", "3", "entrypoint", "backup", "push", check=False)
            assert "waiting for another job to finish: a manual drill" in waiting.output
            began = time.monotonic()
            assert 0 == server.stop()
            assert time.monotonic() - began < 8
        server.again()
        assert "" == server.shell(LEFT)
        last = _drills(server)
        assert (None, None, None) == (last["success"], last["failure"], last["running"])


def test_a_killed_drill_leaves_nothing_for_long(archive: Archive) -> None:
    """Its server ends with it; the next drill removes the files, or the next start if the container was killed."""
    with _serve(archive, {"10_rows.sql": ONE_ROW}) as server:
        with _halted(server):
            before = server.postmaster()
            assert "" != server.shell(SERVER)
            server.shell(f"kill -KILL $({_find('[^ ]*python[^ ]* .*entrypoint backup drill')})", user="0")
            containers.until(lambda: server.shell(SERVER) == "", "the end of its server", 10)
        assert "entrypoint.drill" in server.shell(LEFT)
        server.shell(f"rm {SQL}/90_wait.sql", user="0")
        assert 0 == _backup(server, "drill").code
        assert "" == server.shell(LEFT)
        text = server.shell('cat "$PGDATA/entrypoint.drills"')
        assert ["interrupted", "ok"] == [json.loads(line)["outcome"] for line in text.splitlines()]
        assert before == server.postmaster()
        with _halted(server):
            server.kill()
            server.wait()
        server.again()
        assert "" == server.shell(LEFT)
        assert "interrupted" == _drills(server)["failure"]["outcome"]


_SECRETS: Mapping[str, Mapping[str, str]] = {
    "pgbackrest": {
        "PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc",
        "PGBACKREST_REPO1_CIPHER_PASS": "quite secret",
    },
    "wal-g": {},  # not every build of wal-g can encrypt
}


def test_drills_run_on_a_schedule(archive: Archive) -> None:
    """DRILL_SCHEDULE starts them after the first backup, even if only PID 1 has the archive's key."""
    schedules = {"BACKUP_SCHEDULE": YEARLY, "DRILL_SCHEDULE": "* * * * *"}
    with archive.serve({**FRESH, **schedules, **_SECRETS[archive.tool]}) as server:
        status = json.loads(server.exec("entrypoint", "status", "--json").stdout)
        assert {"backups", "drills"} <= {each["role"] for each in status["helpers"]}
        containers.until(lambda: _drills(server)["success"] is not None, "a drill", 150)
        last = _drills(server)
        assert ("schedule", None) == (last["success"]["why"], last["failure"])
        assert "" == server.shell(LEFT)
        assert "ok: the last good one was" in _doctor(server)[0]
