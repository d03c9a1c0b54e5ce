"""The reserve, on the filesystem of the tests; tests/acceptance/full_disk fills real ones."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.volume import reserve

SEGMENT = 1024**2
SERVER = 1
"""A process that has no checkpointer."""
EACH = 3 * SEGMENT
"""A segment, and 2 MB for the small files of a checkpoint."""
KEPT = {"1": EACH, "2": EACH}
CRUMBS = dict.fromkeys((f"crumb-{number}" for number in range(1, 5)), SEGMENT)
BIG = {**KEPT, "next-1": SEGMENT, "next-2": SEGMENT}
ALL = {**BIG, **CRUMBS}
WHOLE = sum(ALL.values())
GB = 1024**3


class Disk:
    """What the filesystem is said to have."""

    def __init__(self) -> None:
        self.size = 10 * GB
        self.free = 5 * GB
        self.files = 1_000_000
        self.free_files = 500_000


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A filesystem with plenty of room."""
    made = Disk()

    def statvfs(_: object) -> os.statvfs_result:
        blocks, free = made.size // 4096, made.free // 4096
        return os.statvfs_result(
            (4096, 4096, blocks, free, free, made.files, made.free_files, made.free_files, 0, 255)
        )

    monkeypatch.setattr(os, "statvfs", statvfs)
    return made


@pytest.fixture
def data(tmp_path: Path, disk: Disk) -> str:
    """A data folder whose WAL is behind a link."""
    assert disk
    wal = tmp_path / "wal"
    wal.mkdir()
    folder = tmp_path / "data"
    (folder / "pg_stat_tmp").mkdir(parents=True)
    (folder / "pg_wal").symlink_to(wal)
    (folder / "global").mkdir()
    (folder / "global/pg_control").touch()
    os.utime(folder / "global/pg_control", (1000, 1000))
    return str(folder)


def _kept(data: str) -> dict[str, int]:
    folder = Path(data, "pg_wal", own.RESERVE)
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.stat().st_size}


def test_space_is_taken_and_given_up(data: str) -> None:
    """The reserve takes real blocks and spare inodes, in the real WAL folder, and nothing of it is left."""
    assert reserve.missing(data, SEGMENT)
    assert WHOLE == reserve.make(data, SEGMENT)
    folder = Path(os.path.realpath(f"{data}/pg_wal"), own.RESERVE)
    files = [path.stat() for path in folder.iterdir()]
    assert (4 + 4 + 64, WHOLE) == (len(files), sum(each.st_size for each in files))
    assert WHOLE <= sum(each.st_blocks * 512 for each in files)
    assert not reserve.missing(data, SEGMENT)
    assert 0 == reserve.make(data, SEGMENT)
    assert WHOLE <= reserve.give_up(data)
    assert [] == list(folder.iterdir())
    assert (0, True) == (reserve.give_up(data), reserve.missing(data, SEGMENT))


def test_what_a_killed_call_leaves_is_completed(data: str) -> None:
    """A file that is short, has holes or is of another size is made again, and what is whole is kept."""
    reserve.make(data, SEGMENT)
    folder = Path(data, "pg_wal", own.RESERVE)
    kept = (folder / "next-2").stat().st_ino
    os.truncate(folder / "1", SEGMENT // 2)
    (folder / "2").unlink()
    os.truncate(folder / "next-1", 0)
    os.truncate(folder / "next-1", SEGMENT)  # a hole, as a copy of the volume may leave
    (folder / "spare-9").unlink()
    (folder / "5").write_text("from a larger disk")
    assert reserve.missing(data, SEGMENT)
    assert 2 * EACH + SEGMENT == reserve.make(data, SEGMENT)
    assert ALL == _kept(data)
    assert kept == (folder / "next-2").stat().st_ino
    assert not reserve.missing(data, SEGMENT)


@pytest.mark.parametrize(
    ("size", "files"),
    [
        (2 * GB, ALL),
        (7 * sum(BIG.values()), ALL),
        (7 * sum(BIG.values()) - 4096, {**KEPT, **CRUMBS, "next-1": SEGMENT}),
        (7 * 2 * EACH, {**KEPT, **CRUMBS}),
        (32 * 1024**2, {**dict.fromkeys(KEPT, 32 * 1024**2 // 14), **CRUMBS}),
    ],
)
def test_it_is_a_small_part_of_the_disk(data: str, disk: Disk, size: int, files: dict[str, int]) -> None:
    """A small filesystem has a smaller reserve, at most a seventh of it."""
    disk.size = disk.free = size
    reserve.make(data, SEGMENT)
    assert files == _kept(data)


@pytest.mark.parametrize(("free", "files"), [(32 * SEGMENT - 4096, 500_000), (5 * GB, 200)])
def test_it_never_makes_a_disk_less_than_normal(data: str, disk: Disk, free: int, files: int) -> None:
    """With less free, in bytes or in inodes, nothing is taken."""
    disk.free, disk.free_files = free, files
    assert (True, False) == (reserve.missing(data, SEGMENT), reserve.can_make(data, SEGMENT))
    assert 0 == reserve.make(data, SEGMENT)
    disk.free, disk.free_files = 32 * SEGMENT, 500_000
    assert reserve.can_make(data, SEGMENT)
    assert WHOLE == reserve.make(data, SEGMENT)
    assert not reserve.can_make(data, SEGMENT)


@pytest.mark.parametrize("refusal", [errno.EOPNOTSUPP, 0])
def test_a_filesystem_that_does_not_allocate(
    data: str, refusal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where blocks cannot be allocated, or only seem to be, they are written with what cannot be compressed."""

    def pretend(descriptor: int, _: int, size: int) -> None:
        if refusal:
            raise OSError(refusal, os.strerror(refusal))
        os.ftruncate(descriptor, size)

    monkeypatch.setattr(os, "posix_fallocate", pretend)
    with pytest.raises(OSError, match="not supported"):
        reserve.make(data, SEGMENT, quickly=True)
    assert {} == _kept(data)
    assert WHOLE == reserve.make(data, SEGMENT)
    texts = [Path(data, "pg_wal", own.RESERVE, name).read_bytes() for name in ALL]
    assert {EACH, SEGMENT} == {len(text) for text in texts}
    assert len(set(texts)) == 8
    assert not any(bytes(4096) in text for text in texts)
    # Such a filesystem may count blocks late, or not at all.
    monkeypatch.setattr(reserve, "_occupies", lambda *_: False)
    assert not reserve.missing(data, SEGMENT)


def test_a_disk_that_fills_meanwhile(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the space is gone after all, half a file is not kept."""

    def full(_: int, __: int, ___: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        reserve.make(data, SEGMENT)
    assert {} == _kept(data)


def test_links_lead_nowhere(data: str, tmp_path: Path) -> None:
    """Neither a link in place of the folder nor one in it makes us touch what it names."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "1").write_text("precious")
    folder = Path(data, "pg_wal", own.RESERVE)
    folder.symlink_to(precious)
    assert 0 == reserve.give_up(data)
    with pytest.raises(OSError, match=r"(?i)directory|symbolic"):
        reserve.make(data, SEGMENT)
    folder.unlink()
    reserve.make(data, SEGMENT)
    (folder / "1").unlink()
    (folder / "1").symlink_to(precious / "1")
    (folder / "folder").mkdir()
    assert reserve.missing(data, SEGMENT)
    reserve.give_up(data)
    assert ["folder"] == [path.name for path in folder.iterdir()]
    assert "precious" == (precious / "1").read_text()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second filesystem")
def test_wal_on_another_disk(tmp_path: Path, disk: Disk) -> None:
    """If the WAL has a filesystem of its own, the data's has a small reserve too."""
    assert disk
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as wal:
        folder = tmp_path / "data"
        (folder / "pg_stat_tmp").mkdir(parents=True)
        (folder / "pg_wal").symlink_to(wal)
        beside = folder / "pg_stat_tmp" / own.RESERVE
        assert WHOLE + 8 * 1024**2 == reserve.make(str(folder), SEGMENT)
        assert 2 + 4 + 64 == len(list(beside.iterdir()))
        assert WHOLE + 8 * 1024**2 <= reserve.give_up(str(folder))
        assert [] == list(beside.iterdir())
        # A tmpfs in the place of pg_stat_tmp would be the wrong disk.
        beside.rmdir()
        beside.parent.rmdir()
        beside.parent.symlink_to(wal)
        assert WHOLE == reserve.make(str(folder), SEGMENT)


@pytest.mark.parametrize(
    ("free", "files", "enough"),
    [(2 * SEGMENT, 8, False), (4 * 1024**2, 8, True), (2 * SEGMENT - 4096, 8, False), (GB, 7, False)],
)
def test_room_for_a_stop(data: str, disk: Disk, free: int, files: int, *, enough: bool) -> None:
    """A stop and a start need two segments, 4 MB next to the data, and a few inodes."""
    disk.free, disk.free_files = free, files
    assert enough == (reserve.short(data, SEGMENT) == "")


def test_no_cluster(tmp_path: Path, disk: Disk) -> None:
    """Without a cluster there is nothing to do, and nothing fails."""
    assert disk
    data = str(tmp_path / "none")
    assert not reserve.missing(data, SEGMENT)
    assert not reserve.can_make(data, SEGMENT)
    assert (0, 0) == (reserve.make(data, SEGMENT), reserve.give_up(data))


def test_the_name_is_ours() -> None:
    """A WAL folder with nothing but our own names counts as empty; a start removes only what a check left."""
    assert own.is_ours_in_wal(own.RESERVE)
    assert not own.is_left_in_wal(own.RESERVE)
    assert own.is_left_in_wal(own.WAL_CHECK)


def test_a_wal_folder_without_a_cluster(data: str) -> None:
    """A WAL folder that holds nothing but a reserve becomes empty, as initdb wants it."""
    reserve.make(data, SEGMENT)
    wal = os.path.realpath(f"{data}/pg_wal")
    reserve.clear(wal)
    assert [] == os.listdir(wal)
    reserve.clear(wal)
    Path(wal, "000000010000000000000001").touch()
    reserve.clear(wal)
    assert ["000000010000000000000001"] == os.listdir(wal)


def _segments(data: str) -> list[str]:
    return sorted(name for name in os.listdir(f"{data}/pg_wal") if len(name) == 24)


def _write_segment(data: str, name: str, at: float) -> None:
    path = Path(data, "pg_wal", name)
    path.write_bytes(b"wal")
    os.utime(path, (at, at))


def test_a_running_server_gets_segments(data: str) -> None:
    """They get the names of the next two; the rest is for the stop, and for the next start."""
    reserve.make(data, SEGMENT)
    folder = Path(data, "pg_wal", own.RESERVE)
    _write_segment(data, "000000010000000000000FFE", 1000)
    assert 2 == reserve.lend(data, SEGMENT, SERVER)
    made = ["000000010000000000000FFF", "000000010000000100000000"]
    assert ["000000010000000000000FFE", *made] == _segments(data)
    assert {SEGMENT} == {Path(data, "pg_wal", name).stat().st_size for name in made}
    assert {**KEPT, **CRUMBS} == _kept(data)
    assert 2 + 4 + 32 == len(list(folder.iterdir()))
    assert 0 == reserve.lend(data, SEGMENT, SERVER)
    assert reserve.missing(data, SEGMENT)
    assert WHOLE - 2 * SEGMENT == reserve.give_up(data)


@pytest.mark.parametrize("is_written", [True, False])
def test_the_name_of_a_segment_is_durable(
    data: str, is_written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before needs it: with blocks that were only allocated, the server's own sync is enough."""
    reserve.make(data, SEGMENT)
    _write_segment(data, "000000010000000000000007", 1000)
    if is_written:
        for name in ("next-1", "next-2"):
            Path(data, "pg_wal", own.RESERVE, name).write_bytes(os.urandom(SEGMENT))
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    assert 2 == reserve.lend(data, SEGMENT, SERVER)
    assert ([os.path.realpath(f"{data}/pg_wal")] * 2 if is_written else []) == synced


def test_a_server_that_has_segments_gets_none(data: str) -> None:
    """Those that it has recycled come first, and each one that is missing is replaced once."""
    reserve.make(data, SEGMENT)
    _write_segment(data, "000000020000000000000007", 1000)
    _write_segment(data, "000000020000000000000008", 900)
    _write_segment(data, "000000020000000000000009", 900)
    assert 0 == reserve.lend(data, SEGMENT, SERVER)
    os.utime(f"{data}/pg_wal/000000020000000000000008", (1100, 1100))
    assert 1 == reserve.lend(data, SEGMENT, SERVER)
    assert "00000002000000000000000A" == _segments(data)[-1]
    assert 0 == reserve.lend(data, SEGMENT, SERVER)


def test_a_server_that_names_segments_itself_gets_none(data: str) -> None:
    """From PostgreSQL 16 on, it would replace one that has come meanwhile, and what was written to it."""
    reserve.make(data, SEGMENT)
    _write_segment(data, "000000010000000000000007", 1000)
    made = Path(data, "pg_wal/xlogtemp.77")
    made.touch()
    assert 0 == reserve.lend(data, SEGMENT, SERVER)
    made.unlink()
    os.utime(f"{data}/global/pg_control")
    assert 0 == reserve.lend(data, SEGMENT, SERVER)
    os.utime(f"{data}/global/pg_control", (1000, 1000))
    assert 2 == reserve.lend(data, SEGMENT, SERVER)


def test_nothing_to_lend(data: str, tmp_path: Path) -> None:
    """Without a reserve, a segment or a cluster nothing happens, and no segment is replaced."""
    assert 0 == reserve.lend(str(tmp_path / "none"), SEGMENT, SERVER)
    assert 0 == reserve.lend(data, SEGMENT, SERVER)
    reserve.make(data, SEGMENT)
    assert 0 == reserve.lend(data, SEGMENT, SERVER)


def test_crumbs(data: str, disk: Disk) -> None:
    """One after the other, and only where nothing is free; two are kept for checkpoints."""
    reserve.make(data, SEGMENT)
    assert not reserve.crumble(data)
    disk.free = 4096
    for left in (3, 2):
        assert reserve.crumble(data)
        assert left == sum(name in CRUMBS for name in _kept(data))
    assert not reserve.crumble(data)
    for left in (1, 0):
        assert reserve.move_crumb(f"{data}/pg_wal", f"{data}/moved", 0o640)
        assert left == sum(name in CRUMBS for name in _kept(data))
        assert 0o640 == Path(data, "moved").stat().st_mode & 0o777
    assert not reserve.move_crumb(f"{data}/pg_wal", f"{data}/moved", 0o640)
    assert not reserve.move_crumb(f"{data}/none", f"{data}/moved", 0o640)
    assert BIG == _kept(data)
