"""The backlog and progress of archiving, read from pg_wal and from the notes of archive-segment."""

from __future__ import annotations

import os
import time
from itertools import takewhile

from entrypoint.archive import calls, fork, known_gaps, mark
from entrypoint.light import re
from entrypoint.pid1 import status
from entrypoint.postgres import segments
from entrypoint.settings.archiving import Archive
from entrypoint.shown import iso
from entrypoint.system import space
from entrypoint.volume.facts import ArchiveState

_REASON_LINES = 3
_IS_NEWS = re.compile(r"\s*(P[0-9]+\s+)?(INFO|DETAIL):")
_AFTER_REASON = ("hint:", "docs:", "goroutine ")
_RECENT = 600.0
"""Seconds over which the archiving rate is measured."""


def waiting(data_folder: str) -> list[str]:
    """Return the names of the files that wait to be archived, in PostgreSQL's order.

    Timeline histories come first, then the segments, oldest first.
    """
    names = _names(f"{data_folder}/pg_wal", ".ready")
    return sorted(names, key=lambda name: (not name.endswith(".history"), name))


def look(archive: Archive, data_folder: str, runtime_folder: str) -> ArchiveState:
    """Return the state of archiving; a file that cannot be read counts as missing."""
    wal = f"{data_folder}/pg_wal"
    ready = _times(wal, ".ready")
    done = _done(data_folder)
    now = time.time()
    oldest = min(ready, key=lambda name: ready[name], default=None)
    age = None if oldest is None else max(0, int(now - ready[oldest]))
    size = sum(_size(f"{wal}/{name}") for name in ready)
    last, last_at = _last_archived(runtime_folder, done)
    failing, words = calls.outage(runtime_folder, data_folder)
    free = _free(wal)
    grows = size / age if failing and age else 0
    refused = fork.refusal(data_folder)
    return ArchiveState(
        tool=archive.tool.name,
        url=archive.storage.url,
        backlog_segments=len(ready),
        backlog_bytes=size,
        oldest_ready=oldest,
        oldest_ready_seconds=age,
        archived_per_minute=round(sum(now - when < _RECENT for when in done.values()) / (_RECENT / 60), 1),
        last_archived=last,
        last_archived_at=None if last_at is None else iso(last_at),
        failing_since=iso(float(failing[1])) if len(failing) > 1 and failing[1].isdigit() else None,
        last_error=_reason(words) or failing[0].strip() if failing else None,
        prepared=status.in_recovery(data_folder) or not os.path.exists(f"{runtime_folder}/{calls.PREPARE}"),
        fork_refused=None if refused is None else refused.what,
        fork_hint=None if refused is None else refused.hint,
        fork_docs=None if refused is None else refused.docs,
        free_bytes=free,
        seconds_until_full=int(free / grows) if free is not None and grows else None,
        lost=mark.is_lost(data_folder, archive),
        idle=not ready and _is_idle(wal, done),
    )


def _names(wal: str, ending: str) -> list[str]:
    """Return the names of the files in this state."""
    try:
        names = os.listdir(f"{wal}/archive_status")
    except OSError:
        return []
    return [name.removesuffix(ending) for name in names if name.endswith(ending)]


def _times(wal: str, ending: str) -> dict[str, float]:
    """Return each file in this state with the time it entered it: PostgreSQL renames .ready to .done."""
    found = {}
    for name in _names(wal, ending):
        try:
            found[name] = os.stat(f"{wal}/archive_status/{name}{ending}").st_ctime
        except OSError:
            continue  # archived meanwhile
    return found


def _done(data_folder: str) -> dict[str, float]:
    """Return each archived file with the time; PostgreSQL takes one that was given up for archived."""
    is_lost = known_gaps.lost_segments(data_folder)
    done = _times(f"{data_folder}/pg_wal", ".done")
    return {name: when for name, when in done.items() if not is_lost(name)}


def last_segment(data_folder: str, runtime_folder: str, timeline: str) -> tuple[str, float] | None:
    """Return the last archived segment of a timeline (eight digits), and when it was archived.

    A segment of another timeline may be marked as done although it came from another archive.
    """
    name, when = _last_archived(runtime_folder, {})
    if name is not None and when is not None and segments.NAME.fullmatch(name):
        return name, when
    done = _done(data_folder)
    of_it = {name: when for name, when in done.items() if name.startswith(timeline)}
    name, when = _last_archived("", of_it)
    return None if name is None or when is None else (name, when)


def _last_archived(runtime_folder: str, done: dict[str, float]) -> tuple[str | None, float | None]:
    path = f"{runtime_folder}/{calls.ARCHIVED}"
    lines = calls.lines(path)
    if lines:
        return lines[0], os.stat(path).st_mtime
    whole = [name for name in done if segments.NAME.fullmatch(name)]
    newest = max(whole, key=lambda name: done[name], default=None)
    return newest, None if newest is None else done[newest]


def _is_idle(wal: str, done: dict[str, float]) -> bool:
    """Return whether no segment was written since the last archived one; a recycled one keeps its time.

    It may be False for an idle server, whose checkpoint has created a segment for later, but not the reverse.
    """
    last, _ = _last_archived("", done)
    if last is None:
        return False
    try:
        names = [name for name in os.listdir(wal) if segments.NAME.fullmatch(name) and name > last]
        written = os.stat(f"{wal}/{last}").st_mtime_ns
        return all(os.stat(f"{wal}/{name}").st_mtime_ns <= written for name in names)
    except OSError:
        return False


def _reason(words: list[str]) -> str | None:
    """Return the reason from the output: wal-g begins with news, ends with a stack; others end with hints.

    pgBackRest also reports what it does, with all its options.
    """
    lines = [line.strip() for line in words if line.strip() and not _IS_NEWS.match(line)]
    found = (
        number for number, line in enumerate(lines) if "error" in line.lower() or line.startswith("panic: ")
    )
    start = next(found, -1)
    reason = lines[start:][:_REASON_LINES] if lines else []
    message = takewhile(lambda line: not line.lower().startswith(_AFTER_REASON), reason)
    return " ".join(message).removeprefix(calls.OURS) or None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _free(folder: str) -> int | None:
    try:
        return space.look(folder).free
    except OSError:
        return None
