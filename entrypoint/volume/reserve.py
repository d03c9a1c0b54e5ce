"""The reserve: space and inodes of the server's own filesystems that are given up when they are full.

Without room for one more WAL segment, a server ends with PANIC, a shutdown cannot write its checkpoint, and
the next start ends as well. So some space is taken while there is plenty. It is below pg_wal and pg_stat_tmp,
because no base backup contains what is there. Giving it up needs no space. PID 1 uses this module too, so the
module loads almost nothing.
"""

from __future__ import annotations

import errno
import os
import stat

from entrypoint import own
from entrypoint.light import NamedTuple
from entrypoint.system import space
from entrypoint.volume import installing, room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LENT = ("next-1", "next-2")
"""Files that a running server gets as its next WAL segments; a very small filesystem has none."""
_AHEAD = 2
"""As many segments are to exist beyond the one that the server writes to."""
_KEPT = ("1", "2")
"""Files for a clean stop and the next start: each needs at most one new segment."""
_CRUMBS = ("crumb-1", "crumb-2", "crumb-3", "crumb-4")
_CRUMB = 1024**2
"""Bytes. Each checkpoint writes a small file in pg_logical; if it cannot, the server ends with PANIC. After a
change of a catalog, the next session writes a file of its cache, and if it cannot, it ends."""
_GIVEN = 2
"""Crumbs that are given up when nothing is free; the others only become what a checkpoint removes."""
_SPARE = "spare-"
_MORE = 2 * 1024**2
"""Bytes of each file beyond a segment: a checkpoint that cannot write its small files is a PANIC, too."""
_PART = 7
"""The reserve takes at most one part in this many of a filesystem."""
_BESIDE = 4 * 1024**2
"""Bytes on the filesystem of the data folder if the WAL is on another one."""
_SPARE_FILES = 64
_NEEDED = 2
"""WAL segments that a clean stop and the next start need."""
_LARGEST_SEGMENT = 1024**3
_NEEDED_FILES = 8
"""Inodes for them, for the lock file, for statistics and for notes."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BLOCK = 512
"""Bytes; the unit of st_blocks."""
_CHUNK = 1024**2
_TAKEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Part(NamedTuple):
    """The part of the reserve on one filesystem."""

    place: str
    """The folder that contains it."""
    sizes: dict[str, int]
    """The bytes of each file, by its name."""


def short(data_folder: str, segment_bytes: int) -> str:
    """Return the folder, pg_wal or PGDATA, whose filesystem has no room for a clean stop and a start.

    Empty: there is room.
    """
    wal = f"{data_folder}/pg_wal"
    for folder, least in ((wal, _NEEDED * segment_bytes), (data_folder, _BESIDE)):
        try:
            found = space.look(folder)
            is_one = os.stat(wal).st_dev == os.stat(data_folder).st_dev
        except OSError:
            continue  # no cluster, or no longer
        if found.free < least or not found.has_files(_NEEDED_FILES):
            return data_folder if is_one else folder
    return ""


def may_be_short(data_folder: str) -> bool:
    """Return what `short` does, for segments of the largest size: the size takes longer to find out."""
    return short(data_folder, _LARGEST_SEGMENT) != ""


def missing(data_folder: str, segment_bytes: int) -> bool:
    """Return whether the reserve is not complete."""
    return any(_lacking(part) for part in _parts(data_folder, segment_bytes))


def make(data_folder: str, segment_bytes: int, *, quickly: bool = False) -> int:
    """Make or complete the reserve where enough stays free beyond it; return how many bytes were taken.

    The level of each filesystem stays normal. The next call completes what a killed one has left. To make it
    `quickly`, blocks are only allocated, which takes milliseconds; where they would have to be written, as on
    ZFS and NFS, there is an error. Raises OSError.
    """
    taken = 0
    for part in _parts(data_folder, segment_bytes):
        lacking = _lacking(part)
        if lacking and _has_room(part, lacking, segment_bytes):
            taken += _make(part, lacking, write=not quickly)
    return taken


def can_make(data_folder: str, segment_bytes: int) -> bool:
    """Return whether the reserve is not complete and there is room for a part that is missing."""
    parts = ((part, _lacking(part)) for part in _parts(data_folder, segment_bytes))
    return any(lacking and _has_room(part, lacking, segment_bytes) for part, lacking in parts)


def give_up(data_folder: str) -> int:
    """Remove the reserve; return how many bytes that freed. Works on a full disk, and follows no link."""
    return sum(_remove(f"{data_folder}/{name}") for name in ("pg_wal", "pg_stat_tmp"))


def crumble(data_folder: str) -> bool:
    """Remove a crumb of the reserve where nothing is free; return whether there was one."""
    removed = False
    for name in ("pg_wal", "pg_stat_tmp"):
        place = f"{data_folder}/{name}"
        try:
            if space.look(place).free >= _CRUMB // 2:
                continue
            folder = _open(place)
        except OSError:
            continue
        try:
            crumb = next((each for each in _CRUMBS[:_GIVEN] if each in os.listdir(folder)), None)
            if crumb is not None:
                os.unlink(crumb, dir_fd=folder)
                removed = True
        except OSError:
            continue
        finally:
            os.close(folder)
    return removed


def move_crumb(place: str, path: str, mode: int) -> bool:
    """Give a crumb of the reserve in a folder another name and this mode; return whether that was possible.

    Nobody else can take its space meanwhile.
    """
    try:
        folder = _open(place)
    except OSError:
        return False
    try:
        for name in reversed(_CRUMBS):
            try:
                os.rename(name, path, src_dir_fd=folder)
                _set_mode(path, mode)
            except OSError:
                continue  # it was given up already, or the path is on another filesystem
            return True
    finally:
        os.close(folder)
    return False


def _set_mode(path: str, mode: int) -> None:
    """Set the mode of a file, and follow no link in its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def lend(data_folder: str, segment_bytes: int, server: int) -> int:
    """Give a running server files of the reserve as its next WAL segments, and some inodes.

    `server` is the pid of its postmaster. Returns the number of segments.

    Whatever fills the disk cannot take them: a file only gets another name, as in PostgreSQL's own recycling.
    The rest is for a clean stop and the next start. The server never has more than `_AHEAD` such segments.
    """
    lent = 0
    try:
        above = os.open(f"{data_folder}/pg_wal", _FOLDER)
    except OSError:
        return 0
    try:
        folder = os.open(own.RESERVE, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
    except OSError:
        os.close(above)
        return 0
    try:
        for name in os.listdir(folder):
            if name.startswith(_SPARE) and name[-1] in "13579":
                os.unlink(name, dir_fd=folder)
        names = installing.names(above)
        last = installing.newest(above)
        ahead = sum(name > last for name in names)
        for name in _LENT:
            if not names or ahead >= _AHEAD or not _is_whole(folder, name, segment_bytes):
                continue
            if not installing.is_quiet(data_folder, above, server):
                break
            names.append(installing.following(names[-1], segment_bytes))
            os.utime(name, (0, 0), dir_fd=folder, follow_symlinks=False)
            os.link(name, names[-1], src_dir_fd=folder, dst_dir_fd=above, follow_symlinks=False)
            keep_name(above, names[-1])
            os.unlink(name, dir_fd=folder)
            ahead, lent = ahead + 1, lent + 1
    except OSError:
        pass  # the server has made that segment meanwhile, or the folder is gone
    finally:
        os.close(folder)
        os.close(above)
    return lent


def keep_name(folder: int, name: str) -> None:
    """Let a new name of a file outlast a power failure, as soon as the server syncs what it writes there.

    The first write to a block that was only allocated changes the file, so that sync takes the name along. If
    the blocks were written, fdatasync on ext4 does not, and what it has synced would have the old name.
    """
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError:
        return  # nothing was written
    finally:
        os.close(descriptor)
    os.fsync(folder)


def clear(wal_folder: str | None) -> None:
    """Remove the reserve of an earlier cluster from a WAL folder, which has to be empty for a new one."""
    if wal_folder is None:
        return
    _remove(wal_folder)
    try:
        os.rmdir(f"{wal_folder}/{own.RESERVE}")
    except OSError:
        pass  # there is none, or somebody has put something there


def _parts(data_folder: str, segment_bytes: int) -> Iterator[_Part]:
    wal, beside = f"{data_folder}/pg_wal", f"{data_folder}/pg_stat_tmp"
    try:
        size = space.look(wal).size
        data_device = os.stat(data_folder).st_dev
        wal_device = os.stat(wal).st_dev
    except OSError:
        return  # no cluster, or no longer
    kept = min(segment_bytes + _MORE, size // _PART // len(_KEPT))
    lent = max(0, size // _PART - kept * len(_KEPT)) // segment_bytes
    sizes = {**dict.fromkeys(_KEPT, kept), **dict.fromkeys(_LENT[:lent], segment_bytes)}
    yield _part(wal, {**sizes, **dict.fromkeys(_CRUMBS, _CRUMB)})
    try:
        # It may be a tmpfs, where a reserve would be of no use.
        if wal_device != data_device and os.stat(beside).st_dev == data_device:
            each = min(_BESIDE, space.look(beside).size // _PART) // len(_KEPT)
            yield _part(beside, {**dict.fromkeys(_KEPT, each), **dict.fromkeys(_CRUMBS, _CRUMB)})
    except OSError:
        return


def _part(place: str, sizes: dict[str, int]) -> _Part:
    return _Part(place, sizes | {f"{_SPARE}{number}": 0 for number in range(1, _SPARE_FILES + 1)})


def _lacking(part: _Part) -> dict[str, int]:
    """Return the files that are missing or not whole, and their sizes."""
    try:
        folder = _open(part.place)
    except OSError:
        return part.sizes
    try:
        return {name: size for name, size in part.sizes.items() if not _is_whole(folder, name, size)}
    finally:
        os.close(folder)


def _open(place: str) -> int:
    """Return a descriptor of the reserve's folder; the way to pg_wal may be a link, the folder may not."""
    above = os.open(place, _FOLDER)
    try:
        return os.open(own.RESERVE, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
    finally:
        os.close(above)


def _is_whole(folder: int, name: str, size: int) -> bool:
    """Return whether a file has its size, and really occupies it: a copy of the volume may have holes."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        return not size or _occupies(found, size) or _is_written(folder, name)
    except OSError:
        return False


def _occupies(found: os.stat_result, size: int) -> bool:
    return found.st_blocks * _BLOCK >= size


def _is_written(folder: int, name: str) -> bool:
    """Return whether a file was written, not only allocated: its blocks are real, whatever is counted."""
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        return any(os.read(descriptor, _BLOCK))
    finally:
        os.close(descriptor)


def _has_room(part: _Part, lacking: dict[str, int], segment_bytes: int) -> bool:
    """Return whether both the bytes and the inodes stay at the normal level with what is lacking."""
    found = space.look(part.place)
    if found.free - sum(lacking.values()) < room.marks(found.size, segment_bytes).normal:
        return False
    return found.has_files(room.marks(found.files, room.FILES).normal + len(lacking) + 1)


def _make(part: _Part, lacking: dict[str, int], *, write: bool) -> int:
    try:
        os.mkdir(f"{part.place}/{own.RESERVE}", 0o700)
    except FileExistsError:
        pass
    folder = _open(part.place)
    try:
        for name in os.listdir(folder):
            if name in lacking or name not in part.sizes:
                os.unlink(name, dir_fd=folder)
        for name, size in lacking.items():
            _make_file(folder, name, size, write=write)
        os.fsync(folder)
    finally:
        os.close(folder)
    return sum(lacking.values())


def _make_file(folder: int, name: str, size: int, *, write: bool) -> None:
    """Create a file whose blocks are really allocated; raises OSError, and then leaves nothing of it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        if size and not allocate(descriptor, size):
            _write(descriptor, size, allowed=write)
    except OSError:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def allocate(descriptor: int, size: int, *, sync: bool = True) -> bool:
    """Allocate the blocks of a file; return False if the filesystem only pretends to, as ZFS does."""
    try:
        os.posix_fallocate(descriptor, 0, size)
        if sync:
            os.fsync(descriptor)
    except OSError as error:
        if error.errno in _TAKEN:
            raise
        return False
    return _occupies(os.fstat(descriptor), size)


def _write(descriptor: int, size: int, *, allowed: bool) -> None:
    """Fill a file with what no filesystem can compress; raises OSError if that is not allowed."""
    if not allowed:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    os.lseek(descriptor, 0, os.SEEK_SET)
    while size:
        size -= os.write(descriptor, os.urandom(min(size, _CHUNK)))
    os.fsync(descriptor)


def _remove(place: str) -> int:
    """Remove the part of the reserve in a folder; return the bytes."""
    freed = 0
    try:
        folder = _open(place)
    except OSError:
        return 0
    try:
        for name in os.listdir(folder):
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                os.unlink(name, dir_fd=folder)
                freed += found.st_blocks * _BLOCK
            except OSError:
                continue  # a folder that somebody has put there
    finally:
        os.close(folder)
    return freed
