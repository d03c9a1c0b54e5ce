"""What restore_command needs while a server recovers, and the archive queries of shims/fetch-segment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from entrypoint import exits
from entrypoint.archive import calls
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.known import adapters
from entrypoint.archivers.terms import brief
from entrypoint.errors import Failure, Problem
from entrypoint.light import re
from entrypoint.postgres import segments
from entrypoint.server import control_file
from entrypoint.server.context import Context, later_command
from entrypoint.system import files

_FOLDER = re.compile("[0-9A-F]{16}")
_SEGMENT = re.compile(r"([0-9A-F]{24})(-[0-9a-f]{40})?(\.[a-z0-9]{2,4})?")
"""The file name of a stored segment; a `.partial` file does not match, since it is not a whole segment."""


@contextmanager
def fetching(opened: OpenedArchive) -> Iterator[None]:
    """Provide what restore_command needs for the duration of a block, and remove it afterwards."""
    _clear(opened)  # what a killed recovery left may be incomplete
    prepare(opened.context)
    helper = _start_helper(opened)
    try:
        yield
    finally:
        if helper is not None:
            opened.context.children.end_group(helper)
        _clear(opened)


def prepare(context: Context) -> None:
    """Write down how shims/fetch-segment queries the archive for names, and forget the last recovery."""
    for name in calls.OF_A_RECOVERY:
        if os.path.lexists(f"{context.runtime_folder}/{name}"):
            os.unlink(f"{context.runtime_folder}/{name}")
    files.write_atomically(f"{context.runtime_folder}/{calls.ASK}", f'{later_command(context)} "$@"\n')


def _start_helper(opened: OpenedArchive) -> int | None:
    what = opened.server
    helping = opened.can.helping
    if helping is None or not opened.can_help():
        return None
    command = helping.fetch_helper(what)
    socket = helping.socket(what)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    log = os.open(f"{socket}.log", flags, 0o600)
    try:
        return opened.spawn(command, {1: log, 2: log})
    finally:
        os.close(log)


def _clear(opened: OpenedArchive) -> None:
    what = opened.server
    helping = opened.can.helping
    socket = helping.socket(what) if helping is not None else ""
    for path in (socket, f"{socket}.log") if socket else ():
        if os.path.lexists(path):
            os.unlink(path)
    # Segments that either tool fetched ahead and that were not needed.
    for folder in (tool.read_ahead(what) for tool in adapters({}).values()):
        if os.path.isdir(folder):
            _remove(folder)


def _remove(folder: str) -> None:
    """Remove a folder into which a process of the tool may still put a last segment."""
    for _ in range(50):
        try:
            files.remove_tree(folder)
        except OSError:
            time.sleep(0.1)
        else:
            return
    files.remove_tree(folder)


def later_segment(opened: OpenedArchive, missing: str) -> str | None:
    """Return the first later segment of the same timeline, if the archive holds one.

    Raises Failure if the archive cannot be listed. PostgreSQL puts the timeline's history into pg_wal before
    it requests the timeline's segments; without a history it takes the timeline for one without a parent.
    """
    try:
        history = files.read_text(f"{opened.data_folder}/pg_wal/{missing[:8]}.history")
    except FileNotFoundError:
        history = ""
    size = control_file.segment_bytes(opened.context)
    root = _wal_folder(opened)
    names = _list(opened, root)
    folders = sorted(name for name in names if _FOLDER.fullmatch(name))
    found = _segments(names)
    # The archive held at least the backup's segments: without any, it is not the same archive any more.
    if not folders and not found:
        raise _failure(opened, f"{root} holds no segment at all")
    begin = segments.begin(history)
    for folder in folders:
        if folder[:8] == missing[:8] and folder >= missing[:16]:
            found = _segments(_list(opened, f"{root}/{folder}"))
            if later := segments.later(missing, found, begin, size):
                return later
    return segments.later(missing, found, begin, size)


def stored_files(opened: OpenedArchive, segment: str, seconds: float = calls.QUICK) -> dict[str, str]:
    """Return the names of the files in the archive's folder of this segment, by the names of their segments.

    Raises Failure. The names contain no character that has a special meaning in a shell.
    """
    return _stored_files(opened, _folder_of(opened, segment, seconds), seconds)


def stored_around(opened: OpenedArchive, names: Iterable[str], seconds: float) -> set[str]:
    """Return the segments in the archive's folders of these segments; raises Failure."""
    if opened.can.flat:
        return {*_segments(wal_names(opened, seconds)[1])}
    one_of_each = {name[:16]: name for name in names}
    return {each for name in one_of_each.values() for each in stored_files(opened, name, seconds)}


def stored_bytes(opened: OpenedArchive, segment: str, seconds: float) -> bytes:
    """Return a segment as it is stored; each archiver call gets `seconds` to answer. Raises Failure."""
    tool = opened.tool
    paths = tool.stored_paths(segment)
    if not paths:
        folder = _folder_of(opened, segment, seconds)
        name = _stored_files(opened, folder, seconds).get(segment)
        paths = (f"{folder}/{name}",) if name else ()
    words = "it is not in the archive"
    for path in paths:
        command = tool.raw_object(opened.server, path)
        answer = opened.ask(command, seconds=seconds)
        if answer.code == 0:
            return answer.stdout.encode("utf-8", "surrogateescape")
        words = answer.stderr.strip() or f"no answer (exit code {answer.code})"
    raise Failure(
        Problem(
            f"{segment} cannot be read as it is stored in {opened.url}:\n{brief(words)}",
            "check that the storage can be reached",
            exits.ARCHIVE_REFUSED,
            docs="fix-archiving",
        )
    )


def _folder_of(opened: OpenedArchive, segment: str, seconds: float = calls.QUICK) -> str:
    """Return the folder of a segment in the archive, for a tool with one folder for each 256 segments."""
    return f"{_wal_folder(opened, seconds)}/{segment[:16]}"


def _stored_files(opened: OpenedArchive, folder: str, seconds: float = calls.QUICK) -> dict[str, str]:
    names = _list(opened, folder, seconds)
    return {found[1]: found[0] for name in names if (found := _SEGMENT.fullmatch(name))}


def _segments(names: list[str]) -> list[str]:
    return [found[1] for name in names if (found := _SEGMENT.fullmatch(name))]


def wal_names(opened: OpenedArchive, seconds: float) -> tuple[str, list[str]]:
    """Return the archive's folder of this cluster's WAL and the names in it; raises Failure."""
    root = _wal_folder(opened, seconds)
    return root, _list(opened, root, seconds)


def _wal_folder(opened: OpenedArchive, seconds: float = calls.QUICK) -> str:
    identifier = control_file.system_identifier(opened.context)
    command = opened.tool.identify(opened.server)
    code, text = opened.run_quietly(command, seconds=seconds)
    try:
        return opened.tool.wal_folder(identifier, code, text)
    except ValueError as error:
        raise _failure(opened, str(error)) from error


def _list(opened: OpenedArchive, folder: str, seconds: float = calls.QUICK) -> list[str]:
    command = opened.tool.list_folder(opened.server, folder)
    answer = opened.ask(command, seconds=seconds)
    if answer.code:
        raise _failure(opened, answer.stderr.strip() or f"no answer (exit code {answer.code})")
    return opened.tool.parse_names(answer.stdout)


def _failure(opened: OpenedArchive, words: str) -> Failure:
    return Failure(
        Problem(
            f"the segments in {opened.url} cannot be listed:\n{brief(words)}",
            "check that the storage can be reached",
            exits.ARCHIVE_REFUSED,
            docs="fix-archiving",
        )
    )
