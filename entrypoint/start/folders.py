"""The folders that a server needs: created, owned and closed to others.

The server's user looks first, with its own rights. Root does the rest, only to what it has opened (`walk`).
"""

from __future__ import annotations

import os
import stat

from entrypoint import log
from entrypoint.errors import Failure, Problem
from entrypoint.pid1.status import SOCKET_FOLDER
from entrypoint.server import opening
from entrypoint.settings.values import Settings
from entrypoint.system import access, identity, space, walk
from entrypoint.system.children import Children
from entrypoint.system.doors import DOOR, DOOR_FOLDER
from entrypoint.system.identity import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SOCKET_MODE = 0o3775


def make_door(wanted: Settings) -> None:
    """Put our door for people in front of an archiver that a derived image has installed."""
    tool = wanted.archive and wanted.archive.tool
    if os.getuid() != 0 or tool is None or not opening.has_program(tool.name, os.environ):
        return
    try:
        os.symlink(DOOR, f"{DOOR_FOLDER}/{tool.name}")
    except OSError:
        pass  # the door exists, or somebody else's file has its name, or the folder is read-only


def prepare(settings: Settings, who: Identity, children: Children) -> None:
    """Create the data, socket, WAL and archive folders, and own them; raises Failure if one is unusable."""
    path = settings.data_folder
    if not _is_in_order(path, who, 0o700, levels=2):
        with access.Explained(path, "write to"):
            descriptor = walk.open_folder(path, make=True)
        try:
            # Like the five digits in the official image, this also removes setuid, setgid and sticky bits.
            os.fchmod(descriptor, 0o700)
        except OSError as error:
            log.warning(f"cannot change the mode of {path}: {error.strerror}{access.lacking(error)}")
        try:
            if os.getuid() == 0:
                read_only: list[str] = []
                with access.Explained(path, "change the owner of"):
                    changed = walk.own_tree(descriptor, path, who.uid, children.raise_if_stopped, read_only)
                _let_through(read_only, who)
                if changed > 1:
                    log.info(f"changed the owner of {changed} files in {path} to uid {who.uid}")
        finally:
            os.close(descriptor)
    _socket_folder(who)
    _warn_if_full(SOCKET_FOLDER)
    if settings.init.wal_folder:
        _wal_folder(settings.init.wal_folder, who, children)
    archive = settings.archive and settings.archive.storage.at("").folder
    if archive:
        _archive_folder(archive, who)
    if settings.archive is not None and settings.drill.schedule is not None:
        access.make_own(settings.drill.folder, who)


def _let_through(read_only: Sequence[str], who: Identity) -> None:
    """Warn about files that keep another owner, as in the official image.

    Raises Failure for a configuration file that the server cannot read.
    """
    if not read_only:
        return
    closed = [path for path in read_only if not access.can_read(path, who)]
    if files_needed := [path for path in closed if path.endswith(".conf")]:
        path = files_needed[0]
        found = os.lstat(path)
        raise Failure(
            Problem(
                f"{path} is mounted read-only, and uid {who.uid} cannot read it: it belongs to uid "
                f"{found.st_uid}, with mode {stat.S_IMODE(found.st_mode):o}",
                "make it readable for everybody, on the host: chmod a+r FILE",
                docs="mount-the-volume",
            )
        )
    more = f" and {len(read_only) - 3} more" if len(read_only) > 3 else ""
    unread = f"; uid {who.uid} cannot read {', '.join(closed[:3])}" if closed else ""
    log.warning(
        f"cannot change the owner of files mounted read-only: {', '.join(read_only[:3])}{more}{unread}",
        "make it readable for everybody, on the host: chmod a+r FILE" if closed else "",
        docs="mount-the-volume",
    )


def _is_in_order(path: str, who: Identity, mode: int, levels: int) -> bool:
    """Return whether the server's user owns a folder with this mode, and this many levels below it.

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
    with access.Explained(folder, "prepare"):
        descriptor = walk.open_folder(folder, make=True)
        try:
            if os.getuid() == 0:
                walk.own_tree(descriptor, folder, who.uid, children.raise_if_stopped, [])
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
        with identity.Acting(who):
            usable = os.path.isdir(SOCKET_FOLDER) and os.access(SOCKET_FOLDER, os.W_OK, effective_ids=True)
        if not usable:
            log.warning(
                f"cannot prepare {SOCKET_FOLDER} ({error.strerror}{access.lacking(error)}): the server may "
                "have no place for its sockets",
                f"mount a tmpfs there: --tmpfs {SOCKET_FOLDER}",
                docs="run-without-root",
            )


def _warn_if_full(folder: str) -> None:
    """Warn if the server cannot write the lock file of its socket, without which it does not start."""
    try:
        found = space.look(folder)
    except OSError:
        return
    if found.free and found.has_files(1):
        return
    from entrypoint.system import refusal

    log.warning(
        f"the server may not start, because {folder} has no room for its socket and its lock file: "
        f"{refusal.free(folder)}",
        f"make room there, or mount a tmpfs: --tmpfs {folder}",
        docs="when-the-disk-fills",
    )


def _archive_folder(folder: str, who: Identity) -> None:
    """Give an empty archive folder to the server's user."""
    if not os.path.isdir(folder):
        raise Failure(
            Problem(
                f"the archive folder {folder} does not exist",
                f"mount a volume there: -v NAME:{folder}; without a mount, the backups would be deleted "
                "together with the container",
                docs="set-up-archiving",
            )
        )
    if os.getuid() == 0:
        with access.Explained(folder, "prepare"):
            access.give_empty(folder, who)
