"""The SQL about collations."""

from __future__ import annotations

import pytest

from entrypoint.collation import dependents, queries
from entrypoint.collation.dependents import Dependent

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


@pytest.mark.parametrize(
    ("serving", "exclusion", "expected"),
    [
        (True, False, 'REINDEX INDEX CONCURRENTLY public."näme"'),
        (False, False, 'REINDEX INDEX public."näme"'),
        (True, True, 'REINDEX INDEX public."näme"'),
    ],
)
def test_how_an_index_is_rebuilt(serving: bool, exclusion: bool, expected: str) -> None:
    """An index is rebuilt concurrently while clients work, if PostgreSQL can do that."""
    assert expected == queries.statement(INDEX._replace(exclusion=exclusion), serving=serving)


@pytest.mark.parametrize(("major", "noted"), [(14, False), (15, True), (18, True)])
def test_the_version_of_a_database_is_queried_since_15(major: int, noted: bool) -> None:
    """PostgreSQL 14 and older have neither the column nor the function."""
    for query in (
        queries.databases_query(major, mixed=False),
        queries.dependents_query(major, mixed=True),
    ):
        assert noted == ("datcollversion" in query)
        assert noted == ("pg_database_collation_actual_version" in query)
        assert [] == [word for word in ("$recorded", "$actual", "$mixed") if word in query]


def test_names_are_quoted() -> None:
    """Statements quote the names of databases, collations and tables, whatever they contain."""
    assert 'ALTER DATABASE "a""b" REFRESH COLLATION VERSION' == queries.refresh_database('a"b')
    assert "ARRAY[''it''''s'']::text[]" in queries.refresh({"it's"})
    query = queries.guarded(INDEX._replace(table='public."it\'s $$"', shape="0f"), "SELECT 1")
    assert "FROM ONLY public.\"it's $$\"; DO 'BEGIN" in query
    assert "''public.\"it''''s $$\"''::regclass" in query
