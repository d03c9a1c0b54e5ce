"""Row 1.12 of the contract: how other images and wrappers use the script, with one test for each kind."""

from __future__ import annotations

import pytest

from containers import FRESH, LOOK_INSIDE, File, Files, Outcome, folder, in_volume, run, script, serve

INIT = "/docker-entrypoint-initdb.d"
AT_VOLUME = {**FRESH, "PGDATA": "/volume/data"}
USED = {"PGDATA": "/volume/data"}

#: As in images with extensions: sourced, with the array, here-documents and a user for all later commands.
EXTENSIONS = """
set -e
export PGUSER="$POSTGRES_USER"
"${psql[@]}" <<- 'EOSQL'
	CREATE DATABASE template_app IS_TEMPLATE true;
EOSQL
for name in template_app "$POSTGRES_DB"; do
	"${psql[@]}" --dbname="$name" <<-'EOSQL'
		CREATE SCHEMA extension_of_mine;
	EOSQL
done
"""

#: As in images with preloaded libraries: another password, a line in the configuration, plain psql.
PRELOAD = """
export PGPASSWORD="$POSTGRES_PASSWORD"
echo "max_connections = 33" >> "$PGDATA/postgresql.conf"
psql -U "$POSTGRES_USER" postgres -c "CREATE SCHEMA preloaded"
psql -U "$POSTGRES_USER" "$POSTGRES_DB" -c "CREATE SCHEMA preloaded"
"""

#: As in tuning scripts: executed, free to exit.
TUNE = """#!/bin/sh
sed -i 's/^#*work_mem = .*/work_mem = 7MB/' "$PGDATA/postgresql.conf"
exit 0
echo never
"""

EVERY_START = """#!/usr/bin/env bash
set -Eeo pipefail
source "$(which docker-entrypoint.sh)"
docker_setup_env
docker_create_db_directories
if [ "$(id -u)" = '0' ]; then
	exec gosu postgres "$BASH_SOURCE" "$@"
fi
if [ -z "$DATABASE_ALREADY_EXISTS" ]; then
	docker_verify_minimum_env
	docker_init_database_dir
	pg_setup_hba_conf "$@"
	export PGPASSWORD="${PGPASSWORD:-$POSTGRES_PASSWORD}"
	docker_temp_server_start "$@"
	docker_setup_db
	docker_process_init_files /docker-entrypoint-initdb.d/*
	docker_process_init_files /always-initdb.d/*
	docker_temp_server_stop
else
	docker_temp_server_start "$@"
	docker_process_init_files /always-initdb.d/*
	docker_temp_server_stop
fi
exec postgres "$@"
"""


def test_extensions_preload_and_tuning_scripts() -> None:
    """Sourced and executed scripts of well-known images have the effect that they have there."""
    files: Files = {
        f"{INIT}/000_preload.sh": PRELOAD,
        f"{INIT}/001_tune.sh": script(TUNE),
        f"{INIT}/10_extensions.sh": EXTENSIONS,
    }
    env = {**FRESH, "POSTGRES_USER": "gis", "POSTGRES_DB": "app"}
    with serve(env=env, files=files, options=LOOK_INSIDE) as container:
        schemas = "SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace"
        query = f"{schemas} WHERE nspname ~ 'mine|preloaded'"
        assert "extension_of_mine,preloaded" == container.sql(query, user="gis", database="app")
        assert "extension_of_mine" == container.sql(query, user="gis", database="template_app")
        assert "33|7MB" == container.sql(
            "SELECT current_setting('max_connections'), current_setting('work_mem')",
            user="gis",
            database="app",
        )
        assert "gis" == container.environ(container.postmaster())["PGUSER"]


def test_wrapper_that_runs_files_at_every_start(volume: str) -> None:
    """A wrapper built from the functions initializes once and runs its own files at each start."""
    files: Files = {
        "/wrapper.sh": script(EVERY_START),
        f"{INIT}/1.sql": "CREATE TABLE starts (n int);",
        "/always-initdb.d": folder(),
        "/always-initdb.d/1.sql": "INSERT INTO starts VALUES (1);",
    }
    options = ("--entrypoint", "/wrapper.sh")
    with serve(
        "-c", "work_mem=7MB", env=AT_VOLUME, files=files, volumes={"/volume": volume}, options=options
    ) as container:
        assert "1|7MB" == container.sql("SELECT count(*), current_setting('work_mem') FROM starts")
        assert 0 == container.stop()
        container.again()
        assert "2|7MB" == container.sql("SELECT count(*), current_setting('work_mem') FROM starts")


@pytest.mark.parametrize("user", ["root", "postgres"])
def test_wrapper_that_calls_main(user: str) -> None:
    """A wrapper may do its own work and then call `_main`."""
    wrapper = 'source /usr/local/bin/docker-entrypoint.sh\nexport FROM_WRAPPER=yes\n_main "$@"\n'
    files: Files = {
        "/wrapper.sh": script(f"#!/bin/bash\n{wrapper}"),
        f"{INIT}/1.sql": "CREATE TABLE made (a int);",
    }
    options = ("--entrypoint", "/wrapper.sh", "--user", user)
    env = {**FRESH, "PGDATA": "/tmp/data"}
    with serve("postgres", "-c", "work_mem=7MB", env=env, files=files, options=options) as container:
        assert "0|7MB" == container.sql("SELECT count(*), current_setting('work_mem') FROM made")
        assert 0 == container.stop()


def test_wrapper_that_replaces_pg_ctl(volume: str) -> None:
    """A wrapper may define its own function pg_ctl, and `_main` calls it."""
    wrapper = """#!/bin/bash
source /usr/local/bin/docker-entrypoint.sh
pg_ctl() { echo "mine: ${@: -1}"; command pg_ctl "$@"; }
_main "$@"
"""
    files: Files = {"/wrapper.sh": script(wrapper), "/volume/data": folder(0o700, 999)}
    options = ("--entrypoint", "/wrapper.sh", "--user", "postgres")
    with serve(
        "postgres", env=AT_VOLUME, files=files, volumes={"/volume": volume}, options=options
    ) as container:
        lines = container.logs().stdout.splitlines()
        assert ["mine: start", "mine: stop"] == [line for line in lines if line.startswith("mine: ")]


def test_wrapper_that_replaces_exec(used_volume: str) -> None:
    """A wrapper may prevent the exec in `_main`, to do something at the end."""
    wrapper = """#!/bin/bash
source /usr/local/bin/docker-entrypoint.sh
exec() { echo "instead: $*"; }
_main "$@"
echo "after"
"""
    outcome = run(
        "postgres",
        env=USED,
        files={"/wrapper.sh": script(wrapper)},
        volumes={"/volume": used_volume},
        options=("--entrypoint", "/wrapper.sh", "--user", "postgres"),
    )
    *_, instead, after = outcome.stdout.splitlines()
    assert (0, "after") == (outcome.code, after)
    assert instead.startswith("instead: ")
    assert instead.endswith("postgres")


def test_script_that_only_reads_secrets() -> None:
    """Scripts of other programs use only `file_env`."""
    text = 'source docker-entrypoint.sh\nfile_env OTHER_SECRET\necho "$OTHER_SECRET"\n'
    outcome = run(
        "bash", "-c", text, env={"OTHER_SECRET_FILE": "/secret"}, files={"/secret": File("value\n", 0o400)}
    )
    assert (0, "value\n", "") == outcome


def only_initdb(name: str, volume: str, *arguments: str, env: dict[str, str] | None = None) -> Outcome:
    """How a script that only initializes ends."""
    files: Files = {f"{INIT}/1.sql": "CREATE TABLE made AS SELECT current_setting('work_mem') AS work_mem;"}
    return run(
        name, *arguments, env=AT_VOLUME if env is None else env, files=files, volumes={"/volume": volume}
    )


def test_ensure_initdb(volume: str) -> None:
    """The first run initializes and ends; the second finds a database and also ends with 0."""
    first = only_initdb("docker-ensure-initdb.sh", volume, "-c", "work_mem=7MB")
    assert (0, True) == (first.code, f"running {INIT}/1.sql" in first.stdout)
    assert (
        "init process complete" not in first.output
    )  # scripts wait for this line before they use the server
    second = only_initdb("docker-ensure-initdb.sh", volume)
    assert (0, "", True) == (
        second.code,
        second.stdout,
        "already initialized in '/volume/data'" in second.stderr,
    )
    assert "" == in_volume(volume, "ls data/postmaster.pid 2> /dev/null || true")
    with serve(env=USED, volumes={"/volume": volume}) as container:
        assert "7MB" == container.sql("SELECT work_mem FROM made")
        assert "700 postgres" == container.shell("stat --format '%a %U' /volume/data")


def test_enforce_initdb(volume: str) -> None:
    """The first run initializes, even with `postgres` in front of the arguments; the second is an error."""
    assert 0 == only_initdb("docker-enforce-initdb.sh", volume, "postgres", "-c", "work_mem=7MB").code
    second = only_initdb("docker-enforce-initdb.sh", volume)
    assert (1, True) == (second.code, "database found in '/volume/data'" in second.stderr)


@pytest.mark.better
@pytest.mark.parametrize("name", ["docker-ensure-initdb.sh", "docker-enforce-initdb.sh"])
def test_only_initdb_refuses_an_unfinished_cluster(volume: str, name: str) -> None:
    """The remains of a failed run are not taken for a database; the message names the file."""
    files: Files = {f"{INIT}/1.sql": "SELECT nothing;"}
    first = run(name, env=AT_VOLUME, files=files, volumes={"/volume": volume})
    assert 3 == first.code
    second = only_initdb(name, volume)
    assert (10, True) == (second.code, f"{INIT}/1.sql" in second.stderr)


@pytest.mark.parametrize("name", ["docker-ensure-initdb.sh", "docker-enforce-initdb.sh"])
def test_only_initdb_needs_the_password(volume: str, name: str) -> None:
    """The same variables are required."""
    outcome = only_initdb(name, volume, env={"PGDATA": "/volume/data"})
    assert (1, True) == (outcome.code, "POSTGRES_PASSWORD" in outcome.stderr)


def test_only_initdb_under_another_name(used_volume: str) -> None:
    """Any third name is an error once a database exists."""
    text = "ln -s docker-ensure-initdb.sh /usr/local/bin/other.sh && other.sh"
    assert 99 == run("bash", "-c", text, env=USED, volumes={"/volume": used_volume}).code
