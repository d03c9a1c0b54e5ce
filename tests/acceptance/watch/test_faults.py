"""What is broken is seen by everybody: a message, a ping, a metric, the page, the log and /status.json; and so is its end."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

import archives
import disks
import s3
from containers import FRESH, Container, data_folder, in_volume, small_volume, until, volume
from sinks import Web, web

_TOKEN = "token-wfkd7z"
_PASSWORD = "geheim-31"
_KEYS = {"PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc", "PGBACKREST_REPO1_CIPHER_PASS": "archive-key-5k"}
_OTHER_KEY = "another-key-9x"
_SECRETS = (
    _TOKEN,
    _PASSWORD,
    _KEYS["PGBACKREST_REPO1_CIPHER_PASS"],
    _OTHER_KEY,
    "notify-key-3j",
    "beat-key-8h",
    "backup-key-2m",
    "drill-key-6t",
)
_PATIENCE = 45


class Watched(NamedTuple):
    """A server that is watched, and where its messages go."""

    server: Container
    sink: Web
    archive: archives.Archive

    def ask(self, path: str) -> str:
        """What is served at a path."""
        request = urllib.request.Request(
            f"http://{self.server.address}:9187{path}", headers={"Authorization": f"Bearer {_TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: str = answer.read().decode()
        return found

    def status(self) -> dict[str, Any]:
        """What /status.json says."""
        found: dict[str, Any] = json.loads(self.ask("/status.json"))
        return found

    def conditions(self) -> dict[str, str]:
        """The level of each condition."""
        return {each["check"]: each["level"] for each in self.status()["conditions"]}

    def messages(self, name: str, level: str = "") -> list[str]:
        """The titles and bodies of the messages about a check, of one level or of all; `ended` is one as well."""
        found = [each for each in self.sink.messages() if f"{level.upper()} {name}: " in each["title"]]
        return [f"{each['title']}\n{each['message']}" for each in found]

    def log(self, name: str) -> list[dict[str, Any]]:
        """The lines of the watch in the log that begin with a name."""
        lines = [json.loads(line) for line in self.server.logs().stderr.splitlines()]
        return [each for each in lines if each["source"] == "watch" and each["msg"].startswith(f"{name}: ")]

    def metric(self, name: str) -> float | None:
        """The value of a metric; None: it is absent."""
        for line in self.ask("/metrics").splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return None

    @contextmanager
    def seen(self, name: str, level: str, words: str) -> Iterator[None]:
        """See a condition that the test has caused in every face; after the block, see its end in every face."""
        until(lambda: self.conditions().get(name) == level, f"{name} is in /status.json", _PATIENCE)
        until(lambda: len(self.messages(name, level)) == 1, f"a message about {name}", _PATIENCE)
        assert words in self.messages(name, level)[0]
        assert (self.metric(f'nixpg_doctor_findings{{level="{level}"}}') or 0) >= 1
        assert words in _unescaped(self.ask("/"))
        assert words in self.log(name)[-1]["msg"]
        if level == "error":
            until(lambda: "/beat/fail" in self.sink.pings(), "the heartbeat says so", _PATIENCE)
        yield
        until(lambda: name not in self.conditions(), f"{name} has ended", 2 * _PATIENCE)
        until(lambda: bool(self.messages(name, "ended")), f"a message about the end of {name}", _PATIENCE)
        assert 1 == len(self.messages(name, level))
        until(lambda: "info" == self.log(name)[-1]["level"], "its end is in the log", _PATIENCE)
        self.is_well(3 * _PATIENCE)
        self.settled()
        self.sink.taken.clear()
        until(lambda: "/beat" in self.sink.pings() or self._fills(), "the heartbeat is back", _PATIENCE)

    def is_well(self, seconds: float) -> None:
        """Wait until nothing is wrong. Other tests fill the machine's disk: its forecast is not counted."""

        def wrong() -> list[dict[str, Any]]:
            return [each for each in self.status()["conditions"] if each["check"] != "free space"]

        try:
            until(lambda: not wrong(), "all is well", seconds)
        except AssertionError:
            assert [] == wrong()

    def _fills(self) -> bool:
        """Whether other tests fill the machine's disk, so that the heartbeat must report an error."""
        return self.conditions().get("free space") == "error"

    def settled(self) -> None:
        """Wait until no message is on its way: it would be sent again after a kill."""
        until(lambda: self.status()["unsent_messages"] == 0, "everything is sent", _PATIENCE)

    def happened(self, name: str, words: str) -> None:
        """See something that just happened in every face."""
        until(lambda: len(self.messages(name)) == 1, f"a message about {name}", _PATIENCE)
        assert words in self.messages(name)[0]
        assert words in _unescaped(self.ask("/"))
        assert words in json.dumps(self.status()["events"])
        assert 1 == len(self.log(name))


def _unescaped(text: str) -> str:
    return text.replace("&#39;", "'").replace("&#34;", '"').replace("&amp;", "&").replace("&gt;", ">")


def _environment(to: Web, **more: str) -> dict[str, str]:
    return {
        **FRESH,
        "POSTGRES_PASSWORD": _PASSWORD,
        "ARCHIVE_TIMEOUT": "2s",
        "POSTGRES_CONF_max_wal_size": "64MB",
        "POSTGRES_CONF_min_wal_size": "32MB",
        "WATCH_INTERVAL": "1",
        "STATUS_LISTEN": ":9187",
        "STATUS_TOKEN": _TOKEN,
        "STATUS_LOG_FORMAT": "json",
        "NOTIFY_URLS": f"json://shop:notify-key-3j@{to.place}/messages",
        "NOTIFY_LEVEL": "warning",
        "NOTIFY_HEARTBEAT_URL": f"http://{to.place}/beat?key=beat-key-8h",
        "NOTIFY_HEARTBEAT_INTERVAL": "1",
        "BACKUP_PING_URL": f"http://{to.place}/backup?key=backup-key-2m",
        "DRILL_PING_URL": f"http://{to.place}/drill?key=drill-key-6t",
        **more,
    }


@contextmanager
def _watched(archive: archives.Archive, to: Web, data: str, **more: str) -> Iterator[Watched]:
    environment = _environment(to, DRILL_FOLDER="/var/lib/postgresql/drill", **more)
    with archive.serve(environment, volumes={data_folder(): data}) as server:
        watched = Watched(server, to, archive)
        server.exec("entrypoint", "backup", "push", timeout=60)
        until(lambda: bool(watched.status()["all_checked_at"]), "all checks are made", _PATIENCE)
        watched.is_well(_PATIENCE)
        to.taken.clear()
        yield watched
        _keeps_secrets(watched)


def _keeps_secrets(watched: Watched) -> None:
    """No secret is in anything that was shown, sent, logged or queued, nor in our files.

    The archiver's own configuration has its keys: only the server's user may read it.
    """
    shown = [watched.ask(path) for path in ("/", "/metrics", "/status.json")]
    sent = [re.sub(r"[?&]key=[^&]*", "", each.path) + each.body for each in watched.sink.ever]
    assert any("/beat?key=beat-key-8h" in each.path for each in watched.sink.ever)
    everything = "\n".join((*shown, *sent, watched.server.logs().output))
    assert [] == [each for each in _SECRETS if each in everything]
    places = f"{data_folder()}/entrypoint.* /run/entrypoint"
    found = watched.server.exec(
        "bash", "-c", f"grep -rlFf /dev/stdin {places}; true", user="0", stdin="\n".join(_SECRETS) + "\n"
    ).stdout
    assert found in ("", f"{_CONFIGURATION}\n")
    if found:
        assert "600 postgres" == watched.server.shell(f"stat -c '%a %U' {_CONFIGURATION}", user="0")
    listed = watched.server.shell(f"cd {data_folder()}; ls entrypoint.*")
    assert {"entrypoint.watch", "entrypoint.notify"} <= {*listed.split()}


_CONFIGURATION = "/run/entrypoint/pgbackrest.conf"


@pytest.fixture(scope="module")
def heard() -> Iterator[Web]:
    """A server that gets messages and pings."""
    with web(s3.bridge()) as made:
        yield made


@pytest.fixture(scope="module")
def watched(heard: Web) -> Iterator[Watched]:
    """A primary that archives with pgBackRest to a small folder, and all is well."""
    with small_volume("400m") as place, volume() as data:
        archive = archives.Archive("pgbackrest", place, None, "")
        with _watched(archive, heard, data, BACKUP_RETAIN_FULL="2", **_KEYS) as made:
            yield made


def test_storage_that_is_away(watched: Watched) -> None:
    """Nobody may write there any longer; then they may."""
    watched.server.shell("chmod 000 /archive", user="0")
    archives.write(watched.server, 1)
    with watched.seen("archive backlog", "error", "archiving has failed since"):
        assert 1 == watched.metric("nixpg_archive_failing") or "nixpg_archive_failing" in watched.ask(
            "/metrics"
        )
        watched.server.shell("chmod 755 /archive", user="0")


def test_an_archive_that_is_full(watched: Watched) -> None:
    """All that the archiver says is in the message, not only its first line."""
    watched.server.shell("dd if=/dev/zero of=/archive/fill bs=1M 2>/dev/null; true", user="0")
    archives.write(watched.server, 1)
    with watched.seen("archive backlog", "error", "No space left"):
        until(lambda: "No space left" in watched.ask("/"), "the reason", _PATIENCE)
        watched.server.shell("rm /archive/fill", user="0")


@pytest.mark.long
def test_a_volume_that_fills_up() -> None:
    """It is seen before it is full, and so is the time that is left."""
    with small_volume("300m") as place, volume() as data, web(s3.bridge()) as to:
        archive = archives.Archive("pgbackrest", place, None, "")
        with _watched(archive, to, data) as watched:
            _fill_up(watched)


def _fill_up(watched: Watched) -> None:
    step = "dd if=/dev/zero bs=512K count=1 2>/dev/null >>/archive/fill; sleep 0.2"
    fill = f"(for each in $(seq 500); do [ ! -e /archive/enough ] || break; {step}; done) >/dev/null 2>&1 &"
    watched.server.shell(fill, user="0")
    with watched.seen("free space", "error", "it is full in 0."):
        assert 0 < (watched.metric('nixpg_volume_full_seconds{volume="archive"}') or 0) < 3600
        watched.server.shell("touch /archive/enough; sleep 1; rm /archive/fill /archive/enough", user="0")


def test_a_disk_of_the_server_that_fills_up() -> None:
    """Writes are refused: one message says since when and why, and another one that it is over."""
    with (
        disks.disk("ext4", 640 * disks.MB) as disk,
        small_volume("300m") as place,
        web(s3.bridge()) as to,
        _watched(archives.Archive("pgbackrest", place, None, ""), to, disk.folder) as watched,
    ):
        disk.leave(70 * disks.MB)
        with watched.seen("full disk", "error", "transactions are read-only since"):
            assert "other things on this disk" in watched.messages("full disk", "error")[0]
            assert 1.0 == watched.metric("nixpg_writes_refused")
            disk.give_back()


def test_a_backup_that_fails(watched: Watched) -> None:
    """Its ping says so, with the report."""
    server = watched.server
    server.shell("chmod 500 /archive/backup/*", user="0")
    server.exec("entrypoint", "backup", "push", check=False, timeout=60)
    with watched.seen("backup runs", "error", "failed"):
        pings = {"/backup/start", "/backup/fail"}
        try:  # one that was not taken is sent again, a while later
            until(lambda: pings <= {*watched.sink.pings()}, "its pings", 3 * _PATIENCE)
        finally:
            server.shell("chmod 750 /archive/backup/*", user="0")
        server.exec("entrypoint", "backup", "push", check=False, timeout=60)


def test_a_hole_in_the_archive(watched: Watched) -> None:
    """A segment between two backups is gone: a failure, until retention has removed the first of them."""
    server = watched.server
    server.exec("entrypoint", "backup", "push", timeout=60)
    archives.write(server, 3)
    archives.wait_for_archiving(server)
    lost = watched.archive.segments()[-2]
    in_volume(watched.archive.volume, f"rm $(find . -name '{lost}[-.]*' ! -name '*.backup*')")
    watched.sink.taken.clear()
    server.exec("entrypoint", "backup", "push", check=False, timeout=60)
    with watched.seen("backup runs", "warning", f"WAL from {lost} to {lost} is missing"):
        until(lambda: "/backup/fail" in watched.sink.pings(), "its ping", _PATIENCE)
        reports = [each.body for each in watched.sink.taken if each.path.startswith("/backup/fail")]
        assert all(lost in each for each in reports)
        assert 1 == watched.metric('nixpg_archive_gaps{repo="1"}')
        server.exec("entrypoint", "backup", "push", timeout=60)
    assert 0 == watched.metric('nixpg_archive_gaps{repo="1"}')


def test_a_drill_that_fails(watched: Watched) -> None:
    """The restored cluster does not pass a check of the user."""
    server = watched.server
    server.shell(
        "mkdir /docker-entrypoint-drill.d; echo 'SELECT 1/0' >/docker-entrypoint-drill.d/a.sql", user="0"
    )
    server.exec("entrypoint", "backup", "drill", check=False, timeout=60)
    with watched.seen("drills", "warning", "division by zero"):
        assert {"/drill/start", "/drill/fail"} <= {*watched.sink.pings()}
        server.shell("rm /docker-entrypoint-drill.d/a.sql", user="0")
        server.exec("entrypoint", "backup", "drill", timeout=60)


def test_a_slot_that_holds_wal(watched: Watched) -> None:
    """Nobody reads it."""
    watched.server.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
    archives.write(watched.server, 18)
    with watched.seen("slots", "warning", "kept for slot forgotten, which nobody reads"):
        watched.server.sql("SELECT pg_drop_replication_slot('forgotten')")


def test_collations_that_have_changed(watched: Watched) -> None:
    """The database was made with another version of the C library."""
    version = watched.server.sql("SELECT datcollversion FROM pg_database WHERE datname = 'postgres'")
    change = "UPDATE pg_database SET datcollversion = '{}' WHERE datname = 'postgres'"
    watched.server.sql(change.format("2.1"))
    watched.server.exec("entrypoint", "backup", "push", timeout=60)  # asks for all checks
    with watched.seen("collations", "warning", "2.1"):
        watched.server.sql(change.format(version))
        for _ in range(2):
            watched.server.exec("entrypoint", "backup", "push", timeout=60)


def test_a_clock_that_is_off(watched: Watched) -> None:
    """The storage dates a segment differently."""
    touch = "find /archive/archive -name '0*' -exec touch -d '+2 hours' {} +"

    def shows() -> bool:
        watched.server.shell(touch, user="0")
        return "clock" in watched.conditions()

    watched.server.exec("entrypoint", "backup", "push", timeout=60)
    until(shows, "the next look at everything has seen it", 2 * _PATIENCE)
    with watched.seen("clock", "error", "ahead of this machine's"):
        archives.write(watched.server, 1)
        archives.wait_for_archiving(watched.server)
        watched.server.exec("entrypoint", "backup", "push", timeout=60)


def test_a_backend_that_crashes(watched: Watched) -> None:
    """The server recovers by itself, and everybody hears of it, once."""
    server = watched.server
    with server.session("SELECT pg_sleep(60)"):
        pid = server.sql(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND pid <> pg_backend_pid()"
        )
        server.shell(f"kill -KILL {pid}", user="0")
    server.ready()
    watched.happened("crash", "a process of the server crashed")
    until(lambda: not watched.conditions(), "all is well", _PATIENCE)


def test_a_helper_that_is_killed(watched: Watched) -> None:
    """The watch itself is started again, remembers what it noted, and says nothing twice."""
    watched.settled()
    watched.sink.taken.clear()
    before = watched.status()["events"]
    (helper,) = (each for each in watched.status()["helpers"] if each["role"] == "watch")
    watched.server.shell(f"kill -KILL {helper['pid']}", user="0")
    until(lambda: _answers(watched), "the watch is back", _PATIENCE)
    until(lambda: bool(watched.status()["looked_at"]), "it has looked", _PATIENCE)
    assert before == watched.status()["events"]
    assert [] == watched.sink.messages()


def _answers(watched: Watched) -> bool:
    try:
        return bool(watched.status())
    except OSError:
        return False


def test_a_standby_that_is_behind_and_is_promoted(watched: Watched) -> None:
    """It was built by a restore, replay is paused, and then it takes over: its own watch says each of these."""
    environment = {"STANDBY": "on", "NOTIFY_LEVEL": "info"}
    with (
        web(s3.bridge()) as to,
        watched.archive.copy() as copy,
        volume() as data,
        copy.create({**_environment(to), **environment, **_KEYS}, volumes={data_folder(): data}) as server,
    ):
        server.begin()
        server.says("database system is ready to accept read-only connections", 60)
        standby = Watched(server, to, copy)
        until(lambda: _answers(standby) and bool(standby.status()["all_checked_at"]), "it has looked", 60)
        standby.happened("restore", "a restore has ended")
        server.sql("SELECT pg_wal_replay_pause()")
        with standby.seen("standby", "warning", "replay is paused"):
            server.sql("SELECT pg_wal_replay_resume()")
        server.exec("entrypoint", "promote", timeout=60)
        standby.happened("promotion", "this server was promoted: it is a primary now, on timeline 2")
        _keeps_secrets(standby)


def test_a_container_that_restarts_again_and_again(watched: Watched) -> None:
    """Nobody has stopped it: the third restart within ten minutes is reported, and the fourth is not."""
    for _ in range(3):
        _kill(watched)
    watched.happened("restarts", "the container has restarted by itself 3 times within ten minutes")
    watched.settled()
    _kill(watched)
    watched.settled()
    assert 1 == len(watched.messages("restarts"))


def _kill(watched: Watched) -> None:
    watched.server.kill()
    watched.server.again()
    watched.server.ready()
    until(lambda: _answers(watched) and bool(watched.status()["looked_at"]), "it has looked", 60)


@pytest.mark.walg
def test_a_daemon_that_is_killed_again_and_again(heard: Web) -> None:
    """The server keeps running, and so does archiving in another way; everybody hears of the daemon."""
    with (
        archives.made("wal-g", None) as archive,
        volume() as data,
        _watched(archive, heard, data, WALG_COMPRESSION_METHOD="lz4") as made,
    ):
        for failures in range(1, 3):
            until(lambda: _daemon(made)["pid"] is not None, "the daemon runs")
            made.server.shell(f"kill -KILL {_daemon(made)['pid']}", user="0")
            until(lambda failures=failures: _daemon(made)["failures"] >= failures, "its end is seen")  # type: ignore[misc]
        with made.seen("helpers", "warning", "wal-g-daemon keeps exiting on its own, 2 times"):
            until(lambda: _daemon(made)["failures"] == 0, "it runs again for a minute", 90)


def _daemon(watched: Watched) -> dict[str, Any]:
    found: list[dict[str, Any]] = watched.status()["helpers"]
    return next(each for each in found if each["role"] == "wal-g-daemon")


@pytest.mark.long
def test_a_backup_that_is_overdue() -> None:
    """No backup for two periods: the absence itself is the event."""
    with small_volume("400m") as place, volume() as data, web(s3.bridge()) as to:
        archive = archives.Archive("pgbackrest", place, None, "")
        with _watched(archive, to, data, BACKUP_SCHEDULE="* * * * *") as late:
            late.server.shell("chmod 500 /archive/backup/*", user="0")
            until(lambda: late.conditions().get("backups") == "warning", "it is overdue", 300)
            late_backup = "overdue according to BACKUP_SCHEDULE"  # before the first one, another message came
            until(
                lambda: any(late_backup in each for each in late.messages("backups")), "a message", _PATIENCE
            )
            late.server.shell("chmod 750 /archive/backup/*", user="0")
            until(lambda: "backups" not in late.conditions(), "it has ended", 300)


@pytest.mark.long
def test_a_wrong_key() -> None:
    """The next container has another key: nothing can be archived, and everybody hears of it."""
    with volume() as place, volume() as data, web(s3.bridge()) as to:
        archive = archives.Archive("pgbackrest", place, None, "")
        with _watched(archive, to, data, **_KEYS):
            pass
        wrong = {**_environment(to), **_KEYS, "PGBACKREST_REPO1_CIPHER_PASS": _OTHER_KEY}
        with archive.serve(wrong, volumes={data_folder(): data}) as server:
            watched = Watched(server, to, archive)
            archives.write(server, 1)
            until(lambda: watched.conditions().get("archive backlog") == "error", "it is seen", 120)
            until(lambda: bool(watched.messages("archive backlog")), "a message", _PATIENCE)
            _keeps_secrets(watched)
