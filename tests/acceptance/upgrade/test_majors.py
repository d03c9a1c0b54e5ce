"""Upgrades between other majors, with objects of every kind: what a dump shows is the same before and after."""

from __future__ import annotations

import pytest

import containers
import upgrades
from containers import FRESH
from upgrades import ALONE, AS_OLD_MINOR, COUNTS, DATA, EXPECTED, KINDS, LONG

_SINCE_17 = "ALTER SYSTEM SET old_snapshot_threshold = '1h';\n"
"""17 does not have it any more."""
EXTENDED = "SELECT count(*) > 0 FROM pg_stats_ext WHERE statistics_name = 'more'"
"""pg_upgrade does not take over extended statistics."""
_PREVIEW = pytest.mark.preview("19-experimental-upgrade")
_WAYS = (
    pytest.param("17-trixie", "18-sid-upgrade", "--data-checksums"),
    pytest.param("15-bookworm", "18-sid-upgrade", ""),
    pytest.param("15-bookworm", "19-experimental-upgrade", "", marks=_PREVIEW),
    pytest.param("18-sid", "19-experimental-upgrade", "", marks=_PREVIEW),
)


@pytest.mark.long
@pytest.mark.parametrize(("before", "after", "arguments"), _WAYS)
def test_the_dumps_are_equal(before: str, after: str, arguments: str) -> None:
    """The folder stays where it is, data checksums are as before, and undo brings the old cluster back."""
    old, new = containers.kin(before), containers.kin(after)
    major = after.split("-", maxsplit=1)[0]
    with upgrades.home() as home:
        env = {**FRESH, "PGDATA": DATA, "POSTGRES_INITDB_ARGS": f"--no-sync {arguments}".strip()}
        kinds = KINDS if before < "17" else KINDS.replace(_SINCE_17, "")
        with containers.serve(env=env, volumes=home.volumes, image=old) as server:
            server.exec("psql", "-q", "-U", "postgres", "-v", "ON_ERROR_STOP=1", stdin=kinds, timeout=120)
            for database in server.sql("SELECT datname FROM pg_database WHERE datallowconn").split("\n"):
                server.sql(AS_OLD_MINOR, database=database)
            dump, checksums = upgrades.dump(server, new), server.sql("SHOW data_checksums")
            assert 0 == server.stop(timeout=60)
        refused = containers.run(env=ALONE, volumes=home.volumes, image=new)
        assert f"-e PGDATA={DATA}" in refused.stderr, refused.output
        # The image's own folder is another one; nothing is begun there.
        env = {**ALONE, "POSTGRES_UPGRADE": "on"}
        with containers.start(env=env, volumes=home.volumes, image=new) as server:
            server.ready(LONG)
            assert major == server.sql("SHOW server_version_num")[:2]
            assert dump == upgrades.dump(server, new)
            assert checksums == server.sql("SHOW data_checksums")
            server.says("the planner has its statistics", 120)
            assert "t" == server.sql(EXTENDED)
            assert 0 == server.stop(timeout=60)
        env = {"PGDATA": DATA}
        undone = containers.run(
            *("entrypoint", "upgrade", "undo"), env=env, volumes=home.volumes, image=new, timeout=LONG
        )
        assert 0 == undone.code, undone.output
        with containers.start(env=env, volumes=home.volumes, image=old) as server:
            server.ready(LONG)
            assert EXPECTED == server.sql(COUNTS)
            assert dump == upgrades.dump(server, new)
            assert 0 == server.stop(timeout=60)
