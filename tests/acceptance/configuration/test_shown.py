"""`config show`, `config diff` and `render`: the sources of each setting, and the values that they hide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from containers import FRESH, Container, Outcome, create, data_folder, run, serve

CONF = "/docker-entrypoint-conf.d"
DATA = data_folder()
ENV = {**FRESH, "PGDATA": DATA, "POSTGRES_CONF_work_mem": "8MB", "POSTGRES_CONF_log_statement": "ddl"}
FILES = {f"{CONF}/a.conf": "# mine\nwork_mem = 16MB\n"}


@pytest.fixture(scope="module")
def full() -> Iterator[Container]:
    """A server with settings from all sources; the tests only read."""
    with serve("-c", "log_statement=all", env=ENV, files=FILES) as container:
        container.shell(f"echo 'work_mem = 5MB' >> {DATA}/postgresql.conf", user="postgres")
        container.sql("ALTER SYSTEM SET work_mem = '32MB'")
        container.sql("SELECT pg_reload_conf()")
        yield container


def shown(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return the output of `config show --json` by name."""
    return {row["name"]: row for row in json.loads(outcome.stdout)}


def origins(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return value, origin and place of all sources, the strongest first."""
    return [(each["value"], each["origin"], each["where"]) for each in [row, *row["hides"]]]


@pytest.mark.parametrize("user", ["0", "postgres"])
def test_all_sources_of_a_setting_are_shown(full: Container, user: str) -> None:
    """The strongest comes first, each with its place, as root and as postgres."""
    rows = shown(full.exec("entrypoint", "config", "show", "--json", user=user))
    expected = [
        ("32MB", "ALTER SYSTEM", f"{DATA}/postgresql.auto.conf:3"),
        ("16MB", "conf.d", f"{CONF}/a.conf:2"),
        ("8MB", "variable", "POSTGRES_CONF_work_mem"),
    ]
    found = origins(rows["work_mem"])
    assert expected == found[:3]
    assert ("5MB", "cluster file") == found[3][:2]
    assert [
        ("all", "command line", "-c log_statement"),
        ("ddl", "variable", "POSTGRES_CONF_log_statement"),
    ] == (origins(rows["log_statement"]))
    assert ("128MB", "image") == origins(rows["shared_buffers"])[0][:2]
    assert "fsync" not in rows
    assert {"32MB", False} == {rows["work_mem"]["running"], rows["work_mem"]["differs"]}


def test_the_server_agrees(full: Container) -> None:
    """If nothing has changed since the start, the server runs with every value that is shown."""
    assert "no setting changes\n" == full.exec("entrypoint", "config", "diff").stdout
    rows = shown(full.exec("entrypoint", "config", "show", "--json"))
    assert [] == [name for name, row in rows.items() if row["differs"] or row["needs_restart"]]
    text = full.exec("entrypoint", "config", "show").stdout
    assert "hides 8MB of variable: POSTGRES_CONF_work_mem" in text


def test_the_file_and_line_are_the_servers_own(full: Container) -> None:
    """The places that are shown are those in pg_settings."""
    query = "SELECT json_object_agg(lower(name), sourcefile || ':' || sourceline) FROM pg_settings WHERE sourcefile IS NOT NULL"
    servers = json.loads(full.sql(query))
    rows = shown(full.exec("entrypoint", "config", "show", "--json"))
    # The lines of variables are in the rendered file.
    found = {name: rows[name]["where"] for name in servers if rows[name]["origin"] != "variable"}
    assert {name: servers[name] for name in found} == found
    assert len(found) > 5


def test_a_container_of_its_own(used_volume: str) -> None:
    """With the server down, the same sources are shown, from the files alone."""
    env = {"PGDATA": "/volume/data", "POSTGRES_CONF_work_mem": "8MB"}
    volumes = {"/volume": used_volume}
    rows = shown(run("config", "show", "--json", "-c", "work_mem=9MB", env=env, volumes=volumes))
    assert [("9MB", "command line"), ("8MB", "variable")] == [each[:2] for each in origins(rows["work_mem"])]
    assert "image" == rows["shared_buffers"]["origin"]
    assert rows["work_mem"]["running"] is None


def test_without_a_cluster() -> None:
    """It works without a cluster, even as an unknown user, and writes nothing below PGDATA."""
    options = ("--user", "4321:4321")
    with create("config", "show", "--json", env=ENV, files=FILES, options=options) as container:
        rows = shown(container.finish())
    assert [("16MB", "conf.d"), ("8MB", "variable")] == [each[:2] for each in origins(rows["work_mem"])]


def test_what_a_start_would_change() -> None:
    """One setting changes with a reload, one needs a restart, and one was removed from the file."""
    with serve(env={**FRESH, "PGDATA": DATA}) as container:
        lines = "work_mem = 4096kB\nlog_statement = all\nmax_connections = 50\nshared_buffers = 131072kB\n"
        container.shell(
            f"printf '{lines.replace(chr(10), chr(92) + 'n')}' >> {DATA}/postgresql.conf", user="postgres"
        )
        container.shell(f"sed -i '/^max_wal_size/d' {DATA}/postgresql.conf", user="postgres")
        found = container.exec("entrypoint", "config", "diff", "--json").stdout
        assert [("log_statement", "none", "all", False), ("max_connections", "100", "50", True)] == [
            (each["name"], each["old"], each["new"], each["restart"]) for each in json.loads(found)
        ]
        rows = shown(container.exec("entrypoint", "config", "show", "--json"))
        assert (True, "100") == (rows["max_connections"]["needs_restart"], rows["max_connections"]["running"])
        container.sql("SELECT pg_reload_conf()")
        rows = shown(container.exec("entrypoint", "config", "show", "--json"))
        assert (True, False) == (rows["max_connections"]["needs_restart"], rows["log_statement"]["differs"])


def test_what_would_be_rendered_is_what_is_rendered(full: Container) -> None:
    """`render` prints the same file as the rendered one, and does not write it."""
    outcome = full.exec("entrypoint", "render")
    text = full.shell("cat /run/entrypoint/postgresql.conf", user="postgres")
    assert text in outcome.stdout


def test_render_shows_no_secret(used_volume: str) -> None:
    """The password of a standby's connection is not printed."""
    env = {
        "PGDATA": "/volume/new",
        "STANDBY": "on",
        "STANDBY_PRIMARY_CONNINFO": "host=a password=hidden user=b",
    }
    env |= {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    outcome = run("render", env=env, volumes={"/volume": used_volume})
    assert (0, True, False) == (
        outcome.code,
        "primary_conninfo = 'host=a password=*** user=b'" in outcome.stdout,
        "hidden" in outcome.output,
    )


def test_render_of_nothing() -> None:
    """If there is nothing to render, it says so."""
    outcome = run("render", env=FRESH)
    assert (0, True) == (outcome.code, outcome.stdout.startswith("# Nothing is rendered"))
