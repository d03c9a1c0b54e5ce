"""The objects that depend on a changed collation, and the report about them."""

from __future__ import annotations

import json

import pytest

from entrypoint.collation import dependents
from entrypoint.collation.dependents import Change, Database, Dependent, Leftover

INDEX = Dependent(
    kind=dependents.INDEX,
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
    kind=dependents.CHECK,
    database="app",
    name="in_order",
    table="public.people",
    collations=("default",),
    test="NOT (a < b)",
)
APP = Database("app", connects=True, recorded="2.36", actual="2.41", changed=True)


def test_answers_of_a_database_are_read() -> None:
    """Each line is one object; a name may hold anything."""
    rows = [
        {"kind": "changed", "collation": "default", "recorded": "2.36", "actual": "2.41"},
        {"kind": "leftover", "name": "public.i_ccnew"},
        {"kind": "index", "name": "a\nb|c", "table": "t", "collations": ["default"], "oid": 1},
        {"kind": "index", "name": "\u2028\u2029\u0085", "table": "t", "collations": ["default"], "oid": 2},
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    changes, objects, leftovers = dependents.parse_database("app", text)
    assert [Change("app", "default", "2.36", "2.41")] == changes
    assert [("app", "a\nb|c", ("default",)), ("app", "\u2028\u2029\u0085", ("default",))] == [
        (each.database, each.name, each.collations) for each in objects
    ]
    assert [Leftover("app", "public.i_ccnew")] == leftovers


def test_collations_without_dependents_do_not_count() -> None:
    """Hundreds of collations change with the library; only a database's default and those in use count."""
    unused = Change("app", '"en_US"', "2.36", "2.41")
    quiet = APP._replace(recorded="2.41", changed=False)
    assert dependents.report([quiet], [([unused], [], [])]).matches
    used = INDEX._replace(collations=('"en_US"',))
    assert (unused,) == dependents.report([quiet], [([unused], [used], [])]).changes
    assert not dependents.report([APP], [([], [], [])]).matches


def test_a_closed_database_is_not_known() -> None:
    """A closed database is reported, except template0, which holds no objects of users."""
    closed = APP._replace(name="closed", connects=False)
    template = APP._replace(name="template0", connects=False)
    found = dependents.report([closed, template], [])
    assert ("closed",) == found.unseen
    assert ["closed"] == [each.name for each in dependents.unseen_findings(found)]


def test_a_rebuilt_index_is_not_rebuilt_again() -> None:
    """An index with another file is, since that file may have been built with other libraries."""
    found = dependents.report([APP], [([], [INDEX, CHECKED], [])])
    assert [INDEX] == dependents.waiting(found, set())
    assert [] == dependents.waiting(found, {("app", 7, 8)})
    assert [INDEX] == dependents.waiting(found, {("app", 7, 9), ("other", 7, 8)})


def test_the_list_is_short() -> None:
    """The log lists only a few objects; the last line counts the rest, and names the command that lists all."""
    found = dependents.report([APP], [([], [INDEX] * 50, [])])
    lines = dependents.describe(found, most=5)
    assert 6 == len(lines)
    assert "and 46 more: entrypoint collation show" == lines[-1]
    assert "50 indexes (150 MiB)" in dependents.headline(found)
    assert (
        'database app: index public."näme" on public.people (constraint people_name, unique), 3.0 MiB, by default'
        == lines[1]
    )


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
def test_made_up_versions_do_not_weigh(
    databases: list[Database], changes: list[Change], name: str, stored: int, weighs: bool
) -> None:
    """Any role can record any version for its own collation; only rows with a superuser's version weigh."""
    index = INDEX._replace(collations=(name,), stored=stored)
    assert weighs == dependents.report(databases, [(changes, [index], [])]).weighs
    assert dependents.report(databases, [(changes, [index], [])], "glibc 2.36").weighs


def test_a_database_that_could_not_be_looked_into_is_reported() -> None:
    """It does not count as matching, and its versions are not recorded."""
    found = dependents.report([QUIET], [([], [], [])], unlooked=[dependents.Unlooked("app", "out of memory")])
    assert (False, True) == (found.matches, found.weighs)
    (finding,) = dependents.unseen_findings(found)
    assert ("app", (), False) == (finding.database, finding.collations, finding.broken)
    assert "out of memory" in finding.words
