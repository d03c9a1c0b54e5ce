"""
Measure how commands scale with databases, tables, backups, waiting WAL and roles. Figures, not a test.

    .venv/bin/python benchmarks/scale.py [--image NAME] [--columns NAME ...] [--databases N ...]

makes clusters, lists and backlogs of the requested sizes and runs each command on them. It prints Markdown
and writes `benchmarks/scale.json` (`--json FILE`; columns that were not measured keep their figures). The
exponent next to each command shows how its processor time grows from one size to the next: 1 means in
proportion to the size, 2 means with its square. The script reads docker's volumes directly, so it needs root.
A full run takes about a quarter of an hour and 15 GB of disk space.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

import archive as archiving
import report

import containers
from containers import Container

DATA = archiving.DATA
UNSAFE = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_wal_size=8GB")
"""For creating the cluster; the measured commands only read."""
PATIENT = "600"
"""Seconds that doctor may spend on databases, so that it checks all of them."""


class Figures(NamedTuple):
    """The time that a command took, in seconds."""

    seconds: float
    cpu: float
    """Processor time of the whole container."""


NOISE = 0.1
"""Seconds by which two runs of the same command differ."""

Row = dict[str, Figures]
"""Figures by command."""


def measure(server: Container, *words: str, rounds: int = 1) -> Figures:
    """Run a command of the entrypoint and return the median of its times."""
    clock = archiving.clock_of(server)
    runs = []
    for _ in range(rounds):
        began, cpu = time.monotonic(), clock()
        server.exec("entrypoint", *words, check=False, timeout=900)
        runs.append(Figures(time.monotonic() - began, clock() - cpu))
    return Figures(
        statistics.median(each.seconds for each in runs), statistics.median(each.cpu for each in runs)
    )


def measured(server: Container, commands: Mapping[str, Sequence[str]], rounds: int) -> Row:
    """Return the time of each command."""
    return {title: measure(server, *words, rounds=rounds) for title, words in commands.items()}


# Databases and tables.

LOOKS = {
    "doctor": ("doctor", "--seconds", PATIENT),
    "collation show": ("collation", "show"),
    "collation show --all": ("collation", "show", "--all"),
}
TABLES = """
DO $$ BEGIN
    FOR i IN {first}..{last} LOOP
        EXECUTE format('CREATE TABLE t%s (id bigint CHECK (id > 0), name varchar(20) PRIMARY KEY)', i);
    END LOOP;
END $$
"""
MOST = 2000
"""Most tables in a transaction; each of them takes locks."""
STALE = "UPDATE pg_database SET datcollversion = '1.0' WHERE datcollversion IS NOT NULL"


def _fill(server: Container, tables: int) -> None:
    for first in range(1, tables + 1, MOST):
        last = min(tables, first + MOST - 1)
        server.sql(TABLES.format(first=first, last=last), database="d1")
    server.sql(
        "VACUUM ANALYZE pg_class, pg_attribute, pg_index, pg_constraint, pg_depend, pg_type", database="d1"
    )


def _copies(server: Container, databases: int) -> None:
    text = "".join(
        f"CREATE DATABASE d{number} TEMPLATE d1 STRATEGY file_copy;\n" for number in range(2, databases + 1)
    )
    server.exec("psql", "-qU", "postgres", stdin=text, timeout=900)


@contextmanager
def cluster(image: str, databases: int, tables: int) -> Iterator[str]:
    """Yield a volume with this many databases of this many tables."""
    with containers.volume() as volume:
        arguments = (*UNSAFE, "-c", f"max_locks_per_transaction={MOST}")
        with containers.serve(
            *arguments, env=containers.FRESH, volumes={DATA: volume}, image=image
        ) as server:
            server.sql("CREATE DATABASE d1")
            _fill(server, tables)
            _copies(server, databases)
            server.sql("CHECKPOINT")
            assert server.stop(timeout=300) == 0
        yield volume


def looked_at(volume: str, image: str, rounds: int) -> Row:
    """Return the times of the commands on a cluster, and of a start's gate with all collations changed."""
    with containers.serve(volumes={DATA: volume}, image=image) as server:
        found = measured(server, LOOKS, rounds)
        warm = _start(server)
        server.sql(STALE)
        found["doctor, collations changed"] = measure(server, *LOOKS["doctor"], rounds=rounds)
        data = archiving.folder(volume)
        server.stop(timeout=300)
        for name in data.glob("*entrypoint.collation"):
            name.unlink()
        gate = _start(server)
        found["gate, collations changed"] = Figures(gate.seconds - warm.seconds, gate.cpu - warm.cpu)
        assert "a library that sorts text has changed" in server.logs().stderr
    return found


def _start(server: Container) -> Figures:
    """Stop the server if it is running, and return the time of a start."""
    if server.running:
        assert server.stop(timeout=300) == 0
    before = server.logs().stderr.count(containers.READY)
    began = time.monotonic()
    server.begin()
    clock = archiving.clock_of(server)
    containers.until(lambda: server.logs().stderr.count(containers.READY) > before, "ready", 900)
    return Figures(time.monotonic() - began, clock())


def databases(asked: argparse.Namespace) -> dict[int, Row]:
    """Return the figures by the number of databases of 200 tables."""
    found = {}
    for number in asked.databases:
        with cluster(asked.image, number, 200) as volume:
            found[number] = looked_at(volume, asked.image, asked.rounds)
            _say(f"{number} databases", found[number])
    return found


def tables(asked: argparse.Namespace) -> dict[int, Row]:
    """Return the figures by the number of tables in one database."""
    found = {}
    for number in asked.tables:
        with cluster(asked.image, 1, number) as volume:
            found[number] = looked_at(volume, asked.image, asked.rounds)
            _say(f"{number} tables", found[number])
    return found


# Settings of roles.

ROLES = """
DO $$ BEGIN FOR i IN 1..{count} LOOP
    EXECUTE format('CREATE ROLE r%s', i);
    EXECUTE format('ALTER ROLE r%s SET search_path = r%s', i, i);
    EXECUTE format('ALTER ROLE r%s IN DATABASE postgres SET work_mem = %L', i, '5MB');
END LOOP; END $$
"""


def roles(asked: argparse.Namespace) -> dict[int, Row]:
    """Return the figures by the number of roles with settings."""
    found = {}
    commands = {
        "doctor": LOOKS["doctor"],
        "config diff": ("config", "diff"),
        "status": ("status",),
    }
    for number in asked.roles:
        with containers.serve(env=containers.FRESH, image=asked.image) as server:
            server.sql(ROLES.format(count=number))
            found[number] = measured(server, commands, max(3, asked.rounds))
            _say(f"{number} roles", found[number])
    return found


# Backups in the list. The archiver's answer is extended artificially: only our work on it is measured.

LONGER = """
import json, sys
(stanza,) = json.load(sys.stdin)
first = stanza["backup"][0]
made = []
for number in range(int(sys.argv[1])):
    stamp = first["timestamp"]["stop"] - 3600 * number
    label = f"20{number // 1000:02}0101-{number % 1000:06}F"
    made.append({**first, "label": label, "timestamp": {"start": stamp - 60, "stop": stamp}})
stanza["backup"] = made[::-1]
json.dump([stanza], sys.stdout)
"""
LISTS = """#!/bin/sh
case " $* " in *" info "*"--output=json"*|*"--output=json"*" info "*) exec cat /tmp/list ;; esac
exec {real} "$@"
"""
BACKUPS = {
    "backup list": ("backup", "list"),
    "backup expire --dry-run": ("backup", "expire", "--dry-run"),
    "doctor backups": ("doctor", "backups"),
}


@contextmanager
def archived(image: str) -> Iterator[Container]:
    """Yield a server that archives to a folder with pgBackRest."""
    env = {**containers.FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    env["BACKUP_RETAIN_FULL"] = "9999"
    options = ("--volume", "/archive")
    with containers.serve(env=env, options=options, image=image) as server:
        yield server


def backups(asked: argparse.Namespace) -> dict[int, Row]:
    """Return the figures by the number of backups."""
    found = {}
    with archived(asked.image) as server:
        server.exec("entrypoint", "backup", "push", timeout=120)
        real = server.shell("command -v pgbackrest")
        plain = server.shell(
            "pgbackrest --config=/run/entrypoint/pgbackrest.conf --stanza=main info --output=json"
        )
        server.shell(f"mv {real} {real}.real", user="0")
        server.exec(
            "sh", "-c", f"cat >{real} && chmod 755 {real}", user="0", stdin=LISTS.format(real=f"{real}.real")
        )
        for number in asked.backups:
            longer = server.exec(containers.PYTHON, "-c", LONGER, str(number), stdin=plain).stdout
            server.exec("sh", "-c", "cat >/tmp/list", stdin=longer)
            listed = json.loads(server.exec("entrypoint", "backup", "list", "--json").stdout)
            assert number == len(listed)
            found[number] = measured(server, BACKUPS, max(3, asked.rounds))
            _say(f"{number} backups", found[number])
    return found


# Waiting segments. The server's archiver is suspended, so that the segments keep waiting.

WAITING = {
    "archive status": ("archive", "status"),
    "status": ("status",),
    "doctor archive backlog": ("doctor", "archive backlog", "last segment"),
}


def segments(asked: argparse.Namespace) -> dict[int, Row]:
    """Return the figures by the number of waiting segments."""
    found = {}
    for number in asked.segments:
        with archived(asked.image) as server:
            archiver = server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'")
            server.shell(f"kill -STOP {archiver}", user="0")
            place = "cd $PGDATA/pg_wal && for i in $(seq {0}); do n=$(printf 000000010000001000%06X $i); "
            place += ": >$n && : >archive_status/$n.ready; done"
            server.shell(place.format(number), user="postgres")
            assert f"{number} WAL files" in server.exec("entrypoint", "archive", "status").stdout
            found[number] = measured(server, WAITING, max(3, asked.rounds))
            _say(f"{number} segments", found[number])
    return found


# The results.

COLUMNS: dict[str, Callable[[argparse.Namespace], dict[int, Row]]] = {
    "roles": roles,
    "backups": backups,
    "segments": segments,
    "databases": databases,
    "tables": tables,
}


def growth(found: Mapping[int, Row]) -> dict[str, list[float]]:
    """Return, for each command, the exponents of its processor time between neighboring sizes.

    The time of the smallest size is subtracted from the others: most of it is the start of the command. A
    command is left out if its largest size takes hardly more time.
    """
    sizes = sorted(found)
    if len(sizes) < 3:
        return {}
    first = found[sizes[0]]

    def more(title: str, size: int) -> float:
        return max(1e-3, found[size][title].cpu - first[title].cpu)

    return {
        title: [
            math.log(more(title, large) / more(title, small)) / math.log(large / small)
            for small, large in pairwise(sizes[1:])
        ]
        for title in first
        if more(title, sizes[-1]) > NOISE
    }


def _say(what: str, row: Row) -> None:
    figures = ", ".join(f"{title} {each.seconds:.2f} s" for title, each in row.items())
    print(f"{what}: {figures}", file=sys.stderr, flush=True)


def show(column: str, found: Mapping[int, Row]) -> None:
    """Print one column."""
    sizes = sorted(found)
    grows = growth(found)
    rows = {
        title: [f"{found[size][title].seconds:.2f} ({found[size][title].cpu:.2f})" for size in sizes]
        + [", ".join(f"{each:.1f}" for each in grows.get(title, []))]
        for title in found[sizes[0]]
    }
    report.table(f"{column}: s (CPU s)", rows, [*map(str, sizes), "exponents"])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Measure how commands scale.")
    parser.add_argument("--image", default=containers.IMAGE)
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--databases", type=int, nargs="+", default=[1, 30, 300])
    parser.add_argument("--tables", type=int, nargs="+", default=[10, 1000, 10_000, 100_000])
    parser.add_argument("--backups", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--segments", type=int, nargs="+", default=[10, 1000, 10_000])
    parser.add_argument("--roles", type=int, nargs="+", default=[1, 20, 200])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    written = json.loads(asked.json.read_text(encoding="utf-8")) if asked.json.exists() else {}
    figures = written.get("figures", {})
    grows = written.get("exponents", {})
    loads = written.get("loads", {})
    try:
        containers.IMAGE = asked.image
        for column in asked.columns:
            loads[column] = {"before": os.getloadavg()[0]}
            found = COLUMNS[column](asked)
            loads[column]["after"] = os.getloadavg()[0]
            show(column, found)
            figures[column] = {
                str(size): {title: each._asdict() for title, each in row.items()}
                for size, row in found.items()
            }
            grows[column] = growth(found)
            report.write(asked.json, {"figures": figures, "exponents": grows, "loads": loads})
    finally:
        containers.clean_up()


if __name__ == "__main__":
    main()
