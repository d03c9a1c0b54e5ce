"""
Measure what the watch costs while it looks, is scraped and is probed. Figures, not a test.

    .venv/bin/python benchmarks/watch.py [--image NAME] [--minutes N] [--databases N]

runs an idle server with an archive, a scrape of /metrics every 15 seconds and a probe every 5 seconds. It
prints a Markdown table and writes `benchmarks/watch.json` (`--json FILE`). The goal is 30 MB and 0.5 % of one
processor in all.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

import report

import archives
import containers
from containers import FRESH, Container, docker, until

SCRAPE, PROBE = 15, 5
"""Seconds."""
TICKS = os.sysconf("SC_CLK_TCK")


def _watch(server: Container) -> int:
    """Return the pid of the watch on this machine."""
    rows = docker("top", server.name, "-eo", "pid,args").stdout.splitlines()
    return next(int(row.split()[0]) for row in rows if "internal watch" in row)


def processor_seconds(pid: int) -> float:
    """Return the processor seconds of a process and its children."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def _pss(pid: int) -> float:
    """Return the proportional set size of a process in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _ask(server: Container, path: str) -> None:
    with urllib.request.urlopen(f"http://{server.address}:9187{path}", timeout=10) as answer:
        answer.read()


def measure(server: Container, minutes: float) -> dict[str, float]:
    """Return the figures of this many minutes, after the first whole look."""
    pid = _watch(server)
    first = int(docker("inspect", "--format", "{{.State.Pid}}", server.name).stdout)
    before, begun, most = processor_seconds(pid), time.monotonic(), 0.0
    for count in range(round(minutes * 60 / PROBE)):
        time.sleep(max(0.0, begun + count * PROBE - time.monotonic()))
        _ask(server, "/ready")
        if count % (SCRAPE // PROBE) == 0:
            _ask(server, "/metrics")
        most = max(most, _pss(pid))
    spent = time.monotonic() - begun
    return {
        "seconds": spent,
        "percent_of_a_processor": 100 * (processor_seconds(pid) - before) / spent,
        "most_pss_mb": most,
        "pid_1_pss_mb": _pss(first),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default=containers.IMAGE)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--databases", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    containers.IMAGE = asked.image
    environment = {**FRESH, "STATUS_LISTEN": ":9187", "NOTIFY_URLS": "json://127.0.0.1:9/"}
    with archives.made("pgbackrest", None) as archive, archive.serve(environment) as server:
        for number in range(1, asked.databases):
            server.sql(f"CREATE DATABASE d{number}")
        until(lambda: '"all_checked_at": "' in _text(server), "the first whole look", 120)
        _ask(server, "/metrics")
        found = measure(server, asked.minutes)
    rows = {name: [f"{value:.2f}"] for name, value in found.items()}
    report.table("the watch", rows, ["measured"])
    figures = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "databases": asked.databases,
        **found,
    }
    report.write(asked.json, {**figures, "load": os.getloadavg()[0]})


def _text(server: Container) -> str:
    with urllib.request.urlopen(f"http://{server.address}:9187/status.json", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


if __name__ == "__main__":
    main()
