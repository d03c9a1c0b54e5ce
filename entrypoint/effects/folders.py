"""The folders that a server needs: made, owned and closed to others, as root where we are root."""

import os

from entrypoint import log
from entrypoint.cluster import WAL_ENTRY
from entrypoint.effects import files
from entrypoint.effects.children import Children
from entrypoint.effects.identity import Identity
from entrypoint.effects.status import RUNTIME_FOLDERS, SOCKET_FOLDER
from entrypoint.errors import Failure, Problem
from entrypoint.plan import no_permission
from entrypoint.settings import Settings

DRILL_SCRATCH = "entrypoint.drill"
"""Below DRILL_FOLDER: what a drill makes there, and the next start or drill removes."""


def make_runtime_folder(who: Identity, children: Children) -> str:
    """Return a folder for what we render, which only the server's user can list.

    Its files are for that user alone, but for the status, which health checks of any user read.

    /run/entrypoint, or beside the sockets or in /tmp where /run cannot be written.
    """
    for folder in RUNTIME_FOLDERS:
        try:
            files.ensure_folder(folder, who.uid, 0o711)
        except OSError:
            # Root without the capability to change owners: the user makes its own.
            make = ["mkdir", "-p", "-m", "711", folder]
            children.output(make, {"PATH": os.defpath}, errors=True, become=who)
        if (
            os.path.isdir(folder)
            and os.stat(folder).st_uid == who.uid
            and not os.statvfs(folder).f_flag & os.ST_RDONLY
        ):
            return folder
    raise Failure(
        Problem(
            f"uid {who.uid} can write to none of {', '.join(RUNTIME_FOLDERS)}",
            "mount a small tmpfs: --tmpfs /run --tmpfs /tmp",
        )
    )


def find_runtime_folder(uid: int) -> str | None:
    """Return the runtime folder of a running server of this user."""
    for folder in RUNTIME_FOLDERS:
        try:
            if os.stat(folder).st_uid == uid:
                return folder
        except OSError:
            continue
    return None


def prepare(settings: Settings, who: Identity, children: Children) -> None:
    """Make and own the data, socket, WAL and archive folders; raises Failure where one is unusable."""
    path = settings.data_folder
    with _Explained(path, "write to"):
        os.makedirs(path, exist_ok=True)
    try:
        # Five digits in the official image: setuid, setgid and sticky bits go as well.
        os.chmod(path, 0o700)
    except OSError as error:
        log.warning(f"the mode of {path} stays as it is: {error.strerror}")
    _socket_folder(who)
    wal_folder = settings.init.wal_folder
    if wal_folder:
        with _Explained(wal_folder, "prepare"):
            os.makedirs(wal_folder, exist_ok=True)
            if os.getuid() == 0:
                files.own_tree(wal_folder, who.uid, children.raise_if_stopped)
            os.chmod(wal_folder, 0o700)
    if os.getuid() == 0:
        with _Explained(path, "change the owner of"):
            changed = files.own_tree(path, who.uid, children.raise_if_stopped)
        if changed > 1:
            log.info(f"gave {changed} files in {path} to uid {who.uid}")
    if settings.archive is not None and settings.archive.storage.folder:
        _archive_folder(settings.archive.storage.folder, who)
    if settings.archive is not None and settings.drill.schedule is not None:
        make_drill_folder(settings.drill.folder, who)


def make_drill_folder(folder: str, who: Identity) -> None:
    """Make the folder of drills where it is missing, and give an empty one to the server's user."""
    with _Explained(folder, "prepare"):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if os.getuid() == 0 and os.stat(folder).st_uid != who.uid and not os.listdir(folder):
            os.chown(folder, who.uid, who.gid)
            os.chmod(folder, 0o700)
    if os.getuid() != 0 and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Failure(explain(folder, "write to", PermissionError("Permission denied")))


def _socket_folder(who: Identity) -> None:
    try:
        files.ensure_folder(SOCKET_FOLDER, who.uid, 0o3775)
    except OSError as error:
        if not os.path.isdir(SOCKET_FOLDER) or not os.access(SOCKET_FOLDER, os.W_OK):
            log.warning(
                f"{SOCKET_FOLDER} cannot be prepared ({error.strerror}): the server may find no "
                "place for its sockets",
                f"mount a tmpfs there: --tmpfs {SOCKET_FOLDER}",
            )


def _archive_folder(folder: str, who: Identity) -> None:
    """Give an empty archive folder to the server's user, as Docker leaves a fresh volume to root."""
    if not os.path.isdir(folder):
        raise Failure(
            Problem(
                f"the archive folder {folder} does not exist",
                f"mount a volume there: -v NAME:{folder}; without a mount the backups would die "
                "together with the container",
            )
        )
    try:
        if os.getuid() == 0 and os.stat(folder).st_uid != who.uid and not os.listdir(folder):
            os.chown(folder, who.uid, who.gid)
            os.chmod(folder, 0o700)
    except OSError as error:
        raise Failure(explain(folder, "prepare", error)) from error


def check_archive_folder(folder: str, *, to_write: bool) -> Problem | None:
    """Return what keeps this process from reading the archive folder, and from writing to it."""
    if os.access(folder, os.R_OK | os.X_OK | (os.W_OK if to_write else 0)):
        return None
    return explain(folder, "write to" if to_write else "read", PermissionError("Permission denied"))


def empty_wal_folder(folder: str) -> None:
    """Remove WAL and its status folders from a WAL folder, and nothing else."""
    for entry in os.listdir(folder):
        if WAL_ENTRY.fullmatch(entry):
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
        capabilities=_capabilities(),
    )
    return problem.but(what=f"{problem.what} ({error.strerror or error})")


_CAPABILITIES = {0: "CHOWN", 1: "DAC_OVERRIDE", 3: "FOWNER", 6: "SETGID", 7: "SETUID"}


def _capabilities() -> str:
    """Return the capabilities that matter for ownership, for root only."""
    if os.getuid() != 0:
        return ""
    try:
        status = files.read_text("/proc/self/status")
        mask = int(status.split("CapEff:")[1].split()[0], 16)
    except (OSError, IndexError, ValueError):
        return ""
    held = [name for bit, name in _CAPABILITIES.items() if mask >> bit & 1]
    return ", ".join(held) or "none of those that matter"
