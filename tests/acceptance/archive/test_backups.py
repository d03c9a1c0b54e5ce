"""Base backups: manual and scheduled, verified, retained and remembered; for each archiver."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import archives
import containers
from archives import LATEST, PLACES, Archive
from containers import FRESH, Container, Outcome

DATA = containers.data_folder()
YEARLY = "0 0 1 1 *"
FIELDS = {
    "name", "kind", "started", "finished", "size_bytes", "start_lsn", "stop_lsn", "permanent", "system_identifier",
}  # fmt: skip

#: Prints the processes of the archiver that takes a backup, the first one first.
_FIND = r"""
for folder in /proc/[0-9]*; do
    tr '\0' ' ' 2>/dev/null <$folder/cmdline | grep -qE '^(wal-g backup-push|pgbackrest .*backup(:local)? )' && echo ${folder#/proc/}
done | sort -n
"""


@contextmanager
def _serve(archive: Archive, **env: str) -> Iterator[Container]:
    with archive.serve({**FRESH, **env}) as server:
        server.sql("CREATE TABLE kept (i int)")
        yield server


def _backup(server: Container, *words: str, user: str = "", check: bool = True) -> Outcome:
    return server.exec("entrypoint", "backup", *words, user=user, check=check, timeout=120)


def _push(server: Container, *words: str) -> dict[str, Any]:
    """Take a backup with one more row in it, and return it."""
    server.sql("INSERT INTO kept VALUES (1)")
    (backup,) = json.loads(_backup(server, "push", "--json", *words).stdout)
    return dict(backup)


def _listed(server: Container) -> list[dict[str, Any]]:
    return list(json.loads(_backup(server, "list", "--json").stdout))


def _names(server: Container) -> list[str]:
    return [backup["name"] for backup in _listed(server)]


def _runs(server: Container) -> list[dict[str, Any]]:
    text = server.shell(f"cat {DATA}/entrypoint.backups 2>/dev/null || true")
    return [json.loads(line) for line in text.splitlines()]


def _ended(server: Container) -> list[str]:
    return [run["outcome"] for run in _runs(server) if run["outcome"] != "running"]


def _wal(archive: Archive) -> set[str]:
    """Return the names of the segments in an archive."""
    paths = (path for path in archive.digest() if "wal_005/" in path or "archive/" in path)
    return {
        found[0] for path in paths if (found := re.match(r"[0-9A-F]{24}(?=-|\.lz4)", path.rpartition("/")[2]))
    }


def _segment(backup: dict[str, Any], *, end: bool = False) -> int:
    """Return the number of the segment in which a backup begins or ends."""
    high, low = backup["stop_lsn" if end else "start_lsn"].split("/")
    return ((int(high, 16) << 32) + int(low, 16) - end) >> 24


def _name(number: int) -> str:
    return f"00000001{number >> 8:08X}{number & 255:08X}"


def _lose(archive: Archive, segment: str) -> None:
    containers.in_volume(archive.volume, f"rm $(find . -name '{segment}[-.]*' ! -name '*.backup*')")


@contextmanager
def _halted(server: Container, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Take a manual backup and stop its archiver for the duration of a block; it continues afterwards."""
    command = ("docker", "exec", server.name, "entrypoint", "backup", *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        found = server.shell(
            f'for _ in $(seq 500); do pids=$({_FIND}); [ -z "$pids" ] || break; done; kill -STOP $pids; echo $pids'
        )
        assert found, "no archiver was seen"
        try:
            yield client
        finally:
            server.shell(f"kill -CONT $({_FIND}) || true")
            client.wait(60)


@pytest.mark.parametrize("place", PLACES[2:])
def test_every_command_has_the_same_fields_for_both_tools(
    place: tuple[str, str], request: pytest.FixtureRequest
) -> None:
    """As root and as postgres, push, list, show, verify, mark and expire answer in JSON."""
    tool, storage = place
    with (
        archives.made(tool, request.getfixturevalue("s3_server") if storage == "s3" else None) as archive,
        _serve(archive, BACKUP_RETAIN_FULL="2") as server,
    ):
        first = _push(server)
        second = _push(server, "--incremental")
        assert FIELDS <= set(first)
        assert ["full", "incremental"] == [first["kind"], second["kind"]]
        assert first["name"] == second["parent"]
        for user in ("root", "postgres"):
            listed = json.loads(_backup(server, "list", "--json", user=user).stdout)
            assert [first, second] == listed
        shown = json.loads(_backup(server, "show", "--json", first["name"]).stdout)
        assert first == {field: shown[field] for field in first}
        assert ([second["name"]], "ok") == (shown["built_on_it"], shown["run"]["outcome"])
        verified = json.loads(_backup(server, "verify", "--json").stdout)
        assert 0 < verified.pop("read_files") < verified.pop("read_bytes")
        assert {"sound": True, "holes": [], "broken": {}, "given_up": [], "backups": 2} == verified
        (marked,) = json.loads(_backup(server, "mark", "--json", first["name"]).stdout)
        assert {**first, "permanent": True} == marked
        (marked,) = json.loads(_backup(server, "mark", "--json", "--undo", first["name"]).stdout)
        assert first == marked
        expired = json.loads(_backup(server, "expire", "--json", "--dry-run").stdout)
        assert (True, [], [first["name"], second["name"]]) == (
            expired["dry_run"],
            expired["removed"],
            list(expired["kept"]),
        )


def test_a_backup_of_each_kind_can_be_restored(archive: Archive) -> None:
    """The backups that retention keeps restore every row, from the newest backup, an incremental one."""
    with _serve(archive, BACKUP_RETAIN_FULL="1") as server:
        for words in ((), (), ("--incremental",)):
            _push(server, *words)
        assert ["full", "incremental"] == [backup["kind"] for backup in _listed(server)]
        server.sql("INSERT INTO kept VALUES (1)")
        assert 0 == server.stop()
    with archive.serve(LATEST) as restored:
        assert "4" == restored.sql("SELECT count(*) FROM kept")


def test_the_first_backup_is_taken_right_after_the_first_start(archive: Archive) -> None:
    """A schedule does not delay it until its first moment; a restart does not take another one."""
    with _serve(archive, BACKUP_SCHEDULE=YEARLY) as server:
        containers.until(lambda: _ended(server) == ["ok"], "the first backup", 60)
        assert ["schedule"] == [run["why"] for run in _runs(server)]
        assert 0 == server.stop()
        server.again()
        containers.until(lambda: _waits(server), "the schedule was read")
        assert 1 == len(_names(server))


def _waits(server: Container) -> bool:
    status = json.loads(server.exec("entrypoint", "status", "--json").stdout)
    return [("waiting", 0)] == [
        (each["state"], each["failures"]) for each in status["helpers"] if each["role"] == "backups"
    ]


def test_without_a_schedule_nothing_is_taken(archive: Archive) -> None:
    """Retention alone takes no backups; it follows each `backup push`."""
    with _serve(archive, BACKUP_RETAIN_FULL="1") as server:
        status = json.loads(server.exec("entrypoint", "status", "--json").stdout)
        assert [] == [each for each in status["helpers"] if each["role"] == "backups"]
        _push(server)
        second = _push(server)
        assert [second["name"]] == _names(server)


def test_backups_follow_the_schedule_and_retention_follows_them(archive: Archive) -> None:
    """An incremental backup follows each full one; older sets go, with the WAL that they needed."""
    every_second = "* * * * * *"
    with _serve(
        archive, BACKUP_SCHEDULE=every_second, BACKUP_INCREMENTALS="1", BACKUP_RETAIN_FULL="1"
    ) as server:
        containers.until(lambda: len(_ended(server)) >= 3, "three runs", 90)
        assert {"ok"} == set(_ended(server))
        kinds = [run["kind"] for run in _runs(server)]
        assert ["full", "incremental", "full"] == kinds[:3]
        containers.until(lambda: min(_wal(archive)) > _name(2), "WAL of the first set is gone")
        assert 0 == server.stop()


def test_a_missed_run_is_made_up_once_after_downtime(archive: Archive) -> None:
    """Moments that passed while nothing ran lead to one backup at the next start."""
    with _serve(archive, BACKUP_SCHEDULE=YEARLY) as server:
        containers.until(lambda: _ended(server) == ["ok"], "the first backup", 60)
        assert 0 == server.stop()
        beside = ("--volumes-from", server.name, "--entrypoint", "bash", "--user", "0")
        assert 0 == containers.run("-c", _AGE, options=beside).code
        server.again()
        containers.until(lambda: _ended(server) == ["ok", "ok"], "the missed backup", 60)
        containers.until(lambda: _waits(server), "the schedule was read")
        assert 2 == len(_names(server))


def test_a_failed_run_is_remembered_with_the_tools_output_and_tried_again_later(archive: Archive) -> None:
    """It is not tried at once or after a restart; `list` shows the time, duration, outcome and output."""
    with _serve(archive) as server:
        folder = {"wal-g": "basebackups_005", "pgbackrest": "backup/main"}[archive.tool]
        _push(server)
        names = _names(server)
        server.shell(f"chmod 500 /archive/{folder}")
        failed = _backup(server, "push", check=False)
        assert 12 == failed.code
        assert "ermission denied" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert 0 == server.stop()
        server.again()
        listed = _backup(server, "list").stdout
        assert re.search(r"command +full +\d+ .*failed +.*ermission denied", listed), listed
        assert names == _names(server)
        server.shell(f"chmod 700 /archive/{folder}")
        assert 2 == len(names) + len([_push(server)])


def test_the_schedule_waits_after_a_failure(archive: Archive) -> None:
    """A failed run is reported and tried again a minute later, not at once; a restart changes nothing."""
    folder = {"wal-g": "basebackups_005", "pgbackrest": "backup/main"}[archive.tool]
    with _serve(archive) as server:
        _push(server)
        server.shell(f"chmod 500 /archive/{folder}")
        server.shell(_AGE)
        run = ("entrypoint", "internal", "backups")
        env = {"BACKUP_SCHEDULE": YEARLY}
        failed = server.exec(*run, env=env, timeout=60)
        assert "could not take the backup" in failed.stderr
        assert ["ok", "failed"] == _ended(server)
        assert 50 < int(server.shell("cat /run/entrypoint/next-backups")) <= 61
        assert "" == server.exec(*run, env=env).output
        assert ["ok", "failed"] == _ended(server)
        server.shell(f"chmod 700 /archive/{folder}; {_AGE}")
        server.exec(*run, env=env, timeout=60)
        assert ["ok", "failed", "ok"] == _ended(server)


_AGE = f"""sed -i 's/"started": "20[0-9][0-9]-/"started": "2020-/' {DATA}/entrypoint.backups"""
"""Makes every remembered run years old."""


def test_a_second_backup_waits_and_says_for_which_one(archive: Archive) -> None:
    """It names the running backup and its start; both backups are there afterwards."""
    with _serve(archive) as server, _halted(server, "push") as first:
        command = ("docker", "exec", server.name, "entrypoint", "backup", "push")
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as second:
            assert second.stderr is not None
            told = second.stderr.readline()
            assert re.search(
                r"waiting for another job to finish: a manual backup \(full\) since 20\S+ \(pid \d+\)", told
            ), told
            server.shell(f"kill -CONT $({_FIND})")
            assert (0, 0) == (first.wait(60), second.wait(60))
        assert 2 == len(_names(server))


def test_a_backup_is_gentle(archive: Archive) -> None:
    """Its processes are niced; it has as many workers as the container has processors, but at most four."""
    options = ("--cpus", "1", *containers.LOOK_INSIDE)
    with archive.serve(FRESH, options=options) as server, _halted(server, "push"):
        pid = int(server.shell(_FIND).splitlines()[0])
        assert "10" == server.shell(f"cut -d ' ' -f 19 /proc/{pid}/stat")
        assert "best-effort: prio 7" == server.shell(f"ionice -p {pid}", user="0")
        if archive.tool == "wal-g":
            environ = server.environ(pid)
            assert ("1", "1") == (environ["GOMAXPROCS"], environ["WALG_UPLOAD_DISK_CONCURRENCY"])
        else:
            assert "--process-max=1" in server.shell(f"tr '\\0' '\\n' </proc/{pid}/cmdline")


@pytest.mark.walg
def test_the_rate_is_limited() -> None:
    """With wal-g, 20 MB at 8 MB per second take two seconds."""
    with archives.made("wal-g", None) as archive, _serve(archive, BACKUP_RATE_LIMIT="8MB") as server:
        _push(server)
        assert 1.5 < _runs(server)[-1]["seconds"]


def test_a_rate_limit_that_the_tool_lacks_is_reported() -> None:
    """With pgBackRest, which has none, one line says so, and the backup is taken."""
    with archives.made("pgbackrest", None) as archive, _serve(archive, BACKUP_RATE_LIMIT="8MB") as server:
        pushed = _backup(server, "push")
        assert 1 == pushed.stderr.count("BACKUP_RATE_LIMIT has no effect")


def test_a_backup_has_a_deadline(archive: Archive) -> None:
    """After BACKUP_TIMEOUT, the archiver and its workers are gone, and the run has failed."""
    with _serve(archive, BACKUP_TIMEOUT="1") as server:
        with _halted(server, "push") as client:
            assert 12 == client.wait(30)
            assert client.stdout is not None
            assert "it was stopped after 1 seconds (BACKUP_TIMEOUT)" in client.stdout.read()
            assert "" == server.shell(_FIND + "true")
        assert ["failed"] == _ended(server)


def test_progress_is_a_bar_on_a_terminal(archive: Archive) -> None:
    """With `docker exec --tty`, a bar with bytes and speed is drawn; without a terminal there is none."""
    # wal-g alone would have read everything before the first look.
    with _serve(archive, BACKUP_RATE_LIMIT="16MB") as server:
        drawn = containers.docker("exec", "--tty", server.name, "entrypoint", "backup", "push").output
        assert re.search(r"\r\[#*\.*\] \d+ %, [\d.]+ [KMG]iB of [\d.]+ [KMG]iB, [\d.]+ [KMG]iB/s", drawn), (
            drawn
        )
        assert "[#" not in _backup(server, "push").output


def test_a_stop_ends_a_backup_in_order(archive: Archive) -> None:
    """After SIGINT during a scheduled backup, the backup ends cleanly, and the next start takes it at once."""
    env = {**FRESH, **archive.env(), "BACKUP_SCHEDULE": YEARLY}
    with containers.create(env=env, volumes={"/archive": archive.volume}) as server:
        server.begin()
        server.says("taking a full backup")
        assert 0 == server.stop()
        assert "SIGKILL" not in server.logs().output
        server.again()
        containers.until(lambda: _ended(server)[-1:] == ["ok"], "the backup", 60)
        assert _ended(server) in (["stopped", "ok"], ["ok"])


def test_a_missing_segment_leads_to_a_new_full_backup_and_is_reported_until_it_expires(
    archive: Archive,
) -> None:
    """The next backup finds it, whatever its exit code; the report ends with the last older backup."""
    with _serve(archive, BACKUP_RETAIN_FULL="2") as server:
        first = _push(server)
        server.sql("SELECT pg_switch_wal()")
        server.sql("INSERT INTO kept VALUES (1); SELECT pg_switch_wal()")
        lost = _name(_segment(first, end=True) + 1)
        containers.until(lambda: lost in _wal(archive), "the segment is archived")
        _lose(archive, lost)
        pushed = _backup(server, "push", "--incremental")
        assert f"missing from the archive: {lost}" in pushed.stderr
        assert ["full", "incremental", "full"] == [run["kind"] for run in _runs(server)]
        assert "hole" == _runs(server)[-1]["why"]
        checked = _backup(server, "verify", "--json", check=False)
        assert (1, [[lost, lost]]) == (checked.code, json.loads(checked.stdout)["holes"])
        # It is reported, but no new backup is needed: there is a newer full one.
        assert lost in _backup(server, "push", "--incremental").stderr
        assert "incremental" == _runs(server)[-1]["kind"]
        _push(server)
        assert first["name"] not in _names(server)
        assert 0 == _backup(server, "verify").code


def test_retention_does_not_count_a_backup_without_its_own_wal() -> None:
    """The `verify` of pgBackRest does not notice it; the last backup that can be restored stays."""
    with (
        archives.made("pgbackrest", None) as archive,
        _serve(archive, BACKUP_RETAIN_FULL="1", BACKUP_VERIFY="names") as server,
    ):
        good = _push(server)
        server.sql("SELECT pg_switch_wal()")
        env = {"BACKUP_RETAIN_FULL": "5"}
        bad = json.loads(server.exec("entrypoint", "backup", "push", "--json", env=env, timeout=60).stdout)[0]
        _lose(archive, _name(_segment(bad)))
        checked = _backup(server, "verify", "--json", check=False)
        assert [bad["name"]] == list(json.loads(checked.stdout)["broken"])
        # The next backup finds it too: no incremental backup builds on it, and retention does not count it.
        env = {"BACKUP_RETAIN_FULL": "2"}
        server.exec("entrypoint", "backup", "push", env=env, timeout=60)
        assert good["name"] in _names(server)


def test_damage_is_found_by_reading() -> None:
    """A backup with a changed file does not restore; `names` does not read the files."""
    with archives.made("pgbackrest", None) as archive, _serve(archive) as server:
        backup = _push(server)
        # Only what is newer is read again at once, and the second of the write might still be that of the backup.
        change = (
            "it=$(find . -path '*F/bundle/1'); printf xx | dd bs=1 seek=1000 conv=notrunc status=none of=$it"
        )
        containers.in_volume(archive.volume, f"{change}; touch -d '1 minute' $it")
        looked = server.exec("entrypoint", "backup", "verify", env={"BACKUP_VERIFY": "names"}, timeout=60)
        assert "nothing is wrong" in looked.stdout
        read = _backup(server, "verify", check=False)
        assert (1, True) == (read.code, f"backup {backup['name']} cannot be restored" in read.stdout), (
            read.output
        )
        # No incremental backup can build on the damaged one: a new full one follows, once.
        _push(server, "--incremental")
        assert "full" == _listed(server)[-1]["kind"]
        _push(server, "--incremental")
        assert "incremental" == _listed(server)[-1]["kind"]
        assert "its checksum differs" in _backup(server, "list").stdout


def test_expire_removes_what_the_dry_run_has_shown(archive: Archive) -> None:
    """`--dry-run` changes no byte; without it the shown backups go, and each remaining one has a reason."""
    with _serve(archive) as server:
        backups = [_push(server) for _ in range(3)]
        env = {"BACKUP_RETAIN_FULL": "1"}
        before = archive.digest()
        told = json.loads(
            server.exec("entrypoint", "backup", "expire", "--dry-run", "--json", env=env).stdout
        )
        assert before == archive.digest()
        assert [backup["name"] for backup in backups[:2]] == told["removed"]
        assert [backups[2]["name"]] == list(told["kept"])
        done = json.loads(server.exec("entrypoint", "backup", "expire", "--json", env=env).stdout)
        assert told["removed"] == done["removed"]
        assert [backups[2]["name"]] == _names(server)
        assert _name(_segment(backups[2])) == min(_wal(archive))
        refused = _backup(server, "expire", check=False)
        assert "BACKUP_RETAIN_FULL" in containers.complaints(refused)[0]


def test_a_permanent_backup_stays_with_what_it_needs(archive: Archive) -> None:
    """Retention keeps the backup and its own WAL but no other WAL, and the backup can be restored."""
    with _serve(archive, BACKUP_RETAIN_FULL="1") as server:
        kept = _push(server)
        _backup(server, "mark", kept["name"])
        server.sql("SELECT pg_switch_wal()")
        last = _push(server)
        assert [kept["name"], last["name"]] == _names(server)
        wal = {_name(number) for number in range(_segment(kept), _segment(kept, end=True) + 1)}
        assert wal == {segment for segment in _wal(archive) if segment < _name(_segment(last))}
        assert 0 == _backup(server, "verify").code
        assert 0 == server.stop()
    # The WAL after it is gone, so there is nothing to replay after its end.
    with archive.serve({"RESTORE_FROM": kept["name"], "RESTORE_TARGET": "immediate"}) as restored:
        assert "1" == restored.sql("SELECT count(*) FROM kept")


def test_an_incremental_backup_on_a_permanent_one(archive: Archive) -> None:
    """With wal-g a full backup is taken instead; pgBackRest builds on it, and what it needs stays."""
    with _serve(archive, BACKUP_RETAIN_FULL="1") as server:
        first = _push(server)
        _backup(server, "mark", first["name"])
        second = _push(server, "--incremental")
        assert {"wal-g": "full", "pgbackrest": "incremental"}[archive.tool] == second["kind"]
        third = _push(server)
        assert [first["name"], third["name"]] == _names(server)


def test_a_backup_is_refused_with_its_reason(archive: Archive) -> None:
    """Without a server, on a standby, and while archiving fails, there is one message with a hint."""
    with _serve(archive) as server:
        _push(server)
        folder = {"wal-g": "wal_005", "pgbackrest": "archive"}[archive.tool]
        server.shell(f"chmod -R a-w /archive/{folder}")
        server.sql("INSERT INTO kept VALUES (1); SELECT pg_switch_wal()")
        containers.until(
            lambda: server.shell("ls /run/entrypoint").find("archive-failing") >= 0, "archiving fails"
        )
        assert (
            "archiving to file:///archive fails"
            in containers.complaints(_backup(server, "push", check=False))[0]
        )
        server.shell(f"chmod -R u+w /archive/{folder}")
        containers.until(
            lambda: server.shell("ls /run/entrypoint").find("archive-failing") < 0, "archiving works", 60
        )
        server.shell(f"touch {DATA}/standby.signal")
        assert 0 == server.stop()
        server.begin()
        server.says("ready to accept read-only connections")
        assert "the server is in recovery" in containers.complaints(_backup(server, "push", check=False))[0]
        assert 1 == len(_names(server))
    alone = archive.run(None, "backup", "push")
    assert "no server accepts connections" in containers.complaints(alone)[0]
    alone = archive.run(None, "backup", "list", "--json")
    assert 1 == len(json.loads(alone.stdout))
    assert "1 backups and their WAL: nothing is wrong" in archive.run(None, "backup", "verify").stdout


POINTS = [
    pytest.param([3, 9, 15], id="3 points"),
    pytest.param(list(range(20)), id="20 points", marks=pytest.mark.long),
]


@pytest.mark.parametrize("points", POINTS)
def test_a_killed_backup_leaves_nothing_behind(archive: Archive, points: list[int]) -> None:
    """After SIGKILL at several points of a backup, the next one works, and every row is restored.

    No session or lock is left, the backup is remembered as interrupted, and its remains are removed.
    """
    with _serve(archive, BACKUP_RETAIN_FULL="1") as server:
        _push(server)
        seconds = _runs(server)[-1]["seconds"]
        for point in points:
            server.sql("INSERT INTO kept VALUES (1)")
            command = ("docker", "exec", server.name, "entrypoint", "backup", "push")
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
                containers.until(
                    lambda: server.shell("ls /run/entrypoint").find("backup.lock") >= 0, "it runs"
                )
                time.sleep(seconds * point / 20)  # the point of the sweep
                server.shell(_KILL, user="0")
                client.wait(30)
            containers.until(lambda: server.sql(_SESSIONS) == "0", "no session is left")
        # A file that was only half written at the kill is recognized by its age.
        containers.in_volume(archive.volume, "find . -name '*.tmp.*' -exec touch -d '2 days ago' {} +")
        _push(server)
        last = json.loads((pushed := _backup(server, "push", "--json")).stdout)[0]
        assert "error" not in pushed.stderr
        assert {"ok", "interrupted", "failed"} >= set(_ended(server))
        assert [last["name"]] == _names(server)
        place = {"wal-g": "basebackups_005", "pgbackrest": "backup/main"}[archive.tool]
        files = containers.in_volume(
            archive.volume, f"find {place} -mindepth 2 -type f ! -path '*history*'"
        ).split()
        assert {last["name"]} == {path.removeprefix(f"{place}/").split("/")[0] for path in files}, files
        server.sql("INSERT INTO kept VALUES (1)")
        assert 0 == server.stop()
    with archive.serve(LATEST) as restored:
        assert str(3 + len(points)) == restored.sql("SELECT count(*) FROM kept")


_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~* 'wal-g|pgbackrest'"
_KILL = r"""
for folder in /proc/[0-9]*; do
    tr '\0' ' ' 2>/dev/null <$folder/cmdline | grep -qE '([b]ackup push|^wal-g backup-push|^pgbackrest .*backup)' && kill -9 ${folder#/proc/}
done; true
"""
