"""
Measure archiving a backlog: our image and each archiver alone, side by side. Figures, not a test.

    .venv/bin/python benchmarks/archive.py [--image NAME] [--segments N] [--rounds N] [--delays MS ...]

makes one cluster with N waiting segments of pgbench. Every subject archives them in turn, to a folder and to
S3 with a delay added to each round trip. The script prints Markdown and writes `benchmarks/archive.json`
(`--json FILE`). It reads docker's volumes directly, so it needs root. The image must contain wal-g.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

import report

import containers
import s3
from archives import Archive
from containers import Container

DATA = "/var/lib/postgresql/data"
KEEP = {"POSTGRES_CONF_wal_keep_size": "1TB", "POSTGRES_CONF_max_wal_size": "64GB"}
"""Keeps archived segments, so that the same ones can be archived again."""
SOCKET = "/var/lib/postgresql/bare.socket"


class Figures(NamedTuple):
    """The time that one subject needed for one segment, as the mean over a run."""

    ms: float
    cpu_ms: float
    """Processor time of the whole container; the server itself is idle."""


# The backlog, and the part of it that is still waiting.


def make_backlog(volume: str, image: str, segments: int) -> None:
    """Make a cluster on the volume with this many waiting segments, which it keeps after archiving."""
    env = {**containers.FRESH, **KEEP}
    off = ("-c", "archive_mode=on", "-c", "archive_command=/bin/false")
    with containers.serve(*off, env=env, volumes={DATA: volume}, image=image) as server:
        server.exec("pgbench", "-U", "postgres", "-i", "-s", "20", "postgres", timeout=120)
        while len(waiting(volume)) < segments:
            server.exec("pgbench", "-U", "postgres", "-n", "-c", "4", "-T", "5", "postgres", timeout=60)
            # After a checkpoint, full-page writes produce much WAL.
            server.sql("CHECKPOINT")
        assert server.stop(timeout=60) == 0


def folder(volume: str) -> Path:
    """Return the folder in which docker stores a volume."""
    return Path(containers.inspect(volume)["Mountpoint"])


def waiting(volume: str) -> list[str]:
    """Return the names of the waiting segments."""
    return [
        entry.name.removesuffix(".ready")
        for entry in os.scandir(folder(volume) / "pg_wal/archive_status")
        if entry.name.endswith(".ready")
    ]


def put_back(volume: str, backlog: list[str]) -> None:
    """Make exactly the segments of the backlog wait again."""
    status = folder(volume) / "pg_wal/archive_status"
    for path in list(status.iterdir()):
        path.rename(status / f"{path.stem}.done")
    for name in backlog:
        (status / f"{name}.done").rename(status / f"{name}.ready")


# The subjects. Each gets a container whose server waits for an archive_command.


def lz4_and_sync(server: Container, archive: Archive) -> str:
    """Return `lz4` and `sync`: the least that any archiver to a folder must do."""
    del server, archive
    return "lz4 -1 -q %p /archive/%f.lz4 && sync /archive/%f.lz4"


def walg_settings(archive: Archive, **more: str) -> str:
    """Return the text of a settings file with only the required settings, and with `more`."""
    if archive.server is None:
        settings = {"WALG_FILE_PREFIX": "/archive"}
    else:
        given = archive.env()
        settings = {name: value for name, value in given.items() if name.startswith("AWS_")}
        settings["WALG_S3_PREFIX"] = given["ARCHIVE_URL"]
    settings |= {"PGDATA": DATA, "PGHOST": "/var/run/postgresql", "PGUSER": "postgres"}
    return json.dumps(settings | more)


#: Our image always sets this. wal-g looks up each segment, with every suffix, before it sends the segment.
PROTECTED = {"WALG_PREVENT_WAL_OVERWRITE": "true"}


def _bare_walg(server: Container, archive: Archive, **more: str) -> str:
    _put(server, "/var/lib/postgresql/walg.json", walg_settings(archive, **more))
    return "env WALG_CONFIG_PATH=/var/lib/postgresql/walg.json"


def plain_wal_push(server: Container, archive: Archive, **more: str) -> str:
    """Return wal-g's command as in its documentation."""
    return f"{_bare_walg(server, archive, **more)} wal-g wal-push %p"


def daemon_client(server: Container, archive: Archive, **more: str) -> str:
    """Start wal-g's daemon, and return the command of its client."""
    prefix = _bare_walg(server, archive, **more)
    server.exec(
        "sh", "-c", f"{prefix} wal-g daemon {SOCKET} > /var/lib/postgresql/daemon.log 2>&1 &", user="postgres"
    )
    answers = ("walg-daemon-client", SOCKET, "check")
    containers.until(lambda: server.exec("test", "-S", SOCKET, check=False).code == 0, " ".join(answers))
    return f"walg-daemon-client {SOCKET} wal-push %f"


def protected_wal_push(server: Container, archive: Archive) -> str:
    """Return wal-g's command with overwrite protection."""
    return plain_wal_push(server, archive, **PROTECTED)


def protected_daemon_client(server: Container, archive: Archive) -> str:
    """Start wal-g's daemon with overwrite protection, and return the command of its client."""
    return daemon_client(server, archive, **PROTECTED)


def pgbackrest_settings(archive: Archive, *more: str) -> str:
    """Return the text of a pgBackRest settings file with only the required options, and with `more`."""
    if archive.server is None:
        place = ["repo1-path=/archive"]
    else:
        given = archive.env()
        place = [
            "repo1-type=s3",
            f"repo1-path=/{archive.prefix}",
            f"repo1-s3-bucket={s3.BUCKET}",
            f"repo1-s3-endpoint={given['AWS_ENDPOINT']}",
            f"repo1-s3-region={given['AWS_REGION']}",
            f"repo1-s3-key={given['AWS_ACCESS_KEY_ID']}",
            f"repo1-s3-key-secret={given['AWS_SECRET_ACCESS_KEY']}",
            "repo1-s3-uri-style=path",
            f"repo1-storage-ca-file={given['AWS_CA_BUNDLE']}",
        ]
    own = [
        "compress-type=lz4",
        "log-level-file=off",
        "spool-path=/var/lib/postgresql/spool",
        "lock-path=/var/lib/postgresql/lock",
        *more,
    ]
    return "\n".join(["[global]", *place, *own, "[main]", f"pg1-path={DATA}"]) + "\n"


def _bare_pgbackrest(server: Container, archive: Archive, *more: str) -> str:
    _put(server, "/var/lib/postgresql/pgbackrest.conf", pgbackrest_settings(archive, *more))
    command = "pgbackrest --config=/var/lib/postgresql/pgbackrest.conf --stanza=main"
    server.exec("sh", "-c", f"mkdir -p /var/lib/postgresql/spool; {command} stanza-create", user="postgres")
    return f"{command} archive-push %p"


def pgbackrest_sync(server: Container, archive: Archive) -> str:
    """Return pgBackRest's command with one call for each segment."""
    return _bare_pgbackrest(server, archive)


def pgbackrest_async(server: Container, archive: Archive) -> str:
    """Return pgBackRest's asynchronous command, with as many processes as there are processors."""
    return _bare_pgbackrest(server, archive, "archive-async=y", f"process-max={os.cpu_count() or 1}")


def _put(server: Container, path: str, text: str) -> None:
    server.exec("sh", "-c", f"cat > {shlex.quote(path)}", user="postgres", stdin=text)


Bare = Callable[[Container, Archive], str]

#: Title, tool, and the function that returns its command; None: our own start renders archive_command.
SUBJECTS: tuple[tuple[str, str, Bare | None], ...] = (
    ("wal-g wal-push", "wal-g", plain_wal_push),
    ("wal-g daemon and client", "wal-g", daemon_client),
    ("wal-g wal-push, overwriting off", "wal-g", protected_wal_push),
    ("wal-g daemon and client, overwriting off", "wal-g", protected_daemon_client),
    ("ours, wal-g", "wal-g", None),
    ("pgBackRest synchronous", "pgbackrest", pgbackrest_sync),
    ("pgBackRest asynchronous", "pgbackrest", pgbackrest_async),
    ("ours, pgBackRest", "pgbackrest", None),
    ("lz4 and sync", "", lz4_and_sync),
)


def measure(volume: str, archive: Archive, bare: Bare | None, image: str, backlog: list[str]) -> Figures:
    """Let one subject archive the backlog."""
    put_back(volume, [])
    (folder(volume) / "postgresql.auto.conf").write_text("", encoding="ascii")
    os.sync()
    options = ("--shm-size", "256m", *(() if archive.server is None else archive.server.options))
    volumes = {DATA: volume, **({"/archive": archive.volume} if archive.volume else {})}
    with containers.create(
        *(() if bare is None else ("-c", "archive_mode=on")),
        env={**KEEP, **(archive.env() if bare is None else {})},
        files={} if archive.server is None else archive.server.files,
        volumes=volumes,
        options=options,
        image=image,
    ) as server:
        server.again()
        # Nothing is archived until the subject is ready.
        _change(server, "SET archive_command = ''")
        put_back(volume, backlog)
        command = "" if bare is None else bare(server, archive)
        clock, status = clock_of(server), folder(volume) / "pg_wal/archive_status"
        began, cpu = time.monotonic(), clock()
        # The start rendered our own command; the empty setting has hidden it so far.
        _change(server, f"SET archive_command = '{command}'" if command else "RESET archive_command")
        while left := sum(name.endswith(".ready") for name in os.listdir(status)):
            assert time.monotonic() - began < 600, f"{left} are waiting\n{server.logs().output[-3000:]}"
            time.sleep(0.01)
        seconds, cpu = time.monotonic() - began, clock() - cpu
        server.stop(timeout=60)
    return Figures(seconds * 1000 / len(backlog), cpu * 1000 / len(backlog))


def _change(server: Container, change: str) -> None:
    server.exec("psql", "-U", "postgres", "-c", f"ALTER SYSTEM {change}", "-c", "SELECT pg_reload_conf()")


def clock_of(server: Container) -> Callable[[], float]:
    """Return a function for the processor time of a container in seconds, for both versions of cgroups."""
    text = Path(f"/proc/{server.state['Pid']}/cgroup").read_text(encoding="ascii")
    groups = {
        name: path
        for _, names, path in (line.split(":", 2) for line in text.splitlines())
        for name in names.split(",")
    }
    if "cpuacct" in groups:
        usage = Path(f"/sys/fs/cgroup/cpuacct{groups['cpuacct']}/cpuacct.usage")
        return lambda: int(usage.read_text(encoding="ascii")) / 1e9
    stat = Path(f"/sys/fs/cgroup{groups['']}/cpu.stat")
    return lambda: int(stat.read_text(encoding="ascii").split()[1]) / 1e6


# Rounds.


@contextmanager
def place(tool: str, server: s3.S3 | None, number: int) -> Iterator[Archive]:
    """Yield an empty archive."""
    if server is None:
        with containers.volume() as volume:
            containers.in_volume(volume, "chown 999:999 .")
            yield Archive(tool, volume, None, "")
    else:
        yield Archive(tool, "", server, f"run{number}")


Found = dict[str, dict[str, list[Figures]]]


def rounds(asked: argparse.Namespace, image: str, server: s3.S3) -> Found:
    """Measure all subjects in every place, in turn, so that a noisy minute affects all of them."""
    found: Found = {}
    number = 0
    with ExitStack() as kept, containers.volume() as volume:
        make_backlog(volume, image, asked.segments)
        backlog = waiting(volume)
        for _ in range(asked.rounds):
            for title, delay in (("folder", None), *((f"S3 +{ms} ms", ms) for ms in asked.delays)):
                server.relay.slow((delay or 0) / 1000)
                for name, tool, bare in SUBJECTS:
                    if not tool and delay is not None:
                        continue
                    number += 1
                    # Kept to the end: ext4 skips each inode that became free in the last minutes.
                    archive = kept.enter_context(place(tool, None if delay is None else server, number))
                    figures = measure(volume, archive, bare, image, backlog)
                    stored = archive.segments() if tool else backlog
                    assert set(backlog) <= {*stored, *(each for each in backlog if "." in each)}, name
                    print(f"{title}: {name}: {figures.ms:.1f} ms", file=sys.stderr, flush=True)
                    found.setdefault(title, {}).setdefault(name, []).append(figures)
    return found


def median(found: Found) -> dict[str, dict[str, Figures]]:
    """Return the medians over the rounds."""
    return {
        title: {
            name: Figures(
                statistics.median(each.ms for each in runs), statistics.median(each.cpu_ms for each in runs)
            )
            for name, runs in subjects.items()
        }
        for title, subjects in found.items()
    }


def ratios(subjects: Mapping[str, Figures]) -> dict[str, float]:
    """Return our times divided by the times to compare with."""
    walg, backrest = subjects["ours, wal-g"].ms, subjects["ours, pgBackRest"].ms
    best = min(subjects["pgBackRest synchronous"].ms, subjects["pgBackRest asynchronous"].ms)
    return {
        **{
            f"ours, wal-g / {name}": walg / subjects[name].ms for name in subjects if name.startswith("wal-g")
        },
        "ours, pgBackRest / pgBackRest in its best mode": backrest / best,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Measure archiving a backlog.")
    parser.add_argument("--image", default=containers.IMAGE)
    parser.add_argument("--segments", type=int, default=120, help="number of waiting segments")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--delays", type=int, nargs="*", default=[0, 20, 100], help="ms added to each round trip to S3"
    )
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    with_lz4 = "FROM IMAGE\nRUN apt-get update && apt-get install --yes --no-install-recommends lz4\n"
    try:
        containers.IMAGE = asked.image
        with containers.build(with_lz4, image=asked.image) as image, s3.serve() as server:
            figures = median(rounds(asked, image, server))
    finally:
        containers.clean_up()
    titles = list(figures)
    names = [name for name, _, _ in SUBJECTS]
    for corner, field in (("ms a segment", 0), ("CPU ms a segment", 1)):
        rows = {
            name: [f"{figures[t][name][field]:.1f}" if name in figures[t] else "" for t in titles]
            for name in names
        }
        report.table(corner, rows, titles)
    found = {title: ratios(subjects) for title, subjects in figures.items()}
    report.table(
        "ratio", {name: [f"{found[t][name]:.2f}" for t in titles] for name in found[titles[0]]}, titles
    )
    written = {
        "segments": asked.segments,
        "rounds": asked.rounds,
        "figures": {t: {n: f._asdict() for n, f in subjects.items()} for t, subjects in figures.items()},
        "ratios": found,
    }
    report.write(asked.json, written)


if __name__ == "__main__":
    main()
