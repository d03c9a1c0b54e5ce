"""Known facts about extensions."""

from __future__ import annotations

import pytest

from entrypoint.errors import Problem
from entrypoint.every_start.known_extensions import create, not_preloaded, places, unknown, update

THERE = ("hstore", "pg_stat_statements", "plpgsql", "uuid-ossp")


def test_an_unknown_extension_is_refused_with_the_nearest_name() -> None:
    """Each unknown name is a separate problem."""
    found = unknown(["hstore", "uuid_ossp", "postgis"], THERE)
    assert [
        Problem(
            "POSTGRES_EXTENSIONS names uuid_ossp, which this image does not have", "did you mean uuid-ossp?"
        ),
        Problem(
            "POSTGRES_EXTENSIONS names postgis, which this image does not have",
            "use an image that has it, or remove the name",
            docs="install-extensions",
        ),
    ] == found


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("", "pg_stat_statements,pg_cron"),
        ("auto_explain, pg_cron", "auto_explain,pg_cron,pg_stat_statements"),
        ('"$libdir/pg_cron"', "$libdir/pg_cron,pg_stat_statements"),
    ],
)
def test_missing_preloads_are_reported(setting: str, hint: str) -> None:
    """The hint keeps the libraries that are already loaded."""
    found = not_preloaded(["pg_stat_statements", "hstore", "pg_cron"], setting)
    assert found is not None
    assert f"set POSTGRES_CONF_shared_preload_libraries={hint} and start again" == found.hint


def test_preloads_that_are_not_missing() -> None:
    """Nothing is reported for extensions that are loaded, or need not be."""
    assert not_preloaded(["hstore"], "") is None
    assert not_preloaded(["pg_stat_statements"], "auto_explain,pg_stat_statements") is None
    assert not_preloaded(["vchord"], "vchord.so") is None


def test_where_extensions_go() -> None:
    """They go into the user's database and template1, except one that can be in only one database."""
    assert {"app": ["hstore"], "template1": ["hstore"], "jobs": ["pg_cron"]} == places(
        ["hstore", "pg_cron"], "app", "jobs"
    )
    assert {"app": ["hstore", "pg_cron"], "template1": ["hstore"]} == places(
        ["pg_cron", "hstore"], "app", "app"
    )
    assert {"postgres": ["pg_cron"]} == places(["pg_cron"], "app", "postgres")


def test_names_are_quoted() -> None:
    """A name stays a name, whatever it contains."""
    assert 'CREATE EXTENSION IF NOT EXISTS "a""b" SCHEMA public CASCADE' == create('a"b', public=True)
    assert 'CREATE EXTENSION IF NOT EXISTS "a""b" CASCADE' == create('a"b', public=False)
    assert 'ALTER EXTENSION "uuid-ossp" UPDATE' == update("uuid-ossp")
