"""How far a backup is: what its processes have read, against what there is to read."""

import os
import sys
import time

import psutil

from entrypoint import log

EVERY = 30.0
"""Seconds between two lines where nobody looks."""
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
                    # Only the links of tablespaces are followed.
                    if entry.is_dir(follow_symlinks=os.path.basename(folder) == "pg_tblspc"):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # the server makes and removes files all the time
    return total


class Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, pid: int, total: int) -> None:
        self.pid = pid
        self.total = total
        """Bytes."""
        self.terminal = sys.stderr.isatty()
        self.began = self.said = time.monotonic()
        self._read: dict[int, int] = {}

    @property
    def step(self) -> float:
        """Seconds until the next look."""
        return 0.5 if self.terminal else 5.0

    def look(self) -> None:
        """Count, and show where it is time to."""
        try:
            leader = psutil.Process(self.pid)
            for process in (leader, *leader.children(recursive=True)):
                self._read[process.pid] = process.io_counters().read_chars
        except (psutil.Error, OSError):
            pass  # it has just ended
        now = time.monotonic()
        if self.terminal:
            sys.stderr.write(f"\r{self.bar(now)}\033[K")
            sys.stderr.flush()
        elif now - self.said >= EVERY:
            self.said = now
            log.info(f"backup: {self.words(now)}")

    def words(self, now: float) -> str:
        """Return how much was read, of how much, and how fast."""
        done = sum(self._read.values())
        rate = done / max(now - self.began, 0.001)
        percent = min(99, 100 * done // max(self.total, 1))  # what is left then is the end of the WAL
        return f"{percent} %, {mebibytes(done)} of {mebibytes(self.total)} read, {mebibytes(rate)}/s"

    def bar(self, now: float) -> str:
        """Return the same with a bar."""
        filled = min(_WIDTH, _WIDTH * sum(self._read.values()) // max(self.total, 1))
        return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self.words(now)}"

    def close(self) -> None:
        """Leave the line of the bar."""
        if self.terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def mebibytes(count: float) -> str:
    """Return bytes for people."""
    return f"{count / 1024**2:.1f} MiB" if count < 10 * 1024**3 else f"{count / 1024**3:.1f} GiB"
