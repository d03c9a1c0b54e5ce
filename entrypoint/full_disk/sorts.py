"""Cancels queries whose temporary files would fill the disk.

temp_file_limit is read between two statements only: a sort that runs already does not see it.
"""

from __future__ import annotations

import os
import signal
import time

from entrypoint import log
from entrypoint.light import re
from entrypoint.server.data_folder import live_postmaster
from entrypoint.shown import spell
from entrypoint.system import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from entrypoint.server.context import Context

_NAME = re.compile(r"pgsql_tmp([0-9]{1,9})\..*")
_FOLDER = "pgsql_tmp"
_EVERY = 1.0
"""Seconds between two looks."""


class Sorts:
    """The queries with temporary files."""

    def __init__(self, context: Context, most: int) -> None:
        self.context = context
        self.most = most
        """Bytes of temporary files that a query may have."""
        self.due = 0.0

    def cancel(self) -> None:
        """Cancel the queries with more than that."""
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + _EVERY
        server = _server(self.context.settings.data_folder)
        for pid, size in _sizes(self.context.settings.data_folder).items():
            if size <= self.most or server is None or processes.parent_of(pid) != server:
                continue
            try:
                os.kill(pid, signal.SIGINT)
            except ProcessLookupError:
                continue
            log.warning(
                f"canceled a query with {spell(size)} of temporary files (pid {pid}), so that the disk does "
                "not become full",
                docs="when-the-disk-fills",
            )


def _server(data_folder: str) -> int | None:
    found = live_postmaster(data_folder)
    return None if found is None else found.pid


def _sizes(data_folder: str) -> dict[int, int]:
    """Return the bytes of temporary files of each process."""
    found: dict[int, int] = {}
    for folder in _folders(data_folder):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            match = _NAME.fullmatch(name)
            if match:
                pid = int(match[1])
                found[pid] = found.get(pid, 0) + _size(f"{folder}/{name}")
    return found


def _folders(data_folder: str) -> Iterator[str]:
    """Return the folders of temporary files: that of the cluster, and one in each tablespace."""
    yield f"{data_folder}/base/{_FOLDER}"
    try:
        spaces = os.listdir(f"{data_folder}/pg_tblspc")
    except OSError:
        return
    for space in spaces:
        place = f"{data_folder}/pg_tblspc/{space}"
        try:
            yield from (f"{place}/{version}/{_FOLDER}" for version in os.listdir(place))
        except OSError:
            continue


def _size(path: str) -> int:
    """Return the bytes of a file, or of a folder with the files that parallel workers share."""
    try:
        if os.path.isdir(path):
            return sum(_size(f"{path}/{name}") for name in os.listdir(path))
        return os.lstat(path).st_size
    except OSError:
        return 0
