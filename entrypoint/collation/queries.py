"""All SQL about collations: finds changed collations and their dependents, checks and repairs them; pure."""

from __future__ import annotations

from entrypoint.collation.dependents_sql import DEPENDENTS, VERSIONS
from entrypoint.postgres import harmless, sql

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from entrypoint.collation.dependents import Dependent


def databases_query(major: int, *, mixed: bool) -> str:
    """Return the query for all databases; PostgreSQL 14 and older record no version for them."""
    return _fill(_DATABASES, major, mixed=mixed)


def dependents_query(major: int, *, mixed: bool) -> str:
    """Return the query for the changed collations of one database and everything that depends on them.

    With `mixed`, every collation with a version counts as changed.
    """
    return _fill(DEPENDENTS, major, mixed=mixed)


def changed_query(major: int) -> str:
    """Return the quick query that counts the changed collations in use in one database."""
    return _fill(_CHANGED, major, mixed=False)


def changed_databases_query(major: int) -> str:
    """Return the query that counts the databases, also closed ones, whose default collation has changed."""
    return _fill(_CHANGED_DATABASES, major, mixed=False)


def _fill(text: str, major: int, *, mixed: bool) -> str:
    noted = major >= _NOTES_DATABASES
    recorded = "datcollversion" if noted else "NULL::text"
    actual = "pg_database_collation_actual_version(oid)" if noted else _UNKNOWN
    provider = "datlocprovider" if noted else "'c'::\"char\""
    places = {
        "$versions": VERSIONS.strip(),
        "$plain": harmless.PLAIN.strip(),
        "$risky": harmless.risky("t.tree"),
        "$lent": harmless.lent("i.indexrelid"),
        "$lenders": harmless.LENDERS.strip(),
        "$computed": _COMPUTED.strip() if major >= _VIRTUAL else "NULL",
        "$provider": provider,
        "$recorded": recorded,
        "$actual": actual,
        "$shape": harmless.shape("w.oid"),
        "$mixed": "true" if mixed else "false",
    }
    for column in ("i.indexrelid", "w.oid"):
        places[f"$size({column})"] = _size(column)
    for place, value in places.items():
        text = text.replace(place, value)
    return text


def _size(relation: str) -> str:
    """Return SQL for the bytes of a relation, without a lock, which a role could hold forever.

    For a relation of more than one file, the server's last estimate counts.
    """
    return f"""coalesce((
        SELECT CASE WHEN f.size < 2 ^ 30 THEN f.size
                    ELSE greatest(f.size, s.relpages::bigint * current_setting('block_size')::bigint) END
        FROM pg_class s CROSS JOIN LATERAL pg_stat_file(pg_relation_filepath(s.oid), true) AS f
        WHERE s.oid = {relation}), 0)"""  # noqa: S608 - a column


_NOTES_DATABASES = 15
"""The first major that records a version for each database."""

_VIRTUAL = 18
"""The first major with virtual columns, which are computed where they are read."""

_COMPUTED = """(
        SELECT string_agg(g.adbin::text, ' ') FROM pg_attribute a JOIN pg_attrdef g
            ON g.adrelid = a.attrelid AND g.adnum = a.attnum
        WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) AND a.attgenerated = 'v')"""

_UNKNOWN = "CASE WHEN datcollate ~* '^(C|POSIX)($|[.])' THEN NULL ELSE 'unknown' END"

_DATABASES = """
WITH known AS (
    SELECT $provider AS provider, $recorded AS version
    FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba AND r.rolsuper
)
SELECT json_build_object(
    'name', datname,
    -- A DROP DATABASE that was interrupted leaves -2.
    'connects', datallowconn AND datconnlimit > -2,
    'recorded', $recorded, 'actual', $actual,
    'changed', $recorded IS NOT NULL AND ($mixed OR $recorded IS DISTINCT FROM $actual),
    'trusted', $mixed OR EXISTS (SELECT FROM known WHERE (provider, version) = ($provider, $recorded)))
FROM pg_database ORDER BY datname
"""

_CHANGED = """
$versions
SELECT count(*) AS changed FROM changed
"""

_CHANGED_DATABASES = """
SELECT count(*) AS changed FROM pg_database WHERE $recorded IS NOT NULL AND $recorded IS DISTINCT FROM $actual
"""


def statement(index: Dependent, *, serving: bool) -> str:
    """Return the statement that rebuilds an index; that of an exclusion constraint cannot be concurrent."""
    concurrently = " CONCURRENTLY" if serving and not index.exclusion else ""
    return f"REINDEX INDEX{concurrently} {index.name}"


def refresh(spoiled: Iterable[str]) -> str:
    """Return the statement that records the present versions of all collations of a database except these."""
    names = ", ".join(sql.literal(name) for name in sorted(spoiled))
    body = f"""
DECLARE one record;
BEGIN
    FOR one IN
        SELECT oid FROM pg_collation
        WHERE collprovider <> 'd' AND collversion IS NOT NULL
          AND pg_collation_actual_version(oid) IS NOT NULL
          AND collversion <> pg_collation_actual_version(oid)
          AND oid::regcollation::text <> ALL (ARRAY[{names}]::text[])
    LOOP
        EXECUTE format('ALTER COLLATION %s REFRESH VERSION', one.oid::regcollation);
    END LOOP;
END"""  # noqa: S608 - literals
    return f"DO {sql.literal(body)}"


def refresh_database(name: str) -> str:
    """Return the statement that records the present version of a database's default collation."""
    return f"ALTER DATABASE {sql.identifier(name)} REFRESH COLLATION VERSION"


AMCHECK = """
SELECT pg_is_in_recovery(), (
    SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'amcheck')
"""
"""Asks whether the server is in recovery, where nothing can be created, and in which schema amcheck is."""


def guarded(dependent: Dependent, query: str) -> str:
    """Return the query with a guard: it only runs if the object's table is the same as when it was judged."""
    return f"{harmless.guard(dependent.rows, dependent.shape)}; {query}"


def count_query(dependent: Dependent) -> str:
    """Return the query that counts the misplaced rows."""
    return f"SELECT count(*) FROM {dependent.source} WHERE {dependent.test}"  # noqa: S608 - by the server


def rows_query(dependent: Dependent) -> str:
    """Return the query that shows the misplaced rows."""
    return f"SELECT * FROM {dependent.source} WHERE {dependent.test}"  # noqa: S608 - by the server


_FROM_THE_TABLE = "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; "


def duplicates_query(index: Dependent) -> str:
    """Return the query that counts the duplicate keys in a unique index's table, with an example.

    It reads the table itself, not the index.
    """
    return f"""{_FROM_THE_TABLE}
SELECT json_build_object('keys', count(*), 'example', min(key))
FROM (SELECT ROW({index.keys})::text AS key FROM {_twice(index)}) AS twice
"""  # noqa: S608 - names and expressions as the server quotes them


def twice_query(index: Dependent) -> str:
    """Return the query that shows the duplicate keys."""
    return f"{_FROM_THE_TABLE}SELECT {index.keys}, count(*) FROM {_twice(index)}"  # noqa: S608 - as above


def _twice(index: Dependent) -> str:
    where = f"num_nulls({index.keys}) = 0" + (f" AND ({index.predicate})" if index.predicate else "")
    return f"ONLY {index.table} WHERE {where} GROUP BY {index.keys} HAVING count(*) > 1"
