"""How PID 1 sees a disk that fills up, and switches settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrypoint.pid1 import brake
from entrypoint.pid1.brake import ACTIVE, Brake, active, prepared, switch
from entrypoint.volume import room

SEGMENT = 16 * 1024**2


def _prepare(folder: Path) -> None:
    for level in room.LEVELS:
        (folder / prepared(level)).write_text(level)


def _room(free: int, *, files: int = 10**6, favail: int = 10**6) -> os.statvfs_result:
    block = 4096
    size = 10**11 // block
    return os.statvfs_result(
        (block, block, size, free // block, free // block, files, favail, favail, 0, 255)
    )


def test_levels_are_switched(tmp_path: Path) -> None:
    """The file that the server reads is always one of the prepared ones."""
    _prepare(tmp_path)
    assert room.NORMAL == active(str(tmp_path))
    for level in (room.NORMAL, room.FULL, room.TIGHT, room.NORMAL):
        assert switch(str(tmp_path), level)
        assert not switch(str(tmp_path), level)
        assert (level, level) == ((tmp_path / ACTIVE).read_text(), active(str(tmp_path)))
    assert {ACTIVE, *map(prepared, room.LEVELS)} == set(os.listdir(tmp_path))


def test_a_switch_that_was_interrupted(tmp_path: Path) -> None:
    """What it has left is in nobody's way."""
    _prepare(tmp_path)
    (tmp_path / f"{ACTIVE}.new").write_text("half")
    assert switch(str(tmp_path), room.FULL)
    assert room.FULL == (tmp_path / ACTIVE).read_text()


def test_nothing_is_prepared(tmp_path: Path) -> None:
    """With ARCHIVE_WHEN_FULL=wait nothing is switched."""
    assert not switch(str(tmp_path), room.FULL)
    assert [] == os.listdir(tmp_path)


def test_the_worst_disk_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and inodes of each filesystem are looked at."""
    rooms = {"/wal": _room(10**10), "/data": _room(10**10)}
    monkeypatch.setattr(os, "statvfs", lambda folder: rooms[folder])
    made = Brake(["/wal", "/data"], SEGMENT)
    assert room.NORMAL == made.look(0.0)
    rooms["/data"] = _room(200 * 1024**2)
    assert room.TIGHT == made.look(10000.0)
    rooms["/wal"] = _room(10**10, favail=10)
    assert room.FULL == made.look(20000.0)
    assert "10 inodes are free on the disk of /wal" == made.words()
    rooms["/wal"] = _room(0)
    assert room.FULL == made.look(30000.0)
    assert "0 MiB are free on the disk of /wal" == made.words()
    rooms |= {"/wal": _room(10**10), "/data": _room(10**10)}
    assert room.NORMAL == made.look(40000.0)
    assert 40000.0 < made.due <= 40000.0 + room.SELDOM


def test_inodes_that_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A btrfs says that it has none."""
    monkeypatch.setattr(os, "statvfs", lambda _: _room(10**10, files=0, favail=0))
    assert room.NORMAL == Brake(["/wal"], SEGMENT).look(0.0)


def test_a_folder_that_is_gone() -> None:
    """The server ends by itself; PID 1 does not."""
    assert room.NORMAL == Brake(["/nowhere"], SEGMENT).look(0.0)


def test_the_server_must_be_up(tmp_path: Path) -> None:
    """SIGHUP would end a server that is only starting; an old lock file is another server's."""
    made = Brake([str(tmp_path)], SEGMENT)
    assert not made.can_switch(str(tmp_path), 42, 0.0)
    (tmp_path / "postmaster.pid").write_text("4\n/data\n")
    assert not made.can_switch(str(tmp_path), 42, 0.2)
    (tmp_path / "postmaster.pid").write_text("42\n/data\n")
    assert made.can_switch(str(tmp_path), 42, 0.4)
    assert brake.level_of([]) == room.NORMAL
