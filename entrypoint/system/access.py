"""What the server's user may do with a file or folder, in words where he may not, and giving it to him."""

from __future__ import annotations

import errno
import os

from entrypoint.errors import Failure, Problem, no_permission
from entrypoint.system import files, identity, walk
from entrypoint.system.identity import Identity


class Explained:
    """Turns an OSError of the block into the message about owners and modes."""

    def __init__(self, path: str, doing: str) -> None:
        self.path = path
        self.doing = doing

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise Failure for an OSError."""
        if isinstance(error, OSError):
            raise Failure(denied(self.path, self.doing, error)) from error


def denied(path: str, doing: str, error: OSError) -> Problem:
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
        missing=lacked(error),
    )
    hint = "mount it without :ro" if error.errno == errno.EROFS else problem.hint
    return problem._replace(what=f"{problem.what} ({error.strerror or error})", hint=hint)


def lacking(error: OSError) -> str:
    """Return which capabilities the container lacks, as the end of a sentence; empty where it is not that."""
    missing = lacked(error)
    return f"; the container lacks the capabilities {missing}" if missing else ""


def lacked(error: OSError) -> str:
    """Return the capabilities that root lacks, where that may be why it was refused."""
    return identity.missing_capabilities() if error.errno in (errno.EPERM, errno.EACCES) else ""


def give_empty(folder: str, who: Identity, *, make: bool = False) -> None:
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


def can_read(path: str, who: Identity) -> bool:
    """Tell whether a user can open a file or folder; no question of access(), which strict hosts deny."""
    try:
        with identity.Acting(who):
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        return True  # a socket, say: not for reading
    return True


def make_own(folder: str, who: Identity) -> None:
    """Make a folder where it is missing, and give an empty one to the server's user."""
    with Explained(folder, "prepare"):
        if os.getuid() == 0:
            give_empty(folder, who, make=True)
        else:
            os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.getuid() != 0 and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Failure(denied(folder, "write to", PermissionError(errno.EACCES, "Permission denied")))
