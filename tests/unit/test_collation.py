"""What depends on a changed collation, what is remembered, and what is rebuilt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrypoint import collation, dependents, own
from entrypoint.collation import Change, Database, Dependent, Leftover
from entrypoint.effects import collation as memories
from entrypoint.effects.collation import CHANGED, MATCHED, Memory
from unit import made

INDEX = Dependent(
    kind=collation.INDEX,
    database="app",
    name='public."näme"',
    table="public.people",
    collations=("default",),
    oid=7,
    filenode=8,
    bytes=3 * 1024**2,
    method="btree",
    constraint="people_name",
    unique=True,
    keys='(name) COLLATE "default"',
)
CHECKED = Dependent(
    kind=collation.CHECK,
    database="app",
    name="in_order",
    table="public.people",
    collations=("default",),
    test="NOT (a < b)",
)
APP = Database("app", connects=True, recorded="2.36", actual="2.41", changed=True)
HERE = "glibc 2.41, libicui18n.so.72; cluster 1, catalog 2, timeline 3; /bin/postgres 4 5"
THERE = HERE.replace("2.41", "2.36")


def test_answers_of_a_database_are_read() -> None:
    """Each line is one object; a name may hold anything."""
    rows = [
        {"kind": "changed", "collation": "default", "recorded": "2.36", "actual": "2.41"},
        {"kind": "leftover", "name": "public.i_ccnew"},
        {"kind": "index", "name": "a\nb|c", "table": "t", "collations": ["default"], "oid": 1},
        {"kind": "index", "name": "\u2028\u2029\u0085", "table": "t", "collations": ["default"], "oid": 2},
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    changes, dependents, leftovers = collation.parse_database("app", text)
    assert [Change("app", "default", "2.36", "2.41")] == changes
    assert [("app", "a\nb|c", ("default",)), ("app", "\u2028\u2029\u0085", ("default",))] == [
        (each.database, each.name, each.collations) for each in dependents
    ]
    assert [Leftover("app", "public.i_ccnew")] == leftovers


def test_what_nothing_depends_on_does_not_count() -> None:
    """Hundreds of collations change with the library; only a database's own, and those in use, are of interest."""
    unused = Change("app", '"en_US"', "2.36", "2.41")
    quiet = APP._replace(recorded="2.41", changed=False)
    assert collation.report([quiet], [([unused], [], [])]).matches
    used = INDEX._replace(collations=('"en_US"',))
    assert (unused,) == collation.report([quiet], [([unused], [used], [])]).changes
    assert not collation.report([APP], [([], [], [])]).matches


def test_a_closed_database_is_not_known() -> None:
    """What cannot be looked at is told, and template0, which holds nothing, is not."""
    closed = APP._replace(name="closed", connects=False)
    template = APP._replace(name="template0", connects=False)
    found = collation.report([closed, template], [])
    assert ("closed",) == found.unseen
    assert ["closed"] == [each.name for each in collation.unseen_findings(found)]


def test_what_was_rebuilt_is_not_rebuilt_again() -> None:
    """Until it has another file, which somebody else may have built elsewhere."""
    found = collation.report([APP], [([], [INDEX, CHECKED], [])])
    assert [INDEX] == collation.waiting(found, set())
    assert [] == collation.waiting(found, {("app", 7, 8)})
    assert [INDEX] == collation.waiting(found, {("app", 7, 9), ("other", 7, 8)})


@pytest.mark.parametrize(
    ("serving", "exclusion", "expected"),
    [
        (True, False, 'REINDEX INDEX CONCURRENTLY public."näme"'),
        (False, False, 'REINDEX INDEX public."näme"'),
        (True, True, 'REINDEX INDEX public."näme"'),
    ],
)
def test_how_an_index_is_rebuilt(serving: bool, exclusion: bool, expected: str) -> None:
    """Concurrently while clients work, where PostgreSQL can."""
    assert expected == collation.statement(INDEX._replace(exclusion=exclusion), serving=serving)


def test_the_list_is_short() -> None:
    """A log is no place for thousands of lines; the rest is counted, and the command that tells it is named."""
    found = collation.report([APP], [([], [INDEX] * 50, [])])
    lines = collation.describe(found, most=5)
    assert 6 == len(lines)
    assert "and 46 more: entrypoint collation show" == lines[-1]
    assert "50 indexes (150 MiB)" in collation.headline(found)
    assert (
        'database app: index public."näme" on public.people (constraint people_name, unique), 3.0 MiB, by default'
        == lines[1]
    )


@pytest.mark.parametrize(("major", "noted"), [(14, False), (15, True), (18, True)])
def test_a_version_of_a_database_is_asked_for_where_there_is_one(major: int, noted: bool) -> None:
    """PostgreSQL 14 and older have neither the column nor the function."""
    for query in (
        dependents.databases_query(major, mixed=False),
        dependents.dependents_query(major, mixed=True),
    ):
        assert noted == ("datcollversion" in query)
        assert noted == ("pg_database_collation_actual_version" in query)
        assert [] == [word for word in ("$recorded", "$actual", "$mixed") if word in query]


def test_memory_survives(tmp_path: Path) -> None:
    """What is written is read, with names of databases that hold blanks."""
    memory = Memory(CHANGED, HERE, frozenset({("my app", 1, 2), ("a\nrebuilt 1 2 \u2028\\n ł", 3, 4)}))
    memories.write(str(made.cluster(tmp_path)), memory)
    assert memory == memories.read(str(tmp_path))
    assert f"{CHANGED} {HERE}" == (tmp_path / own.COLLATION).read_text().splitlines()[0]


def test_what_is_rebuilt_is_added_to_the_memory(tmp_path: Path) -> None:
    """One line each; a last one that was not written to its end is none, and what is written next is."""
    first, second = ("my app", 1, 2), ("a\nb", 3, 4)
    memories.write(str(made.cluster(tmp_path)), Memory(CHANGED, HERE))
    memories.remember_rebuilt(str(tmp_path), first)
    memories.remember_rebuilt(str(tmp_path), second)
    assert Memory(CHANGED, HERE, frozenset({first, second})) == memories.read(str(tmp_path))
    path = tmp_path / own.COLLATION
    path.write_bytes(path.read_bytes()[:-3])
    assert Memory(CHANGED, HERE, frozenset({first})) == memories.read(str(tmp_path))
    path.unlink()
    memories.remember_rebuilt(str(tmp_path), first)
    assert Memory() == memories.read(str(tmp_path))


@pytest.mark.parametrize("text", ["", "\n", "matched x\nrebuilt 1\n", "matched x\nrebuilt a b c\n", "\0"])
def test_a_torn_memory_is_none(tmp_path: Path, text: str) -> None:
    """Whatever is there, a start looks anew and never fails by it."""
    (tmp_path / own.COLLATION).write_text(text)
    assert MATCHED != memories.read(str(tmp_path)).state


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (Memory(), ""),
        (Memory(MATCHED, THERE), ""),
        (Memory(CHANGED, HERE), ""),
        (Memory(CHANGED, HERE.replace("postgres 4", "postgres 6")), ""),
        (Memory(CHANGED, THERE), "glibc 2.36, libicui18n.so.72"),
    ],
)
def test_what_others_have_sorted(memory: Memory, expected: str) -> None:
    """Only a cluster that was served although its versions did not match, and by other libraries, is mixed."""
    assert expected == memory.mixed(HERE)


MADE_UP = Change("app", "app.c", "1", "2.41")
NOTED = Change("app", '"lv_LV"', "2.36", "2.41", trusted=True)
QUIET = APP._replace(changed=False)


@pytest.mark.parametrize(
    ("databases", "changes", "name", "stored", "weighs"),
    [
        ([QUIET], [MADE_UP], "app.c", 8192, False),
        ([QUIET], [NOTED], '"lv_LV"', 0, False),
        ([QUIET], [NOTED], '"lv_LV"', 8192, True),
        ([QUIET], [NOTED, MADE_UP], "app.c", 8192, False),
        ([APP], [MADE_UP], "app.c", 8192, False),
        ([APP._replace(trusted=True)], [], "app.c", 0, True),
    ],
)
def test_what_a_role_makes_up_does_not_weigh(
    databases: list[Database], changes: list[Change], name: str, stored: int, weighs: bool
) -> None:
    """Anybody may note any version for a collation of his own; what weighs has rows, and a version that a superuser has noted."""
    index = INDEX._replace(collations=(name,), stored=stored)
    assert weighs == collation.report(databases, [(changes, [index], [])]).weighs
    assert collation.report(databases, [(changes, [index], [])], "glibc 2.36").weighs


def test_a_database_that_could_not_be_looked_into_is_told() -> None:
    """It is neither well nor in the way of others, and its versions are not noted."""
    found = collation.report([QUIET], [([], [], [])], unlooked=[collation.Unlooked("app", "out of memory")])
    assert (False, True) == (found.matches, found.weighs)
    (told,) = collation.unseen_findings(found)
    assert ("app", (), False) == (told.database, told.collations, told.broken)
    assert "out of memory" in told.words


def test_names_are_quoted() -> None:
    """In what is executed: of a database, a collation and a table, whatever they hold."""
    assert 'ALTER DATABASE "a""b" REFRESH COLLATION VERSION' == collation.refresh_database('a"b')
    assert "ARRAY[''it''''s'']::text[]" in collation.refresh({"it's"})
    query = collation.guarded(INDEX._replace(table='public."it\'s $$"', shape="0f"), "SELECT 1")
    assert "FROM ONLY public.\"it's $$\"; DO 'BEGIN" in query
    assert "''public.\"it''''s $$\"''::regclass" in query


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (Memory(), False),
        (Memory(MATCHED, THERE), False),
        (Memory(CHANGED, HERE), False),
        (Memory(MATCHED, HERE), True),
        (Memory(MATCHED, HERE.replace("postgres 4", "postgres 6")), True),
        (Memory(MATCHED, HERE.replace("timeline 3", "timeline 4")), False),
    ],
)
def test_the_same_libraries_have_changed_nothing(tmp_path: Path, memory: Memory, expected: bool) -> None:
    """Where all matched with them on this cluster and timeline, whatever does not match now was made up."""
    assert expected == memories.same_libraries(str(tmp_path), memory, HERE)
