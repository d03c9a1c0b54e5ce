"""What the server's user may do with a file or folder, the error if it may not, and changes of the owner."""

from __future__ import annotations

import errno
import os

from entrypoint.errors import Failure, Problem, no_permission
from entrypoint.system import files, identity, walk
from entrypoint.system.identity import Identity


class Explained:
    """Turns an OSError in the block into a problem that names owners and modes."""

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
    """Return the problem for an operation that was denied."""
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
    what = f"{problem.what} ({error.strerror or error})"
    if error.errno == errno.EROFS:
        return problem._replace(what=what, hint="mount it without :ro", docs="mount-the-volume")
    return problem._replace(what=what)


def lacking(error: OSError) -> str:
    """Return the capabilities that the container lacks, as the end of a sentence; empty if irrelevant."""
    missing = lacked(error)
    return f"; the container lacks the capabilities {missing}" if missing else ""


def lacked(error: OSError) -> str:
    """Return the capabilities that root lacks, if that may be why the operation was denied."""
    return identity.missing_capabilities() if error.errno in (errno.EPERM, errno.EACCES) else ""


def give_empty(folder: str, who: Identity, *, make: bool = False) -> None:
    """Make the server's user the owner of an empty folder, because Docker leaves a new volume to root."""
    try:
        with identity.Acting(who):
            if os.stat(folder).st_uid == who.uid:
                return
    except OSError:
        pass  # root may see the folder, or create it
    descriptor = walk.open_folder(folder, make=make)
    try:
        if os.fstat(descriptor).st_uid != who.uid and not os.listdir(descriptor):
            os.fchown(descriptor, who.uid, who.gid)
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def can_read(path: str, who: Identity) -> bool:
    """Return whether a user can open a file or folder; does not use access(), which strict hosts deny."""
    try:
        with identity.Acting(who):
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        return True  # a socket, for example, which nobody can open
    return True


def make_own(folder: str, who: Identity) -> None:
    """Create a folder if it is missing, and make the server's user the owner of an empty one."""
    with Explained(folder, "prepare"):
        if os.getuid() == 0:
            give_empty(folder, who, make=True)
        else:
            os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.getuid() != 0 and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Failure(denied(folder, "write to", PermissionError(errno.EACCES, "Permission denied")))
