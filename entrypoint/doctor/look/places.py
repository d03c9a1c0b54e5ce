"""Checks of folders, mounts and free space."""

import os
import stat

from entrypoint.doctor import judge
from entrypoint.doctor.sight import Check, Sight
from entrypoint.finding import Finding
from entrypoint.pid1 import status
from entrypoint.server import data_folder
from entrypoint.system import files, space
from entrypoint.volume import probe


def _data_folder(sight: Sight) -> list[Finding]:
    return judge.places.data_folder(sight.facts) if sight.facts is not None else []


def _folders(sight: Sight) -> list[Finding]:
    data = sight.data_folder
    if not os.path.isdir(data):
        return []  # the start creates it
    found = [_folder("data folder", data, sight)]
    if sight.has_cluster:
        found.append(_folder("WAL folder", f"{data}/pg_wal", sight))
        try:
            links = sorted(os.listdir(f"{data}/pg_tblspc"))
        except OSError:
            links = []
        found += [_folder(f"tablespace {name}", f"{data}/pg_tblspc/{name}", sight) for name in links]
    return judge.places.folders(found, sight.context.who.uid)


def _folder(name: str, path: str, sight: Sight) -> judge.places.Folder:
    real = os.path.realpath(path)
    mount = files.mount_of(real, sight.mounts)
    try:
        status = os.stat(real)
    except OSError:
        return judge.places.MISSING._replace(name=name, path=real)
    return judge.places.Folder(
        name,
        real,
        exists=True,
        owner=status.st_uid,
        mode=stat.S_IMODE(status.st_mode),
        filesystem=mount.filesystem if mount else "unknown",
        place=probe.place(mount),
        read_only=bool(os.statvfs(real).f_flag & os.ST_RDONLY),
    )


def _run_folder(sight: Sight) -> list[Finding]:
    # A server that somebody else has started has its sockets in a folder of its own, as under CloudNativePG.
    other = None if sight.tended else data_folder.live_postmaster(sight.data_folder)
    path = (other and other.socket_folder) or status.SOCKET_FOLDER
    writable = os.access(path, os.W_OK | os.X_OK)
    found = judge.places.run_folder(
        path, exists=os.path.isdir(path), writable=writable, uid=sight.context.who.uid
    )
    own = sight.context.runtime_folder
    room = space.look(own)
    files = room.free_files if room.files else _UNCOUNTED
    return [*found, *judge.places.runtime_folder(own, room.free, files)]


_UNCOUNTED = 10**6
"""The number of free files on a filesystem that does not count them, such as btrfs."""


CHECKS = (
    Check(
        "data folder",
        "data in the container's own layer or on an anonymous volume is lost with the container",
        "the mount that holds PGDATA, an unfinished first start or restore, and data in other places",
        _data_folder,
        docs="mount-the-volume",
    ),
    Check(
        "folders",
        "with the wrong owner, mode or filesystem, a server does not start, or loses synced data",
        "the owner, mode, filesystem and mount of PGDATA, the WAL folder and the tablespaces",
        _folders,
        docs="mount-the-volume",
        costly=True,
    ),
    Check(
        "run folder",
        "without a folder for its sockets, the server does not start and local clients cannot connect",
        "the folder of the server's sockets, as the server's user, and the free space in the runtime folder",
        _run_folder,
        docs="run-without-root",
    ),
)
