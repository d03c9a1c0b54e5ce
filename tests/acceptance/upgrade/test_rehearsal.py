"""A rehearsal of an upgrade: beside the serving server, which notices nothing."""

from __future__ import annotations

import json

import archives
import containers
from containers import FRESH
from upgrades import DATA, NEW, OLD

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
