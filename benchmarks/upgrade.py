"""
Measure the downtime of an upgrade: ours, and pg_upgrade of the same mode manually. Figures, not a test.

    .venv/bin/python benchmarks/upgrade.py [--megabytes N] [--rounds N] [--modes MODE,MODE]

makes a cluster of 15 with pgbench, by default of 5 GB, and upgrades copies of it to 17, by turns with our
start (POSTGRES_UPGRADE=on) and with initdb, pg_upgrade and a start of the server manually. The downtime is
from the start of the container on a stopped cluster to the first session. It prints a Markdown table and
writes `benchmarks/upgrade.json` (`--json FILE`). NIX_POSTGRES_IMAGE chooses the image; next to it, the
images of 15 and of 17 with the programs of 15 must be there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

import report

import containers
from containers import FRESH

DATA = "/var/lib/postgresql/data"
OLD = containers.kin("15-bookworm")
NEW = containers.kin("17-trixie-upgrade")
BOUND = 1.15
_SCALE_MB = 15
"""Megabytes of one unit of pgbench's scale."""

HAND = """set -eu
cd /tmp
checksums=$(pg_controldata -D {data} | awk -F: '/checksum version/ {{ print $2 + 0 }}')
[ "$checksums" = 0 ] && more= || more=--data-checksums
initdb --username=postgres $more -D {data}/new >initdb.log
cd /usr/lib/postgresql
set -- --old-bindir=$PWD/15/bin --new-bindir=$PWD/17/bin --old-datadir={data} --new-datadir={data}/new {mode}
cd /tmp
pg_upgrade --username=postgres --jobs=$(nproc) "$@" >pg_upgrade.log || {{ cat pg_upgrade.log; exit 1; }}
exec postgres -D {data}/new -c unix_socket_directories=/var/run/postgresql
"""


def downtime(source: str, mode: str, *, ours: bool) -> float:
    """Return the seconds from the start of the container to the first session."""
    with containers.copied_volume(source) as data:
        containers.in_volume(data, "sync")
        volumes = {DATA: data}
        began = time.monotonic()
        if ours:
            env = {"POSTGRES_UPGRADE": "on", "UPGRADE_MODE": mode, "UPGRADE_WITHOUT_BACKUP": "on"}
            started = containers.start(env=env, volumes=volumes, image=NEW)
        else:
            script = HAND.format(data=DATA, mode="" if mode == "copy" else f"--{mode}")
            options = ("--entrypoint", "bash", "--user", "postgres")
            started = containers.start("-c", script, volumes=volumes, options=options, image=NEW)
        with started as server:
            deadline = began + 3600
            while server.exec("psql", "-U", "postgres", "-Atc", "SELECT 1", check=False).code:
                assert server.running, server.logs().output
                assert time.monotonic() < deadline, server.logs().output
                time.sleep(0.1)
            return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default="copy,link")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    figures: dict[str, dict[str, object]] = {}
    rows: dict[str, list[str]] = {}
    with containers.volume() as source:
        with containers.serve(env=FRESH, volumes={DATA: source}, image=OLD) as server:
            scale = str(max(1, asked.megabytes // _SCALE_MB))
            server.exec("pgbench", "-U", "postgres", "-i", "-q", "-s", scale, "postgres", timeout=3600)
            assert server.stop(timeout=300) == 0
        for mode in asked.modes.split(","):
            found: dict[str, list[float]] = {"manually": [], "ours": []}
            for _ in range(asked.rounds):
                for name, times in found.items():
                    times.append(downtime(source, mode, ours=name == "ours"))
            hand, ours = (statistics.median(times) for times in found.values())
            rows[mode] = [f"{hand:.1f}", f"{ours:.1f}", f"{ours / hand:.2f}"]
            figures[mode] = {**found, "ratio": ours / hand}
    report.table("mode", rows, ["manually, s", "ours, s", f"ratio, at most {BOUND}"])
    report.write(asked.json, {"megabytes": asked.megabytes, "modes": figures})


if __name__ == "__main__":
    main()
