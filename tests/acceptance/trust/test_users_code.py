"""Collation commands never run users' code as the superuser, and no user's objects keep a server from starting."""

from __future__ import annotations

import json
from typing import Any

import pytest

import containers
from containers import Container

DATA = containers.data_folder()
MEMORY = f"{DATA}/entrypoint.collation"
RIGHTS = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'"

ROLE = """
CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app; GRANT CREATE ON DATABASE postgres TO app;
GRANT CREATE ON SCHEMA public TO app;
"""
EVIL = """
CREATE COLLATION app.c (provider = icu, locale = 'und', version = '1');
CREATE FUNCTION app.grab() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN EXECUTE 'ALTER ROLE app SUPERUSER'; END IF; RETURN true; END $$;
CREATE FUNCTION app.ok(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM app.grab(); RETURN true; END $$;
CREATE FUNCTION app.id(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM app.grab(); RETURN $1; END $$;
CREATE FUNCTION app.before(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM app.grab(); RETURN true; END $$;
CREATE OPERATOR app.<< (leftarg = text, rightarg = text, function = app.before);
"""
#: Each creates a CHECK, a key, a domain or a range that may call a function of its owner.
TRAPS = """
CREATE TABLE app.called (x text COLLATE app.c CONSTRAINT called CHECK (app.ok(x) AND x < 'z'));
CREATE TABLE app.operated (x text COLLATE app.c CONSTRAINT operated CHECK (x OPERATOR(app.<<) 'z' AND x < 'z'));
CREATE DOMAIN app.word AS text COLLATE app.c CONSTRAINT word CHECK (app.ok(VALUE) AND VALUE < 'z');
CREATE DOMAIN app.words AS app.word CONSTRAINT words CHECK (VALUE < 'z');
CREATE TABLE app.worded (x app.words, many app.word[]);
CREATE TABLE app.cast_to_domain (x text COLLATE app.c CONSTRAINT cast_to_domain CHECK (x::app.word < 'z'));
CREATE TABLE app.array_of_domain (x text[] COLLATE app.c CONSTRAINT array_of_domain CHECK ((x::app.word[])[1] < 'z'));
CREATE TYPE app.pair AS (l app.word, n int);
CREATE TABLE app.cast_to_row (x text COLLATE app.c CONSTRAINT cast_to_row CHECK ((('(' || x || ',1)')::app.pair).l < 'z'));
CREATE TYPE app.mood AS ENUM ('a', 'b');
CREATE TABLE app.cast_later (m app.mood, x text COLLATE app.c CONSTRAINT cast_later CHECK (m::text COLLATE app.c < x));
CREATE FUNCTION app.said(app.mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM app.grab(); RETURN 'a'; END $$;
CREATE CAST (app.mood AS text) WITH FUNCTION app.said(app.mood) AS IMPLICIT;
CREATE TABLE app.as_query (x text COLLATE app.c
    CONSTRAINT as_query CHECK (query_to_xml('SELECT app.grab()', true, true, '') IS NOT NULL AND x < 'z'));
CREATE VIEW app.seen AS SELECT app.grab();
CREATE TABLE app.as_table (x text COLLATE app.c
    CONSTRAINT as_table CHECK (table_to_xml('app.seen', true, true, '') IS NOT NULL AND x < 'z'));
CREATE TABLE app.as_rewrite (x text COLLATE app.c
    CONSTRAINT as_rewrite CHECK (numnode(ts_rewrite('a', 'SELECT app.grab()::text::tsquery AS a, ''a''::tsquery AS b')) >= 0 AND x < 'z'));
CREATE TABLE app.as_row (x text COLLATE app.c
    CONSTRAINT as_row CHECK ((jsonb_populate_record(NULL::app.pair, jsonb_build_object('l', x))).l < 'z'));
CREATE TABLE app.partitioned (x text COLLATE app.c) PARTITION BY RANGE (app.id(x));
CREATE TABLE app.part PARTITION OF app.partitioned FOR VALUES FROM (MINVALUE) TO ('z');
CREATE FUNCTION app.far(text, text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM app.grab(); RETURN 1; END $$;
CREATE TYPE app.span AS RANGE (subtype = text, collation = app.c, subtype_diff = app.far);
CREATE TABLE app.spans (s app.span, CONSTRAINT spans_apart EXCLUDE USING gist (s WITH &&));
CREATE FUNCTION app.lower(app.span) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM app.grab(); RETURN 'a'; END $$;
CREATE CAST (app.span AS text) WITH FUNCTION app.lower(app.span) AS IMPLICIT;
CREATE TABLE app.keyed (x text COLLATE app.c, n int);
CREATE UNIQUE INDEX keyed_id ON app.keyed ((app.id(x) COLLATE app.c));
CREATE UNIQUE INDEX keyed_some ON app.keyed (x) WHERE app.ok(x);
CREATE MATERIALIZED VIEW app.stored AS SELECT x FROM app.keyed WHERE app.ok(x) AND x < 'z';
"""
ROWS = """
INSERT INTO app.called VALUES ('a'); INSERT INTO app.operated VALUES ('a'); INSERT INTO app.worded VALUES ('a', '{a}');
INSERT INTO app.cast_to_domain VALUES ('a'); INSERT INTO app.array_of_domain VALUES ('{a}'); INSERT INTO app.cast_to_row VALUES ('a');
INSERT INTO app.cast_later VALUES ('a', 'b'); INSERT INTO app.as_query VALUES ('a'); INSERT INTO app.as_table VALUES ('a');
INSERT INTO app.as_rewrite VALUES ('a'); INSERT INTO app.as_row VALUES ('a'); INSERT INTO app.partitioned VALUES ('a'); INSERT INTO app.keyed VALUES ('a', 1), ('b', 2);
INSERT INTO app.spans VALUES ('[a,b)'), ('[c,d)');
"""
#: Objects that a superuser has made with the role's functions and types.
BORROWED = """
CREATE TABLE lent (x text COLLATE app.c CONSTRAINT lent CHECK (app.ok(x) AND x < 'z'));
CREATE INDEX lent_x ON lent ((app.id(x) COLLATE app.c));
CREATE TABLE ranged (s app.span); CREATE INDEX ranged_s ON ranged USING gist (s);
"""
#: Schemas and functions that look like amcheck's.
PLANTED = """
CREATE SCHEMA entrypoint_amcheck;
CREATE FUNCTION entrypoint_amcheck.bt_index_check(index regclass, heapallindexed boolean) RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN PERFORM app.grab(); END $$;
CREATE FUNCTION public.bt_index_check(index oid, heapallindexed boolean) RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN PERFORM app.grab(); END $$;
"""
#: Constraints, partitions and indexes that nobody but their owner may evaluate.
UNCHECKED = set(
    "called operated cast_to_domain array_of_domain cast_to_row cast_later as_query as_table as_rewrite as_row"
    " app.part lent app.keyed_id app.keyed_some public.lent_x public.ranged_s s".split()
)


def _ask(server: Container, *words: str, code: int = 0) -> Any:
    """Return the JSON answer of a command."""
    done = server.exec("entrypoint", "collation", *words, "--json", check=False, timeout=120)
    assert code == done.code, done.output
    return json.loads(done.stdout)


def _as_app(server: Container, text: str) -> str:
    return server.sql(text, user="app", database="postgres")


def _set_traps(server: Container) -> None:
    server.sql(ROLE)
    for text in (EVIL, TRAPS, ROWS):
        _as_app(server, text)
    server.sql("CREATE EXTENSION amcheck SCHEMA public")
    _as_app(server, PLANTED)
    server.sql(BORROWED)
    assert "" == server.sql(RIGHTS)


def test_nothing_of_users_runs_as_the_superuser() -> None:
    """Objects that could run a role's code are reported with SQL for the owner; all others are checked."""
    with containers.serve() as server:
        _set_traps(server)
        checked = _ask(server, "check", "--amcheck", code=1)
        assert "" == server.sql(RIGHTS)
        found = {each["name"]: each for each in checked["findings"]}
        assert UNCHECKED - {"public.ranged_s"} == found.keys()
        assert {False} == {each["broken"] for each in found.values()}
        assert "let app run: SELECT * FROM ONLY app.called WHERE NOT (" in found["called"]["hint"]
        assert "0" == _as_app(
            server, f"SELECT count(*) FROM ({found['called']['hint'].partition(': ')[2]}) AS bad"
        )
        done = _ask(server, "fix", code=1)
        assert "" == server.sql(RIGHTS)
        assert UNCHECKED - {"app.keyed_id", "app.keyed_some"} == {each["name"] for each in done["findings"]}
        assert 3 == len(done["rebuilt"])
        assert "1" == server.sql("SELECT collversion FROM pg_collation WHERE collname = 'c'")
        assert "public" == server.sql(
            "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'amcheck'"
        )


MADE_UP = "CREATE COLLATION app.c (provider = icu, locale = 'und', version = '1');"
#: Rows that violate a CHECK, a CHECK and an index that raise, and a name with line ends, quotes and terminal codes.
BROKEN = f"""
{MADE_UP}
CREATE TABLE app.divided (x text COLLATE app.c); INSERT INTO app.divided VALUES ('z');
ALTER TABLE app.divided ADD CONSTRAINT divided CHECK (x > 'a' AND 1 / (length(x) - 1) > 0) NOT VALID;
CREATE TABLE app.against (x text COLLATE app.c); INSERT INTO app.against VALUES ('a');
ALTER TABLE app.against ADD CONSTRAINT against CHECK (x > 'b') NOT VALID;
CREATE FUNCTION app.fails(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    IF current_setting('app.fails', true) = 'no' THEN RETURN $1; END IF; RAISE EXCEPTION 'never'; END $$;
SET app.fails = no;
CREATE TABLE app.indexed (x text COLLATE app.c); INSERT INTO app.indexed VALUES ('a');
CREATE INDEX fails ON app.indexed ((app.fails(x) COLLATE app.c));
"""
ODD = r"""U&"a\2028b\2029c\0085d\000Ae\000Df\001B]0;g\0007h'i""j$entrypoint$k\0009l\\m%n:o" """.strip()
OBJECTS = f"""
CREATE SCHEMA {ODD};
CREATE COLLATION {ODD}.{ODD} (provider = icu, locale = 'und', version = '1');
CREATE DOMAIN {ODD}.{ODD} AS text COLLATE {ODD}.{ODD};
CREATE DOMAIN {ODD}.{ODD[:-1]}2" AS {ODD}.{ODD} CONSTRAINT {ODD} CHECK (VALUE > 'a');
CREATE TABLE {ODD}.{ODD[:-1]}1" ({ODD} {ODD}.{ODD[:-1]}2" COLLATE {ODD}.{ODD} CONSTRAINT {ODD} CHECK ({ODD} > 'a'));
CREATE UNIQUE INDEX {ODD[:-1]}3" ON {ODD}.{ODD[:-1]}1" ({ODD});
INSERT INTO {ODD}.{ODD[:-1]}1" VALUES ('b');
"""


def test_one_object_hinders_no_other() -> None:
    """An object that raises is reported with the server's error; all others are checked, fixed and recorded."""
    with containers.serve() as server:
        server.sql(ROLE)
        _as_app(server, BROKEN)
        _as_app(server, OBJECTS)
        server.sql(f"CREATE DATABASE {ODD}")
        server.sql("UPDATE pg_collation SET collversion = '1' WHERE collname = 'und-x-icu'")
        server.sql('CREATE TABLE good (x text COLLATE "und-x-icu" PRIMARY KEY)')
        checked = {each["name"]: each for each in _ask(server, "check", "--amcheck", code=1)["findings"]}
        assert {"divided", "against", "app.fails"} == checked.keys()
        assert "division by zero" in checked["divided"]["found"]
        assert "violated: 1 row" in checked["against"]["found"]
        done = _ask(server, "fix", code=1)
        assert {"divided", "against", "app.fails"} == {each["name"] for each in done["findings"]}
        assert ["postgres"] == done["refreshed"]
        noted = "SELECT collversion FROM pg_collation WHERE {} ORDER BY 1"
        assert "1" == server.sql(noted.format("collname = 'c'"))
        assert (
            "1" not in server.sql(noted.format("collname <> 'c' AND collprovider IN ('c', 'i')")).splitlines()
        )
        for words in ("show", "check --all", "fix --all"):
            shown = server.exec("entrypoint", "collation", *words.split(), check=False, timeout=120)
            assert (True, False) == (shown.code in (0, 1), "Traceback" in shown.output), shown.output
        assert "Traceback" not in server.exec("entrypoint", "doctor", check=False).output


@pytest.mark.parametrize("policy", ["refuse", "reindex", "warn"])
def test_no_role_keeps_a_server_down(policy: str, volume: str) -> None:
    """A made-up version, rows that violate a CHECK, and objects that raise: the server starts and reports them."""
    place = {DATA: volume}
    with containers.serve(volumes=place) as server:
        server.sql(ROLE)
        _as_app(server, BROKEN)
        _as_app(server, OBJECTS)
        assert 0 == server.stop()
    containers.in_volume(volume, "find . -name entrypoint.collation -delete")
    with containers.serve(env={"COLLATION_POLICY": policy}, volumes=place) as server:
        log = server.logs().stderr
        assert (True, False) == ("checking whether text" in log, "Traceback" in log), log
        assert (policy != "reindex") == ("1 is recorded, 153" in log)
        assert (policy == "reindex") == ("division by zero" in log)
        assert "postgres" == server.sql("SELECT current_user")
