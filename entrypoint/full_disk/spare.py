"""What takes space on the server's filesystems, is ours, and can be made again.

The archiver's spool is not part of it: it is small, and its entries say what the archive has. Nor is what was
moved aside on request.
"""

from __future__ import annotations

import os
import signal

from entrypoint import log, own
from entrypoint.archive.calls import describe_server
from entrypoint.archivers.known import adapters
from entrypoint.drill import scratch
from entrypoint.pid1 import status
from entrypoint.server.context import Context
from entrypoint.server.data_folder import is_postmaster_of, live_postmaster
from entrypoint.system import files, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_asked: set[int] = set()
"""The drills that were asked to end."""
_BLOCK = 512
"""Bytes; the unit of st_blocks."""


def give_up(context: Context) -> list[tuple[str, int]]:
    """Remove it from the filesystems of the data folder and of pg_wal; return what it was, and its bytes.

    A running drill there is asked to end: it removes its own folder, and nobody waits for that here.
    What cannot be removed is left: this is no reason to fail.
    """
    data = context.settings.data_folder
    devices = {_device(data), _device(f"{data}/pg_wal")} - {0}
    found = live_postmaster(data)
    is_served = found is not None and is_postmaster_of(found.pid, data)
    given = _drill(context, devices)
    for path in _leftovers(context, is_served=is_served):
        if _device(path) not in devices:
            continue
        size = bytes_of(path)
        try:
            files.remove_tree(path)
        except OSError:
            continue
        given.append((path, size))
    return given


def _leftovers(context: Context, *, is_served: bool) -> Iterator[str]:
    """Yield what killed processes have left, as far as nothing that runs can still use it."""
    data = context.settings.data_folder
    wal = f"{data}/pg_wal"
    if not (is_served and status.in_recovery(data)):
        # Segments that a recovery has read ahead; it reads them again.
        ahead = (tool.read_ahead(describe_server(context)) for tool in adapters({}).values())
        yield from (folder for folder in ahead if folder.startswith(f"{wal}/") and os.path.isdir(folder))
    for name in filter(own.is_left_in_wal, _names(wal)):
        inner = [f"{wal}/{name}/{each}" for each in _names(f"{wal}/{name}")]
        yield from (each for each in inner if not (is_served and _is_in_use(each)))
    if not is_served:
        halves = (name for name in _names(data) if name.endswith(own.HALF) and own.is_ours(name))
        yield from (f"{data}/{name}" for name in halves)


def _is_in_use(path: str) -> bool:
    """Return whether the process lives that reads a segment back; the file's name begins with its pid."""
    return os.path.exists(f"/proc/{os.path.basename(path).partition('-')[0]}")


def _drill(context: Context, devices: set[int]) -> list[tuple[str, int]]:
    """Remove the scratch folder of a drill, which is ended if it runs in this container."""
    folder = f"{context.settings.drill.folder}/{own.DRILL_SCRATCH}"
    if _device(folder) not in devices:
        return []
    running = holders(folder)
    if not running:
        size = bytes_of(folder)
        scratch.clear(context)
        return [] if os.path.lexists(folder) else [(folder, size)]
    for pid in set(running) - _asked:
        _asked.add(pid)
        log.warning(
            f"ending the drill (pid {pid}): a disk of the server is full, and {folder} is on it",
            "set DRILL_FOLDER to a folder on another disk",
            docs="rehearse-restores",
        )
        try:
            os.kill(pid, signal.SIGTERM)
        except OSError:
            continue  # it has ended
    return []


def holders(folder: str) -> list[int]:
    """Return the processes of this container that hold a lock on a folder."""
    return [pid for pid in processes.pids() if pid != os.getpid() and _holds(pid, folder)]


def _holds(pid: int, folder: str) -> bool:
    try:
        target = os.stat(folder)
        for name in os.listdir(f"/proc/{pid}/fd"):
            found = os.stat(f"/proc/{pid}/fd/{name}")
            if (found.st_dev, found.st_ino) == (target.st_dev, target.st_ino):
                text = files.read_text(f"/proc/{pid}/fdinfo/{name}")
                if "FLOCK" in text:
                    return True
    except OSError:
        pass  # it has ended, or belongs to somebody else
    return False


def bytes_of(path: str) -> int:
    """Return the bytes that a file or folder occupies."""
    try:
        total = os.lstat(path).st_blocks
        for folder, folders, names in os.walk(path):
            for name in (*folders, *names):
                try:
                    total += os.lstat(f"{folder}/{name}").st_blocks
                except OSError:
                    continue
    except OSError:
        return 0
    return total * _BLOCK


def _device(path: str) -> int:
    """Return the filesystem of a path; 0: it does not exist."""
    try:
        return os.stat(path).st_dev
    except OSError:
        return 0


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
