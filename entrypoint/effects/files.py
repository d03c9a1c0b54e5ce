"""Files and folders: atomic writes, ownership, mounts, the lock on the data folder."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from entrypoint import exits, log
from entrypoint.effects import kernel, small
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def read_text(path: str) -> str:
    """Return a file's text; bytes that are no UTF-8 survive a round trip."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def write_atomically(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a crash, sees the old or the new one, never a half."""
    temporary = f"{path}.new"
    descriptor = small.make(temporary, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    os.replace(temporary, path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: str) -> None:
    """Remove a folder or file and everything below, without following links."""
    if not os.path.isdir(path) or os.path.islink(path):
        os.unlink(path)
        return
    # As shutil.rmtree, whose import costs a start more than the removal.
    for _, folders, names, descriptor in os.fwalk(path, topdown=False):
        for name in names:
            os.unlink(name, dir_fd=descriptor)
        for name in folders:
            is_link = stat.S_ISLNK(os.lstat(name, dir_fd=descriptor).st_mode)
            (os.unlink if is_link else os.rmdir)(name, dir_fd=descriptor)
    os.rmdir(path)


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo."""

    point: str
    root: str
    """The folder of the filesystem that is mounted; shows the name of a container engine's volume."""
    filesystem: str
    options: str


def mounts() -> list[Mount]:
    """Return the mounts of this container, as the kernel tells them."""
    try:
        text = read_text("/proc/self/mountinfo")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) >= 6 and right:
            point, root = (_unescape(field) for field in (fields[4], fields[3]))
            found.append(Mount(point, root, right.split(" ")[0], fields[5]))
    return found


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def mount_of(path: str, table: list[Mount]) -> Mount | None:
    """Return the mount that a path is on; the last of equally long ones is on top."""
    best = None
    for mount in table:
        point = mount.point.rstrip("/")
        if (path == mount.point or path.startswith(point + "/")) and (
            best is None or len(mount.point) >= len(best.point)
        ):
            best = mount
    return best


def ensure_folder(path: str, uid: int, mode: int) -> None:
    """Make a folder with this owner and mode; as root the owner is corrected, else the mode at most."""
    os.makedirs(path, exist_ok=True)
    status = os.stat(path)
    if os.getuid() == 0 and status.st_uid != uid:
        os.chown(path, uid, -1)
        status = os.stat(path)
    if stat.S_IMODE(status.st_mode) != mode:
        os.chmod(path, mode)


def own_tree(folder: str, uid: int, look_up: Callable[[], None]) -> int:
    """Give everything below a folder to a user, if its first two levels are not his yet.

    A whole walk is only made when something near the top has the wrong owner: on a big cluster it
    takes minutes (docker-library/postgres#916). Only owners are changed, never groups; links are not
    followed. `look_up` is called now and then so that a stop signal is seen. Returns how many were
    changed.
    """
    if os.stat(folder).st_uid == uid and all(
        entry.stat(follow_symlinks=False).st_uid == uid for entry in _entries(folder, depth=2)
    ):
        return 0
    changed = 0
    # Whatever is below a folder comes before it, so that an interrupted walk is seen and begun again.
    for count, entry in enumerate(_entries(folder, depth=None)):
        if entry.stat(follow_symlinks=False).st_uid != uid:
            os.chown(entry.path, uid, -1, follow_symlinks=False)
            changed += 1
        if count % 1000 == 999:
            look_up()
        if count % 100_000 == 99_999:
            log.info(f"checking the owner of {folder}: {count + 1} files so far")
    if os.stat(folder).st_uid != uid:
        os.chown(folder, uid, -1)
        changed += 1
    return changed


def _entries(folder: str, depth: int | None) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if depth != 1 and entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path, None if depth is None else depth - 1)
            yield entry


def lock_folder(folder: str) -> int:
    """Lock a data folder against a second server and return the descriptor that holds the lock.

    The lock is on the folder itself, so nothing is written, and it goes when its holder dies. It works
    between containers of one host. A network filesystem may not know locks on folders: then it is
    taken on PG_VERSION, and where that fails too, a warning says that the protection is missing.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, folder)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return _lock_version_file(folder)
    return descriptor


def _lock(descriptor: int, folder: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure(
            Problem(
                f"{folder} is in use by {kernel.holder_of(folder)}; this start will not touch it",
                "stop the other one first; `docker ps --filter volume=NAME` shows who uses a volume",
                exits.VOLUME_IN_USE,
            )
        ) from None


def _lock_version_file(folder: str) -> int:
    try:
        version = os.open(f"{folder}/PG_VERSION", os.O_RDWR | os.O_CLOEXEC)
        _lock(version, folder)
    except OSError as error:
        log.warning(
            f"the filesystem of {folder} cannot lock ({error.strerror}): nothing keeps a second "
            "container from starting on it",
            "make sure that only one container ever uses this volume",
        )
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return version
