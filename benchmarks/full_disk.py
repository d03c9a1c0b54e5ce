"""
Measure whether a busy server is throttled by mistake, and what watching its disk costs. Figures, not a test.

    .venv/bin/python benchmarks/full_disk.py [--seconds N] [--sizes MB,MB] [--rounds N]

loads rows at full speed (small transactions, INSERT … SELECT, COPY) into servers with a healthy archive, on
ext4 filesystems of several sizes, by turns with ARCHIVE_WHEN_FULL=readonly and =wait. A false alarm is a
write that was refused, or a session that was ended, although the archive kept up. It prints a Markdown table
and writes `benchmarks/full_disk.json` (`--json FILE`). Run it as root: it mounts filesystems.
NIX_POSTGRES_IMAGE chooses the image.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

import report
from watch import processor_seconds

import archives
import filling
import writers
from containers import Container, docker
from disks import MB

KINDS = ("small", "bulk", "bulk", "copy")


class Load(NamedTuple):
    """The figures of one bulk load."""

    wal_mb_per_second: float
    transactions_per_second: float
    refused: int
    """Writes that were refused, and sessions that were ended."""
    least_free_mb: int
    most_waiting: int
    """Segments that waited to be archived."""
    levels: int
    """How many times the settings of another level were switched on."""
    pid_1_percent: float
    """Of one processor."""
    helper_percent: float


def _pids(server: Container) -> dict[str, int]:
    rows = [line.split(None, 1) for line in docker("top", server.name, "-eo", "pid,args").stdout.splitlines()]
    first = int(docker("inspect", "--format", "{{.State.Pid}}", server.name).stdout)
    helper = [int(pid) for pid, args in rows if "internal full-disk" in args]
    return {"first": first, **({"helper": helper[0]} if helper else {})}


def _own(pid: int) -> float:
    """Return the processor seconds of a process without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / 100


def load(size: int, when_full: str, seconds: float) -> Load:
    """Return the figures of one load."""
    env = {"ARCHIVE_WHEN_FULL": when_full}
    with filling.serve("ext4", size * MB, "pgbackrest", env=env, storage=65536 * MB) as small:
        server = small.server
        first = _pids(server)["first"]
        with writers.at_full_speed(server, KINDS) as clients:
            begun, count = time.monotonic(), clients.count
            wal = int(server.sql("SELECT pg_current_wal_lsn() - '0/0'"))
            own, least, waiting, helper = _own(first), small.disk.free, 0, 0.0
            while time.monotonic() - begun < seconds:
                least = min(least, small.disk.free)
                waiting = max(waiting, archives.waiting(server))
                if found := _pids(server).get("helper"):
                    try:
                        helper = max(helper, processor_seconds(found))
                    except OSError:
                        continue  # it has ended in between
                time.sleep(0.2)
            spent = time.monotonic() - begun
            own = _own(first) - own
            wal = int(server.sql("SELECT pg_current_wal_lsn() - '0/0'")) - wal
            count = clients.count - count
        switched = server.logs().output.count('parameter "checkpoint_warning" changed to "0"')
        refused = sum(clients.errors.values())
    return Load(
        wal / MB / spent,
        count / spent,
        refused,
        least // MB,
        waiting,
        switched,
        100 * own / spent,
        100 * helper / spent,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--sizes", default="1024,2048,16384", help="of the disk, in MB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    figures: dict[str, object] = {}
    rows: dict[str, list[str]] = {}
    for size in map(int, asked.sizes.split(",")):
        found: dict[str, list[Load]] = {"wait": [], "readonly": []}
        for _ in range(asked.rounds):
            for when_full, loads in found.items():
                loads.append(load(size, when_full, asked.seconds))
        speeds = {
            name: statistics.median(each.wal_mb_per_second for each in loads) for name, loads in found.items()
        }
        rows[f"{size} MB"] = [
            f"{speeds['readonly']:.0f}",
            f"{speeds['readonly'] / speeds['wait']:.2f}",
            str(sum(each.refused for each in found["readonly"])),
            str(min(each.least_free_mb for each in found["readonly"])),
            str(max(each.most_waiting for each in found["readonly"])),
            str(max(each.levels for each in found["readonly"])),
            f"{max(each.pid_1_percent for each in found['readonly']):.2f}",
            f"{max(each.helper_percent for each in found['readonly']):.2f}",
        ]
        figures[str(size)] = {name: [each._asdict() for each in loads] for name, loads in found.items()}
    titles = [
        "WAL MB/s",
        "ratio to `wait`",
        "false alarms",
        "least free MB",
        "most waiting",
        "tight",
        "PID 1 %",
        "helper %",
    ]
    report.table("disk", rows, titles)
    report.write(asked.json, {"seconds": asked.seconds, "sizes": figures})


if __name__ == "__main__":
    main()
