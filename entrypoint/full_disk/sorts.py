"""Cancels queries whose temporary files would fill the disk.

temp_file_limit is read between two statements only: a sort that runs already does not see it.
"""

from __future__ import annotations

import os
import signal
import time

from entrypoint import log
from entrypoint.full_disk import counting, filling
from entrypoint.full_disk.counting import Counter
from entrypoint.server.data_folder import live_postmaster
from entrypoint.shown import spell
from entrypoint.system import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context

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
    """Return the bytes that the temporary files of each process take on the disk."""
    found: dict[int, int] = {}
    counter = Counter(_EVERY)
    for folder in filling.temporary_folders(data_folder):
        for pid, path in filling.temporary_files(folder):
            if pid:
                found[int(pid)] = found.get(int(pid), 0) + counting.of_temporary(path, counter).bytes
    return found
