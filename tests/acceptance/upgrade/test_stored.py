"""Settings of roles, databases and functions that the new server refuses: pg_upgrade would fail half way."""

from __future__ import annotations

import json

import pytest

import containers
from upgrades import COUNTS, EXPECTED, LONG, NEW, OLD, Home

UNKNOWN = "auto_explain.nonsense"
MADE = (
    f"ALTER ROLE app SET {UNKNOWN} = 'o''dd'",
    f"ALTER ROLE ALL SET {UNKNOWN} = 1",
    f'ALTER DATABASE "odd ""name\'" SET {UNKNOWN} = 1',
    f"ALTER ROLE app IN DATABASE latin SET {UNKNOWN} = 1",
    f"ALTER FUNCTION shop.add(integer, integer) SET {UNKNOWN} = 1",
    "GRANT SET, ALTER SYSTEM ON PARAMETER old_snapshot_threshold TO app, PUBLIC",
    "ALTER ROLE app SET session_preload_libraries = 'elsewhere'",
    # Only now is the name wrong.
    "ALTER SYSTEM SET shared_preload_libraries = 'auto_explain'",
)
"""All are as the old server lets people have them."""
RESETS = {
    f'ALTER ROLE "app" RESET {UNKNOWN}',
    f"ALTER ROLE ALL RESET {UNKNOWN}",
    f'ALTER DATABASE "odd ""name\'" RESET {UNKNOWN}',
    f'ALTER ROLE "app" IN DATABASE "latin" RESET {UNKNOWN}',
    f"in the database postgres: ALTER ROUTINE shop.add(integer,integer) RESET {UNKNOWN}",
    'REVOKE ALL ON PARAMETER old_snapshot_threshold FROM "app"',
    "REVOKE ALL ON PARAMETER old_snapshot_threshold FROM PUBLIC",
}


def _run(home: Home, statements: tuple[str, ...]) -> None:
    with containers.start(env={}, volumes=home.volumes, image=OLD) as server:
        server.ready(LONG)
        for each in statements:
            server.sql(each)
        assert 0 == server.stop(timeout=60)


def test_each_is_named_with_the_command_that_removes_it(home: Home) -> None:
    """Check and run refuse with all of them before pg_upgrade runs; with these commands, the upgrade works."""
    _run(home, MADE)
    looked = json.loads(home.upgrade("check", "auto", "--json").stdout)
    wrong = [each for each in looked if each["level"] == "error"]
    (library,) = [each["found"] for each in wrong if each["docs"] == "install-extensions"]
    assert library.startswith("session_preload_libraries of the role app has elsewhere, which")
    assert RESETS == {
        each["hint"].removeprefix("with the old image: ") for each in wrong if each["found"] != library
    }
    assert f'invalid configuration parameter name "{UNKNOWN}"' in wrong[0]["found"]
    refused = home.upgrade("run")
    assert 1 == refused.code, refused.output
    assert "has auto_explain.nonsense, which PostgreSQL 17 does not accept" in refused.stderr
    assert "upgrading from" not in refused.stderr
    assert not home.unfinished
    resets = [each.removeprefix("in the database postgres: ") for each in sorted(RESETS)]
    _run(home, ("ALTER ROLE app RESET ALL", *resets))
    done = home.upgrade("run")
    assert 0 == done.code, done.output
    assert f"17:{EXPECTED}" == home.served()


_MANY = """\
DO $$ BEGIN FOR i IN 1..40 LOOP
    EXECUTE format('ALTER ROLE app SET tenant.k%s = %L', i, repeat('x', 5000));
END LOOP; END $$
"""
"""More than a command line can hold."""
_EVERY = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = 0"


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_those_of_every_role_are_kept(home: Home, mode: str) -> None:
    """No dump has them, so pg_upgrade alone would lose them; libraries that the old server preloads do no harm."""
    values = ("search_path TO 'a, b', shop", "work_mem = '9MB'", "statement_timeout = '1ms'")
    library = "ALTER SYSTEM SET shared_preload_libraries = 'auto_explain'"
    _run(home, (_MANY, library, *(f"ALTER ROLE ALL SET {each}" for each in values)))
    done = home.upgrade("run", mode)
    assert 0 == done.code, done.output
    with containers.start(env={}, volumes=home.volumes, image=NEW) as server:
        server.ready(LONG)
        patient = ("env", "PGOPTIONS=-c statement_timeout=0", "psql", "-U", "postgres", "-Atc")
        kept = '{"search_path=\\"a, b\\", shop",statement_timeout=1ms,work_mem=9MB}'
        assert kept == server.exec(*patient, _EVERY).stdout.strip()
        assert "auto_explain" == server.exec(*patient, "SHOW shared_preload_libraries").stdout.strip()
        count = "SELECT max(cardinality(setconfig)) FROM pg_db_role_setting"
        assert "41" == server.exec(*patient, count).stdout.strip()
        assert EXPECTED == server.exec(*patient, COUNTS).stdout.strip()
        assert 0 == server.stop(timeout=60)
