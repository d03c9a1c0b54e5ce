"""Many databases: a few clients visit all of them, and doctor names those that it had no time for."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator

import pytest

import containers
from containers import FRESH, Container, until

MANY = [f"d{number:02}" for number in range(24)]
ODD = ['it\'s = \\"odd"', "host=192.0.2.1 dbname=x", "new\nline=\u2028", "@ 0 here", ":ERROR"]
HERE = ["postgres", "template1", *MANY, *ODD]
CHECKS = ("collations", "locales", "extensions")
TEMPLATE = "CREATE TABLE people (name text PRIMARY KEY)"

#: Replaces psql with a script that counts its starts and then runs the real psql.
COUNTER = r"""
real=$(dirname "$(readlink -f "$(which -a pg_ctl postgres /usr/lib/postgresql/*/bin/postgres 2>/dev/null | tail -n 1)")")/psql
mv "$real" "$real.real" && printf '#!/bin/sh\necho >>/tmp/clients\nexec %s.real "$@"\n' "$real" >"$real" && chmod 755 "$real"
touch /tmp/clients && chmod 666 /tmp/clients
"""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def server() -> Iterator[Container]:
    """A server with many databases, some with odd names, and the same objects in each."""
    with containers.serve("-c", "log_connections=on", env=FRESH) as made:
        made.sql(TEMPLATE, database="template1")
        for name in [*MANY, *ODD]:
            made.sql(f"CREATE DATABASE {_quoted(name)}")
        made.sql(TEMPLATE)
        made.shell(COUNTER, user="0")
        yield made


def _doctor(server: Container, *words: str) -> dict[str, list[dict[str, str]]]:
    """Return the findings of the checks that look into databases."""
    asked = server.exec("entrypoint", "doctor", "--json", *words, *CHECKS, check=False, timeout=120)
    assert "the check itself failed" not in asked.output
    found = json.loads(asked.stdout)
    return {check: [each for each in found if each["check"] == check] for check in CHECKS}


def _clients(server: Container, *words: str) -> tuple[int, list[str]]:
    """Return the number of clients that a command starts, and the databases to which they connect."""
    server.shell(": >/tmp/clients")
    before = len(server.logs().stderr)
    server.exec("entrypoint", *words, check=False, timeout=120)
    connected = re.findall(
        r"authorized: user=postgres database=(.*) application_name=entrypoint", server.logs().stderr[before:]
    )
    return int(server.shell("wc -l </tmp/clients")), connected


@pytest.mark.parametrize("words", [("doctor",), ("collation", "show"), ("collation", "show", "--all")])
def test_few_clients_and_one_session_for_each_database(server: Container, words: tuple[str, ...]) -> None:
    """A client visits several databases with one session each; two more sessions ask about the cluster."""
    clients, connected = _clients(server, *words)
    assert clients <= len(HERE) // 3
    assert {1} == {connected.count(name) for name in HERE if name != "postgres" and "\n" not in name}
    assert len(connected) <= len(HERE) + 2


def test_everything_is_seen(server: Container) -> None:
    """The objects in each database are found, whatever its name."""
    report = json.loads(server.exec("entrypoint", "collation", "show", "--all", "--json").stdout)
    assert [] == report["unlooked"]
    assert set(HERE) == {each["database"] for each in report["dependents"]}
    assert {"ok"} == {each["level"] for told in _doctor(server, "--seconds", "100").values() for each in told}


@contextlib.contextmanager
def _doing(server: Container, statement: str, database: str = "postgres") -> Iterator[None]:
    """Hold the locks of a statement in a session of another client."""
    text = shlex.quote(f"BEGIN; SET application_name = holder; {statement}; SELECT pg_sleep(600)")
    server.shell(f"nohup psql.real -U postgres -d {database} -c {text} >/dev/null 2>&1 &")
    holds = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder' AND query ~ 'pg_sleep' AND wait_event = 'PgSleep'"
    until(lambda: server.sql(holds) == "1", "what is held")
    try:
        yield
    finally:
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'")
        until(lambda: server.sql(holds) == "0", "what was held is free")


def test_what_there_was_no_time_for(server: Container) -> None:
    """Each check names the databases it had no time for, with the command for them, and reports nothing else."""
    with _doing(server, "ALTER DATABASE d07 RENAME TO other"):
        found = _doctor(server, "--seconds", "2")
        for check, told in found.items():
            assert ["warning"] == [each["level"] for each in told]
            late = re.fullmatch(
                r"not looked at within 2 s: (\d+) of (\d+) databases \((.*)\)", told[0]["found"]
            )
            assert late is not None, told
            assert str(len(HERE)) == late[2]
            assert "d07" in late[3] or int(late[1]) > 5
            assert re.fullmatch(rf"entrypoint doctor --seconds \d+ {check}", told[0]["hint"])
    again = found["extensions"][0]["hint"].split()
    assert 0 == server.exec(*again, timeout=120).code


def test_databases_that_refuse_connections_are_named(server: Container) -> None:
    """A locked database, and one left by an interrupted DROP DATABASE, are not reported as a lack of time."""
    server.sql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'd03'")
    server.sql("ALTER DATABASE d04 CONNECTION LIMIT 0; ALTER DATABASE d05 ALLOW_CONNECTIONS false")
    try:
        with _doing(server, "ALTER DATABASE d07 RENAME TO other"):
            found = _doctor(server, "--seconds", "100")
    finally:
        server.sql(
            "UPDATE pg_database SET datconnlimit = -1, datallowconn = true WHERE datname IN ('d03', 'd04', 'd05')"
        )
    words = [each["found"] for each in found["locales"]]
    assert ["no connection is possible, so these databases were not looked into: d03, d07"] == words
    assert "not looked at" not in json.dumps(found)


def test_databases_without_an_answer_are_named(server: Container) -> None:
    """A lock in a database, or a terminated session: the error is reported, and the others are looked into."""
    with _doing(server, "LOCK TABLE pg_catalog.pg_extension", "d11"):
        found = _doctor(server, "--seconds", "100")
        assert ["ok"] == [each["level"] for each in found["locales"]]
        words = [each["found"] for each in found["extensions"]]
        assert 1 == len(words), words
        assert words[0].startswith(
            "not looked at, since there was no answer: d11: ERROR:  canceling statement"
        )
        ends = "FOR i IN 1..2000 LOOP PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'd11' AND application_name = 'entrypoint'; PERFORM pg_sleep(0.02); PERFORM pg_stat_clear_snapshot(); END LOOP"
        text = shlex.quote(f"SET application_name = ends; DO $$ BEGIN {ends}; END $$")
        server.shell(f"nohup psql.real -U postgres -c {text} >/dev/null 2>&1 &")
        until(
            lambda: (
                server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ends'") == "1"
            ),
            "ends",
        )
        found = _doctor(server, "--seconds", "100")
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ends'")
    for check in ("extensions", "collations"):
        told = [each["found"] for each in found[check]]
        assert 1 == len(told), told
        assert told[0].startswith("not looked at, since there was no answer: d11: "), told
        assert "terminating connection" in told[0]


#: By database: objects that use a collation outside of a table's column.
USES = {
    "d00": "CREATE DOMAIN x AS text COLLATE {0} CHECK (VALUE COLLATE {0} < 'm'); CREATE TABLE a (v x)",
    "d01": "CREATE TYPE r AS RANGE (subtype = text, collation = {0}); CREATE TABLE a (v r); CREATE INDEX ON a (v)",
    "d02": "CREATE TABLE a (v text, CHECK (v COLLATE {0} < 'm'))",
    "d03": "CREATE TABLE a (v text) PARTITION BY RANGE (v COLLATE {0}); CREATE TABLE b PARTITION OF a FOR VALUES FROM ('a') TO ('m')",
    "d04": "CREATE MATERIALIZED VIEW m AS SELECT max(name COLLATE {0}) FROM people",
    "d05": "CREATE INDEX ON people ((name || '') COLLATE {0})",
    "d06": "CREATE INDEX ON people ((1)) WHERE name > 'x' COLLATE {0}",
    "d08": "CREATE TYPE c AS (t text COLLATE {0}); CREATE TABLE a (v c); CREATE INDEX ON a (v)",
    "d09": "CREATE INDEX ON people (name COLLATE {0})",
}


def test_only_collations_in_use_count(server: Container) -> None:
    """A changed collation is reported wherever it is used, and only there."""
    for name in MANY:
        server.sql(USES.get(name, "SELECT").format('"de-x-icu"'), database=name)
        server.sql("UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'de-x-icu'", database=name)
    report = json.loads(server.exec("entrypoint", "collation", "show", "--json").stdout)
    assert set(USES) == {each["database"] for each in report["dependents"]}
    assert set(USES) == {each["database"] for each in report["changes"]}
    told = _doctor(server, "--seconds", "100")["collations"]
    assert ["a library that sorts text has changed"] == [each["found"][:37] for each in told]
