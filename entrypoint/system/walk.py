"""How root reaches files and folders near which others can write: it opens each component and trusts none.

Between checking a path and using it, whoever can write to a folder on the way can put a link there. So a path
is opened component by component, only links made by root count, and everything is then done to the
descriptor. Users other than root need none of this: the kernel gives them nothing that is not theirs.
"""

from __future__ import annotations

import errno
import os
import stat

from entrypoint import log
from entrypoint.errors import Failure, Problem
from entrypoint.system import small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PASS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NAMED = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Flags for opening a file for `read_named`."""
_PATIENCE = 10
"""Seconds to wait for a writer of a FIFO."""
_MOST_LINKS = 40
"""The kernel's limit."""
_MOST_LEVELS = 200
"""Each level needs two descriptors; a data folder has six levels."""


def is_closed(found: os.stat_result) -> bool:
    """Return whether only root can create files in a folder."""
    return found.st_uid == 0 and not found.st_mode & 0o022


def open_folder(path: str, *, make: bool = False) -> int:
    """Return a descriptor of a folder; with `make`, create the folder if it is missing.

    Raises OSError, and Failure for a link that root does not follow.
    """
    if os.geteuid() != 0:
        if make:
            os.makedirs(path, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = _resolve(path, make=make, strangers=None)
        try:
            return os.open(".", _FOLDER, dir_fd=place)
        finally:
            os.close(place)
    except OSError as error:
        error.filename = path
        raise


def open_named(path: str) -> int:
    """Return a descriptor for reading a file that a variable names.

    A link made by another user is followed if its target belongs to that user, who could have put the target
    there instead. Raises OSError, and Failure for any other link.
    """
    strangers: list[tuple[str, int]] = []
    try:
        place = _resolve(path, make=False, strangers=strangers)
        try:
            owner = os.fstat(place).st_uid
            for link, uid in strangers:
                if uid != owner:
                    raise _not_followed(link, uid)
            # Without O_NOFOLLOW, since this link is the kernel's own name for our descriptor.
            return os.open(f"/proc/self/fd/{place}", NAMED)
        finally:
            os.close(place)
    except OSError as error:
        error.filename = path
        raise


def read_named(descriptor: int, path: str) -> str:
    """Return the text of a file that a variable names, and close it; FIFOs and devices must have an end.

    Raises OSError, also if nobody writes to a FIFO for a while.
    """
    try:
        waits = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        os.set_blocking(descriptor, not waits)
        wait = (lambda: _wait(descriptor, path)) if waits else None
        return small.drain(descriptor, path, wait=wait).decode("utf-8", "surrogateescape")
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: str) -> None:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(_PATIENCE * 1000):
        raise OSError(errno.ETIMEDOUT, f"nobody has written to it for {_PATIENCE} seconds", path)


def _resolve(path: str, *, make: bool, strangers: list[tuple[str, int]] | None) -> int:
    """Return an O_PATH descriptor of the target of an absolute path.

    A link that root did not make raises Failure or, if `strangers` is given, is added to it with its owner.
    """
    here = os.open("/", _PASS)
    way = ""
    left = path.split("/")[::-1]
    links = 0
    try:
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            found = _step(here, name, make=make)
            if not stat.S_ISLNK(os.fstat(found).st_mode):
                os.close(here)
                here, way = found, f"{way}/{name}"
                continue
            links += 1
            target = _target(found, here, f"{way}/{name}", links, strangers)
            left += target.split("/")[::-1]
            if target.startswith("/"):
                os.close(here)
                here, way = os.open("/", _PASS), ""
    except BaseException:
        os.close(here)
        raise
    return here


def _target(link: int, folder: int, path: str, links: int, strangers: list[tuple[str, int]] | None) -> str:
    """Return the target of a link, and close the link; raises Failure if it must not be followed."""
    try:
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        found = os.fstat(link)
        if not _is_roots(found, os.fstat(folder)):
            if strangers is None:
                raise _not_followed(path, found.st_uid)
            strangers.append((path, found.st_uid))
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)


def _step(here: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _PASS, dir_fd=here)
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(name, 0o755, dir_fd=here)
    except FileExistsError:
        pass
    return os.open(name, _PASS, dir_fd=here)


def _is_roots(link: os.stat_result, folder: os.stat_result) -> bool:
    """Return whether root made a link for this place: in other users' folders it may be a hard link."""
    return link.st_uid == 0 and (is_closed(folder) or link.st_nlink == 1)


def _not_followed(link: str, uid: int) -> Failure:
    return Failure(
        Problem(
            f"{link} is a link made by uid {uid}, and root does not follow it",
            f"name the folder or file itself instead of {link}; if the link is right, make root its owner: "
            f"chown -h root {link}",
            docs="mount-the-volume",
        )
    )


def below(descriptor: int, path: str, *, listed: bool = False) -> Iterator[tuple[int, os.DirEntry[str], int]]:
    """Yield everything below a folder; the content of a folder comes before the folder itself.

    Each entry comes with the descriptor of its parent folder, and with its own descriptor if it is a folder,
    otherwise -1. No link is followed, not even one that replaces a folder in the meantime. With `listed`, a
    folder is read to its end before anything in it is yielded, for callers that remove entries. `path` is for
    messages. Raises OSError.
    """
    levels = [_Level(os.dup(descriptor), None, listed=listed)]
    try:
        while levels:
            level = levels[-1]
            for entry in level.entries:
                inner = _enter(level.descriptor, entry)
                if inner < 0:
                    yield level.descriptor, entry, -1
                    continue
                if len(levels) > _MOST_LEVELS:
                    os.close(inner)
                    raise OSError(errno.ENAMETOOLONG, f"folders are nested deeper than {_MOST_LEVELS}", path)
                levels.append(_Level(inner, entry, listed=listed))
                break
            else:
                if level.entry is not None:
                    yield levels[-2].descriptor, level.entry, level.descriptor
                levels.pop().close()
    finally:
        for level in levels:
            level.close()


class _Level:
    """A folder during a walk, and its entry in the folder above."""

    def __init__(self, descriptor: int, entry: os.DirEntry[str] | None, *, listed: bool) -> None:
        self.descriptor = descriptor
        self.entry = entry
        self._scan = os.scandir(descriptor)
        self.entries = iter(list(self._scan)) if listed else self._scan

    def close(self) -> None:
        """Close the descriptors."""
        self._scan.close()
        os.close(self.descriptor)


def _enter(folder: int, entry: os.DirEntry[str]) -> int:
    """Return a descriptor of an entry if it is a folder, otherwise -1."""
    if not entry.is_dir(follow_symlinks=False):
        return -1
    try:
        return os.open(entry.name, _FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT):
            return -1  # it was a folder a moment ago
        raise


def owns_top(descriptor: int, uid: int, read_only: list[str], levels: int = 2) -> bool:
    """Return whether a folder, and everything in the first levels below it, belongs to a user.

    Read-only mounts, whose owner nobody can change, do not count; they are added to `read_only`.
    """
    if os.fstat(descriptor).st_uid != uid:
        return False
    if not levels:
        return True
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_uid != uid:
                if not _is_read_only(descriptor, entry.name):
                    return False
                read_only.append(_path(descriptor, entry))
                continue
            inner = -1 if levels == 1 else _enter(descriptor, entry)
            if inner >= 0:
                try:
                    if not owns_top(inner, uid, read_only, levels - 1):
                        return False
                finally:
                    os.close(inner)
    return True


def _path(folder: int, entry: os.DirEntry[str]) -> str:
    return os.readlink(f"/proc/self/fd/{folder}") + f"/{entry.name}"


def _is_read_only(folder: int, name: str) -> bool:
    try:
        place = os.open(name, _PASS, dir_fd=folder)
        try:
            return bool(os.fstatvfs(place).f_flag & os.ST_RDONLY)
        finally:
            os.close(place)
    except OSError:
        return False  # gone, or Linux before 3.12: root tries to change the owner


def own_tree(descriptor: int, path: str, uid: int, look_up: Callable[[], None], read_only: list[str]) -> int:
    """Make a user the owner of a folder and everything below it, unless it owns the first two levels.

    The whole walk only happens if something near the top has the wrong owner: on a big cluster it takes
    minutes (docker-library/postgres#916). Only owners are changed, never groups. Mounts below the folder are
    included, as in the official image: the deployer has put them there. `look_up` is called at intervals so
    that a stop signal is noticed; `path` is for messages. Read-only mounts stay unchanged and are added to
    `read_only`. Returns the number of changes.
    """
    if owns_top(descriptor, uid, read_only):
        return 0
    read_only.clear()
    changed = 0
    kept: list[str] = []
    # The folder itself comes last, so that an interrupted walk is noticed and repeated.
    for count, (folder, entry, inner) in enumerate(below(descriptor, path), 1):
        found = os.fstat(inner) if inner >= 0 else entry.stat(follow_symlinks=False)
        if found.st_uid != uid and _is_elsewhere(found):
            kept.append(entry.name)
        elif found.st_uid != uid:
            if _give(folder, entry, inner, uid):
                changed += 1
            else:
                read_only.append(_path(folder, entry))
        if count % 1000 == 0:
            look_up()
        if count % 100_000 == 0:
            log.info(f"checking the owner of {path}: {count} files so far")
    if os.fstat(descriptor).st_uid != uid:
        os.fchown(descriptor, uid, -1)
        changed += 1
    if kept:
        log.warning(
            f"{len(kept)} files below {path} still belong to root: they have other hard links, perhaps "
            f"elsewhere, which everybody on this host may create: {', '.join(kept[:3])}",
            f"copy them, or change their owner yourself: chown {uid} FILE; sysctl "
            "fs.protected_hardlinks=1 on the host forbids such links",
            docs="mount-the-volume",
        )
    return changed


def _give(folder: int, entry: os.DirEntry[str], inner: int, uid: int) -> bool:
    """Make a user the owner of an entry of `below`; return False if its mount is read-only."""
    try:
        if inner >= 0:
            os.fchown(inner, uid, -1)
        else:
            os.chown(entry.name, uid, -1, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EROFS:
            return False
        raise
    return True


def _is_elsewhere(found: os.stat_result) -> bool:
    """Return whether root's file may belong to another folder, and others have made a hard link here."""
    if found.st_nlink < 2 or found.st_uid != 0 or not stat.S_ISREG(found.st_mode):
        return False
    try:
        return small.read("/proc/sys/fs/protected_hardlinks", most=16).strip() != b"1"
    except OSError:
        return True


def empty(descriptor: int, path: str, *, but: str = "") -> None:
    """Remove everything in a folder, except a regular file `but` in it; `path` is for messages."""
    for folder, entry, inner in below(descriptor, path, listed=True):
        if (
            entry.name == but
            and entry.is_file(follow_symlinks=False)
            and os.path.samestat(os.fstat(folder), os.fstat(descriptor))
        ):
            continue
        (os.unlink if inner < 0 else os.rmdir)(entry.name, dir_fd=folder)
