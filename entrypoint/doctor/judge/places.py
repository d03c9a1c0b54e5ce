"""The folders of the data: their owners, modes, mounts and filesystems; pure."""

from __future__ import annotations

from collections.abc import Sequence

from entrypoint.archivers.known import LOCKING
from entrypoint.finding import Finding, error, ok, warning
from entrypoint.light import NamedTuple
from entrypoint.shown import spell
from entrypoint.volume.facts import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.volume.facts import Place

_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "glusterfs", "ceph", "lustre", "afs")
_NO_FSYNC = ("cifs", "smb3", "9p")
"""Those on which PostgreSQL is known to lose or refuse data: no fsync of folders, no owners."""
_GONE = ("tmpfs", "ramfs")


class Folder(NamedTuple):
    """A folder of the server."""

    name: str
    """Its purpose: `data folder`, `WAL folder`, `tablespace NAME`."""
    path: str
    exists: bool
    owner: int
    """uid."""
    mode: int
    """Permission bits."""
    filesystem: str
    place: Place
    read_only: bool


MISSING = Folder("", "", exists=False, owner=0, mode=0, filesystem="", place="unknown", read_only=False)


def data_folder(facts: Facts) -> list[Finding]:
    """Judge the place of the data folder, and other data and mounts near it."""
    folder = facts.data_folder
    where = f"{folder.path} is on {folder.filesystem}, {folder.place} ({folder.mount_point})"
    found = []
    if folder.place == "container layer":
        hint = "mount a volume that holds the data folder: -v NAME:FOLDER"
        found.append(error(f"{where}: it is removed with the container", hint))
    elif folder.place == "anonymous volume":
        found.append(warning(where, f"mount a volume with a name: -v NAME:{folder.mount_point}"))
    else:
        found.append(ok(where))
    if folder.unfinished is not None:
        what = f"a first start or a restore is not finished (stage {folder.unfinished.stage})"
        hint = "see the log of the last start: it names the reason and how to resolve it"
        restores = folder.unfinished.stage in ("recovery", "promoted")
        page = "restore-a-lost-volume" if restores else "finish-a-first-start"
        found.append(error(what, hint, page))
    for place in facts.old_databases:
        what = f"PostgreSQL data of another version or layout is in {place}"
        found.append(warning(what, "to serve it, name its folder with PGDATA", "upgrade-to-a-newer-major"))
    for mount in facts.stray_mounts:
        what = f"a volume is mounted at {mount}, but the data folder is not on it"
        found.append(warning(what, f"mount it at {folder.mount_point} instead"))
    return found


def folders(found: Sequence[Folder], uid: int) -> list[Finding]:
    """Judge owners, modes, filesystems and mounts; `uid` is the server's."""
    told = [finding for folder in found for finding in _folder(folder, uid)]
    names = ", ".join(folder.name for folder in found)
    return told or [ok(f"owner, mode and filesystem are right: {names}")]


def _folder(folder: Folder, uid: int) -> list[Finding]:
    what = f"the {folder.name} {folder.path}"
    if not folder.exists:
        return [error(f"{what} is missing", "mount the volume that holds it, at exactly this path")]
    found = []
    if folder.owner != uid:
        hint = f"start as root once, or with --user {folder.owner}:{folder.owner}"
        belongs = f"{what} belongs to uid {folder.owner}, but the server runs as uid {uid}"
        found.append(warning(belongs, hint, "run-without-root"))
    elif folder.mode & 0o700 != 0o700:
        found.append(error(f"{what} is closed to its owner (mode {folder.mode:04o})", _chmod(folder)))
    if folder.mode & 0o027:
        more = "; the server refuses to start with this mode" if folder.name == "data folder" else ""
        found.append(warning(f"{what} is open to others (mode {folder.mode:04o}){more}", _chmod(folder)))
    if folder.read_only:
        found.append(error(f"{what} is mounted read-only", "mount it without :ro"))
    if folder.filesystem in _GONE:
        hint = "mount a volume on a disk there"
        found.append(error(f"{what} is in memory ({folder.filesystem}): it is lost with the container", hint))
    elif folder.place == "container layer" and folder.name != "data folder":
        hint = "mount a volume there, and move the files into it"
        found.append(error(f"{what} is in the container's own layer: it is removed with the container", hint))
    elif folder.filesystem in _NETWORK or folder.filesystem.startswith("fuse."):
        found.append(_network(folder, what))
    return found


def _chmod(folder: Folder) -> str:
    return f"chmod 0700 {folder.path}; a start as root does this for the data folder"


def _network(folder: Folder, what: str) -> Finding:
    if folder.filesystem in _NO_FSYNC:
        hint = "move it to a local disk, or to a volume of the container engine"
        return error(f"{what} is on {folder.filesystem}, which can lose synced data", hint)
    hint = "mount NFS with hard,sync and let only one host use it; a local disk is better"
    return warning(f"{what} is on a network filesystem ({folder.filesystem})", hint)


_NOTES = 256 * 1024
"""Bytes: the notes and locks of archiving need a fraction of them."""


def runtime_folder(path: str, free: int, files: int) -> list[Finding]:
    """Judge the free space in the folder of our own notes: bytes and files."""
    if free >= _NOTES and files >= 16:
        return []
    what = f"{path} has room for only {spell(free)} and {files} files: notes of archiving may get lost"
    hint = "remove the files that fill it, or make it larger: a tmpfs has the option size=64m"
    return [error(f"{what}, and {LOCKING} cannot lock", hint)]


def run_folder(path: str, *, exists: bool, writable: bool, uid: int) -> list[Finding]:
    """Judge the folder of the sockets, as the server's user sees it."""
    if exists and writable:
        return [ok(f"{path} is writable")]
    hint = f"mount a tmpfs there: --tmpfs {path}:mode=3777, or start as root"
    return [error(f"{path} {'cannot be written by uid ' + str(uid) if exists else 'is missing'}", hint)]
