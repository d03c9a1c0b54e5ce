"""What docs/how-to/move-here-and-back.md says: a cluster that another image made is taken over, and can be given back."""

from __future__ import annotations

import re

import pytest

from containers import READY, Container, in_volume, run, serve, start
from repository import REPOSITORY

GUIDE = (REPOSITORY / "docs/how-to/move-here-and-back.md").read_text(encoding="utf-8")
PLAIN = """
set -eu
who=postgres more=
server() { gosu $who pg_ctl --pgdata="$1" --wait --silent --options="-c listen_addresses= -k /tmp $more" start >/tmp/log; }
ask() { psql --username=postgres --host=/tmp --no-psqlrc --quiet --tuples-only --no-align --command="$1"; }
stop() { gosu $who pg_ctl --pgdata="$1" --wait --silent --mode=fast stop; }
"""
"""Starts a server as it would run without our program."""


@pytest.fixture
def foreign(volume: str) -> str:
    """A volume whose folder `data` holds a cluster that was made and stopped without our program."""
    in_volume(
        volume,
        PLAIN
        + """
        install --directory --owner=postgres --group=postgres --mode=700 data
        gosu postgres initdb --no-sync --pgdata=data >/tmp/log
        server "$PWD/data"
        ask "CREATE TABLE kept (answer integer, word text PRIMARY KEY)"
        ask "INSERT INTO kept SELECT n, 'word ' || n FROM generate_series(1, 42) AS n"
        ask "UPDATE pg_database SET datcollversion = NULL"
        stop "$PWD/data"
        """,
    )
    return volume


def _is_whole(container: Container) -> None:
    assert "42|word 42" == container.sql("SELECT max(answer), max(word) FILTER (WHERE answer = 42) FROM kept")


def _reads_without_us(volume: str, before: str = "") -> None:
    """A server by itself starts on the volume, and says nothing of anything that it lacks."""
    script = (
        PLAIN
        + before
        + 'server "$PWD/data"; ask "SELECT max(answer) FROM kept"; stop "$PWD/data"; cat /tmp/log'
    )
    said = in_volume(volume, script)
    assert "42" == said.splitlines()[0]
    assert not re.search("entrypoint|WARNING|ERROR|FATAL", said), said


def test_from_debian_and_back(foreign: str) -> None:
    """The volume of the official Debian image is served as it is, archives, and is served by that image again."""
    archive = {"ARCHIVE_URL": "file:///volume/archive", "PGDATA": "/volume/data"}
    in_volume(foreign, "install --directory --owner=postgres archive")
    with serve(env=archive, volumes={"/volume": foreign}) as container:
        _is_whole(container)
        container.exec("entrypoint", "archive", "check")
        assert "on" == container.sql("SHOW archive_mode")
        assert 0 == container.stop()
    ours = in_volume(foreign, "find data -name '*entrypoint*' -printf '%f\\n'").splitlines()
    assert [] == [name for name in ours if not name.startswith("entrypoint.")]
    _reads_without_us(foreign)


def test_from_alpine_and_back(foreign: str) -> None:
    """Files of uid 70 get a new owner; the guide's commands rebuild indexes and let the server warn from then on."""
    in_volume(foreign, "chown --recursive 70:70 data")
    environment = {"PGDATA": "/volume/data"}
    with start("-c", "listen_addresses=", env=environment, volumes={"/volume": foreign}) as container:
        container.says(READY)
        assert "" == container.shell("find /volume/data ! -user postgres")
        assert "" == container.sql("SHOW listen_addresses")
        before = container.sql("SELECT pg_relation_filenode('kept_pkey')")
        assert "reindexdb --all" in GUIDE
        container.exec("reindexdb", "--all", "--quiet", user="postgres")
        assert before != container.sql("SELECT pg_relation_filenode('kept_pkey')")
        (update,) = re.findall(r'--command "(UPDATE pg_database .*?)"', GUIDE)
        assert "0" == container.sql(
            "SELECT count(datcollversion) FROM pg_database WHERE datname = 'postgres'"
        )
        container.sql(update)
        known = "SELECT datcollversion = pg_database_collation_actual_version(oid) FROM pg_database"
        assert "t" == container.sql(f"{known} WHERE datname = 'postgres'")
        _is_whole(container)
        assert 0 == container.stop()
    _reads_without_us(foreign, "who=70; chown -R $who data\n")


def test_from_bitnami_and_back(foreign: str) -> None:
    """A cluster of uid 1001 without configuration gets it by the guide's command, and is served where it lay."""
    in_volume(
        foreign,
        """
        rm data/postgresql.conf data/pg_hba.conf data/pg_ident.conf
        chown --recursive 1001:root . && chmod 775 . && chmod 700 data
        """,
    )
    (command,) = re.findall(r"--entrypoint bash nix-postgres:17 -c '\n(.*?)'\n", GUIDE, re.DOTALL)
    mounted = {"/bitnami/postgresql": foreign}
    assert (0, "") == run("bash", "-c", command, volumes=mounted)[:2]
    environment = {"PGDATA": "/bitnami/postgresql/data"}
    with serve(env=environment, volumes=mounted) as container:
        _is_whole(container)
        assert "*" == container.sql("SHOW listen_addresses")
        assert 0 == container.stop()
    theirs = """
    who=1001 more='-c config_file=/tmp/conf/postgresql.conf -c hba_file=/tmp/conf/pg_hba.conf'
    mkdir /tmp/conf
    cp /usr/share/postgresql/postgresql.conf.sample /tmp/conf/postgresql.conf
    echo 'local all all trust' >/tmp/conf/pg_hba.conf
    chown -R 1001:root .
    """
    assert "--entrypoint chown nix-postgres:17 -R 1001:root" in GUIDE
    _reads_without_us(foreign, theirs)
