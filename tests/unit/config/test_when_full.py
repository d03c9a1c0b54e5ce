"""The server's settings while a disk is about to be full."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from entrypoint.config import chosen, render, when_full
from entrypoint.pid1 import brake
from entrypoint.server.context import Context
from entrypoint.system.identity import current
from entrypoint.volume import installing, room
from unit import made

MB = 1024**2
SEGMENT = 16 * MB


def _context(folder: Path, values: Mapping[str, str], *given: str) -> Context:
    data, run = folder / "data", folder / "run"
    (data / "pg_wal").mkdir(parents=True, exist_ok=True)
    run.mkdir(exist_ok=True)
    (data / "postgresql.conf").write_text("max_wal_size = 1GB\nwork_mem = 8MB\n")
    settings = made.settings({"PGDATA": str(data), **values}, given)
    return Context(settings, made.NO_CHILDREN, current(), str(run), {"PATH": os.environ["PATH"]})


def _space(monkeypatch: pytest.MonkeyPatch, size: int, free: int) -> None:
    answer = os.statvfs_result((1, 1, size, free, free, 10**6, 10**6, 10**6, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: answer)


def test_a_plain_server_reads_its_own_file_and_the_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is added; the level is that of the disk."""
    _space(monkeypatch, 10**11, 10**10)
    context = _context(tmp_path, {}, "-c", "work_mem=4MB")
    when_full.prepare(context)
    path = f"{tmp_path}/run/postgresql.conf"
    assert ["-c", "work_mem=4MB", "-c", f"config_file={path}"] == render.arguments(context)
    lines = [line for line in Path(path).read_text().splitlines() if line and not line.startswith("#")]
    assert [
        f"include '{tmp_path}/data/postgresql.conf'",
        f"include '{tmp_path}/run/{brake.ACTIVE}'",
    ] == lines
    assert room.NORMAL == brake.active(str(tmp_path / "run"))


def test_a_start_on_a_full_disk_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server never takes a write; only a new cluster is made as ever."""
    context = _context(tmp_path, {})
    _space(monkeypatch, 10**11, 10**6)
    when_full.prepare(context)
    assert "default_transaction_read_only" not in (tmp_path / "run" / brake.ACTIVE).read_text()
    (tmp_path / "data" / "PG_VERSION").write_text("17\n")
    when_full.prepare(context)
    assert "default_transaction_read_only = 'on'" in (tmp_path / "run" / brake.ACTIVE).read_text()


def test_what_is_there_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what has changed, or is no file any more, is."""
    _space(monkeypatch, 10**11, 10**10)
    context = _context(tmp_path, {})
    when_full.prepare(context)
    paths = {level: tmp_path / "run" / brake.prepared(level) for level in room.LEVELS}
    before = {level: (path.stat().st_ino, path.read_text()) for level, path in paths.items()}
    paths[room.FULL].write_text("half")
    paths[room.TIGHT].unlink()
    paths[room.TIGHT].symlink_to(paths[room.NORMAL])
    when_full.prepare(context)
    after = {level: (path.lstat().st_ino, path.read_text()) for level, path in paths.items()}
    assert [room.NORMAL] == [level for level in room.LEVELS if before[level][0] == after[level][0]]
    assert [text for _, text in before.values()] == [text for _, text in after.values()]


def test_wait_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the arguments are exactly the given ones."""
    _space(monkeypatch, 10**9, 10**6)
    context = _context(tmp_path, {"ARCHIVE_WHEN_FULL": "wait"}, "-c", "work_mem=4MB")
    when_full.prepare(context)
    assert ["-c", "work_mem=4MB"] == render.arguments(context)
    assert [] == os.listdir(tmp_path / "run")


def test_the_users_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was passed is the one that is included."""
    _space(monkeypatch, 10**11, 10**10)
    own = tmp_path / "it's.conf"
    own.write_text("work_mem = 1MB\n")
    context = _context(tmp_path, {}, "-c", f"config_file={own}", "-c", "port=5433")
    path = f"{tmp_path}/run/postgresql.conf"
    assert ["-c", "port=5433", "-c", f"config_file={path}"] == render.arguments(context)
    assert f"include '{tmp_path}/it''s.conf'" in Path(path).read_text()


@pytest.mark.parametrize(
    ("size", "line", "expected"),
    [
        (512 * MB, "max_wal_size = 1GB", {"max_wal_size": "64MB"}),
        (2048 * MB, "max_wal_size = 1GB", {"max_wal_size": "256MB"}),
        (2048 * MB, "", {"max_wal_size": "256MB"}),
        (2048 * MB, "max_wal_size = 512MB", {}),
        (4096 * MB, "max_wal_size = 1GB", {}),
    ],
)
def test_wal_fits_on_a_small_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, line: str, expected: Mapping[str, str]
) -> None:
    """What a person has set stays, and so does PostgreSQL's default where it fits."""
    _space(monkeypatch, size, size)
    context = _context(tmp_path, {})
    (tmp_path / "data" / "postgresql.conf").write_text(f"{line}\n")
    found = {each.name: each.value for each in chosen.chosen(context)}
    assert expected == {name: value for name, value in found.items() if name == "max_wal_size"}


def test_the_size_of_the_segments(tmp_path: Path) -> None:
    """It is that of the files; a history file and the reserve do not count."""
    data = tmp_path / "data"
    assert SEGMENT == installing.segment_bytes(str(data))
    (data / "pg_wal" / "archive_status").mkdir(parents=True)
    (data / "pg_wal" / "00000002.history").write_bytes(b"x" * 100)
    assert SEGMENT == installing.segment_bytes(str(data))
    with (data / "pg_wal" / "000000010000000000000001").open("wb") as file:
        file.truncate(64 * MB)
    assert 64 * MB == installing.segment_bytes(str(data))
    assert "1024MB" == when_full.settings(room.TIGHT, 128 * MB, 10**12)["max_wal_size"]


def test_each_disk_once(tmp_path: Path) -> None:
    """A WAL folder on the same filesystem is no second one, and a link leads to the real one."""
    data, wal = tmp_path / "data", tmp_path / "wal"
    data.mkdir()
    wal.mkdir()
    (data / "pg_wal").symlink_to(wal)
    assert [str(wal)] == when_full.disks(str(data))
    assert [] == when_full.disks(str(tmp_path / "none"))
