"""What PID 1 keeps for the moment when nothing is free; tests/acceptance/full_disk fills real filesystems."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.volume import reserve
from entrypoint.volume.ahead import Ahead

SEGMENT = 1024**2
SERVER = 1
"""A process that has no checkpointer."""
FREED, LATE = own.FREED, own.FREED_LATE


class Disk:
    """What the filesystem is said to have free."""

    free = 10**9


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A filesystem with room."""
    made = Disk()

    def statvfs(_: object) -> os.statvfs_result:
        free = made.free // 4096
        return os.statvfs_result((4096, 4096, 10**6, free, free, 10**6, 10**6, 10**6, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    return made


@pytest.fixture
def data(tmp_path: Path, disk: Disk) -> Path:
    """A data folder with three segments, of which the second is the one that is written to."""
    assert disk
    for folder in ("pg_wal", "pg_stat_tmp", "pg_logical/snapshots", "global"):
        (tmp_path / folder).mkdir(parents=True)
    checkpoint(tmp_path, 3600)
    for number, at in ((1, 900), (2, 1000), (3, 100)):
        _write(tmp_path, number, at)
    return tmp_path


def checkpoint(data: Path, seconds: float) -> None:
    """The last checkpoint was some seconds ago."""
    path, at = data / "global/pg_control", time.time() - seconds
    path.touch()
    os.utime(path, (at, at))


def _write_small_file(data: Path) -> None:
    """A checkpoint that has still to end has written its small file."""
    (data / "pg_logical/replorigin_checkpoint").touch()


def _name(number: int) -> str:
    return f"{number:024X}"


def _write(data: Path, number: int, at: float) -> None:
    path = data / "pg_wal" / _name(number)
    if not path.exists():
        path.write_bytes(b"x" * SEGMENT)
    os.utime(path, (at, at))


def _segments(data: Path) -> list[int]:
    return sorted(int(name, 16) for name in os.listdir(data / "pg_wal") if len(name) == 24)


def test_the_next_two_segments_exist(data: Path) -> None:
    """They have real blocks and the mode of the server's own, and count as never written."""
    (data / "pg_wal" / _name(2)).chmod(0o640)
    ahead = Ahead(str(data), SEGMENT, SERVER)
    ahead.keep(0.0, soon=True)
    assert [1, 2, 3, 4] == _segments(data)
    found = (data / "pg_wal" / _name(4)).stat()
    assert (SEGMENT, 0o640, 0, 1) == (found.st_size, found.st_mode & 0o777, found.st_mtime, found.st_nlink)
    assert found.st_blocks * 512 >= SEGMENT
    assert b"x" * SEGMENT == (data / "pg_wal" / _name(3)).read_bytes()
    assert 4 == len(os.listdir(data / "pg_wal"))
    ahead.keep(1.0, soon=True)
    assert [1, 2, 3, 4] == _segments(data)


def test_a_server_that_names_segments_itself(data: Path) -> None:
    """Nothing is named while it makes one, or just after a checkpoint, when it gives old ones new names."""
    ahead, made = Ahead(str(data), SEGMENT, SERVER), data / "pg_wal/xlogtemp.77"
    made.touch()
    ahead.keep(0.0, soon=True)
    made.unlink()
    checkpoint(data, 0.2)
    ahead.keep(1.0, soon=True)
    assert [1, 2, 3] == _segments(data)
    checkpoint(data, 2)
    ahead.keep(2.0, soon=True)
    assert [1, 2, 3, 4] == _segments(data)


def test_a_checkpoint_meanwhile(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment whose blocks are allocated gets no name if a checkpoint was written meanwhile."""
    allocate = reserve.allocate

    def slowly(descriptor: int, size: int, *, sync: bool) -> bool:
        checkpoint(data, 0)
        return allocate(descriptor, size, sync=sync)

    monkeypatch.setattr(reserve, "allocate", slowly)
    Ahead(str(data), SEGMENT, SERVER).keep(0.0, soon=True)
    assert [1, 2, 3] == _segments(data)
    assert 3 == len(os.listdir(data / "pg_wal"))


def test_the_second_name_of_what_a_checkpoint_frees(data: Path) -> None:
    """It is the same file, so that only the checkpoint's second removal frees it, and it has the cluster's mode."""
    (data / "global/pg_control").chmod(0o640)
    _write_small_file(data)
    ahead = Ahead(str(data), SEGMENT, SERVER)
    ahead.keep(0.0, soon=False)
    assert (data / FREED).samefile(data / LATE)
    assert 0o640 == (data / FREED).stat().st_mode & 0o777
    (data / FREED).unlink()
    assert (data / LATE).stat().st_blocks * 512 >= 1024**2
    ahead.keep(1.0, soon=False)
    assert not (data / FREED).samefile(data / LATE)


def test_a_checkpoint_that_creates_its_file_meanwhile(data: Path) -> None:
    """It would end with PANIC if a file of that name appeared between its removal and its creation."""
    ahead = Ahead(str(data), SEGMENT, SERVER)
    ahead.keep(0.0, soon=False)
    assert not (data / LATE).exists()
    (data / LATE).touch()
    _write_small_file(data)
    ahead.keep(1.0, soon=False)
    assert 0 == (data / LATE).stat().st_size


def test_a_filesystem_without_links(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the file has one name, and nobody tries again."""
    calls = []

    def refuse(*names: str, follow_symlinks: bool) -> None:
        calls.append((names, follow_symlinks))
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    _write_small_file(data)
    monkeypatch.setattr(os, "link", refuse)
    ahead = Ahead(str(data), SEGMENT, SERVER)
    for now in (0.0, 1.0):
        ahead.keep(now, soon=False)
    assert 1 == len(calls)
    assert (data / FREED).exists()


def test_a_fast_server_has_more_of_them(data: Path) -> None:
    """As many as it has filled between two looks, and two more; a server that waits gets no others."""
    ahead = Ahead(str(data), SEGMENT, SERVER)
    ahead.keep(0.0, soon=True)
    for number in (3, 4, 5):
        _write(data, number, 1000 + number)
    ahead.keep(1.0, soon=True)
    assert 10 == _segments(data)[-1]
    ahead.keep(2.0, soon=True)
    assert 10 == _segments(data)[-1]


def test_times_that_mean_nothing(data: Path) -> None:
    """Segments that came from a copy without their times are not taken for written ones, again and again."""
    for number in (1, 2, 3):
        _write(data, number, 0)
    ahead = Ahead(str(data), SEGMENT, SERVER)
    for now in range(200):
        ahead.keep(float(now), soon=True)
    assert len(_segments(data)) <= 5


def test_another_timeline(data: Path) -> None:
    """The new names are found when the known segment is gone, or after a minute."""
    ahead = Ahead(str(data), SEGMENT, SERVER)
    ahead.keep(0.0, soon=True)
    (data / "pg_wal" / "000000020000000000000002").write_bytes(b"x" * SEGMENT)
    ahead.keep(1.0, soon=True)
    assert [1, 2, 3, 4] == [each for each in _segments(data) if each < 100]
    ahead.keep(61.0, soon=True)
    assert "000000020000000000000004" == f"{_segments(data)[-1]:024X}"


@pytest.mark.parametrize("name", ["standby.signal", "recovery.signal"])
def test_a_server_that_does_not_write_wal(data: Path, name: str) -> None:
    """While it replays, its segments come from elsewhere."""
    (data / name).touch()
    Ahead(str(data), SEGMENT, SERVER).keep(0.0, soon=True)
    assert [1, 2, 3] == _segments(data)
    assert (data / FREED).exists()


def test_a_promotion(data: Path) -> None:
    """Nothing is made for the timeline that the server has left: it would be archived one day, without WAL in it."""
    signal = data / "standby.signal"
    signal.touch()
    _write(data, 3, 2000)
    ahead = Ahead(str(data), SEGMENT, SERVER)
    ahead.keep(0.0, soon=True)
    _write(data, 2**64 * 2 + 3, 2001)
    signal.unlink()
    ahead.keep(0.1, soon=True)
    left = 2**64 * 2
    assert [1, 2, 3, left + 3, left + 4, left + 5] == _segments(data)


def test_a_copy_whose_times_lie(data: Path) -> None:
    """Even if the segment of an earlier timeline seems to be the last one."""
    _write(data, 2**64 * 2 + 3, 500)
    _write(data, 3, 2000)
    Ahead(str(data), SEGMENT, SERVER).keep(0.0, soon=True)
    assert 3 == max(each for each in _segments(data) if each < 2**64)


def test_little_room(data: Path, disk: Disk) -> None:
    """Two segments stay free; nothing is made on a disk that cannot be full soon."""
    disk.free = 3 * SEGMENT - 4096
    Ahead(str(data), SEGMENT, SERVER).keep(0.0, soon=True)
    disk.free = 10**12
    Ahead(str(data), SEGMENT, SERVER).keep(0.0, soon=False)
    assert [1, 2, 3] == _segments(data)
    disk.free = 3 * SEGMENT
    Ahead(str(data), SEGMENT, SERVER).keep(0.0, soon=True)
    assert [1, 2, 3, 4] == _segments(data)


@pytest.mark.parametrize("refusal", [errno.EOPNOTSUPP, errno.ENOSPC, 0])
def test_a_filesystem_that_cannot_allocate(data: Path, refusal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of a segment that could not be made; where blocks only seem allocated, nobody tries again."""
    calls = []

    def pretend(descriptor: int, _: int, size: int) -> None:
        calls.append(descriptor)
        if refusal:
            raise OSError(refusal, os.strerror(refusal))
        os.ftruncate(descriptor, size)

    (data / FREED).touch()
    monkeypatch.setattr(os, "posix_fallocate", pretend)
    ahead = Ahead(str(data), SEGMENT, SERVER)
    for now in (0.0, 1.0):
        ahead.keep(now, soon=True)
    assert 3 == len(os.listdir(data / "pg_wal"))
    assert (2 if refusal == errno.ENOSPC else 1) == len(calls)


def test_what_a_killed_one_has_left(data: Path) -> None:
    """Half a segment is made again, and nothing follows a link in its place."""
    target = data / "target"
    target.write_text("kept")
    (data / "pg_wal" / "xlogtemp.1").symlink_to(target)
    Ahead(str(data), SEGMENT, SERVER).keep(0.0, soon=True)
    assert [1, 2, 3, 4] == _segments(data)
    assert "kept" == target.read_text()


def test_no_cluster(tmp_path: Path, data: Path) -> None:
    """Without a folder or a segment nothing happens."""
    Ahead(str(tmp_path / "none"), SEGMENT, SERVER).keep(0.0, soon=True)
    for number in (1, 2, 3):
        (data / "pg_wal" / _name(number)).unlink()
    Ahead(str(data), SEGMENT, SERVER).keep(0.0, soon=True)
    assert [] == os.listdir(data / "pg_wal")


def test_space_that_is_taken_meanwhile(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file would free nothing, so a crumb takes its place at once."""
    reserve.make(str(data), SEGMENT)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    Ahead(str(data), SEGMENT, SERVER).keep(0.0, soon=False)
    assert (data / FREED).stat().st_blocks * 512 >= 1024**2


def test_what_a_checkpoint_frees(data: Path, disk: Disk) -> None:
    """It is made from free space, or else from one of the last crumbs of the reserve, as long as there are any."""
    disk.free = 10**9
    reserve.make(str(data), SEGMENT)
    ahead = Ahead(str(data), SEGMENT, SERVER)
    path = data / FREED
    ahead.keep(0.0, soon=False)
    assert path.stat().st_blocks * 512 >= 1024**2
    disk.free = 0
    for left in (3, 2, 1, 0):
        path.unlink()
        ahead.keep(0.0, soon=False)
        assert path.stat().st_blocks * 512 >= 1024**2
        names = os.listdir(data / "pg_wal" / own.RESERVE)
        assert left == sum(name.startswith("crumb-") for name in names)
    path.unlink()
    ahead.keep(0.0, soon=False)
    assert not path.exists()
