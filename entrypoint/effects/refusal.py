"""What the system has refused, in words: the call and the file, without a traceback."""

from __future__ import annotations

import errno
import os

from entrypoint.effects import files, identity
from entrypoint.errors import Failure, Problem, no_permission

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def explain(error: OSError) -> Problem:
    """Return what is wrong and what to look at.

    Writing names no file, and opening in a folder only a part of one: then it is told by the path that our
    function was called with.
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
    missing = _missing(error)
    return Problem(
        f"the system refused an operation on {where} ({call or 'unknown'}): {error.strerror or error}",
        f"the container lacks the capabilities {missing}: grant them by --cap-add"
        if missing
        else "check owner, mode and free space there",
    )


def _path(frame: FrameType) -> str:
    for name in ("path", "folder"):
        value = frame.f_locals.get(name)
        if isinstance(value, str) and value.startswith("/"):
            return value
    return ""


def _call(trace: TracebackType) -> str:
    """Return the name of the function that was called there, or if there is no source that of the caller."""
    code = trace.tb_frame.f_code
    try:
        line, _, column, _ = list(code.co_positions())[trace.tb_lasti // 2]
        with open(code.co_filename, "rb") as file:
            text = file.read().split(b"\n")[(line or 0) - 1][column or 0 :]
    except (OSError, IndexError):
        return code.co_name
    name = text.partition(b"(")[0].rpartition(b".")[2].decode("ascii", "replace")
    return name if name.isidentifier() else code.co_name


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
        missing=_missing(error),
    )
    mend = "mount it without :ro" if error.errno == errno.EROFS else problem.mend
    return problem._replace(what=f"{problem.what} ({error.strerror or error})", mend=mend)


def _missing(error: OSError) -> str:
    return identity.missing_capabilities() if error.errno in (errno.EPERM, errno.EACCES) else ""


def lacking(error: OSError) -> str:
    """Return which capabilities the container lacks, as the end of a sentence; empty where it is not that."""
    missing = _missing(error)
    return f"; the container lacks the capabilities {missing}" if missing else ""
