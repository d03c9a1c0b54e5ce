"""
Measure what PID 1 costs: memory, wake-ups, orphans, and reaction times. Figures, not a test.

    .venv/bin/python benchmarks/pid1.py [--image NAME] [--settle SECONDS] [--idle SECONDS] [--rate ORPHANS]

prints a Markdown table and writes `benchmarks/pid1.json` (`--json FILE`).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

import report

import containers
from acceptance.pid1.lab import FLOOD
from containers import FRESH, LOOK_INSIDE, Container, docker, serve, until

Figures = dict[str, float]


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    assert found, f"no {name} in\n{text}"
    return int(found[1])


def _read(container: Container, path: str) -> str:
    return container.exec("cat", path, user="postgres", check=False).stdout


def memory(container: Container) -> Figures:
    """
    Return PSS and private memory of PID 1 in MB, as counted by the kernel.

    PSS is lower while other containers of the same image run, since they share Python's files.
    """
    text = container.exec("cat", "/proc/1/smaps_rollup", user="0").stdout
    private = _field(text, "Private_Clean") + _field(text, "Private_Dirty")
    return {"pss_mb": _field(text, "Pss") / 1024, "private_mb": private / 1024}


def wake_ups(container: Container, seconds: float) -> Figures:
    """Return how often PID 1 and the server woke up by themselves while they were idle."""

    def count(pid: int) -> int:
        return _field(_read(container, f"/proc/{pid}/status"), "voluntary_ctxt_switches")

    # Each count runs a process in the container, but that is not a child of PID 1.
    pids = (1, container.postmaster())
    before = [count(pid) for pid in pids]
    time.sleep(seconds)
    after = [count(pid) for pid in pids]
    return {
        "idle_seconds": seconds,
        "wake_ups": after[0] - before[0],
        "wake_ups_of_the_postmaster": after[1] - before[1],
    }


def _flood(container: Container, rate: int, seconds: float) -> subprocess.Popen[str]:
    command = ("docker", "exec", container.name, "python3", "-ISc", FLOOD, str(rate), str(seconds))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _zombies(container: Container) -> int:
    text = "cat /proc/[0-9]*/stat 2> /dev/null | grep -c ') Z ' || true"
    return int(container.shell(text, user="0"))


def orphans(container: Container, rate: int, seconds: float) -> Figures:
    """Return how many orphans there were at a rate, what they cost PID 1, and how many were left."""

    def ticks() -> int:
        fields = _read(container, "/proc/1/stat").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    words, _ = _flood(container, rate, seconds).communicate(timeout=seconds + 60)
    zombies = _zombies(container)
    return {
        "orphans_a_second": float(words),
        "zombies_left": zombies,
        "cpu_percent_of_pid_1": (ticks() - before) / seconds,  # a tick is 10 ms
    }


def death(container: Container, rate: int) -> Figures:
    """Return the milliseconds from the death of the server to the log line, under the same load."""
    flood = _flood(container, rate, 30)
    try:
        until(lambda: container.has_process("dash"), "the flood")
        pid = container.postmaster()
        killed = float(container.shell(f"date +%s.%N; kill -KILL {pid}", user="0"))
        container.wait(30)
    finally:
        flood.kill()
        flood.communicate()
    text = docker("logs", "--timestamps", container.name).output
    line = next(line for line in text.splitlines() if "killed by SIGKILL" in line)
    stamp = re.sub(r"(\.\d{6})\d*Z.*", r"\1+00:00", line)
    return {"death_noticed_ms": (datetime.fromisoformat(stamp).timestamp() - killed) * 1000}


def stop(container: Container) -> Figures:
    """Return the seconds from a signal to the end of an idle container, by docker's clock."""
    found = {}
    for signal in ("INT", "TERM"):
        container.again()
        until(lambda: container.exec("entrypoint", "ready", check=False).code == 0, "ready")
        sent = datetime.now(UTC).timestamp()
        container.stop(signal)
        ended = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", container.state["FinishedAt"]))
        found[f"stop_{signal.lower()}_s"] = ended.timestamp() - sent
    return found


TITLES = {
    "pss_mb": "PSS of PID 1, MB",
    "private_mb": "private memory of PID 1, MB",
    "settled_seconds": "measured after the start, s",
    "wake_ups": "wake-ups of PID 1 while idle",
    "wake_ups_of_the_postmaster": "wake-ups of the postmaster in that time",
    "idle_seconds": "idle seconds",
    "orphans_a_second": "orphans a second",
    "zombies_left": "zombies left after 5 s of them",
    "cpu_percent_of_pid_1": "CPU of PID 1 in that time, percent",
    "death_noticed_ms": "death of the server noticed under that load, ms",
    "stop_int_s": "idle stop by SIGINT, s",
    "stop_term_s": "idle stop by SIGTERM, s",
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Measure what PID 1 costs.")
    parser.add_argument("--image", default=containers.IMAGE)
    parser.add_argument("--settle", type=float, default=60, help="seconds to wait before memory is measured")
    parser.add_argument("--idle", type=float, default=30, help="seconds in which wake-ups are counted")
    parser.add_argument("--rate", type=int, default=5000, help="orphans a second")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    figures: Figures = {}
    try:
        with serve(env=FRESH, image=asked.image, options=LOOK_INSIDE) as container:
            time.sleep(asked.settle)
            figures |= {**memory(container), "settled_seconds": asked.settle}
            figures |= wake_ups(container, asked.idle)
            figures |= orphans(container, asked.rate, 5)
            figures |= death(container, asked.rate)
            figures |= stop(container)
    finally:
        containers.clean_up()
    report.table("figure", {title: [f"{figures[name]:.6g}"] for name, title in TITLES.items()}, ["value"])
    report.write(asked.json, figures)


if __name__ == "__main__":
    main()
