"""The findings of doctor without a server, in wrongly configured containers, and over time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import archives
import containers
import fuse
from containers import FRESH, Container, until

DATA = containers.data_folder()


def alone(*names: str, **options: Any) -> str:
    """Return the warnings and errors of doctor in a container of its own, as lines."""
    ended = containers.run("doctor", "--json", *names, **options)
    assert "Traceback" not in ended.output
    return _worst(ended.stdout)


def beside(server: Container, *names: str, env: dict[str, str] | None = None) -> str:
    """Return the warnings and errors of doctor in the container of a running server, as lines."""
    return _worst(server.exec("entrypoint", "doctor", "--json", *names, check=False, env=env).stdout)


def _worst(text: str) -> str:
    bad = [each for each in json.loads(text) if each["level"] != "ok"]
    assert [] == [each for each in bad if not each["why"] or not each["hint"]]
    return "\n".join(f"{each['level']}: {each['check']}: {each['found']}" for each in bad)


SMALL = ("--mount", "type=tmpfs,destination=/archive,tmpfs-size=1m")

ALONE = {
    "nothing set": ({}, (), "error: start: ", "no superuser password"),
    "settings": ({"ARCHIVE_URLL": "x"}, (), "error: settings: ", "unknown variable ARCHIVE_URLL"),
    "no server": (FRESH, (), "warning: server: ", "no server runs here"),
    "anonymous volume": (FRESH, (), "warning: data folder: ", "anonymous volume"),
    "container layer": (
        {**FRESH, "PGDATA": "/data"},
        (),
        "error: data folder: ",
        "is removed with the container",
    ),
    "setting": ({**FRESH, "POSTGRES_CONF_work_mem": "4QB"}, (), "error: start: ", "work_mem"),
    "no archive": (FRESH, (), "warning: archive: ", "off: everything written"),
    "no folder": (
        {**FRESH, "ARCHIVE_URL": "file:///archive"},
        (),
        "error: archive: ",
        "/archive does not exist",
    ),
    "huge pages": (
        {**FRESH, "POSTGRES_CONF_huge_pages": "on"},
        (),
        "error: huge pages: ",
        "the kernel has none",
    ),
    "in memory": (FRESH, ("--tmpfs", DATA), "error: folders: ", "is in memory (tmpfs)"),
    "no sockets": (
        FRESH,
        ("--read-only", "--user", "999:999", "--tmpfs", "/tmp", "--tmpfs", "/run:mode=755"),
        "error: run folder: ",
        "/var/run/postgresql is missing",
    ),
    "full": (
        {**FRESH, "ARCHIVE_URL": "file:///archive"},
        (*SMALL, "--entrypoint", "bash"),
        "error: free space: ",
        "the filesystem of /archive is 100 % full",
    ),
}
FULL = ("-c", "chmod 777 /archive; fallocate -l 1m /archive/x; exec entrypoint doctor --json")


@pytest.mark.parametrize("name", ALONE)
def test_without_a_server(name: str) -> None:
    """Before there is a database, doctor finds what would fail at a start, and more."""
    env, options, check, words = ALONE[name]
    if "--entrypoint" in options:
        found = _worst(containers.run(*FULL, env=env, options=options).stdout)
    else:
        found = alone(env=env, options=options)
    assert check in found
    assert words in found


def test_missing_huge_pages_end_a_start(volume: str) -> None:
    """If the kernel lacks the huge pages that the server must have, a start is refused before it writes anything."""
    env = {**FRESH, "POSTGRES_CONF_huge_pages": "on"}
    ended = containers.run(env=env, volumes={DATA: volume})
    (told,) = containers.complaints(ended)
    assert (1, True) == (ended.code, "huge_pages is on, but the kernel has none" in told)
    assert "set huge_pages=try" in told
    assert "" == containers.in_volume(volume, "ls -A")


def test_a_network_filesystem(tmp_path: Path) -> None:
    """Data on a filesystem that a program serves, such as sshfs, gets a warning."""
    with fuse.mounted(tmp_path, "fuse.sshfs", 999):
        found = alone("folders", "data folder", env=FRESH, volumes={DATA: str(tmp_path)})
    assert (
        f"warning: folders: the data folder {DATA} is on a network filesystem (fuse.sshfs)"
        in found.splitlines()
    )


def test_io_uring_is_forbidden(tmp_path: Path) -> None:
    """It is an error if seccomp forbids io_uring to a server that is set to use it."""
    forbidden = {"names": ["io_uring_setup"], "action": "SCMP_ACT_ERRNO"}
    profile = tmp_path / "seccomp.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [forbidden]}))
    env = {**FRESH, "POSTGRES_CONF_io_method": "io_uring"}
    found = alone("io_uring", env=env, options=("--security-opt", f"seccomp={profile}"))
    assert "error: io_uring: io_method is io_uring, but io_uring_setup fails (EPERM)" in found
    allowed = ("--security-opt", "seccomp=unconfined")
    assert "" == alone("io_uring", env=env, options=allowed)


@pytest.mark.parametrize(
    ("break_it", "check", "words"),
    [
        ("echo 14 >data/PG_VERSION", "error: version: ", "14, the image has MAJOR: the server will not start"),
        ("echo 99 >data/PG_VERSION", "error: version: ", "99, the image has MAJOR"),
        ("sed -i \"s/^lc_time.*/lc_time = 'xx_XX'/\" data/postgresql.conf", "error: locales: ", "no locale xx_XX"),
        ("echo huge_pages = on >>data/postgresql.auto.conf", "error: huge pages: ", "the kernel has none"),
        ("rmdir data/pg_tblspc; ln -s /away data/pg_wal.new; rm -r data/pg_wal; mv data/pg_wal.new data/pg_wal", "error: folders: ", "/away is missing"),
        ("mkdir -p data/entrypoint.unfinished; echo 'files /1.sql' >data/entrypoint.unfinished/state", "error: data folder: ", "is not finished"),
    ],
    ids=["older", "newer", "locale", "huge pages", "wal", "unfinished"],
)  # fmt: skip
def test_a_stopped_cluster(
    used_volume: str, image_env: dict[str, str], break_it: str, check: str, words: str
) -> None:
    """While the server is down, doctor judges its data, and finds nothing wrong with a clean data folder."""
    place = {"env": {**FRESH, "PGDATA": "/volume/data"}, "volumes": {"/volume": used_volume}}
    quiet = ("version", "locales", "folders", "last stop", "init files", "start", "huge pages")
    assert "" == alone(*quiet, **place)
    containers.in_volume(used_volume, break_it)
    found = alone(**place)
    assert check in found
    assert words.replace("MAJOR", image_env["PG_MAJOR"]) in found


def test_a_server_that_was_killed(volume: str) -> None:
    """Doctor reports the kill, with a hint, until the next clean stop."""
    place: dict[str, Any] = {"env": FRESH, "volumes": {DATA: volume}}
    with containers.serve(**place) as server:
        server.kill()
        server.wait()
    assert "warning: last stop: the server was not shut down (in production)" in alone("last stop", **place)
    with containers.serve(**place) as server:
        assert "warning: last stop: the start of 20" in beside(server, "last stop")
        assert 0 == server.stop()
    assert "" == alone("last stop", **place)


def test_a_stop_that_takes_long(volume: str) -> None:
    """The duration of a stop outlives the container, and a long one gets a warning."""
    place: dict[str, Any] = {"env": {**FRESH, "STOP_SMART_TIMEOUT": "9"}, "volumes": {DATA: volume}}
    with containers.serve(**place) as server, server.session("SELECT pg_sleep(60)"):
        assert 0 == server.stop("TERM", timeout=30)
    with containers.serve(**place) as server:
        found = beside(server, "last stop")
        assert re.search(
            r"warning: last stop: the last stops took up to (9|1[0-4])\.\d s, and Docker", found
        ), found


def test_a_cluster_near_its_limits() -> None:
    """Slots that hold more WAL than fits, or have lost WAL; a superuser of another name; old transactions."""
    env = {**FRESH, "PGDATA": "/disk/data", "POSTGRES_CONF_autovacuum": "off", "ARCHIVE_WHEN_FULL": "wait"}
    # The maximum: otherwise autovacuum would freeze the old transactions.
    settings = ("-c", "autovacuum_freeze_max_age=2000000000")
    with (
        containers.small_volume("480m") as disk,
        containers.create(*settings, env=env, volumes={"/disk": disk}) as server,
    ):
        server.begin()
        server.ready()
        names = ("slots", "wraparound", "password", "server")
        assert "" == beside(server, *names)
        server.sql("SELECT pg_create_physical_replication_slot('idle', true)")
        archives.write(server, 17)
        found = beside(server, *names)
        assert re.search(
            r"^error: slots: 2[67]\d MiB of WAL are kept for slot idle, which nobody reads and has not", found
        ), found
        server.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '160MB'")
        server.sql("SELECT pg_reload_conf()")
        losing = "error: slots: slot idle will lose WAL that its reader needs at the next checkpoint"
        until(lambda: losing in beside(server, "slots"), "unreserved")
        server.sql("CHECKPOINT")
        lost = "error: slots: slot idle has lost WAL that its reader needs: it was further behind"
        until(lambda: lost in beside(server, "slots"), "lost")
        server.sql("SELECT pg_drop_replication_slot('idle')")
        server.sql("CREATE ROLE other SUPERUSER LOGIN")
        server.sql("ALTER ROLE postgres RENAME TO renamed", user="other", database="postgres")
        found = beside(server, *names)
        assert "error: server: the server does not answer queries" in found
        assert 'role "postgres" does not exist' in found
        assert "" == beside(server, *names, env={"POSTGRES_USER": "renamed"})
        server.sql("ALTER ROLE renamed RENAME TO postgres", user="other", database="postgres")
        assert 0 == server.stop()
        containers.in_volume(disk, _AGED)
        server.again()
        found = beside(server, *names)
        assert (
            "error: wraparound: the oldest transaction of database postgres is 1700.0 million transactions old"
            in found
        )


_AGED = """cd data && pg_resetwal=$(echo /usr/lib/postgresql/*/bin/pg_resetwal) &&
gosu postgres $pg_resetwal -x 1700000000 . >/dev/null &&
gosu postgres dd if=/dev/zero of=pg_xact/0655 bs=256k count=1 2>/dev/null"""
"""Advances the transaction ID by 1.7 billion; the file holds the states of the transactions around it."""


def test_a_requested_check_that_cannot_run() -> None:
    """A check that is requested by name and cannot run is a warning."""
    found = alone("slots", "way back", env=FRESH)
    assert "warning: slots: not looked at: no server that accepts queries runs here" in found
    assert "warning: way back: not looked at" in found


@pytest.mark.parametrize(("memory", "level"), [("600m", "warning"), ("150m", "error")])
def test_too_little_memory(memory: str, level: str) -> None:
    """The memory that the settings can request is compared with the container's limit."""
    with containers.serve(options=("--memory", memory)) as server:
        found = beside(server, "memory")
        assert f"{level}: memory: shared_buffers 128 MiB" in found
        assert f"has {memory.removesuffix('m')} MiB" in found


def test_a_small_shared_memory() -> None:
    """Docker's 64 MB are less than PostgreSQL's own defaults can request, which matters if you choose posix."""
    with containers.serve("-c", "dynamic_shared_memory_type=posix") as server:
        found = beside(server, "shared memory")
        assert (
            "warning: shared memory: /dev/shm has 64MB; parallel queries and vacuum can request 160MB"
            in found
        )
    with containers.serve() as server:
        assert "" == beside(server, "shared memory")


def test_transactions_that_are_not_frozen() -> None:
    """The age of the database reveals a forgotten prepared transaction, which prevents freezing."""
    env = {
        **FRESH,
        "POSTGRES_CONF_max_prepared_transactions": "1",
        "POSTGRES_CONF_autovacuum_freeze_max_age": "100000",
        "POSTGRES_CONF_synchronous_commit": "off",
    }
    with containers.serve(env=env) as server:
        assert "" == beside(server, "wraparound")
        server.sql("CREATE TABLE t (); BEGIN; INSERT INTO t DEFAULT VALUES; PREPARE TRANSACTION 'forgotten'")
        server.exec(
            *("psql", "-XqU", "postgres", "-o", "/dev/null", "-c"),
            "DO $$ BEGIN FOR i IN 1..151000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$",
            timeout=60,
        )
        found = beside(server, "wraparound")
        assert (
            "warning: wraparound: the oldest transaction of database postgres is 0.2 million transactions old"
            in found
        )


@pytest.mark.walg
def test_a_helper_that_keeps_exiting() -> None:
    """Such a helper does not stop the server, so doctor reports it."""
    with archives.made("wal-g", None) as archive, archive.serve(FRESH) as server:
        assert "" == beside(server, "helpers")
        for failures in range(1, 3):
            until(lambda: _helper(server)["pid"] is not None, "the helper runs")
            server.shell(f"kill -KILL {_helper(server)['pid']}", user="0")
            until(lambda failures=failures: _helper(server)["failures"] >= failures, "its end is seen")  # type: ignore[misc]
        assert "warning: helpers: wal-g-daemon keeps exiting on its own, 2 times" in beside(server, "helpers")


def _helper(server: Container) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.exec("entrypoint", "status", "--json").stdout)["helpers"][0]
    return found


@pytest.mark.long
def test_an_archiver_that_hangs() -> None:
    """It is an error if written WAL is not archived a minute after archive_timeout."""
    with (
        archives.made("pgbackrest", None) as archive,
        archive.serve({**FRESH, "ARCHIVE_TIMEOUT": "1s"}) as server,
    ):
        archives.write(server, 1)
        until(lambda: archives.waiting(server) == 0, "everything archived")
        server.shell("kill -STOP $(grep -lxE 'postgres|.postgres-wrapp' /proc/[0-9]*/comm | cut -d/ -f3 | while read p; do"
            " grep -q 'archiver' /proc/$p/cmdline && echo $p; done)", user="0")  # fmt: skip
        archives.write(server, 2)
        until(lambda: "error: last segment: " in beside(server, "last segment"), "it is seen", 90)


@pytest.mark.long
def test_backups_that_are_not_taken() -> None:
    """Doctor warns if the schedule has come due twice without a backup."""
    with archives.made("pgbackrest", None) as archive, archive.serve(FRESH) as server:
        server.exec("entrypoint", "backup", "push", timeout=60)
        every_minute = {"BACKUP_SCHEDULE": "* * * * *"}
        assert "" == beside(server, "backups", env=every_minute)
        until(
            lambda: "overdue according to BACKUP_SCHEDULE" in beside(server, "backups", env=every_minute),
            "doctor warns",
            150,
        )
