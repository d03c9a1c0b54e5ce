"""What the system refused, as a message: the call and the file, without a traceback."""

from __future__ import annotations

import errno
import os

from entrypoint.errors import Problem
from entrypoint.system import access, files, space

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def explain(error: OSError) -> Problem:
    """Return the problem for an OSError that nothing else has handled.

    An error while writing names no file, and one while opening in a folder names only part of the path. Then
    the path is taken from the arguments of our function.
    """
    call = path = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(_OURS):
            call = _call(trace)
            path = _path(trace.tb_frame) or path
        trace = trace.tb_next
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    where = (
        name if name.startswith("/") else f"{name} of {path}" if name and path else name or path or "a file"
    )
    if is_full(error) and where.startswith("/"):
        return _full(where, error)
    missing = access.lacked(error)
    return Problem(
        f"the system refused an operation on {where} ({call or 'unknown'}): {error.strerror or error}",
        f"the container lacks the capabilities {missing}: grant them with --cap-add"
        if missing
        else "check owner, mode and free space there",
        docs="run-without-root" if missing else "",
    )


def is_full(error: OSError) -> bool:
    """Return whether there was no space, no inode, or no quota left."""
    return error.errno in _FULL


def _full(path: str, error: OSError) -> Problem:
    """Return the problem for a file that has no room on its filesystem, which the message names."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    mount = files.mount_of(os.path.realpath(folder), files.mounts())
    point, kind = (mount.point, mount.filesystem) if mount else (folder, "unknown")
    return Problem(
        f"{path} cannot be written: {error.strerror or error}: {free(folder)} on {point} ({kind})",
        f"give it more room: --tmpfs {point}:size=64m"
        if kind == "tmpfs"
        else f"make room there, or make the volume larger; du -xh {point} shows what takes it",
        docs="when-the-disk-fills",
    )


def free(folder: str) -> str:
    """Return what is free on the filesystem of a folder, for a message."""
    try:
        found = space.look(folder)
    except OSError:
        return "nothing is free"
    inodes = f", and {found.free_files} of {found.files} inodes" if found.files else ""
    return f"{found.free // 1024} kB of {found.size // 1024**2} MB are free{inodes}"


def _path(frame: FrameType) -> str:
    for name in ("path", "folder"):
        value = frame.f_locals.get(name)
        if isinstance(value, str) and value.startswith("/"):
            return value
    return ""


def _call(trace: TracebackType) -> str:
    """Return the name of the function that was called there or, without its source, of the caller."""
    code = trace.tb_frame.f_code
    try:
        line, _, column, _ = list(code.co_positions())[trace.tb_lasti // 2]
        with open(code.co_filename, "rb") as file:
            text = file.read().split(b"\n")[(line or 0) - 1][column or 0 :]
    except (OSError, IndexError):
        return code.co_name
    name = text.partition(b"(")[0].rpartition(b".")[2].decode("ascii", "replace")
    return name if name.isidentifier() else code.co_name
