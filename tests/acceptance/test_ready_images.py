"""Images with extensions of other people: they are created, archived, restored and judged like PostgreSQL's own.

The images of nix/ready.json are tested one by one where they are built: `make ready TESTED=nix-postgres:17-postgis`.
Everywhere else one image is made from the Debian image with the packages that trixie has: pgvector, PostGIS and
pg_cron. TimescaleDB and VectorChord are not among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import pytest

import containers
from containers import FRESH, IMAGE, SLIM, Container
from repository import REPOSITORY

READY = json.loads((REPOSITORY / "nix/ready.json").read_text(encoding="utf-8"))
NAME = IMAGE.rpartition(":")[2].partition("-")[2]
"""The name of the ready image under test, if it is one."""

DOCKERFILE = """\
FROM IMAGE
RUN apt-get update && apt-get install --yes --no-install-recommends PACKAGES && rm -rf /var/lib/apt/lists/*
RUN echo "shared_preload_libraries = 'pg_cron'" >>/usr/share/postgresql/postgresql.conf.sample && \\
    entrypoint internal template
"""
PACKAGES: Mapping[str, Mapping[str, str]] = {
    "debian": {"vector": "pgvector", "pg_cron": "cron"},
    "debian-postgis": {"postgis": "postgis-3", "pg_cron": "cron"},
}
"""By image: its extensions and their packages."""
POINTS = (
    "INSERT INTO items SELECT n, format('[%s,1,%s]', n, 100 - n)::vector FROM generate_series(1, 100) AS n"
)
NEAREST = "SELECT id FROM items ORDER BY at <-> '[42,1,58]' LIMIT 1"
USE: Mapping[str, tuple[Sequence[str], str, str]] = {
    "pg_cron": (
        ("SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM')",),
        "SELECT jobname FROM cron.job",
        "nightly",
    ),
    "postgis": (
        (
            "CREATE TABLE places (name text, at geography)",
            "INSERT INTO places VALUES ('Berlin', ST_Point(13.40, 52.52)), ('Paris', ST_Point(2.35, 48.86))",
            "CREATE INDEX ON places USING gist (at)",
        ),
        "SELECT round(ST_Distance(a.at, b.at) / 1e5) FROM places a, places b WHERE (a.name, b.name) = ('Berlin', 'Paris')",
        "9",
    ),
    "timescaledb": (
        (
            "CREATE TABLE measured (at timestamptz NOT NULL, value float8)",
            "SELECT create_hypertable('measured', 'at')",
            "INSERT INTO measured SELECT n * interval '1 day' + 'epoch', n FROM generate_series(1, 100) AS n",
        ),
        "SELECT count(*) FROM measured",
        "100",
    ),
    "vchord": (
        (
            "CREATE TABLE items (id int PRIMARY KEY, at vector(3))",
            POINTS,
            "CREATE INDEX ON items USING vchordrq (at vector_l2_ops)",
        ),
        NEAREST,
        "42",
    ),
    "vector": (
        (
            "CREATE TABLE items (id int PRIMARY KEY, at vector(3))",
            POINTS,
            "CREATE INDEX ON items USING ivfflat (at vector_l2_ops) WITH (lists = 1)",
        ),
        NEAREST,
        "42",
    ),
}
"""By extension: statements that use it, a question, and the answer."""


class Ready(NamedTuple):
    """An image, its extensions and what a new cluster preloads."""

    image: str
    extensions: Sequence[str]
    preload: str

    def start(self, env: Mapping[str, str], archive: str) -> AbstractContextManager[Container]:
        """Return a container on an archive, with a volume of its own."""
        place = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest", **env}
        return containers.start(env=place, image=self.image, volumes={"/archive": archive})


IMAGES = [NAME] if NAME in READY else ["debian", pytest.param("debian-postgis", marks=pytest.mark.long)]


@pytest.fixture(scope="module", params=IMAGES)
def ready(request: pytest.FixtureRequest) -> Iterator[Ready]:
    """Yield the ready image under test, or one that is made of Debian's packages."""
    row = READY.get(request.param)
    if row:
        yield Ready(IMAGE, row["extensions"], ",".join(row["preload"]))
        return
    packages = PACKAGES[request.param]
    wanted = " ".join(f"postgresql-17-{package}" for package in packages.values())
    text = DOCKERFILE.replace("PACKAGES", wanted)
    with containers.build(text, image=containers.kin("17-trixie")) as image:
        yield Ready(image, [*packages], "pg_cron")


def _wait(server: Container) -> None:
    server.ready(timeout=120)
    containers.until(lambda: server.exec("entrypoint", "ready", check=False).code == 0, "ready", 60)


def _asked(server: Container, ready: Ready) -> None:
    """Ask each extension its question, and doctor about all of them."""
    for name in ready.extensions:
        if name in USE:
            _, question, answer = USE[name]
            assert answer == server.sql(question), name
    found = server.exec("entrypoint", "doctor", "extensions", timeout=60)
    assert "ok     extensions" in found.stdout, found.output


def test_extensions_come_back_from_a_backup(ready: Ready) -> None:
    """What a new cluster preloads is right without any setting; a setting of the user's replaces it."""
    env = {**FRESH, "POSTGRES_EXTENSIONS": ",".join(ready.extensions)}
    with containers.volume() as archive:
        with ready.start(env, archive) as server:
            _wait(server)
            assert ready.preload == server.sql("SHOW shared_preload_libraries")
            assert "preload" not in server.logs().output
            assert ("f" if SLIM else "t") == server.sql("SET jit = on; SELECT pg_jit_available()")
            for name in ready.extensions:
                for statement in USE[name][0] if name in USE else ():
                    server.sql(statement)
            _asked(server, ready)
            server.exec("entrypoint", "backup", "push", timeout=120)
            assert 0 == server.stop(timeout=60)
        own = ",".join(filter(None, [ready.preload, "pg_stat_statements"]))
        env = {"RESTORE_FROM": "LATEST", "POSTGRES_CONF_shared_preload_libraries": own}
        with ready.start(env, archive) as server:
            _wait(server)
            assert own == server.sql("SHOW shared_preload_libraries")
            _asked(server, ready)
