"""Our notes in the data folder, in files that outlive the container.

No note is written if its cluster is gone: the folder may have been emptied, or may hold another cluster.
PID 1 uses this module too, so the module loads almost nothing.
"""

from __future__ import annotations

import errno
import os

from entrypoint import own
from entrypoint.system import small

CLUSTER = "ENTRYPOINT_CLUSTER"
"""The variable that passes to our own programs which cluster the running server has."""

_known: dict[str, str] = {}
"""The cluster that was in each data folder when this process first wrote there."""


def path(data_folder: str, name: str) -> str:
    """Return the path of a note; it has its former name until the first start of this version."""
    now, before = f"{data_folder}/{name}", f"{data_folder}/{own.former(name)}"
    return before if not os.path.lexists(now) and os.path.lexists(before) else now


def read(data_folder: str, name: str, *, most: int = small.MOST) -> bytes:
    """Return the content of a note; raises OSError."""
    return small.read(path(data_folder, name), most=most)


def read_text(data_folder: str, name: str, *, most: int = small.MOST) -> str:
    """Return the content of a note as text; bytes that are not UTF-8 survive a round trip. Raises OSError."""
    return read(data_folder, name, most=most).decode("utf-8", "surrogateescape")


def write(data_folder: str, name: str, text: str) -> None:
    """Write a note durably; raises OSError, also if the cluster that the note is about is gone."""
    from entrypoint.system import files

    folder = _open(data_folder, name)
    try:
        files.write_atomically(name, text, dir_fd=folder)
    finally:
        os.close(folder)


def append(data_folder: str, name: str, line: str, *, only_durably: bool = False) -> None:
    """Add a line to a note, completely or not at all; raises OSError as `write` does.

    `only_durably`: the note must exist already, and the line survives a power cut.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    flags |= 0 if only_durably else os.O_CREAT
    folder = _open(data_folder, name)
    try:
        descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            size, data = os.fstat(descriptor).st_size, line.encode()
            if os.write(descriptor, data) < len(data):
                os.ftruncate(descriptor, size)  # else the next line would be appended to half a line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{data_folder}/{name}")
            if only_durably:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    finally:
        os.close(folder)


def remove(data_folder: str, name: str) -> None:
    """Remove a note durably; raises OSError if it does not exist."""
    os.unlink(path(data_folder, name))
    folder = os.open(data_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _open(data_folder: str, name: str) -> int:
    """Return a descriptor of the folder; raises OSError if it holds another cluster, or none."""
    folder = os.open(data_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    found = _identifier(folder)
    if found and found == _known.setdefault(data_folder, os.environ.get(CLUSTER) or found):
        return folder
    os.close(folder)
    what = "the folder now holds another database" if found else "the folder no longer holds a database"
    raise OSError(errno.ESTALE, what, f"{data_folder}/{name}")


def expect(data_folder: str, identifier: str) -> None:
    """Set the cluster that a data folder must hold whenever this process writes there."""
    _known[data_folder] = identifier


def cluster(data_folder: str) -> str:
    """Return the system identifier of the cluster in a folder, as text; empty if there is no cluster."""
    try:
        folder = os.open(data_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return _identifier(folder)
    finally:
        os.close(folder)


def _identifier(folder: int) -> str:
    try:
        if os.stat("PG_VERSION", dir_fd=folder).st_size:
            return small.read("global/pg_control", dir_fd=folder)[:8].hex()
    except OSError:
        pass
    return ""


def migrate(data_folder: str) -> None:
    """Rename the notes of earlier versions to their present names; of two notes the newer one is kept.

    Their names began with a dot, so `rm -rf data/*` did not remove them, and the folder only seemed empty.
    """
    try:
        _migrate(data_folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise  # on a full disk, they keep their names until another start


def _migrate(data_folder: str) -> None:
    from entrypoint.system import files

    renamed = False
    for name in os.listdir(data_folder):
        now = own.present(name)
        if now is None:
            continue
        before, after = f"{data_folder}/{name}", f"{data_folder}/{now}"
        renamed = True
        if own.is_aside(now):
            while os.path.lexists(after):
                after += "+"
        elif now.endswith(own.HALF) or (
            os.path.lexists(after) and os.lstat(after).st_mtime >= os.lstat(before).st_mtime
        ):
            files.remove_tree(before)
            continue
        elif os.path.lexists(after):
            files.remove_tree(after)
        os.rename(before, after)
    if renamed:
        files.sync_folder(data_folder)


def clear(data_folder: str) -> None:
    """Remove our own files from a folder without a cluster, except what was moved aside."""
    from entrypoint.system import files

    for name in os.listdir(data_folder):
        if own.is_ours(name) and not own.is_aside(name):
            files.remove_tree(f"{data_folder}/{name}")
