"""A rehearsal of an upgrade: beside the serving server, which notices nothing."""

from __future__ import annotations

import json

import archives
import containers
from containers import FRESH, Outcome
from upgrades import COUNTS, DATA, EXPECTED, LONG, NEW, OLD, Home

_CHECKS = "/docker-entrypoint-drill.d"


def test_a_copy_is_upgraded_beside_the_serving_server() -> None:
    """The downtime is reported, the user's own checks run on the new server, and neither cluster nor archive change."""
    with archives.made("pgbackrest", None) as archive, containers.volume() as data:
        volumes = {DATA: data, "/archive": archive.volume}
        with containers.serve(env={**FRESH, **archive.env()}, volumes=volumes, image=OLD) as server:
            archives.write(server, 3)
            server.exec("entrypoint", "backup", "push", timeout=60)
            server.sql("CREATE TABLE later AS SELECT 7 AS i")
            server.sql("SELECT pg_switch_wal()")
            archives.wait_for_archiving(server)
            before = archive.digest()
            check = "SELECT 1 / (current_setting('server_version_num')::int / 170000) / (SELECT count(*) FROM kept);"
            done = containers.run(
                *("entrypoint", "upgrade", "rehearse", "--json"),
                env=archive.env(),
                volumes=volumes,
                files={f"{_CHECKS}/rows.sql": check},
                image=NEW,
                timeout=180,
            )
            assert 0 == done.code, done.output
            found = json.loads(done.stdout)
            assert ("15", "17", ["pg_amcheck", "rows.sql"]) == (
                found["before"],
                found["after"],
                found["checks"],
            )
            assert 0 < found["downtime_seconds"] < 120
            assert before == archive.digest()
            assert "3" == server.sql("SELECT count(*) FROM kept")
            left = server.exec("ls", "-A", DATA).stdout
            assert "entrypoint.upgrade" not in left
            assert 0 == server.stop(timeout=60)


_FILES = {f"{_CHECKS}/rows.sql": "SELECT 1 / ((SELECT count(*) FROM shop.far) / 500);"}
_SERVER = "host=127.0.0.1 user=postgres"
_KEPT = "ls -A /var/lib/postgresql/data /spaces/fast /spaces/fast/PG_15*"


def _rehearsed(home: Home, drill: str, *options: str, network: tuple[str, ...] = ()) -> Outcome:
    volumes = {**home.volumes, "/drill": drill}
    env = {"PGPASSWORD": "secret", "DRILL_FOLDER": "/drill"}
    argv = ("entrypoint", "upgrade", "rehearse", *options)
    return containers.run(
        *argv, env=env, volumes=volumes, files=_FILES, options=network, image=NEW, timeout=LONG
    )


def test_a_running_server_with_tablespaces_is_copied(home: Home) -> None:
    """Without an archive: pg_basebackup copies it, and nothing is written to its folders and tablespaces."""
    with containers.serve(env=FRESH, volumes=home.volumes, image=OLD) as server, containers.volume() as drill:
        unnamed = _rehearsed(home, drill)
        assert 1 == unnamed.code, unnamed.output
        assert "entrypoint upgrade rehearse --server" in unnamed.stderr
        network = ("--network", f"container:{server.name}")
        wrong = _rehearsed(home, drill, "--server", "host=127.0.0.1 user=nobody", network=network)
        assert 1 == wrong.code, wrong.output
        assert "the server of --server does not answer" in wrong.stderr
        before = server.exec("sh", "-c", _KEPT).stdout
        done = _rehearsed(home, drill, "--json", "--server", _SERVER, network=network)
        assert 0 == done.code, done.output
        found = json.loads(done.stdout)
        assert ("", "15", "17", ["pg_amcheck", "rows.sql"]) == (
            *(found["backup"], found["before"], found["after"]),
            found["checks"],
        )
        assert before == server.exec("sh", "-c", _KEPT).stdout
        assert EXPECTED == server.sql(COUNTS)
        assert "" == containers.in_volume(drill, "ls -A")
        assert 0 == server.stop(timeout=60)


def test_the_files_of_a_stopped_cluster_are_copied(home: Home) -> None:
    """With its tablespaces; what a killed rehearsal has left is removed by the next one."""
    with containers.volume() as drill:
        volumes = {**home.volumes, "/drill": drill}
        env = {"DRILL_FOLDER": "/drill"}
        with containers.start(
            "entrypoint", "upgrade", "rehearse", env=env, volumes=volumes, image=NEW
        ) as killed:
            killed.says("upgrading from PostgreSQL 15 to 17", LONG)
            killed.kill()
            killed.wait(60)
        assert "cluster" in containers.in_volume(drill, "ls entrypoint.drill")
        done = _rehearsed(home, drill)
        assert 0 == done.code, done.output
        assert "rehearsed on a copy of the cluster" in done.stdout
        assert "" == containers.in_volume(drill, "ls -A")
    assert not home.unfinished
    assert f"15:{EXPECTED}" == home.served()


def test_a_copy_needs_room(home: Home) -> None:
    """It is looked for before anything is copied."""
    options = ("--tmpfs", "/drill:size=20m,mode=1777")
    argv = ("entrypoint", "upgrade", "rehearse")
    env = {"DRILL_FOLDER": "/drill"}
    refused = containers.run(*argv, env=env, volumes=home.volumes, options=options, image=NEW, timeout=60)
    assert 12 == refused.code, refused.output
    assert "set DRILL_FOLDER to a folder with more room" in refused.stderr
