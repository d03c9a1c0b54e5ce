"""The folders that a server needs: made, owned and closed to others.

The server's user looks first, with his own rights. Root does what is left, to what it has opened (`walk`).
"""

from __future__ import annotations

import errno
import os
import stat

from entrypoint import log, own
from entrypoint.cluster import WAL_ENTRY
from entrypoint.effects import files, identity, locks, walk
from entrypoint.effects.children import Children
from entrypoint.effects.identity import Identity
from entrypoint.effects.status import RUNTIME_FOLDERS, SOCKET_FOLDER
from entrypoint.errors import Failure, Problem
from entrypoint.plan import no_permission
from entrypoint.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_RUNTIME_MODE = 0o711
_SOCKET_MODE = 0o3775

DRILL_SCRATCH = "entrypoint.drill"
"""Below DRILL_FOLDER: what a drill makes there, and the next start or drill removes."""


def make_runtime_folder(who: Identity, held: list[int] | None = None) -> str:
    """Return a folder for what we render, which only the server's user can list.

    Its files are for that user alone, but for the status, which health checks of any user read.

    /run/entrypoint, or beside the sockets or in /tmp where /run cannot be written. A start gives `held`: then
    the folder is emptied, unless another start of this container lives in it, and `held` gets the descriptor
    that says so.
    """
    for folder in RUNTIME_FOLDERS:
        try:
            descriptor = _open_runtime_folder(folder, who)
        except OSError:
            continue
        with identity.Acting(who):
            found = os.fstat(descriptor)
            usable = found.st_uid == who.uid and not os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
            if usable and stat.S_IMODE(found.st_mode) != _RUNTIME_MODE:
                os.fchmod(descriptor, _RUNTIME_MODE)
            if usable and held is not None and _claim(descriptor):
                _empty(descriptor, folder)
        if usable and held is not None:
            held.append(descriptor)
        else:
            os.close(descriptor)
        if usable:
            return folder
    raise Failure(
        Problem(
            f"uid {who.uid} can write to none of {', '.join(RUNTIME_FOLDERS)}",
            "mount a small tmpfs: --tmpfs /run --tmpfs /tmp",
        )
    )


def _open_runtime_folder(folder: str, who: Identity) -> int:
    """Open the folder, made where it is missing: by root if only root can make it there, else by the user."""
    parent, name = os.path.split(folder)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if os.geteuid() == 0:
        above = walk.open_folder(parent)
        try:
            if walk.is_closed(os.fstat(above)):
                _make(name, above)
                descriptor = os.open(name, flags, dir_fd=above)
                if os.fstat(descriptor).st_uid != who.uid:
                    os.fchown(descriptor, who.uid, -1)
                return descriptor
        except PermissionError:
            pass  # root without its capabilities
        finally:
            os.close(above)
    with identity.Acting(who):
        _make(folder)
        return os.open(folder, flags)


def _make(name: str, folder: int | None = None) -> None:
    try:
        os.mkdir(name, _RUNTIME_MODE, dir_fd=folder)
    except FileExistsError:
        pass


def _claim(descriptor: int) -> bool:
    """Say that a start lives in this folder, unless one does already."""
    try:
        return locks.take(descriptor)
    except PermissionError:
        return False
    except OSError:
        return True


def _empty(descriptor: int, folder: str) -> None:
    """Remove what an earlier start has left, or somebody else has put there."""
    try:
        walk.empty(descriptor, folder)
    except OSError as error:
        log.warning(
            f"{folder} cannot be emptied: {error.filename or ''}: {error.strerror}",
            f"remove what is in it: docker exec -u 0 CONTAINER sh -c 'rm -r {folder}/*'",
        )


def prepare(settings: Settings, who: Identity, children: Children) -> None:
    """Make and own the data, socket, WAL and archive folders; raises Failure where one is unusable."""
    path = settings.data_folder
    if not _is_in_order(path, who, 0o700, levels=2):
        with _Explained(path, "write to"):
            descriptor = walk.open_folder(path, make=True)
        try:
            # Five digits in the official image: setuid, setgid and sticky bits go as well.
            os.fchmod(descriptor, 0o700)
        except OSError as error:
            log.warning(f"the mode of {path} stays as it is: {error.strerror}{_lacking(error)}")
        try:
            if os.getuid() == 0:
                read_only: list[str] = []
                with _Explained(path, "change the owner of"):
                    changed = walk.own_tree(descriptor, path, who.uid, children.raise_if_stopped, read_only)
                _let_through(read_only, who)
                if changed > 1:
                    log.info(f"gave {changed} files in {path} to uid {who.uid}")
        finally:
            os.close(descriptor)
    _socket_folder(who)
    if settings.init.wal_folder:
        _wal_folder(settings.init.wal_folder, who, children)
    if settings.archive is not None and settings.archive.storage.folder:
        _archive_folder(settings.archive.storage.folder, who)
    if settings.archive is not None and settings.drill.schedule is not None:
        make_drill_folder(settings.drill.folder, who)


def _let_through(read_only: Sequence[str], who: Identity) -> None:
    """Say what stays another user's, as in the official image.

    Raises Failure for a file of its configuration that the server cannot read.
    """
    if not read_only:
        return
    closed = [path for path in read_only if not _can_read(path, who)]
    if files_needed := [path for path in closed if path.endswith(".conf")]:
        path = files_needed[0]
        found = os.lstat(path)
        raise Failure(
            Problem(
                f"{path} is mounted read-only, and uid {who.uid} cannot read it: it belongs to uid "
                f"{found.st_uid}, with mode {stat.S_IMODE(found.st_mode):o}",
                "let everybody read it, on the host: chmod a+r FILE",
            )
        )
    more = f" and {len(read_only) - 3} more" if len(read_only) > 3 else ""
    unread = f"; uid {who.uid} cannot read {', '.join(closed[:3])}" if closed else ""
    log.warning(
        f"mounted read-only, so the owner stays as it is: {', '.join(read_only[:3])}{more}{unread}",
        "let everybody read it, on the host: chmod a+r FILE" if closed else None,
    )


def _can_read(path: str, who: Identity) -> bool:
    """Tell whether a user can open a file or folder; no question of access(), which strict hosts deny."""
    try:
        with identity.Acting(who):
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        return True  # a socket, say: not for reading
    return True


def _is_in_order(path: str, who: Identity, mode: int, levels: int) -> bool:
    """Tell whether the server's user finds a folder of his with this mode, and so many levels of it his.

    Then root has nothing to do there, wherever the path leads.
    """
    read_only: list[str] = []
    try:
        with identity.Acting(who):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                right = stat.S_IMODE(os.fstat(descriptor).st_mode) == mode
                right = right and walk.owns_top(descriptor, who.uid, read_only, levels)
            finally:
                os.close(descriptor)
    except OSError:
        return False
    if right and os.getuid() == 0:
        _let_through(read_only, who)
    return right


def _wal_folder(folder: str, who: Identity, children: Children) -> None:
    if _is_in_order(folder, who, 0o700, levels=2):
        return
    with _Explained(folder, "prepare"):
        descriptor = walk.open_folder(folder, make=True)
        try:
            if os.getuid() == 0:
                walk.own_tree(descriptor, folder, who.uid, children.raise_if_stopped, [])
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)


def make_drill_folder(folder: str, who: Identity) -> None:
    """Make the folder of drills where it is missing, and give an empty one to the server's user."""
    with _Explained(folder, "prepare"):
        if os.getuid() == 0:
            _give_empty(folder, who, make=True)
        else:
            os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.getuid() != 0 and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Failure(explain(folder, "write to", PermissionError(errno.EACCES, "Permission denied")))


def _give_empty(folder: str, who: Identity, *, make: bool = False) -> None:
    """Give a folder to the server's user where it is empty, as Docker leaves a fresh volume to root."""
    try:
        with identity.Acting(who):
            if os.stat(folder).st_uid == who.uid:
                return
    except OSError:
        pass  # root sees more, or makes it
    descriptor = walk.open_folder(folder, make=make)
    try:
        if os.fstat(descriptor).st_uid != who.uid and not os.listdir(descriptor):
            os.fchown(descriptor, who.uid, who.gid)
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _socket_folder(who: Identity) -> None:
    if _is_in_order(SOCKET_FOLDER, who, _SOCKET_MODE, levels=0):
        return
    try:
        descriptor = walk.open_folder(SOCKET_FOLDER, make=True)
        try:
            if os.getuid() == 0 and os.fstat(descriptor).st_uid != who.uid:
                os.fchown(descriptor, who.uid, -1)
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != _SOCKET_MODE:
                os.fchmod(descriptor, _SOCKET_MODE)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not os.path.isdir(SOCKET_FOLDER) or not os.access(SOCKET_FOLDER, os.W_OK):
            log.warning(
                f"{SOCKET_FOLDER} cannot be prepared ({error.strerror}{_lacking(error)}): the server may "
                "find no place for its sockets",
                f"mount a tmpfs there: --tmpfs {SOCKET_FOLDER}",
            )


def _archive_folder(folder: str, who: Identity) -> None:
    """Give an empty archive folder to the server's user."""
    if not os.path.isdir(folder):
        raise Failure(
            Problem(
                f"the archive folder {folder} does not exist",
                f"mount a volume there: -v NAME:{folder}; without a mount the backups would die "
                "together with the container",
            )
        )
    if os.getuid() == 0:
        with _Explained(folder, "prepare"):
            _give_empty(folder, who)


def check_archive_folder(folder: str, *, to_write: bool) -> Problem | None:
    """Return what keeps this process from reading the archive folder, and from writing to it."""
    if os.access(folder, os.R_OK | os.X_OK | (os.W_OK if to_write else 0)):
        return None
    return explain(
        folder, "write to" if to_write else "read", PermissionError(errno.EACCES, "Permission denied")
    )


def empty_wal_folder(folder: str) -> None:
    """Remove WAL, its status folders and what is ours from a WAL folder, and nothing else."""
    for entry in os.listdir(folder):
        if WAL_ENTRY.fullmatch(entry) or own.is_ours_in_wal(entry):
            files.remove_tree(f"{folder}/{entry}")


class _Explained:
    """Turns an OSError of the block into the message about owners and modes."""

    def __init__(self, path: str, doing: str) -> None:
        self.path = path
        self.doing = doing

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise Failure for an OSError."""
        if isinstance(error, OSError):
            raise Failure(explain(self.path, self.doing, error)) from error


def _missing(error: OSError) -> str:
    return identity.missing_capabilities() if error.errno in (errno.EPERM, errno.EACCES) else ""


def _lacking(error: OSError) -> str:
    missing = _missing(error)
    return f"; the container lacks the capabilities {missing}" if missing else ""


def explain(path: str, doing: str, error: OSError) -> Problem:
    """Return the message for an operation that was denied."""
    place = path
    while not os.path.exists(place):
        place = os.path.dirname(place)
    mount = files.mount_of(place, files.mounts())
    problem = no_permission(
        path,
        doing,
        os.getuid(),
        os.stat(place).st_uid,
        mount.filesystem if mount else "an unknown filesystem",
        place=place,
        missing=_missing(error),
    )
    mend = "mount it without :ro" if error.errno == errno.EROFS else problem.mend
    return problem._replace(what=f"{problem.what} ({error.strerror or error})", mend=mend)
