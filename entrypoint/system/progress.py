"""The progress of a backup or a restore."""

import os
import sys
import time
from collections.abc import Callable

from entrypoint import log
from entrypoint.shown import spell

EVERY = 30.0
"""Seconds between two lines if stderr is not a terminal."""
_WIDTH = 30


def size_of(data_folder: str) -> int:
    """Return the bytes of a data folder with its tablespaces, without pg_wal."""
    total = 0
    waiting = [data_folder]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if folder == data_folder and entry.name == "pg_wal":
                        continue
                    # Follow only the links of tablespaces.
                    if entry.is_dir(follow_symlinks=os.path.basename(folder) == "pg_tblspc"):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # the server makes and removes files all the time
    return total


class Progress:
    """A bar on a terminal; otherwise a line at intervals."""

    def __init__(self, what: str, total: int, count: Callable[[], int], *, unit: str = "bytes") -> None:
        self.what = what
        self.total = total
        self.count = count
        """Returns how much of the total is done, in bytes or the given unit."""
        self.unit = unit
        self.terminal = sys.stderr.isatty()
        self.began = self.said = self.looked = time.monotonic()

    @property
    def step(self) -> float:
        """Seconds between two counts."""
        return 0.5 if self.terminal else 5.0

    def tick(self) -> None:
        """Count if it is time to."""
        if time.monotonic() - self.looked >= self.step:
            self.look()

    def look(self) -> None:
        """Count, and show the result if it is time to."""
        done = self.count()
        self.looked = now = time.monotonic()
        if self.terminal:
            log.draw(f"\r{self.bar(done, now)}\033[K")
        elif now - self.said >= EVERY:
            self.said = now
            log.info(f"{self.what}: {self.words(done, now)}")

    def words(self, done: int, now: float) -> str:
        """Return a text: how much is done, out of how much, and how fast.

        The total is an estimate. Once more than that is done, it is left out.
        """
        rate = done / max(now - self.began, 0.001)
        percent = min(99, 100 * done // max(self.total, 1))  # the caller reports the end
        if self.unit == "bytes":
            sizes = (
                f"{percent} %, {spell(done)} of {spell(self.total)}" if done <= self.total else spell(done)
            )
            return f"{sizes}, {spell(rate)}/s"
        return f"{percent} %, {done} of {self.total} {self.unit}, {rate:.1f}/s"

    def bar(self, done: int, now: float) -> str:
        """Return the text of `words` after a bar."""
        filled = min(_WIDTH, _WIDTH * done // max(self.total, 1))
        return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self.words(done, now)}"

    def close(self) -> None:
        """Clear the line of the bar."""
        if self.terminal:
            log.draw("\r\033[K")


def read_by(pid: int) -> Callable[[], int]:
    """Return a function that counts the bytes that a process and its children have read."""
    import psutil

    read: dict[int, int] = {}

    def count() -> int:
        try:
            leader = psutil.Process(pid)
            for process in (leader, *leader.children(recursive=True)):
                read[process.pid] = process.io_counters().read_chars
        except (psutil.Error, OSError):
            pass  # it has just ended
        return sum(read.values())

    return count
