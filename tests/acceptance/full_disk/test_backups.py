"""The reserve is in no base backup, wherever the WAL is."""

from __future__ import annotations

import pytest

import containers
import disks
from containers import FRESH
from disks import MB
from entrypoint import own

DATA = "/var/lib/postgresql/data"
MADE = f"find $PGDATA/pg_wal/{own.RESERVE} -type f | wc -l"
TAKEN = f"find -L /tmp/taken | grep --count {own.RESERVE}"


@pytest.mark.parametrize("apart", [False, True])
def test_the_reserve_is_not_in_a_backup(apart: bool) -> None:
    """It is made by itself, and neither pg_basebackup nor pgBackRest takes it."""
    wanted = {**FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    with (
        disks.disk("ext4", 1024 * MB) as disk,
        disks.disk("ext4", 512 * MB) as wal,
        containers.volume() as storage,
    ):
        mounted = {DATA: disk.folder, "/archive": storage}
        if apart:
            mounted["/wal"] = wal.folder
            wanted["POSTGRES_INITDB_WALDIR"] = "/wal/wal"
        with containers.create(env=wanted, volumes=mounted) as server:
            server.begin()
            server.ready()
            containers.until(lambda: int(server.shell(MADE)) >= 66, "the reserve is made", 30)
            beside = server.shell(f"find $PGDATA/pg_stat_tmp/{own.RESERVE} -type f 2>/dev/null | wc -l")
            assert apart == (int(beside) > 0)
            server.exec("pg_basebackup", "-U", "postgres", "-D", "/tmp/taken", "-X", "fetch", user="postgres")
            assert "0" == server.exec("sh", "-c", TAKEN, check=False).stdout.strip()
            assert "WARN" not in server.exec("entrypoint", "backup", "push", timeout=120).output
            manifest = server.shell("cat $(find /archive -name backup.manifest | head -n 1)")
            assert "pg_data/PG_VERSION" in manifest
            assert own.RESERVE not in manifest
