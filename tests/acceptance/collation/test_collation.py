"""A cluster whose collations have really changed: it was built on glibc 2.36, and is opened on 2.41."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

import containers
from containers import PYTHON, READY, Container
from latvian import AFFECTED, DATA, SCHEMA, Images, Serve
from majors import parameters

LOOKS = "checking whether text still sorts"
MEMORY = "entrypoint.collation"

NODES = "SELECT relname, pg_relation_filenode(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'i'"
VERSIONS = "SELECT DISTINCT datcollversion FROM pg_database WHERE datcollversion IS NOT NULL"


def _ask(server: Container, *words: str, code: int = 0, timeout: float = 60) -> Any:
    """Return the JSON output of a command."""
    done = server.exec("entrypoint", "collation", *words, "--json", check=False, timeout=timeout)
    assert code == done.code, done.output
    return json.loads(done.stdout)


def _indexes(report: Any) -> set[str]:
    return {each["name"] for each in report["dependents"] if each["kind"] == "index"}


def _nodes(server: Container) -> dict[str, str]:
    return dict(line.split("|") for line in server.sql(NODES).splitlines())


def _broken(server: Container) -> set[str]:
    """Return the B-tree indexes that amcheck finds broken when the test calls it directly."""
    server.sql("CREATE EXTENSION IF NOT EXISTS amcheck")
    found = server.sql(
        "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'i' "
        "AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree')"
    )
    broken = set()
    for name in found.splitlines():
        query = f"SELECT bt_index_check('{name}', true)"
        if server.exec("psql", "-U", "postgres", "-qc", query, check=False).code:
            broken.add(name)
    return broken


def test_latvian_sorts_differently(images: Images) -> None:
    """The same words sort differently on 2.41, where letters with a macron are letters of their own."""
    words = "rīga\nrygis\nia\nya\nab\nāa\n"
    sort = ("-c", "LC_ALL=lv_LV.UTF-8 sort")
    orders = [
        containers.run(*sort, image=image, stdin=words, options=("--entrypoint", "bash")).stdout.split()
        for image in images
    ]
    assert ["āa ab ia ya rīga rygis".split(), "ab āa ia ya rygis rīga".split()] == orders


def test_a_change_is_found_listed_and_repaired(serve: Serve) -> None:
    """By default the server starts with a list; check finds the broken index, and fix rebuilds only what it must."""
    with serve() as server:
        log = server.logs().stderr
        assert "2.36 is recorded, 2.41 is here" in log
        assert set() == {name for name in AFFECTED if name not in log}
        assert "words_pattern" not in log
        report = _ask(server, "show")
        assert AFFECTED == _indexes(report)
        assert {"early"} == {
            each["name"].partition(".")[2]
            for each in report["dependents"]
            if each["kind"] == "materialized view"
        }
        assert {"public.spans"} == {
            each["table"] for each in report["dependents"] if each["kind"] == "range column"
        }
        checked = _ask(server, "check", "--amcheck", code=1)
        found = {each["name"] for each in checked["findings"]}
        assert "public.words_w" in found
        assert {f"public.{name}" for name in _broken(server)} == found
        before = _nodes(server)
        done = _ask(server, "fix")
        after = _nodes(server)
        assert AFFECTED == {f"public.{name}" for name in before if before[name] != after[name]}
        assert ["postgres", "template1"] == done["refreshed"]
        assert set() == _broken(server)
        assert "2.41" == server.sql(VERSIONS)
        assert [] == _ask(server, "check", "--amcheck", "--all")["findings"]
        assert [] == _ask(server, "fix")["rebuilt"]
        assert server.stop() == 0
        server.again()
        assert 1 == server.logs().stderr.count(LOOKS)


def test_amcheck_leaves_nothing(serve: Serve) -> None:
    """The extension exists only while it is used."""
    with serve() as server:
        _ask(server, "check", "--amcheck", code=1)
        assert "plpgsql" == server.sql("SELECT extname FROM pg_extension")
        assert "0" == server.sql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'entrypoint%'")


def test_a_change_that_was_not_repaired_is_reported_again(serve: Serve) -> None:
    """The warning returns at the next start."""
    with serve() as server:
        assert server.stop() == 0
        server.again()
        assert 2 == server.logs().stderr.count("2.36 is recorded, 2.41 is here\n  database template1")


def test_a_duplicate_is_found(serve: Serve) -> None:
    """A row that the unique index no longer finds can be inserted again; check names it, and fix does not hide it."""
    with serve() as server:
        word = _let_in(server)
        (finding,) = [
            each for each in _ask(server, "check", code=1)["findings"] if "duplicates" in each["found"]
        ]
        assert "public.words_w" == finding["name"]
        assert word in finding["found"]
        done = _ask(server, "fix", code=1)
        assert {"public.words_w"} == {each["name"] for each in done["findings"]}
        assert f"({word}) is duplicated" in done["findings"][0]["found"]
        assert {"2.36", "2.41"} == set(server.sql(VERSIONS).split())
        assert "0" == server.sql("SELECT count(*) FROM pg_class WHERE relname ~ '_cc(new|old)'")
        server.sql("SET enable_indexscan = off; SET enable_bitmapscan = off; DELETE FROM words WHERE id < 0")
        assert ["postgres"] == _ask(server, "fix")["refreshed"]
        assert set() == _broken(server)


def _let_in(server: Container) -> str:
    """Insert words again until the unique index lets one in; return it."""
    words = server.sql("SET enable_indexscan = off; SELECT w FROM words ORDER BY random()").splitlines()
    for word in words:
        query = f"INSERT INTO words VALUES (-1, '{word}', 'again') ON CONFLICT (w) DO NOTHING RETURNING id"
        if server.sql(query).startswith("-1"):
            return word
    raise AssertionError("the unique index has kept out every word")


def test_refuse(serve: Serve, data: str, images: Images) -> None:
    """With `refuse`, the start ends with exit code 14, a list and a hint; the old image still starts."""
    before = containers.in_volume(data, f"cat {MEMORY}")
    ended = containers.run(
        env={"COLLATION_POLICY": "refuse"}, volumes={DATA: data}, image=images.new, timeout=60
    )
    assert 14 == ended.code, ended.output
    (complaint,) = containers.complaints(ended)
    assert set() == {name for name in AFFECTED if name not in complaint}
    assert "COLLATION_POLICY=reindex" in complaint
    assert before == containers.in_volume(data, f"cat {MEMORY}")
    assert READY not in ended.output
    with serve(image=images.old) as server:
        assert "is recorded" not in server.logs().stderr
        assert set() == _broken(server)


def test_reindex_comes_before_clients(serve: Serve) -> None:
    """With `reindex`, exactly the dependent indexes are rebuilt before clients can connect."""
    with serve({"COLLATION_POLICY": "reindex"}) as server:
        log = server.logs().stderr
        assert log.rindex("rebuilding 4 of 4") < log.index("listening on IPv4")
        assert "WARNING" not in log
        assert set() == _broken(server)
        assert "2.41" == server.sql(VERSIONS)
        assert [] == _ask(server, "show")["dependents"]


def test_reindex_resumes_after_a_kill(serve: Serve, data: str, images: Images) -> None:
    """After a kill during the rebuild, the next start rebuilds the remaining indexes."""
    env = {"COLLATION_POLICY": "reindex"}
    with containers.start(env=env, volumes={DATA: data}, image=images.new) as killed:
        killed.says("rebuilding 3 of 4")
        killed.kill()
        killed.wait()
    with serve(env) as server:
        assert set(re.findall(r"rebuilding \d of (\d)", server.logs().stderr)) <= {"1", "2"}
        assert set() == _broken(server)
        assert "2.41" == server.sql(VERSIONS)


SLOW = """
CREATE FUNCTION slow(w text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(coalesce(current_setting('test.pause', true), '0')::float); RETURN w; END $$;
CREATE TABLE slowly AS SELECT w FROM words LIMIT 60;
CREATE INDEX slowly_w ON slowly (slow(w));
"""
"""An index that takes half a minute to build if `test.pause` is half a second."""


def test_a_kill_and_a_stop_during_a_rebuild(serve: Serve, data: str, images: Images) -> None:
    """After either, the next start resumes and does not repeat work; no client connects before it is done."""
    with serve(image=images.old) as server:
        server.sql(SLOW)
        assert 0 == server.stop()
    env = {"COLLATION_POLICY": "reindex"}
    pause = ("-c", "test.pause=0.5")
    logs = []
    for end in ("kill", "stop"):
        with containers.start(*pause, env=env, volumes={DATA: data}, image=images.new) as server:
            server.says("index public.slowly_w")
            server.shell("sleep 1")
            began = time.monotonic()
            if end == "kill":
                server.kill()
                assert 137 == server.wait()
            else:
                assert 130 == server.stop()
            assert time.monotonic() - began < 8
            logs.append(server.logs().output)
    state = containers.in_volume(data, "$(echo /usr/lib/postgresql/*/bin/pg_controldata) . | grep state")
    assert "shut down" == state.rpartition("  ")[2].strip()
    with serve(env) as server:
        logs.append(server.logs().output)
        assert [["5"], ["4"], ["4"]] == [
            sorted(set(re.findall(r"rebuilding \d of (\d)", log))) for log in logs
        ]
        assert [False, False, True] == ["listening on IPv4" in log for log in logs]
        assert set() == _broken(server)
        assert "2.41" == server.sql(VERSIONS)
        assert "0" == server.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid")


def test_fix_resumes_after_a_kill(serve: Serve) -> None:
    """The remains of an interrupted REINDEX CONCURRENTLY are removed, and rebuilt indexes are not rebuilt again."""
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    with serve() as server:
        with server.session("BEGIN; SELECT FROM words LIMIT 1; SELECT pg_sleep(600)"):
            server.exec("bash", "-c", "entrypoint collation fix >/tmp/fix 2>&1 & echo $! >/tmp/pid")
            containers.until(lambda: server.sql(invalid) == "1", "an index that is being made")
            server.shell("kill -KILL $(cat /tmp/pid)", user="0")
            containers.until(
                lambda: server.sql("SELECT count(*) FROM pg_stat_progress_create_index") == "0", "its end"
            )
            server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        assert "1" == server.sql(invalid)
        assert "2.36" in server.sql(VERSIONS)
        before = _nodes(server)
        rebuilt = _ask(server, "fix")["rebuilt"]
        assert 0 < len(rebuilt) <= len(AFFECTED)
        changed = {name for name in before if _nodes(server).get(name) not in (None, before[name])}
        assert len(rebuilt) == len(changed)
        assert "0" == server.sql(invalid)
        assert "0" == server.sql("SELECT count(*) FROM pg_class WHERE relname ~ '_cc(new|old)'")
        assert set() == _broken(server)
        assert "2.41" == server.sql(VERSIONS)


def test_after_a_crash_and_with_a_tablespace(images: Images, data: str) -> None:
    """A killed cluster is recovered before its collations are checked, with all its tablespaces."""
    with containers.volume() as place:
        containers.in_volume(place, "mkdir there; chown 999:999 there")
        volumes = {DATA: data, "/space": place}
        with containers.serve(env={}, volumes=volumes, image=images.old) as server:
            server.sql("CREATE TABLESPACE away LOCATION '/space/there'")
            server.sql("CREATE TABLE far (w text PRIMARY KEY) TABLESPACE away")
            server.sql("ALTER INDEX far_pkey SET TABLESPACE away")
            server.sql("INSERT INTO far SELECT w FROM words")
            server.kill()
            server.wait()
        env = {"COLLATION_POLICY": "reindex"}
        with containers.serve(env=env, volumes=volumes, image=images.new) as server:
            assert "rebuilding 5 of 5" in server.logs().stderr
            assert set() == _broken(server)
            assert "1960" == server.sql("SELECT count(*) FROM far")


def test_going_back_is_a_change_too(serve: Serve, images: Images) -> None:
    """The new library has written in its own order, so the old one must not treat the index as intact."""
    with serve() as server:
        server.sql("INSERT INTO words SELECT -id, w || 'x', w || 'x' FROM words")
        assert server.stop() == 0
    with serve(image=images.old) as server:
        assert "it was served with glibc 2.41" in server.logs().stderr
        assert set() != _broken(server)
        assert AFFECTED == _indexes(_ask(server, "show"))
        _ask(server, "fix")
        assert set() == _broken(server)
        assert server.stop() == 0
        server.again()
        assert 1 == server.logs().stderr.count(LOOKS)


UNREPAIRABLE = """
CREATE TABLE pairs (low text, high text, CONSTRAINT pairs_order CHECK (low < high));
INSERT INTO pairs VALUES ('rīga', 'rygis'), ('a', 'b');
CREATE TABLE parts (w text) PARTITION BY RANGE (w);
CREATE TABLE parts_early PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('rygis');
CREATE TABLE parts_late PARTITION OF parts FOR VALUES FROM ('rygis') TO (MAXVALUE);
INSERT INTO parts VALUES ('rīga'), ('a'), ('z');
CREATE TABLE bent (s span);
INSERT INTO bent VALUES ('[rīga,rygis]'), ('[a,b]');
CREATE DOMAIN soon AS text CONSTRAINT soon_order CHECK (VALUE < 'rygis' AND VALUE <> 'VALUE "VALUE"');
CREATE DOMAIN sooner AS soon;
CREATE TYPE boxed AS (inside soon);
CREATE TABLE kinds (one soon, "Other" sooner, many soon[], none sooner, box boxed);
INSERT INTO kinds VALUES ('rīga', 'a', '{a,rīga,rīga}', 'a', NULL), ('b', 'rīga', '{}', NULL, ROW('rīga'));
"""
NOT_REPAIRED = {
    "check pairs_order on public.pairs in postgres is violated: 1 row against it",
    "partition public.parts_early on public.parts in postgres is violated: 1 row of another partition",
    "range column s on public.bent in postgres is violated: 1 row with a range that ends before it begins",
    "check soon_order on public.kinds (column one, domain public.soon) in postgres is violated: 1 row against it",
    'check soon_order on public.kinds (column "Other", domain public.soon) in postgres is violated: 1 row against it',
    "check soon_order on public.kinds (column many, domain public.soon) in postgres is violated: 2 rows against it",
    (
        "check soon_order on public.kinds (column box, domain public.soon) in postgres is not checked here: its values"
        " are stored inside others"
    ),
}


def test_what_no_reindex_repairs(serve: Serve, images: Images) -> None:
    """Rows that violate a CHECK or a partition and reversed ranges are named; versions stay until accepted."""
    with serve(image=images.old) as server:
        server.sql(UNREPAIRABLE)
        assert server.stop() == 0
    with serve() as server:
        done = _ask(server, "fix", code=1)
        assert NOT_REPAIRED == {each["found"] for each in done["findings"]}
        for each in done["findings"]:
            if "correct them: " in each["hint"]:
                query = each["hint"].removeprefix("correct them: ")
                assert each["found"].count(f": {len(server.sql(query).splitlines())} row") == 1
        assert 4 == len(done["rebuilt"])
        assert {"2.36", "2.41"} == set(server.sql(VERSIONS).split())
        again = _ask(server, "fix", "--accept")
        assert [[], ["postgres"], []] == [again["rebuilt"], again["refreshed"], again["findings"]]
        assert "2.41" == server.sql(VERSIONS)


def test_a_standby_is_left_alone(data: str, images: Images) -> None:
    """A standby gets a warning and can be queried, but is neither changed nor promoted."""
    containers.in_volume(data, "touch standby.signal; chown 999:999 standby.signal")
    with containers.start(
        env={"COLLATION_POLICY": "reindex"}, volumes={DATA: data}, image=images.new
    ) as server:
        server.says("ready to accept read-only connections")
        log = server.logs().stderr
        assert "last served with glibc 2.36" in log
        assert LOOKS not in log
        assert "t" == server.sql("SELECT pg_is_in_recovery()")
        assert AFFECTED == _indexes(_ask(server, "show"))
        refused = server.exec("entrypoint", "collation", "fix", check=False)
        assert 1 == refused.code
        assert "in recovery" in refused.stderr
        assert server.stop() == 0
    assert "standby.signal" == containers.in_volume(data, "ls standby.signal")


def test_icu(serve: Serve, images: Images) -> None:
    """An ICU collation counts like one of the C library; the test fakes a change, since both images have one ICU."""
    with serve(image=images.old) as server:
        server.sql(
            'CREATE TABLE icu (w text COLLATE "lv-x-icu" PRIMARY KEY, other text COLLATE "de-x-icu" UNIQUE)'
        )
        server.sql("UPDATE pg_collation SET collversion = '1' WHERE collname = 'lv-x-icu'")
        report = _ask(server, "show")
        assert {"public.icu_pkey"} == _indexes(report)
        assert ['"lv-x-icu"'] == [each["collation"] for each in report["changes"]]
        _ask(server, "fix")
        assert "0" == server.sql(
            "SELECT count(*) FROM pg_collation WHERE collversion <> pg_collation_actual_version(oid)"
        )


@pytest.mark.parametrize("tag", parameters(lambda major: int(major) > 15))
def test_newer_majors(tag: str) -> None:
    """The dependents are found in every major version, and can be rebuilt even without a change."""
    with containers.serve(image=containers.kin(tag)) as server:
        server.sql(SCHEMA)
        assert _ask(server, "show")["matches"]
        assert AFFECTED == _indexes(_ask(server, "show", "--all"))
        assert [] == _ask(server, "check", "--amcheck", "--all")["findings"]
        before = _nodes(server)
        _ask(server, "fix", "--all")
        after = _nodes(server)
        assert AFFECTED == {f"public.{name}" for name in before if before[name] != after[name]}


def test_a_first_look_is_remembered(serve: Serve, data: str, images: Images) -> None:
    """Data that is new to this image is checked once; its clients and its log see one start."""
    containers.in_volume(data, f"rm {MEMORY}")
    with serve(image=images.old) as server:
        log = server.logs().stderr
        assert (1, 1) == (log.count(LOOKS), log.count(READY))
        assert server.stop() == 0
        server.again()
        assert 1 == server.logs().stderr.count(LOOKS)
        control = server.shell('pg_controldata "$PGDATA"')
        memory = server.shell(f'cat "$PGDATA/{MEMORY}"')
        for name, word in (
            ("Database system identifier", "cluster"),
            ("Latest checkpoint's TimeLineID", "timeline"),
        ):
            value = re.search(rf"{name}: +(\d+)", control)
            assert value is not None
            assert f"{word} {value[1]}" in memory


def test_another_image_in_between(serve: Serve, data: str, images: Images) -> None:
    """The server of another image may have changed the versions, so the next start checks them again."""
    opts = '"$PGDATA/postmaster.opts"'
    with serve(image=images.old) as server:
        assert LOOKS not in server.logs().stderr
        assert server.stop() == 0
    foreign = ("--entrypoint", "postgres", "--user", "postgres")
    with containers.start(volumes={DATA: data}, image=images.new, options=foreign) as other:
        other.ready()
        other.sql("REINDEX DATABASE postgres")
        other.sql("ALTER DATABASE postgres REFRESH COLLATION VERSION")
        other.shell(f"touch -d '+1 hour' {opts}")
        assert other.stop() == 0
    with serve(image=images.old) as server:
        log = server.logs().stderr
        assert (1, True) == (log.count(LOOKS), "2.41 is recorded, 2.36 is here" in log)


DEPENDING = """
CREATE TABLE a (id int, name text, c text COLLATE "C", data jsonb, tags text[], v varchar(10), b bpchar(5), num int);
CREATE INDEX yes_default ON a (name); CREATE INDEX no_c ON a (c); CREATE INDEX no_c_here ON a (name COLLATE "C");
CREATE INDEX no_pattern ON a (name text_pattern_ops); CREATE INDEX no_varchar_pattern ON a (v varchar_pattern_ops);
CREATE INDEX no_hash ON a USING hash (name); CREATE INDEX no_spgist ON a USING spgist (name);
CREATE INDEX yes_jsonb ON a (data); CREATE INDEX no_jsonb_gin ON a USING gin (data);
CREATE INDEX yes_array ON a (tags); CREATE INDEX yes_array_gin ON a USING gin (tags);
CREATE INDEX yes_varchar ON a (v); CREATE INDEX yes_bpchar ON a (b); CREATE INDEX yes_brin ON a USING brin (name);
CREATE INDEX yes_lower ON a (lower(name)); CREATE INDEX no_length ON a (length(name));
CREATE INDEX no_equal ON a (num) WHERE name = 'x'; CREATE INDEX no_in ON a (num) WHERE name IN ('x', 'y');
CREATE INDEX yes_less ON a (num) WHERE name < 'm'; CREATE INDEX yes_least ON a (num) WHERE least(name, v) = 'a';
CREATE INDEX yes_row ON a (num) WHERE (num, name) < (1, 'm');
CREATE INDEX no_json_number ON a (((data ->> 'k')::int)); CREATE INDEX no_include ON a (num) INCLUDE (name);
CREATE FUNCTION early(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$SELECT $1 < 'm'$$;
CREATE INDEX yes_function ON a (num) WHERE early(name); CREATE INDEX "yes ""odd"" näme" ON a (name);
CREATE TYPE pair AS (l text, n int); CREATE TYPE span AS RANGE (subtype = text);
CREATE DOMAIN word AS text CHECK (VALUE < 'zzz'); CREATE DOMAIN spans AS span;
CREATE TABLE b (p pair, s span, w word, d spans, m span_multirange, ps pair[], i int4range,
    CONSTRAINT yes_excluded EXCLUDE USING gist (s WITH &&),
    CONSTRAINT yes_check CHECK ((p).l < 'm'), CONSTRAINT no_check CHECK ((p).l <> 'm'));
CREATE INDEX yes_composite ON b (p); CREATE INDEX yes_domain ON b (w); CREATE INDEX yes_domain_range ON b USING gist (d);
CREATE INDEX yes_multirange ON b (m); CREATE INDEX yes_composites ON b (ps); CREATE INDEX no_int_range ON b USING gist (i);
CREATE TABLE p (k text) PARTITION BY RANGE (k); CREATE TABLE yes_part PARTITION OF p DEFAULT;
CREATE TABLE yes_part_a PARTITION OF p FOR VALUES FROM ('a') TO ('m');
CREATE TABLE l (k text) PARTITION BY LIST (k); CREATE TABLE no_part PARTITION OF l FOR VALUES IN ('a');
CREATE TABLE h (k text) PARTITION BY HASH (k); CREATE TABLE no_part_h PARTITION OF h FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE e (k text) PARTITION BY RANGE (lower(k)); CREATE TABLE yes_part_e PARTITION OF e FOR VALUES FROM ('a') TO ('m');
CREATE MATERIALIZED VIEW yes_view AS SELECT max(name) FROM a; CREATE MATERIALIZED VIEW no_view AS SELECT num FROM a WHERE name = 'm';
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE loose (i text COLLATE ci); CREATE INDEX yes_loose_hash ON loose USING hash (i);
CREATE INDEX yes_loose_equal ON loose ((1)) WHERE i = 'x';
CREATE VIEW expected AS
    SELECT format('%I', relname) AS name FROM pg_class WHERE relkind IN ('i', 'r', 'm') AND relname ~ '^yes'
    UNION ALL SELECT conname FROM pg_constraint WHERE contype = 'c' AND (conname ~ '^yes' OR contypid <> 0)
                  AND connamespace = 'public'::regnamespace
    UNION ALL SELECT attname FROM pg_attribute WHERE attrelid = 'b'::regclass AND attname IN ('s', 'd', 'm');
"""


def test_what_depends_on_the_order() -> None:
    """Exactly the objects whose names begin with yes depend on it, for all kinds of objects."""
    with containers.serve() as server:
        server.sql(DEPENDING)
        found = {each["name"].removeprefix("public.") for each in _ask(server, "show", "--all")["dependents"]}
        assert set(server.sql("SELECT name FROM expected").splitlines()) == found
        assert 30 == len(found)


def test_the_answer_for_doctor(serve: Serve, images: Images) -> None:
    """The running server is queried, and a problem comes with its hint."""
    look = """
import sys
sys.path.insert(0, "/usr/local/lib/nix-postgres")
from entrypoint.collation import examine
from entrypoint.server import opening
from entrypoint.system.children import Children
from entrypoint.system.signals import Signals
wanted, _, _ = opening.read_settings(opening.os.environ, ())
print(examine.found(opening.make_context(wanted, Children(Signals()))))
"""
    ask = (PYTHON, "-I", "-c", look)
    with serve(image=images.old) as server:
        assert server.exec(*ask, user="postgres").stdout.startswith("all match (glibc 2.36")
        assert server.stop() == 0
    with serve() as server:
        told = server.exec(*ask, user="postgres").stdout
        assert told.startswith("Problem(what='a library that sorts text has changed")
        assert "entrypoint collation fix" in told


def test_pg_hba_conf_does_not_block_the_check(serve: Serve, data: str, images: Images) -> None:
    """The private server has its own pg_hba.conf, and nobody else can reach it."""
    containers.in_volume(data, "echo 'local all all reject' >pg_hba.conf")
    with serve() as server:
        assert "2.36 is recorded, 2.41 is here" in server.logs().stderr


def test_time_of_a_warm_start(serve: Serve, images: Images) -> None:
    """If nothing is new, the check takes a few milliseconds at most, and starts no process."""
    measure = """
import sys, time
sys.path.insert(0, "/usr/local/lib/nix-postgres")
from entrypoint.server import opening
from entrypoint.collation import remembered
from entrypoint.system.children import Children
from entrypoint.system.signals import Signals
wanted, _, _ = opening.read_settings(opening.os.environ, ())
context = opening.make_context(wanted, Children(Signals()))
remembered.is_settled(context)
began = time.perf_counter()
for _ in range(100):
    remembered.is_settled(context)
print((time.perf_counter() - began) * 10, "subprocess" in sys.modules, "json" in sys.modules)
"""
    with serve(image=images.old) as server:
        answer = server.exec(PYTHON, "-I", "-c", measure, user="postgres").stdout.split()
        assert float(answer[0]) < 5, answer
        assert ["False", "False"] == answer[1:]
