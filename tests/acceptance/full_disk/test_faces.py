"""What fills a real small disk is named in doctor, /status.json and the metrics, and nothing of it ends the server."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import archives
import containers
import disks
from containers import Container, until
from disks import MB, Disk

DATA = "/disk/data"
ENV = {
    **containers.FRESH,
    "PGDATA": DATA,
    "STATUS_LISTEN": ":9187",
    "WATCH_INTERVAL": "1",
    "POSTGRES_CONF_max_wal_size": "64MB",
}


class Filled:
    """A server on a small disk, and what its faces say."""

    def __init__(self, server: Container, disk: Disk) -> None:
        self.server = server
        self.disk = disk
        self.postmaster = server.postmaster

    def ask(self, path: str) -> str:
        """The answer at a path."""
        with urllib.request.urlopen(f"http://{self.server.address}:9187{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def status(self) -> dict[str, Any]:
        """What /status.json says."""
        found: dict[str, Any] = json.loads(self.ask("/status.json"))
        return found

    def condition(self, check: str) -> str:
        """The level and text of a condition; empty: there is none."""
        found = [each for each in self.status()["conditions"] if each["check"] == check]
        return f"{found[0]['level']}: {found[0]['found']}" if found else ""

    def part(self, kind: str) -> list[str]:
        """The labels of the metric of a part."""
        lines = self.ask("/metrics").splitlines()
        return [
            line for line in lines if line.startswith("nixpg_volume_part_bytes{") and f'part="{kind}"' in line
        ]

    def doctor(self, *checks: str) -> str:
        """What doctor prints about checks, with all hints."""
        return self.server.exec("entrypoint", "doctor", *checks, check=False).stdout

    def write(self, *statements: str) -> subprocess.CompletedProcess[str]:
        """Try to write, as a role that may do no more than that; without statements, one row."""
        client = (
            "docker",
            "exec",
            self.server.name,
            "psql",
            "-XqU",
            "app",
            "-v",
            "ON_ERROR_STOP=1",
            "postgres",
        )
        words = [word for each in statements or ("INSERT INTO small VALUES (1)",) for word in ("-c", each)]
        return subprocess.run((*client, *words), capture_output=True, text=True, check=False)

    def refuses(self, check: str, kind: str, words: str, hint: str) -> None:
        """See that writes are refused, why, and what to do, everywhere; reads are answered."""
        until(lambda: self.status()["writes_refused"] is True, "writes are refused", 30)
        until(lambda: self.condition(check).startswith("error: "), f"an error of {check}", 30)
        until(lambda: words in self.condition(check), f"{words} in {check}", 30)
        shown = self.doctor(check)
        assert words in shown
        assert hint in shown
        assert "entrypoint help when-the-disk-fills" in shown
        until(lambda: any(each["kind"] == kind for each in self.status()["filling"]), "/status.json", 10)
        assert [] != self.part(kind)
        assert "nixpg_writes_refused 1.0" in self.ask("/metrics")
        for probe in ("/ready", "/primary"):
            assert json.loads(self.ask(probe))["read_only"] is True
        assert "writes are refused, since 2" in self.server.exec("entrypoint", "status").stdout
        refused = self.write()
        assert 0 != refused.returncode
        assert "in a read-only transaction" in refused.stderr
        assert "1" == self.server.sql("SELECT count(*) FROM small")
        assert self.postmaster == self.server.postmaster

    def accepts(self) -> None:
        """See that writes come back by themselves, and that every face says so."""
        until(lambda: self.write().returncode == 0, "writes are accepted again", 30)
        until(lambda: self.status()["writes_refused"] is False, "/status.json", 10)
        until(lambda: "" == self.condition("full disk"), "the condition has ended", 60)
        assert "nixpg_writes_refused 0.0" in self.ask("/metrics")
        assert json.loads(self.ask("/ready"))["read_only"] is False
        assert self.postmaster == self.server.postmaster


@contextmanager
def filled(kind: str, size: int, options: tuple[str, ...] = (), **env: str) -> Iterator[Filled]:
    """Serve on a small disk."""
    with (
        disks.disk(kind, size, options) as disk,
        containers.serve(env={**ENV, **env}, volumes={"/disk": disk.folder}) as server,
    ):
        server.sql("CREATE TABLE small (n int)")
        server.sql("INSERT INTO small VALUES (1)")
        server.sql("CREATE ROLE app LOGIN; GRANT ALL ON small TO app")
        yield Filled(server, disk)


def test_a_slot() -> None:
    """The slot is named, and dropping it by the command in the hint brings the writes back."""
    with filled("ext4", 512 * MB) as found:
        found.server.sql("SELECT pg_create_physical_replication_slot('nobody', true)")
        found.server.sql("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO app")
        # The last of a burst looks faster than it is, so that writes come back once or twice.
        segment = ("INSERT INTO small VALUES (1)", "SELECT pg_switch_wal()")
        until(lambda: all(found.write(*segment * 3).returncode for _ in range(12)), "it stays full", 60)
        found.server.sql("BEGIN READ WRITE; DELETE FROM small; INSERT INTO small VALUES (1); COMMIT")
        words = "WAL that slot nobody holds, which nobody reads"
        found.refuses("full disk", "slot", words, "SELECT pg_drop_replication_slot('nobody')")
        assert 'name="nobody"' in found.part("slot")[0]
        assert "which nobody reads and has not moved since 2" in found.doctor("slots")
        found.server.sql("BEGIN READ ONLY; SELECT pg_drop_replication_slot('nobody'); COMMIT")
        found.accepts()


def test_a_big_table() -> None:
    """The database is named; a superuser can remove the table although transactions are read-only."""
    with filled("xfs", 512 * MB) as found:
        found.server.sql("CREATE TABLE big (x text); GRANT ALL ON big TO app")
        insert = "INSERT INTO big SELECT repeat(n::text, 300) FROM generate_series(100000, 109999) n"
        # Checkpoints remove WAL meanwhile, so that writes come back several times.
        until(lambda: all(found.write(insert).returncode for _ in range(12)), "writes stay refused", 60)
        found.refuses("full disk", "database", "database postgres", "remove what nobody needs from database")
        found.server.sql("BEGIN READ WRITE; DROP TABLE big; COMMIT")
        found.accepts()


def test_temporary_files() -> None:
    """The process is named, and the command in the hint ends it. Whoever waits for a PANIC hears of it."""
    query = (
        "SET work_mem = '64kB'; BEGIN; DECLARE c CURSOR FOR SELECT repeat('x', 1000) FROM "
        "generate_series(1, 100000) n ORDER BY random(); FETCH 1 FROM c; SELECT pg_sleep(300)"
    )
    asleep = "SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'"
    with filled("ext4", 512 * MB, ARCHIVE_WHEN_FULL="wait") as found:
        client = subprocess.Popen(
            ("docker", "exec", found.server.name, "psql", "-XqU", "app", "postgres", "-c", query),
            stdout=subprocess.DEVNULL,
        )
        try:
            until(lambda: found.server.sql(asleep) != "", "it has sorted", 60)
            pid = found.server.sql(asleep)
            found.disk.leave(60 * MB)
            words = f"temporary files of process {pid}"
            until(lambda: words in found.condition("full disk"), words, 30)
            assert "PostgreSQL ends with a PANIC when no WAL fits" in found.condition("full disk")
            assert f"SELECT pg_terminate_backend({pid})" in found.doctor("full disk")
            assert f'name="{pid}"' in found.part("temporary")[0]
            assert found.status()["writes_refused"] is False
            assert "it is nearly full, since 2" in found.server.exec("entrypoint", "status").stdout
            assert 0 == found.write().returncode
            found.server.sql(f"SELECT pg_terminate_backend({pid})")
            until(lambda: "temporary files" not in found.doctor("full disk"), "they are gone", 20)
        finally:
            client.kill()
            client.wait(20)
        found.disk.give_back()
        found.accepts()


def test_the_log_and_core_dumps() -> None:
    """The folder of the log is named, and what a crash has left."""
    with filled("ext4", 512 * MB) as found:
        room = found.disk.free - 70 * MB
        found.server.shell(
            f"mkdir {DATA}/log && fallocate -l {room - 60 * MB} {DATA}/log/postgresql.log && "
            f"fallocate -l {60 * MB} {DATA}/core.77",
            user="postgres",
        )
        found.refuses(
            "full disk", "log", f"the server's log in {DATA}/log", f"remove old files in {DATA}/log"
        )
        assert f"core dumps in {DATA}" in found.doctor("full disk")
        found.server.shell(f"rm {DATA}/log/* {DATA}/core.77", user="postgres")
        found.accepts()


def test_no_inodes() -> None:
    """A disk with space and without inodes; what takes the inodes is counted in files."""
    with filled("ext4", 512 * MB, ("-N", "4000")) as found:
        found.disk.take_files(40)
        found.refuses("full disk", "other", "other things on this disk", "look on the host")
        assert "inodes are free on the disk of" in found.condition("full disk")
        assert "% of its inodes are used" in found.condition("free space")
        assert 'nixpg_volume_inodes{volume="data"} 4' in found.ask("/metrics")
        found.disk.give_back("others")
        found.accepts()


def test_a_full_archive_folder() -> None:
    """The disk of the archive is judged for itself: the server writes, and people hear what fills it."""
    with disks.disk("ext4", 256 * MB) as archive, disks.disk("ext4", 1024 * MB) as disk:
        env = {**ENV, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TIMEOUT": "0"}
        volumes = {"/disk": disk.folder, "/archive": archive.folder}
        with containers.serve(env=env, volumes=volumes) as server:
            found = Filled(server, disk)
            archive.leave(0)
            archives.write(server, 3)
            until(lambda: "/archive is 100 % full" in found.condition("free space"), "it is full", 30)
            assert "other things on this disk" in found.condition("free space")
            until(lambda: "No space left" in found.condition("archive backlog"), "archiving fails", 60)
            assert found.status()["writes_refused"] is False
            assert 'nixpg_volume_part_bytes{name="",part="other",volume="archive"}' in found.ask("/metrics")
            shown = {each["name"]: each["free"] for each in found.status()["volumes"]}
            assert shown["archive"] < MB
            assert shown["data"] > 300 * MB
            archive.give_back()
            until(lambda: "" == found.condition("free space"), "there is space", 60)


def test_a_limit_for_slots() -> None:
    """SLOT_WAL_LIMIT keeps a slot from filling the disk; people hear which one has lost its WAL."""
    with filled("ext4", 1024 * MB, SLOT_WAL_LIMIT="128MB") as found:
        assert "128MB" == found.server.sql("SHOW max_slot_wal_keep_size")
        shown = found.server.exec("entrypoint", "config", "show", "max_slot_wal_keep_size").stdout
        assert "SLOT_WAL_LIMIT" in shown
        found.server.sql("SELECT pg_create_physical_replication_slot('nobody', true)")
        for _ in range(13):  # more than the disk could hold
            archives.write(found.server, 5)
            found.server.sql("CHECKPOINT")
        until(
            lambda: "slot nobody has lost WAL that its reader needs" in found.condition("slots"), "lost", 30
        )
        assert "max_slot_wal_keep_size (128 MiB)" in found.condition("slots")
        assert 0 == found.write().returncode
