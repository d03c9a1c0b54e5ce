"""Changed collations in a cluster with an archive."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import containers
from containers import Container
from latvian import AFFECTED, DATA, Images

ENV = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
LOOKS = "checking whether text still sorts"


@pytest.fixture
def volumes(data: str) -> Iterator[dict[str, str]]:
    """The data, and an empty archive."""
    with containers.volume() as archive:
        yield {DATA: data, "/archive": archive}


def _backups(server: Container) -> int:
    return len(json.loads(server.exec("entrypoint", "backup", "list", "--json").stdout))


def test_a_backup_comes_first(images: Images, volumes: dict[str, str]) -> None:
    """A start with `reindex` demands a backup; fix takes one itself, unless a recent one exists."""
    refused = containers.run(
        env={**ENV, "COLLATION_POLICY": "reindex"}, volumes=volumes, image=images.new, timeout=40
    )
    assert 14 == refused.code, refused.output
    assert "the archive has no base backup of the last 48 hours" in containers.complaints(refused)[0]
    with containers.serve(env=ENV, volumes=volumes, image=images.new) as server:
        assert 0 == _backups(server)
        server.exec("entrypoint", "collation", "fix", timeout=120)
        assert 1 == _backups(server)
        server.exec("entrypoint", "collation", "fix", "--all", timeout=120)
        assert 1 == _backups(server)


def test_nothing_that_waits_to_be_archived_is_lost(data: str, images: Images) -> None:
    """The private server keeps WAL that is not archived yet, also after a crash."""
    waiting = 'cd "$PGDATA/pg_wal/archive_status" && ls | grep ready && ls .. | grep -c 0000'
    args = ("-c", "archive_mode=on", "-c", "archive_command=false", "-c", "wal_keep_size=0")
    with containers.serve(*args, env={}, volumes={DATA: data}, image=images.old) as server:
        for _ in range(4):
            server.sql("CREATE TABLE IF NOT EXISTS filler (n int); INSERT INTO filler VALUES (1)")
            server.sql("SELECT pg_switch_wal()")
        server.sql("CHECKPOINT")
        before = server.shell(waiting).splitlines()
        server.kill()
        server.wait()
    with containers.serve(*args, env={}, volumes={DATA: data}, image=images.new) as server:
        assert "2.36 is recorded, 2.41 is here" in server.logs().stderr
        after = server.shell(waiting).splitlines()
        assert 4 <= len(before[:-1])
        assert set(before[:-1]) <= set(after[:-1])
        wal = server.shell('ls "$PGDATA/pg_wal"').splitlines()
        assert set() == {name.removesuffix(".ready") for name in before[:-1]} - set(wal)


@pytest.mark.parametrize("library", ["old", "new"])
def test_a_restored_copy_is_looked_at(images: Images, volumes: dict[str, str], library: str) -> None:
    """The memory in the backup is not trusted: later WAL, written with other libraries, may have followed."""
    with containers.serve(env=ENV, volumes=volumes, image=images.old) as server:
        server.exec("entrypoint", "backup", "push", timeout=120)
        assert server.stop() == 0
    image = getattr(images, library)
    env = {**ENV, "RESTORE_FROM": "LATEST"}
    with (
        containers.volume() as empty,
        containers.serve(env=env, volumes={**volumes, DATA: empty}, image=image) as copy,
    ):
        log = copy.logs().stderr
        assert 1 == log.count(LOOKS)
        found = {name for name in AFFECTED if name in log}
        assert (AFFECTED if library == "new" else set()) == found
