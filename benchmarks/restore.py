"""
Measure replaying an archive: our image and each archiver alone, side by side. Figures, not a test.

    .venv/bin/python benchmarks/restore.py [--image NAME] [--segments N] [--rounds N] [--delays MS ...]

makes one cluster and then N segments of pgbench. Both archivers store the segments in a folder and in S3.
Every subject replays them in turn, with a delay added to each round trip to S3. The script prints Markdown
and writes `benchmarks/restore.json` (`--json FILE`). It reads docker's volumes directly, so it needs root.
The image must contain wal-g.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

import archive as archiving
import report

import containers
import s3
from archives import Archive
from containers import Files

DATA = archiving.DATA
HOME = "/var/lib/postgresql"
MEMORY = {"POSTGRES_CONF_shared_buffers": "256MB"}
"""The same for all subjects, so that only fetching differs."""

WALG = f"env WALG_CONFIG_PATH={HOME}/walg.json HOME={HOME}"
BACKREST = f"pgbackrest --config={HOME}/pgbackrest.conf --stanza=main archive-get %f %p"
DAEMON = (
    f"{WALG} wal-g daemon {HOME}/socket 2>{HOME}/daemon.log & until [ -S {HOME}/socket ]; do sleep 0.1; done"
)

#: Title, tool, the command to run first, and restore_command; without restore_command: our own start.
SUBJECTS: tuple[tuple[str, str, str, str], ...] = (
    ("wal-g wal-fetch", "wal-g", ":", f"{WALG} wal-g wal-fetch %f %p"),
    ("wal-g daemon and client", "wal-g", DAEMON, f"walg-daemon-client {HOME}/socket wal-fetch %f %p"),
    ("ours, wal-g", "wal-g", "", ""),
    ("pgBackRest synchronous", "pgbackrest", ":", BACKREST),
    ("pgBackRest asynchronous", "pgbackrest", ":", BACKREST),
    ("ours, pgBackRest", "pgbackrest", "", ""),
    ("cp of plain segments", "", ":", "cp /plain/%f %p"),
)


#: Runs restore_command 1,000 times, in turn alone and inside our script; both find the segment immediately.
MAPPING = """
import os, socket, statistics, subprocess, time
os.chdir("/tmp")
socket.socket(socket.AF_UNIX).bind("socket")
open("socket.log", "w").close()
shim = "/usr/local/lib/nix-postgres/entrypoint/shims/fetch-segment"
ours = f"exec /bin/sh {shim} 74 x '' 300 /tmp 000000010000000000000003 place true /tmp/socket '' true"
commands = ("exec true", ours)
runs = ([], [])
for number in range(1000):
    began = time.perf_counter()
    subprocess.run(("sh", "-c", commands[number % 2]), check=True)
    runs[number % 2].append(time.perf_counter() - began)
print((statistics.median(runs[1]) - statistics.median(runs[0])) * 1000)
"""


def mapping(image: str) -> float:
    """Return the milliseconds that our mapping of exit codes costs per segment."""
    with containers.create("-c", MAPPING, options=("--entrypoint", "python3"), image=image) as container:
        return float(container.finish(60).output)


def _files(name: str, archive: Archive) -> Files:
    own = ("archive-async=y", f"process-max={os.cpu_count() or 1}") if "asynchronous" in name else ()
    return {
        **({} if archive.server is None else archive.server.files),
        f"{HOME}/walg.json": archiving.walg_settings(archive),
        f"{HOME}/pgbackrest.conf": archiving.pgbackrest_settings(archive, *own),
    }


def measure(subject: tuple[str, str, str, str], data: str, archive: Archive, plain: str, image: str) -> float:
    """Return the milliseconds from the first to the last replayed record, by the server's log."""
    name, _, first, command = subject
    os.sync()
    options = ("--shm-size", "256m", *(() if archive.server is None else archive.server.options))
    volumes = {DATA: data, "/plain": plain, **({"/archive": archive.volume} if archive.volume else {})}
    given: tuple[str, ...] = ()
    if command:
        script = (
            f"mkdir -p {HOME}/spool {HOME}/lock; {first}; exec postgres -D {DATA} -c shared_buffers=256MB "
            f"-c hot_standby=off -c archive_mode=off -c restore_command='{command}'"
        )
        given = ("-c", script)
        options = (*options, "--entrypoint", "bash", "--user", "postgres")
    env = {} if command else {**archive.env(), **MEMORY, "RESTORE_FROM": "LATEST"}
    with containers.create(
        *given, env=env, files=_files(name, archive), volumes=volumes, options=options, image=image
    ) as server:
        server.begin()
        server.says(containers.READY, 600)
        said = server.logs().output
        server.kill()
    times = [
        datetime.fromisoformat(found[1]).timestamp()
        for text in ("redo starts at", "redo done at")
        if (found := re.search(rf"^(\S+ \S+) UTC \[\d+\] LOG:  {text}", said, re.MULTILINE))
    ]
    return (times[1] - times[0]) * 1000


class Sources:
    """The cluster in its state before the segments, and the segments in each kind of archive."""

    def __init__(self, stack: ExitStack, segments: int, image: str, server: s3.S3) -> None:
        """Make the cluster and the archives."""
        made = stack.enter_context(containers.volume())
        with containers.serve(env=containers.FRESH, volumes={DATA: made}, image=image) as first:
            assert first.stop(timeout=60) == 0
        self.before = stack.enter_context(containers.copied_volume(made))
        # An interrupted restore, which our start resumes.
        containers.in_volume(
            self.before,
            "mkdir -m 700 entrypoint.unfinished; echo 'recovery bench' > entrypoint.unfinished/state; "
            "touch recovery.signal; "
            "chown -R postgres:postgres entrypoint.unfinished recovery.signal",
            image,
        )
        archiving.make_backlog(made, image, segments)
        backlog = archiving.waiting(made)
        self.segments = len(backlog)
        self.plain = stack.enter_context(containers.volume())
        for name in backlog:
            target = archiving.folder(self.plain) / name
            target.write_bytes((archiving.folder(made) / "pg_wal" / name).read_bytes())
        containers.in_volume(self.plain, "chmod -R a+rX .", image)
        self.archives: dict[tuple[str, bool], Archive] = {}
        for number, (tool, far) in enumerate((t, f) for t in ("wal-g", "pgbackrest") for f in (False, True)):
            place = stack.enter_context(archiving.place(tool, server if far else None, number))
            # An archiving server also writes WAL, which the next archive would lack: each gets a copy.
            with containers.copied_volume(made) as copy:
                archiving.put_back(copy, backlog)
                archiving.measure(copy, place, None, image)
            self.archives[tool, far] = place


Found = dict[str, dict[str, list[float]]]


def rounds(asked: argparse.Namespace, image: str, server: s3.S3) -> tuple[Found, int]:
    """Measure all subjects in every place, in turn, so that a noisy minute affects all of them."""
    found: Found = {}
    with ExitStack() as stack:
        sources = Sources(stack, asked.segments, image, server)
        for _ in range(asked.rounds):
            for title, delay in (("folder", None), *((f"S3 +{ms} ms", ms) for ms in asked.delays)):
                server.relay.slow((delay or 0) / 1000)
                for subject in SUBJECTS:
                    name, tool = subject[:2]
                    if not tool and delay is not None:
                        continue
                    source = sources.archives[tool or "wal-g", delay is not None]
                    # A promoted cluster archives its timeline, which the next one would follow.
                    with source.copy() as copy, containers.copied_volume(sources.before) as data:
                        ms = measure(subject, data, copy, sources.plain, image) / sources.segments
                    print(f"{title}: {name}: {ms:.1f} ms", file=sys.stderr, flush=True)
                    found.setdefault(title, {}).setdefault(name, []).append(ms)
        return found, sources.segments


def ratios(subjects: Mapping[str, float]) -> dict[str, float]:
    """Return the ratios between our times and the others."""
    walg, backrest = subjects["ours, wal-g"], subjects["ours, pgBackRest"]
    best_walg = min(subjects["wal-g wal-fetch"], subjects["wal-g daemon and client"])
    best_backrest = min(subjects["pgBackRest synchronous"], subjects["pgBackRest asynchronous"])
    return {
        "wal-g wal-fetch / ours, wal-g": subjects["wal-g wal-fetch"] / walg,
        "ours, wal-g / wal-g in its best mode": walg / best_walg,
        "ours, pgBackRest / pgBackRest in its best mode": backrest / best_backrest,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Measure replaying an archive.")
    parser.add_argument("--image", default=containers.IMAGE)
    parser.add_argument("--segments", type=int, default=120, help="number of replayed segments")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--delays", type=int, nargs="*", default=[0, 20], help="ms added to each round trip to S3"
    )
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    try:
        with s3.serve() as server:
            found, segments = rounds(asked, asked.image, server)
        mapped = mapping(asked.image)
    finally:
        containers.clean_up()
    figures = {
        title: {name: statistics.median(runs) for name, runs in subjects.items()}
        for title, subjects in found.items()
    }
    titles = list(figures)
    names = [subject[0] for subject in SUBJECTS]
    rows = {name: [f"{figures[t][name]:.1f}" if name in figures[t] else "" for t in titles] for name in names}
    report.table("ms a segment", rows, titles)
    compared = {title: ratios(subjects) for title, subjects in figures.items()}
    rows = {name: [f"{compared[t][name]:.2f}" for t in titles] for name in compared[titles[0]]}
    report.table("ratio", rows, titles)
    print(f"\nThe mapping of exit codes costs {mapped:.1f} ms per segment.")
    written = {
        "segments": segments,
        "rounds": asked.rounds,
        "figures": figures,
        "ratios": compared,
        "mapping_ms": mapped,
    }
    report.write(asked.json, written)


if __name__ == "__main__":
    main()
