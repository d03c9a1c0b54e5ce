"""
Measure starts and stops: our image, and the official image's script on the same base. Figures, not a test.

    .venv/bin/python benchmarks/start.py [--image NAME] [--base NAME] [--official FILE] [--rounds N]

makes both start, serve and stop in turn, prints Markdown and writes `benchmarks/start.json` (`--json FILE`).
A start is timed from the begin of PID 1 to the answer to a first query over TCP. The script observes
processes from outside the container, so it needs root. The official script is the imitation
`benchmarks/official.sh`, or the real one (`--official`).
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import hmac
import lzma
import os
import re
import secrets
import signal
import socket
import statistics
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

import report
from pid1 import wake_ups

import containers
from containers import File, Files
from majors import DEFAULT, TAGS

PASSWORD = "secret"  # noqa: S105 - for databases that live for seconds
ENV = {"POSTGRES_PASSWORD": PASSWORD}
DATA = "/var/lib/postgresql/data"
PGDATA = {**ENV, "PGDATA": f"{DATA}/data"}
INIT = "/docker-entrypoint-initdb.d"
MANY = 100_000

OURS, OFFICIAL = "ours", "official"

OFFICIAL_IMAGE = """\
FROM IMAGE
RUN apt-get update && apt-get install --yes --no-install-recommends gosu
RUN ln -s /usr/sbin/gosu /usr/local/bin/
COPY docker-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
"""

BEGAN = "the clock at the begin:"
NOTE_THE_TIME = f'echo "{BEGAN} $EPOCHREALTIME"; exec "$@"'
"""Excludes the time that docker needs until a container's first program runs."""
PROGRAMS = {OURS: "entrypoint", OFFICIAL: "docker-entrypoint.sh"}

Runs = dict[str, dict[str, list[float]]]
"""Seconds, by figure and subject."""


# A small client: the one in the container is slow to start, and cannot wait for the server.


def query(address: str) -> None:
    """Log in with SCRAM and query one row; raises OSError if no server answers."""
    with socket.create_connection((address, 5432), timeout=1) as line:
        line.settimeout(5)
        reader = line.makefile("rb")

        def send(kind: bytes, body: bytes) -> None:
            line.sendall(kind + struct.pack("!I", len(body) + 4) + body)

        def receive(kind: bytes) -> bytes:
            while head := reader.read(5):
                body = reader.read(struct.unpack("!I", head[1:])[0] - 4)
                if head[:1] == kind:
                    return body
                if head[:1] == b"E":
                    break
            raise ConnectionError

        send(b"", struct.pack("!I", 3 << 16) + b"user\0postgres\0database\0postgres\0\0")
        receive(b"R")
        own = secrets.token_hex(9)
        first = f"n=,r={own}"
        send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first) + 3) + b"n,," + first.encode())
        answer = receive(b"R")[4:].decode()
        nonce, salt, rounds = re.fullmatch("r=(.*),s=(.*),i=(.*)", answer).groups()  # type: ignore[union-attr]
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(salt), int(rounds))
        key = hmac.digest(salted, b"Client Key", "sha256")
        last = f"c=biws,r={nonce}"
        stored = hashlib.sha256(key).digest()
        proof = hmac.digest(stored, f"{first},{answer},{last}".encode(), "sha256")
        mixed = bytes(a ^ b for a, b in zip(key, proof, strict=True))
        send(b"p", f"{last},p={base64.b64encode(mixed).decode()}".encode())
        receive(b"Z")
        send(b"Q", b"SELECT 1\0")
        receive(b"D")


class Server:
    """A container whose PID 1 is observed from outside."""

    def __init__(self, container: containers.Container) -> None:
        self.container = container

    def start(self) -> float:
        """Start the container; return the seconds from the begin of its program to the first answer."""
        self.container.begin()
        seen = containers.inspect(self.container.name)
        self.pid = int(seen["State"]["Pid"])
        address = seen["NetworkSettings"]["IPAddress"]
        while True:
            try:
                query(address)
            except OSError:
                assert time.time() - self.container.begun < 120, self.container.logs().output
                time.sleep(0.002)
                continue
            ended = time.time()
            return ended - float(
                re.findall(rf"^{BEGAN} (\S+)$", self.container.logs().stdout, re.MULTILINE)[-1]
            )

    def stop(self) -> float:
        """Stop the container as docker does; return the seconds until its first process has ended."""
        began = time.monotonic()
        os.kill(self.pid, signal.SIGINT)
        while os.path.exists(f"/proc/{self.pid}"):
            assert time.monotonic() - began < 120, self.container.logs().output
            time.sleep(0.002)
        seconds = time.monotonic() - began
        assert self.container.wait() == 0, self.container.logs().output
        return seconds

    def load(self) -> None:
        """Let clients write until the server stops."""
        self.container.exec("pgbench", "-U", "postgres", "-q", "-i", "-s", "5", "postgres", timeout=60)
        words = ("pgbench", "-U", "postgres", "-n", "-c", "4", "-T", "600", "postgres")
        containers.docker("exec", "--detach", self.container.name, *words)
        count = "SELECT count(*) > 3 FROM pg_stat_activity WHERE application_name = 'pgbench'"
        containers.until(lambda: self.container.sql(count) == "t", "clients are writing")
        time.sleep(2)


def init_files() -> Files:
    """Return 50 init files of all kinds."""
    found: dict[str, File | str] = {}
    for number in range(10):
        sql = f"CREATE TABLE t{number}_KIND AS SELECT generate_series(1, 100) AS i;\n"
        path = f"{INIT}/{number}"
        psql = f'psql -q -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<<"{sql}"\n'
        found[f"{path}-plain.sql"] = sql.replace("KIND", "plain")
        found[f"{path}-gzip.sql.gz"] = File(gzip.compress(sql.replace("KIND", "gz").encode()))
        found[f"{path}-xz.sql.xz"] = File(lzma.compress(sql.replace("KIND", "xz").encode()))
        found[f"{path}-sourced.sh"] = psql.replace("KIND", "sourced")
        found[f"{path}-executed.sh"] = File("#!/bin/bash\nset -e\n" + psql.replace("KIND", "run"), 0o755)
    return found


# Figures.


@contextmanager
def created(
    subject: str, image: str, volume: str, env: Mapping[str, str] = ENV, files: Files | None = None
) -> Iterator[Server]:
    """Yield a server that has not started yet."""
    with containers.create(
        *("-c", NOTE_THE_TIME, "-", PROGRAMS[subject], "postgres"),
        env=env,
        files=files,
        volumes={DATA: volume},
        options=("--entrypoint", "bash"),
        image=image,
    ) as container:
        yield Server(container)


def starts_and_stops(runs: Runs, subject: str, image: str, volume: str) -> None:
    """Start on an empty volume, stop idle, start again, and stop under load."""
    with created(subject, image, volume) as server:
        note(runs, "first start", subject, server.start())
        time.sleep(1)
        note(runs, "stop, idle", subject, server.stop())
        note(runs, "warm start", subject, server.start())
        server.load()
        note(runs, "stop, under load", subject, server.stop())


def start_with_files(runs: Runs, subject: str, image: str, volume: str) -> None:
    """Start on an empty volume with 50 init files."""
    with created(subject, image, volume, files=init_files()) as server:
        note(runs, "first start, 50 init files", subject, server.start())
        count = "SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]_'"
        assert server.container.sql(count) == "50", "an init file did not run"


@contextmanager
def big_volume(image: str) -> Iterator[str]:
    """Yield a volume whose cluster has 100,000 additional files in the folder of tables."""
    with containers.volume() as name:
        with created(OURS, image, name, PGDATA) as server:
            server.start()
            server.stop()
        numbers = f"1000000 {1_000_000 + MANY - 1}"
        make = f"cd {DATA}/data/base/5 && seq {numbers} | xargs touch && chown -R postgres ."
        options = ("--entrypoint", "bash", "--user", "0")
        containers.run("-c", make, volumes={DATA: name}, options=options, image=image, timeout=600)
        yield name


def start_on(runs: Runs, subject: str, image: str, volume: str) -> None:
    """Start on a volume with many files."""
    with created(subject, image, volume, PGDATA) as server:
        note(runs, "warm start, 100,000 files", subject, server.start())
        server.stop()


def note(runs: Runs, figure: str, subject: str, seconds: float) -> None:
    """Record a figure and print it."""
    print(f"{figure}, {subject}: {seconds * 1000:.0f} ms", file=sys.stderr, flush=True)
    runs.setdefault(figure, {}).setdefault(subject, []).append(seconds)


def rounds(count: int, images: dict[str, str]) -> Runs:
    """
    Measure both subjects in turn, so that a noisy minute affects both.

    Volumes are only removed at the end. When ext4 creates a file, it skips each inode that became free in the
    last minutes (`recently_deleted` in torvalds/linux fs/ext4/ialloc.c). Removing an earlier cluster would
    therefore add about 0.3 s to the next measurement.
    """
    runs: Runs = {}
    with ExitStack() as kept:
        big = kept.enter_context(big_volume(images[OURS]))
        for _ in range(count):
            for measure in (starts_and_stops, start_with_files):
                for subject, image in images.items():
                    measure(runs, subject, image, kept.enter_context(containers.volume()))
            for subject, image in images.items():
                start_on(runs, subject, image, big)
    return runs


_READY = """\
took() { local began=$EPOCHREALTIME; for _ in {1..20}; do "$@" >/dev/null; done; local ended=$EPOCHREALTIME
    echo $(((${ended/./} - ${began/./}) / 20)); }
for _ in {1..5}; do took python3 -ISXutf8 -c pass; took entrypoint ready; done
"""


def beside(image: str, settle: float) -> dict[str, float]:
    """Return the cost of our processes next to the server, and of a query for the server's state."""
    with containers.serve(env=ENV, image=image, options=containers.LOOK_INSIDE) as container:
        time.sleep(settle)
        pids = containers.docker("top", container.name, "-eo", "pid,comm").stdout.splitlines()[1:]
        others = [pid for pid, name in (line.split(None, 1) for line in pids) if name.strip() != "postgres"]
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8") for pid in others]
        pss = sum(
            int(found[1]) for text in texts if (found := re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE))
        )
        woken = wake_ups(container, 30)
        took = [int(word) for word in container.shell(_READY).split()]
    bare, ready = statistics.median(took[::2]), statistics.median(took[1::2])
    return {
        "processes next to the server": len(others),
        "their PSS, MB": pss / 1024,
        "measured after the start, s": settle,
        "wake-ups of PID 1 in 30 idle seconds": woken["wake_ups"],
        "bare interpreter, ms": bare / 1000,
        "entrypoint ready, ms": ready / 1000,
        "entrypoint ready / bare interpreter": ready / bare,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Measure starts and stops.")
    parser.add_argument("--image", default=containers.IMAGE)
    parser.add_argument("--base", default=f"nix-postgres-base:{TAGS[DEFAULT]}", help="the base of the image")
    parser.add_argument("--official", type=Path, default=Path(__file__).with_name("official.sh"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settle", type=float, default=60, help="seconds to wait before memory is measured")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    script = File(asked.official.read_text(encoding="utf-8"), 0o755)
    text = OFFICIAL_IMAGE.replace("IMAGE", asked.base, 1)
    try:
        with containers.build(text, {"docker-entrypoint.sh": script}) as official:
            runs = rounds(asked.rounds, {OFFICIAL: official, OURS: asked.image})
        ours = beside(asked.image, asked.settle)
    finally:
        containers.clean_up()
    figures = {
        name: {subject: statistics.median(each) for subject, each in found.items()}
        for name, found in runs.items()
    }
    ratios = {name: found[OURS] / found[OFFICIAL] for name, found in figures.items()}
    rows = {
        name: [f"{found[OFFICIAL]:.3f}", f"{found[OURS]:.3f}", f"{ratios[name]:.2f}"]
        for name, found in figures.items()
    }
    report.table("seconds, medians", rows, ["official", "ours", "ratio"])
    report.table("ours alone", {name: [f"{value:.4g}"] for name, value in ours.items()}, [""])
    written = {"rounds": asked.rounds, "seconds": runs, "medians": figures, "ratios": ratios, "ours": ours}
    report.write(asked.json, written)


if __name__ == "__main__":
    main()
