"""How root gets to a folder or a file that others can write near: each component is opened, none is believed.

Between a look at a path and its use, whoever can write to a folder on the way can put a link there. So a path
is opened component by component, a link counts only if root has made it, and what is then done is done to the
descriptor. Users who are not root need none of this: the kernel gives them nothing that is not theirs.
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
"""How to open what `read_named` reads."""
_PATIENCE = 10
"""Seconds for somebody to write to a FIFO."""
_MOST_LINKS = 40
"""As in the kernel."""
_MOST_LEVELS = 200
"""Each holds two descriptors; a data folder has six."""


def is_closed(found: os.stat_result) -> bool:
    """Tell whether nobody but root can put anything into a folder."""
    return found.st_uid == 0 and not found.st_mode & 0o022


def open_folder(path: str, *, make: bool = False) -> int:
    """Return a descriptor of a folder, which is made where it is missing if that is asked for.

    Raises Failure for a link that root does not follow, and OSError.
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
    """Return a descriptor of a file that a variable names, to be read.

    A link of somebody else's is followed to what is his own, which he could have put there as well. Raises
    Failure for another one, and OSError.
    """
    strangers: list[tuple[str, int]] = []
    try:
        place = _resolve(path, make=False, strangers=strangers)
        try:
            owner = os.fstat(place).st_uid
            for link, uid in strangers:
                if uid != owner:
                    raise _not_followed(link, uid)
            # Without O_NOFOLLOW, since this link is the kernel's own name for what we hold.
            return os.open(f"/proc/self/fd/{place}", NAMED)
        finally:
            os.close(place)
    except OSError as error:
        error.filename = path
        raise


def read_named(descriptor: int, path: str) -> str:
    """Return the text of what a variable names, and close it: a file, or a FIFO or device that has an end.

    Raises OSError, also where nobody writes to a FIFO for a while.
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
    """Return a descriptor of what an absolute path leads to, good for its place alone.

    Links that root has not made are a Failure, or are added to `strangers`, each with its owner.
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
    """Return where a link leads, and close it; raises Failure where it must not be followed."""
    try:
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        told = os.fstat(link)
        if not _is_roots(told, os.fstat(folder)):
            if strangers is None:
                raise _not_followed(path, told.st_uid)
            strangers.append((path, told.st_uid))
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
    """Tell whether a link leads where root wants: in a folder of others it may be a second name of one."""
    return link.st_uid == 0 and (is_closed(folder) or link.st_nlink == 1)


def _not_followed(link: str, uid: int) -> Failure:
    return Failure(
        Problem(
            f"{link} is a link that uid {uid} has made, which root does not follow",
            f"name the folder or file itself in place of {link}; if the link is right, let root own it: "
            f"chown -h root {link}",
        )
    )


def below(descriptor: int, path: str, *, listed: bool = False) -> Iterator[tuple[int, os.DirEntry[str], int]]:
    """Yield all that is below a folder; whatever is in a folder comes before the folder itself.

    Each with the descriptor of the folder that it is in, and one of its own if it is a folder, else -1. No
    link is followed, also none that takes a folder's place meanwhile. With `listed` a folder is read to its
    end before anything in it is yielded, for those who remove. `path` is for messages. Raises OSError.
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
    """A folder that is walked through, and its entry in the folder above."""

    def __init__(self, descriptor: int, entry: os.DirEntry[str] | None, *, listed: bool) -> None:
        self.descriptor = descriptor
        self.entry = entry
        self._scan = os.scandir(descriptor)
        self.entries = iter(list(self._scan)) if listed else self._scan

    def close(self) -> None:
        """Close what is open."""
        self._scan.close()
        os.close(self.descriptor)


def _enter(folder: int, entry: os.DirEntry[str]) -> int:
    """Return a descriptor of an entry that is a folder, else -1."""
    if not entry.is_dir(follow_symlinks=False):
        return -1
    try:
        return os.open(entry.name, _FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT):
            return -1  # it was one a moment ago
        raise


def owns_top(descriptor: int, uid: int, read_only: list[str], levels: int = 2) -> bool:
    """Tell whether a folder, and what is in the first levels below it, belongs to a user.

    But for what is mounted read-only, whose owner nobody can change: that is added to `read_only`.
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
        return False  # gone, or Linux before 3.12: root tries to give it, and sees


def own_tree(descriptor: int, path: str, uid: int, look_up: Callable[[], None], read_only: list[str]) -> int:
    """Give a folder and everything below it to a user, if its first two levels are not his yet.

    A whole walk is only made when something near the top has the wrong owner: on a big cluster it
    takes minutes (docker-library/postgres#916). Only owners are changed, never groups. What is mounted below
    is given as well, as the official image does: the deployer has put it there. `look_up` is called now and
    then so that a stop signal is seen; `path` is for messages. What is mounted read-only stays as it is, and
    is added to `read_only`. Returns how many were changed.
    """
    if owns_top(descriptor, uid, read_only):
        return 0
    read_only.clear()
    changed = 0
    kept: list[str] = []
    # The folder itself comes last, so that an interrupted walk is seen and begun again.
    for count, (folder, entry, inner) in enumerate(below(descriptor, path), 1):
        told = os.fstat(inner) if inner >= 0 else entry.stat(follow_symlinks=False)
        if told.st_uid != uid and _is_elsewhere(told):
            kept.append(entry.name)
        elif told.st_uid != uid:
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
            f"{len(kept)} files below {path} stay root's, since they have other names, perhaps elsewhere, as "
            f"on this host everybody may give them: {', '.join(kept[:3])}",
            f"copy them, or chown {uid} them; sysctl fs.protected_hardlinks=1 on the host forbids it",
        )
    return changed


def _give(folder: int, entry: os.DirEntry[str], inner: int, uid: int) -> bool:
    """Give what `below` has found to a user; tell whether it could be: not if it is mounted read-only."""
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


def _is_elsewhere(told: os.stat_result) -> bool:
    """Tell whether a file of root's may be one of another folder, for which others have made a name here."""
    if told.st_nlink < 2 or told.st_uid != 0 or not stat.S_ISREG(told.st_mode):
        return False
    try:
        return small.read("/proc/sys/fs/protected_hardlinks", most=16).strip() != b"1"
    except OSError:
        return True


def empty(descriptor: int, path: str) -> None:
    """Remove everything that is in a folder; `path` is for messages."""
    for folder, entry, inner in below(descriptor, path, listed=True):
        (os.unlink if inner < 0 else os.rmdir)(entry.name, dir_fd=folder)
