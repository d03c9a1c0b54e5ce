"""UPGRADE_MODE=swap: pg_upgrade takes the folders of databases, and yet a kill leaves old or new."""

from __future__ import annotations

import pytest

import containers
from containers import FRESH, Outcome
from upgrades import AS_OLD_MINOR, DATA, OLD

NEW = containers.kin("18-sid-upgrade")
_ENV = {"UPGRADE_MODE": "swap", "UPGRADE_WITHOUT_BACKUP": "on", "PGDATA": DATA}
_ROWS = "SELECT count(*) FROM kept"


def _run(data: str, word: str) -> Outcome:
    return containers.run(
        "entrypoint", "upgrade", word, env=_ENV, volumes={DATA: data}, image=NEW, timeout=240
    )


@pytest.mark.long
def test_folders_are_swapped_and_a_kill_leaves_the_old_cluster() -> None:
    """A kill during the transfer loses nothing; afterwards the way back is the backup."""
    with containers.volume() as data:
        with containers.serve(env=FRESH, volumes={DATA: data}, image=OLD) as server:
            server.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i")
            server.sql(AS_OLD_MINOR)
            assert 0 == server.stop(timeout=60)
        with containers.start(
            "entrypoint", "upgrade", "run", env=_ENV, volumes={DATA: data}, image=NEW
        ) as server:
            server.says("upgrading from PostgreSQL 15 to 18, mode swap", 120)
            server.kill()
            server.wait()
        with containers.serve(env={}, volumes={DATA: data}, image=OLD) as server:
            assert "1000" == server.sql(_ROWS)
            assert 0 == server.stop(timeout=60)
        done = _run(data, "run")
        assert 0 == done.code, done.output
        undone = _run(data, "undo")
        assert 1 == undone.code
        assert "restore the base backup from before the upgrade" in undone.stderr
        with containers.serve(env={"PGDATA": DATA}, volumes={DATA: data}, image=NEW) as server:
            assert "1000" == server.sql(_ROWS)
            assert "18" == server.sql("SHOW server_version").split(".")[0]
            assert 0 == server.stop(timeout=60)
