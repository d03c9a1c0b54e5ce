"""A storage that goes away or is full while the database works: nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

import archives
import containers
import s3
from archives import TOOLS, Archive, wait_until_whole, waiting, write
from containers import FRESH, Container
from s3 import S3


@contextmanager
def _load(server: Container, seconds: float) -> Iterator[list[int]]:
    """Run pgbench for this many seconds; then the list holds the number of acknowledged transactions."""
    asked = (
        "pgbench",
        "--username=postgres",
        "--no-vacuum",
        "--client=4",
        f"--time={seconds:.0f}",
        "postgres",
    )
    command = ("docker", "exec", server.name, *asked)
    acknowledged: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        yield acknowledged
        said, _ = client.communicate(timeout=seconds + 30)
    found = re.search(r"actually processed: (\d+)", said)
    assert found, said
    acknowledged.append(int(found[1]))


def _push(server: Container) -> str:
    pushed = server.exec("entrypoint", "backup", "push", "--json", timeout=120)
    return str(json.loads(pushed.stdout)[0]["name"])


@pytest.mark.parametrize("seconds", [10, pytest.param(120, marks=pytest.mark.long)])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_storage_cut_under_load_loses_nothing(tool: str, seconds: int, road: S3) -> None:
    """The backlog is archived in order, by itself; a backup from before the cut restores every row."""
    with archives.made(tool, road) as archive:
        with archive.serve({**FRESH, "ARCHIVE_TIMEOUT": "1s"}) as server:
            server.exec("pgbench", "--username=postgres", "--initialize", "--scale=5", "postgres")
            backup = _push(server)
            before = server.sql("SELECT archived_count FROM pg_stat_archiver")
            with _load(server, seconds + 3) as acknowledged:
                changed = f"SELECT archived_count > {before} FROM pg_stat_archiver"
                containers.until(lambda: server.sql(changed) == "t", "segments are archived under load")
                road.relay.cut()
            assert waiting(server) > 5
            road.relay.restore()
            seen = [""]

            def drained() -> bool:
                seen.append(server.sql("SELECT last_archived_wal FROM pg_stat_archiver"))
                return waiting(server) == 0

            containers.until(drained, "everything archived", 60 + seconds)
            assert sorted(seen) == seen
            wait_until_whole(archive, server)
            later = _push(server)
            with _load(server, 2) as more:
                pass
            server.sql("SELECT pg_switch_wal()")
            wait_until_whole(archive, server)
            server.kill()
            server.wait()
        rows = acknowledged[0] + more[0]
        for name in (backup, later):
            with archive.copy() as copy, copy.serve({"RESTORE_FROM": name}, timeout=60 + seconds) as restored:
                assert str(rows) == restored.sql("SELECT count(*) FROM pgbench_history"), name


@contextmanager
def _full(server: Container) -> Iterator[None]:
    """Leave no space in the folder of the archive."""
    left = "$(df --output=avail --block-size=1 /archive | tail -n 1)"
    server.shell(f"fallocate --length {left} /archive/full", user="0")
    yield
    server.shell("rm /archive/full", user="0")
    assert "" == server.shell("find /archive -name '*.tmp*' -size +0 | head")


def _a_full_archive_loses_nothing(
    archive: Archive, full: Callable[[Container], AbstractContextManager[None]], said: str
) -> None:
    with archive.serve(FRESH) as server:
        _push(server)
        with full(server):
            write(server, 3)
            server.says(said, 60)
            assert waiting(server) > 0
        write(server, 1)
        wait_until_whole(archive, server)
        _push(server)
        write(server, 1)
        assert 0 == server.stop()
    with archive.serve(archives.LATEST) as restored:
        assert "5" == restored.sql("SELECT count(*) FROM kept")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_full_archive_loses_nothing(tool: str) -> None:
    """The WAL waits, the log says that no space is left, and once there is space, all WAL is archived."""
    with containers.small_volume("200m") as volume:
        _a_full_archive_loses_nothing(Archive(tool, volume, None, ""), _full, "o space left")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_full_bucket_loses_nothing(tool: str) -> None:
    """The same holds for a bucket; the log has the storage's message as each tool prints it."""
    said = {"wal-g": "o space left", "pgbackrest": "Insufficient Storage"}[tool]
    with s3.serve("200m") as server, archives.made(tool, server) as archive:
        _a_full_archive_loses_nothing(archive, lambda _: server.full(), said)
