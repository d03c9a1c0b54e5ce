"""POSTGRES_EXTENSIONS: missing extensions are created, and updated on request."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from containers import FRESH, Container, Files, complaints, create, in_volume, serve

USED = {"PGDATA": "/volume/data"}
Wait = Callable[[Container], None]

VERSION = "SELECT extversion FROM pg_extension WHERE extname = '{}'"
NEWEST = "SELECT default_version FROM pg_available_extensions WHERE name = '{}'"


def _version(container: Container, name: str, database: str = "postgres") -> str:
    return container.sql(VERSION.format(name), database=database)


def test_a_first_start_creates_them(until_ready: Wait) -> None:
    """Before the init files they are created with CASCADE in POSTGRES_DB and template1.

    So all databases that are created later have them too.
    """
    files: Files = {
        "/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE h AS SELECT 'a=>1'::hstore AS h; CREATE DATABASE later;"
    }
    env = {**FRESH, "POSTGRES_DB": "app", "POSTGRES_EXTENSIONS": "hstore, uuid-ossp earthdistance"}
    with serve(env=env, files=files) as container:
        until_ready(container)
        for database in ("app", "template1", "later"):
            for name in ("hstore", "uuid-ossp", "earthdistance", "cube"):
                assert container.sql(NEWEST.format(name)) == _version(container, name, database)
        assert "" == _version(container, "hstore")
        assert 1 == container.logs().output.count("created the extension hstore in app")


def test_one_more_on_an_existing_cluster(used_volume: str, until_ready: Wait) -> None:
    """It exists when the server is ready; the next start has nothing to do."""
    env = {**USED, "POSTGRES_EXTENSIONS": "hstore"}
    with serve(env=env, volumes={"/volume": used_volume}) as container:
        until_ready(container)
        assert container.sql(NEWEST.format("hstore")) == _version(container, "hstore")
        assert "created the extension hstore in postgres" in container.logs().output
        assert 0 == container.stop()
        container.again()
        until_ready(container)
        assert 1 == container.logs().output.count("created the extension hstore in postgres")


def test_an_unknown_one_is_refused_before_anything_is_made(volume: str) -> None:
    """The message has the nearest known name; the volume stays empty."""
    env = {**FRESH, **USED, "POSTGRES_EXTENSIONS": "hstor,no_such_thing"}
    with create(env=env, volumes={"/volume": volume}) as container:
        ended = container.finish()
    assert 1 == ended.code
    one, other = complaints(ended)
    assert "POSTGRES_EXTENSIONS names hstor, which this image does not have" in one
    assert "hint: did you mean hstore?" in one
    assert "no_such_thing" in other
    assert "" == in_volume(volume, "find . -mindepth 1")


def test_a_library_that_must_be_preloaded(used_volume: str, until_ready: Wait) -> None:
    """The warning names the exact variable; once it is set, the extension works without a warning."""
    env = {**USED, "POSTGRES_EXTENSIONS": "pg_stat_statements"}
    variable = "POSTGRES_CONF_shared_preload_libraries"
    with serve(env=env, volumes={"/volume": used_volume}) as container:
        until_ready(container)
        assert f"set {variable}=pg_stat_statements and start again" in container.logs().output
        assert 0 == container.stop()
    with serve(env={**env, variable: "pg_stat_statements"}, volumes={"/volume": used_volume}) as container:
        until_ready(container)
        assert variable not in container.logs().output
        assert "t" == container.sql("SELECT count(*) > 0 FROM pg_stat_statements")


@pytest.mark.parametrize("asked", [False, True], ids=["not-asked", "asked"])
def test_updates_are_made_only_on_request(used_volume: str, asked: bool, until_ready: Wait) -> None:
    """They include all extensions in all databases, whatever POSTGRES_EXTENSIONS names."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        container.sql("CREATE DATABASE other")
        for database in ("postgres", "other"):
            container.sql("CREATE EXTENSION hstore VERSION '1.4'", database=database)
        container.sql("CREATE EXTENSION pg_stat_statements VERSION '1.4'", database="other")
        newest = {name: container.sql(NEWEST.format(name)) for name in ("hstore", "pg_stat_statements")}
        assert 0 == container.stop()
    env = {**USED, "POSTGRES_EXTENSIONS": "hstore", "POSTGRES_EXTENSIONS_UPDATE": "on" if asked else "off"}
    with serve(env=env, volumes={"/volume": used_volume}) as container:
        until_ready(container)
        expected = newest if asked else dict.fromkeys(newest, "1.4")
        assert expected == {name: _version(container, name, "other") for name in expected}
        assert expected["hstore"] == _version(container, "hstore")
        said = f"updated the extension hstore in other from 1.4 to {newest['hstore']}"
        assert asked == (said in container.logs().output)


def test_one_that_cannot_be_created_ends_the_start(used_volume: str) -> None:
    """The message has the server's error, after a clean stop; nothing of the extension remains."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        container.sql("CREATE TYPE hstore AS (a int)")
        assert 0 == container.stop()
    env = {**USED, "POSTGRES_EXTENSIONS": "hstore"}
    with create(env=env, volumes={"/volume": used_volume}) as container:
        ended = container.finish()
    assert 1 == ended.code
    (told,) = complaints(ended)
    assert 'type "hstore" already exists' in told
    assert "or remove hstore from POSTGRES_EXTENSIONS" in told
    assert "database system is shut down" in ended.stderr
