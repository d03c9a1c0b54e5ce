"""The segments that a lost leader has written and not archived: the node that takes its place archives them.

A standby counts each segment that it receives as archived, since its leader archives it. If the leader is
lost before it has, the archive would lack the segment for good.
"""

from __future__ import annotations

import os

from entrypoint.archive import fetching
from entrypoint.archive.opened import OpenedArchive
from entrypoint.errors import Failure
from entrypoint.light import re
from entrypoint.postgres import segments
from entrypoint.server import control_file

_SEGMENT = re.compile("[0-9A-F]{24}")


def find(opened: OpenedArchive, timeline: int, end: int, seconds: float) -> list[str]:
    """Return the complete segments in pg_wal that the archive lacks, up to `end`, an LSN of this timeline.

    An archive that does not answer may lack them all: what it has already is the same there, which both
    archivers notice.
    """
    complete = _complete(opened, timeline, end)
    try:
        stored = fetching.stored_around(opened, complete, seconds)
    except Failure:
        return complete
    first = min((each[8:] for each in stored), default="")
    return [each for each in complete if each not in stored and each[8:] >= first]


def _complete(opened: OpenedArchive, timeline: int, end: int) -> list[str]:
    """Return the complete segments of this timeline's history in pg_wal that do not wait to be archived."""
    size = control_file.segment_bytes(opened.context)
    history = segments.parse_history(control_file.history(opened.context, timeline))
    ends = {**dict(history), timeline: end}
    folder = f"{opened.data_folder}/pg_wal"
    waiting = {*os.listdir(f"{folder}/archive_status")}
    names = sorted(name for name in os.listdir(folder) if _SEGMENT.fullmatch(name))
    return [
        name
        for name in names
        if segments.number(name, size) < ends.get(int(name[:8], 16), 0) // size
        and f"{name}.ready" not in waiting
    ]


def archive(data_folder: str, names: list[str]) -> None:
    """Let the server archive segments, as soon as it has been promoted."""
    folder = f"{data_folder}/pg_wal/archive_status"
    for name in names:
        try:
            os.rename(f"{folder}/{name}.done", f"{folder}/{name}.ready")
        except FileNotFoundError:
            os.close(os.open(f"{folder}/{name}.ready", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
