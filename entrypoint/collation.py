"""Collations that sort otherwise than before: what depends on them, and how it is mended; pure.

PostgreSQL notes for each collation, and from 15 on for each database, the version of the library (libc or
ICU) that sorted it. With another library the order may be another one: an index that was built by the old
order is then searched by the new one, rows are not found, and a unique index takes duplicates.

What depends on a collation is told by `dependents_query`. Not counted is what does not need the order: hash
and SP-GiST indexes, the `text_pattern_ops` family, and equality in expressions and predicates, as long as the
collation is deterministic; C and POSIX, which have no version. Where it cannot be told (a function of the
user's in an expression), the index counts: to rebuild it needlessly costs time only.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from entrypoint.units import spell

INDEX = "index"
CHECK = "check"
PARTITION = "partition"
RANGE = "range column"
VIEW = "materialized view"


class Database(NamedTuple):
    """One database, as the cluster knows it."""

    name: str
    connects: bool
    recorded: str | None
    """Version of its own collation; None: it has none, or PostgreSQL 14 and older, which notes none."""
    actual: str | None
    changed: bool
    """Its own collation."""


class Dependent(NamedTuple):
    """One object that depends on a changed collation."""

    kind: str
    database: str
    name: str
    """Quoted and with its schema, as SQL wants it; of a constraint or a column without."""
    table: str
    collations: tuple[str, ...]
    """The changed ones, as SQL wants them; `default` is the database's own."""
    oid: int = 0
    filenode: int = 0
    bytes: int = 0
    method: str = ""
    """Of an index: btree, gist, …"""
    constraint: str = ""
    """Of an index: the constraint that it serves."""
    unique: bool = False
    exclusion: bool = False
    test: str = ""
    """Of what no reindex mends: the condition, as SQL, that a row meets which does not belong there."""
    keys: str = ""
    """Of a unique index: what must differ between two rows, as SQL."""
    predicate: str = ""
    """Of a unique index: which rows count, as SQL."""
    domain: str = ""
    """Of a CHECK: the domain that it is of, as SQL wants it; it is then told once for each column."""
    column: str = ""
    """The column that holds the domain's values."""
    values: str = ""
    """What has these values as its column `value`, as SQL."""

    @property
    def rows(self) -> str:
        """The table that holds its rows, as SQL wants it."""
        return self.name if self.kind == PARTITION else self.table

    @property
    def source(self) -> str:
        """What `test` is asked of, as SQL wants it."""
        return self.values or f"ONLY {self.rows}"

    @property
    def words(self) -> str:
        """What it is, for people."""
        notes = [f"constraint {self.constraint}"] if self.constraint else []
        notes += ["unique"] if self.unique else []
        notes += [f"column {self.column}, domain {self.domain}"] if self.domain else []
        where = "" if self.kind == VIEW else f" on {self.table}"
        told = f" ({', '.join(notes)})" if notes else ""
        return f"{self.kind} {self.name}{where}{told}"


class Change(NamedTuple):
    """One collation whose version is another one now."""

    database: str
    collation: str
    """As SQL wants it; `default` is the database's own."""
    recorded: str | None
    actual: str | None


class Leftover(NamedTuple):
    """An invalid index that an interrupted REINDEX CONCURRENTLY has left."""

    database: str
    name: str


class Report(NamedTuple):
    """What was found in the whole cluster."""

    changes: tuple[Change, ...] = ()
    """Of databases, and of collations that something depends on."""
    dependents: tuple[Dependent, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    unseen: tuple[str, ...] = ()
    """Databases that nobody can connect to, so that what depends on their collation is not known."""
    mixed: str = ""
    """Other libraries with which it was served for a while, whatever the versions say."""
    everything: bool = False
    """All collations with a version count as changed."""

    @property
    def indexes(self) -> tuple[Dependent, ...]:
        """What a reindex mends."""
        return tuple(each for each in self.dependents if each.kind == INDEX)

    @property
    def others(self) -> tuple[Dependent, ...]:
        """What no reindex mends."""
        return tuple(each for each in self.dependents if each.kind != INDEX)

    @property
    def matches(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.changes or self.dependents)


class Finding(NamedTuple):
    """What is broken, or what was not mended."""

    database: str
    kind: str
    name: str
    words: str
    mend: str


def finding(dependent: Dependent, words: str, mend: str) -> Finding:
    """Return what a closer look at one object has found; `words` follow its name."""
    what = f"{dependent.words} in {dependent.database} {words}"
    return Finding(dependent.database, dependent.kind, dependent.name, what, mend)


def unseen_findings(found: "Report") -> list[Finding]:
    """Return the databases that could not be looked at."""
    return [
        Finding(
            name,
            "database",
            name,
            f"nobody can connect to database {name}, so what depends on its collation is not known",
            f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true, then: entrypoint collation fix',
        )
        for name in found.unseen
    ]


def parse_databases(text: str) -> list[Database]:
    """Read what DATABASES answers."""
    return [Database(**json.loads(line)) for line in text.splitlines()]


def parse_database(name: str, text: str) -> tuple[list[Change], list[Dependent], list[Leftover]]:
    """Read what DEPENDENTS answers in one database."""
    changes, dependents, leftovers = [], [], []
    for line in text.splitlines():
        row = json.loads(line)
        kind = row.pop("kind")
        if kind == "changed":
            changes.append(Change(name, **row))
        elif kind == "leftover":
            leftovers.append(Leftover(name, **row))
        else:
            row["collations"] = tuple(row["collations"])
            dependents.append(Dependent(kind=kind, database=name, **row))
    return changes, dependents, leftovers


def report(
    databases: Sequence[Database],
    found: Iterable[tuple[Sequence[Change], Sequence[Dependent], Sequence[Leftover]]],
    mixed: str = "",
    *,
    everything: bool = False,
) -> Report:
    """Put together what was found.

    Changed collations that nothing depends on do not count: every database has hundreds of them, and a new
    one inherits those of template0, which nobody can mend there. A database's own always counts, since
    PostgreSQL warns at each connection.
    """
    changes = [Change(each.name, "default", each.recorded, each.actual) for each in databases if each.changed]
    dependents: list[Dependent] = []
    leftovers: list[Leftover] = []
    for collations, objects, remains in found:
        used = {name for each in objects for name in each.collations}
        changes += [each for each in collations if each.collation in used and each not in changes]
        dependents += objects
        leftovers += remains
    # template0 holds nothing of anybody's.
    unseen = [
        each.name for each in databases if not each.connects and each.changed and each.name != "template0"
    ]
    return Report(tuple(changes), tuple(dependents), tuple(leftovers), tuple(unseen), mixed, everything)


def waiting(found: Report, rebuilt: Collection[tuple[str, int, int]]) -> list[Dependent]:
    """Return the indexes still to be rebuilt; `rebuilt` has database, oid and file node of the others."""
    return [each for each in found.indexes if (each.database, each.oid, each.filenode) not in rebuilt]


def statement(index: Dependent, *, serving: bool) -> str:
    """Return what rebuilds an index; an exclusion constraint's cannot be rebuilt concurrently."""
    concurrently = " CONCURRENTLY" if serving and not index.exclusion else ""
    return f"REINDEX INDEX{concurrently} {index.name}"


def version(change: Change) -> str:
    """Return what has changed, for people."""
    return f"{change.recorded or 'none'} is noted, {change.actual or 'none'} is here"


_SHOWN = 15


def describe(found: Report, most: int = _SHOWN) -> list[str]:
    """Return the list for people: each collation, what depends on it, and how large that is."""
    lines = [
        f"database {each.database}, collation {each.collation}: {version(each)}" for each in found.changes
    ]
    if found.mixed:
        lines.append(f"it was served with {found.mixed} meanwhile, which wrote by another order")
    lines += [
        f"database {each.database}: {each.words}, {spell(each.bytes)}, by {', '.join(each.collations)}"
        for each in found.dependents
    ]
    lines += [each.words for each in unseen_findings(found)]
    if len(lines) > most:
        lines[most:] = [f"and {len(lines) - most} more: entrypoint collation show"]
    return lines


def headline(found: Report) -> str:
    """Return in one sentence what is wrong."""
    count = len(found.indexes)
    what = f"{count} index{'' if count == 1 else 'es'} ({spell(sum(each.bytes for each in found.indexes))})"
    if found.others:
        what += f" and {len(found.others)} other object{'' if len(found.others) == 1 else 's'}"
    return f"a library that sorts text has changed, and what depends on the old order is {what}"


def as_json(found: Report) -> dict[str, object]:
    """Return the report for machines."""
    hidden = ("test", "keys", "predicate", "values")
    return {
        "matches": found.matches,
        "mixed": found.mixed or None,
        "changes": [each._asdict() for each in found.changes],
        "dependents": [
            {name: value for name, value in each._asdict().items() if name not in hidden}
            for each in found.dependents
        ],
        "leftovers": [each._asdict() for each in found.leftovers],
        "unseen": list(found.unseen),
    }


def databases_query(major: int, *, mixed: bool) -> str:
    """Return what asks for all databases; PostgreSQL 14 and older note no version for them."""
    return _fill(_DATABASES, major, mixed=mixed)


def dependents_query(major: int, *, mixed: bool) -> str:
    """Return what asks one database for its changed collations and all that depends on them.

    With `mixed` every collation with a version counts as changed.
    """
    return _fill(_DEPENDENTS, major, mixed=mixed)


def changed_query(major: int) -> str:
    """Return what asks one database how many collations have changed, its own and databases'; it is quick."""
    return _fill(_CHANGED, major, mixed=False)


def _fill(text: str, major: int, *, mixed: bool) -> str:
    noted = major >= _NOTES_DATABASES
    recorded = "datcollversion" if noted else "NULL::text"
    actual = "pg_database_collation_actual_version(oid)" if noted else _UNKNOWN
    return (
        text.replace("$versions", _VERSIONS.strip())
        .replace("$recorded", recorded)
        .replace("$actual", actual)
        .replace("$mixed", "true" if mixed else "false")
    )


_NOTES_DATABASES = 15
"""The first major that notes a version for each database."""

_UNKNOWN = "CASE WHEN datcollate ~* '^(C|POSIX)($|[.])' THEN NULL ELSE 'unknown' END"

_DATABASES = """
SELECT json_build_object(
    'name', datname,
    -- A DROP DATABASE that was interrupted leaves -2.
    'connects', datallowconn AND datconnlimit > -2,
    'recorded', $recorded, 'actual', $actual,
    'changed', $recorded IS NOT NULL AND ($mixed OR $recorded IS DISTINCT FROM $actual))
FROM pg_database ORDER BY datname
"""

_VERSIONS = """
WITH RECURSIVE own AS (
    SELECT $recorded AS recorded, $actual AS actual FROM pg_database WHERE datname = current_database()
),
versions AS (
    SELECT c.oid, c.collisdeterministic AS exact,
           CASE WHEN c.collprovider = 'd' THEN own.recorded ELSE c.collversion END AS recorded,
           CASE WHEN c.collprovider = 'd' THEN own.actual
                ELSE pg_collation_actual_version(c.oid) END AS actual,
           CASE WHEN c.collprovider = 'd' THEN 'default' ELSE c.oid::regcollation::text END AS name
    FROM pg_collation c, own
),
changed AS MATERIALIZED (
    SELECT * FROM versions
    WHERE (recorded IS NOT NULL AND recorded IS DISTINCT FROM actual) OR ($mixed AND actual IS NOT NULL)
)
"""

_CHANGED = """
$versions
SELECT (SELECT count(*) FROM changed)
       + (SELECT count(*) FROM pg_database WHERE $recorded IS DISTINCT FROM $actual AND $recorded IS NOT NULL)
       AS changed
"""

_DEPENDENTS = r"""
$versions,
-- Types whose values are compared by a coll, beside the one of the column: by what they are made of.
edges (inside, outside) AS (
    SELECT typbasetype, oid FROM pg_type WHERE typtype = 'd'
    UNION ALL SELECT typelem, oid FROM pg_type WHERE typelem <> 0 AND typcategory = 'A'
    UNION ALL SELECT a.atttypid, c.reltype FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
              WHERE c.reltype <> 0 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT rngsubtype, rngtypid FROM pg_range
    UNION ALL SELECT rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid FROM pg_range r
),
seeds (type, coll) AS (
    SELECT rngtypid, rngcollation FROM pg_range
    UNION SELECT c.reltype, a.attcollation FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          WHERE c.reltype <> 0 AND a.attnum > 0 AND NOT a.attisdropped
    -- A B-tree compares the strings in jsonb by the database's coll.
    UNION SELECT 'jsonb'::regtype::oid, oid FROM pg_collation WHERE collprovider = 'd'
),
holds (type, coll) AS (
    SELECT s.type, s.coll FROM seeds s JOIN changed c ON c.oid = s.coll
    UNION SELECT e.outside, h.coll FROM holds h JOIN edges e ON e.inside = h.type
),
trees (kind, object, tree) AS (
    SELECT 'index', indexrelid, concat_ws(' ', indexprs::text, indpred::text) FROM pg_index
    WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
    UNION ALL SELECT 'check', oid, conbin::text FROM pg_constraint WHERE contype = 'c'
    UNION ALL SELECT 'partition', partrelid, partexprs::text FROM pg_partitioned_table
              WHERE partexprs IS NOT NULL
    UNION ALL SELECT 'materialized view', v.oid, r.ev_action::text
              FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class WHERE v.relkind = 'm'
),
-- The collations by which an expression compares or folds case, and not only tests for equality.
uses (kind, object, coll) AS (
    SELECT t.kind, t.object, c.oid
    FROM trees t
    CROSS JOIN LATERAL regexp_matches(
        t.tree,
        '\{(?:OPEXPR|DISTINCTEXPR|NULLIFEXPR|SCALARARRAYOPEXPR) :opno (\d+) [^{}(]*:inputcollid (\d+)',
        'g') AS m
    JOIN changed c ON c.oid = m[2]::oid
    JOIN pg_operator o ON o.oid = m[1]::oid
    WHERE NOT c.exact OR o.oprname IN ('<', '<=', '>', '>=', '~', '!~', '~*', '!~*', '~~*', '!~~*')
    UNION
    SELECT t.kind, t.object, c.oid
    FROM trees t
    CROSS JOIN LATERAL regexp_matches(
        t.tree,
        '\{(?:FUNCEXPR :funcid|AGGREF :aggfnoid|WINDOWFUNC :winfnoid) (\d+) [^{}(]*:inputcollid (\d+)',
        'g') AS m
    JOIN changed c ON c.oid = m[2]::oid
    JOIN pg_proc p ON p.oid = m[1]::oid
    WHERE NOT c.exact
       OR p.pronamespace <> 'pg_catalog'::regnamespace
       OR p.proname ~ '^(lower|upper|initcap|casefold|min|max|mode|regexp_.*|.*like.*)$'
       OR p.proname ~ '^(text|bpchar)_?(lt|le|gt|ge|larger|smaller)$'
    UNION
    SELECT t.kind, t.object, c.oid
    FROM trees t
    CROSS JOIN LATERAL regexp_matches(t.tree, '\{MINMAXEXPR [^{}(]*:inputcollid (\d+)', 'g') AS m
    JOIN changed c ON c.oid = m[1]::oid
    UNION
    SELECT t.kind, t.object, c.oid
    FROM trees t
    CROSS JOIN LATERAL regexp_matches(t.tree, ':inputcollids \(o ([\d ]+)\)', 'g') AS m
    CROSS JOIN LATERAL regexp_split_to_table(m[1], ' ') AS one
    JOIN changed c ON c.oid::text = one
),
indexes AS MATERIALIZED (
    SELECT i.*, x.relname, x.relnamespace, m.amname
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'i' AND x.relpersistence <> 't'
    JOIN pg_am m ON m.oid = x.relam
),
keys AS (
    SELECT i.indexrelid, i.amname, o.opcname, i.indcollation[k] AS coll,
           coalesce(a.atttypid, n.atttypid) AS type
    FROM indexes i
    CROSS JOIN LATERAL generate_series(0, i.indnkeyatts - 1) AS k
    JOIN pg_opclass o ON o.oid = i.indclass[k]
    JOIN pg_attribute n ON n.attrelid = i.indexrelid AND n.attnum = k + 1
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] AND i.indkey[k] <> 0
),
by_index (index, coll) AS (
    SELECT k.indexrelid, c.oid FROM keys k JOIN changed c ON c.oid = k.coll
    WHERE NOT (c.exact AND (k.amname IN ('hash', 'spgist')
                            OR k.opcname ~ '^(text|varchar|bpchar)_pattern_ops$'))
    UNION
    SELECT k.indexrelid, c.oid FROM keys k JOIN holds h ON h.type = k.type JOIN changed c ON c.oid = h.coll
    WHERE NOT (c.exact AND k.amname = 'hash') AND (k.type <> 'jsonb'::regtype OR k.amname = 'btree')
    UNION
    SELECT object, coll FROM uses WHERE kind = 'index'
    UNION
    -- An expression or a predicate over a column that is compared by what it is made of.
    SELECT i.indexrelid, h.coll
    FROM indexes i
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
         AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    JOIN holds h ON h.type = a.atttypid AND h.type <> 'jsonb'::regtype
    WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
),
by_column (attrelid, attname, atttypid, coll) AS (
    SELECT a.attrelid, a.attname, a.atttypid, h.coll
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type b ON b.oid = t.typbasetype
    JOIN holds h ON h.type = a.atttypid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND coalesce(b.typtype, t.typtype) IN ('r', 'm')
),
by_partition (leaf, parent, coll) AS (
    SELECT t.relid, p.partrelid, c.oid
    FROM pg_partitioned_table p
    CROSS JOIN LATERAL (
        SELECT u.coll AS oid FROM unnest(p.partcollation) AS u (coll)
        UNION SELECT u.coll FROM uses u WHERE u.kind = 'partition' AND u.object = p.partrelid
    ) AS k
    JOIN changed c ON c.oid = k.oid
    CROSS JOIN LATERAL pg_partition_tree(p.partrelid) AS t
    WHERE t.isleaf AND (p.partstrat = 'r' OR NOT c.exact)
      AND pg_get_partition_constraintdef(t.relid) IS NOT NULL
),
-- Whose values are those of a domain with a CHECK that counts: its own, and of domains over it.
domains (domain, type) AS (
    SELECT k.contypid, k.contypid FROM pg_constraint k
    WHERE k.contypid <> 0 AND k.oid IN (SELECT object FROM uses WHERE kind = 'check')
    UNION SELECT d.domain, t.oid FROM domains d JOIN pg_type t ON t.typbasetype = d.type AND t.typtype = 'd'
),
-- Types that hold such values: the same, arrays of them, and whatever is made of these.
holders (domain, type) AS (
    SELECT domain, type FROM domains
    UNION SELECT h.domain, e.outside FROM holders h JOIN edges e ON e.inside = h.type
),
by_domain (domain, attrelid, attname, place) AS (
    SELECT h.domain, a.attrelid, a.attname,
           CASE WHEN (h.domain, h.type) IN (SELECT domain, type FROM domains) THEN quote_ident(a.attname)
                WHEN (h.domain, t.typelem) IN (SELECT domain, type FROM domains) AND t.typcategory = 'A'
                THEN format('unnest(%I)', a.attname) END
    FROM holders h
    JOIN pg_attribute a ON a.atttypid = h.type AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
    JOIN pg_type t ON t.oid = a.atttypid
),
names AS (SELECT oid, name FROM changed)
SELECT json_build_object('kind', 'changed', 'collation', name, 'recorded', recorded, 'actual', actual)
FROM changed
UNION ALL
(SELECT json_build_object(
    'kind', 'index', 'oid', i.indexrelid::bigint, 'filenode', pg_relation_filenode(i.indexrelid)::bigint,
    'name', i.indexrelid::regclass::text, 'table', i.indrelid::regclass::text, 'method', i.amname,
    'unique', i.indisunique, 'exclusion', i.indisexclusion, 'bytes', pg_relation_size(i.indexrelid),
    'constraint', coalesce((SELECT min(conname::text) FROM pg_constraint WHERE conindid = i.indexrelid
                            AND contype IN ('p', 'u', 'x')), ''),
    'keys', CASE WHEN i.indisunique THEN (
        SELECT string_agg('(' || pg_get_indexdef(i.indexrelid, k + 1, false) || ')'
            || coalesce(' COLLATE ' || nullif(i.indcollation[k], 0)::regcollation::text, ''), ', ' ORDER BY k)
        FROM generate_series(0, i.indnkeyatts - 1) AS k) ELSE '' END,
    'predicate', coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
    'collations', (SELECT json_agg(n.name ORDER BY n.name) FROM by_index b JOIN names n ON n.oid = b.coll
                   WHERE b.index = i.indexrelid))
FROM indexes i
WHERE i.indisvalid AND i.indexrelid IN (SELECT index FROM by_index)
ORDER BY pg_relation_size(i.indexrelid), i.indexrelid)
UNION ALL
SELECT json_build_object(
    'kind', 'check', 'oid', k.oid::bigint, 'name', quote_ident(k.conname),
    'table', k.conrelid::regclass::text, 'bytes', pg_relation_size(k.conrelid),
    'test', 'NOT (' || pg_get_expr(k.conbin, k.conrelid) || ')',
    'collations', (SELECT json_agg(n.name ORDER BY n.name) FROM uses u JOIN names n ON n.oid = u.coll
                   WHERE u.kind = 'check' AND u.object = k.oid))
FROM pg_constraint k
WHERE k.conrelid <> 0 AND k.oid IN (SELECT object FROM uses WHERE kind = 'check')
UNION ALL
SELECT json_build_object(
    'kind', 'check', 'oid', k.oid::bigint, 'name', quote_ident(k.conname),
    'table', d.attrelid::regclass::text, 'bytes', pg_relation_size(d.attrelid),
    'domain', k.contypid::regtype::text, 'column', quote_ident(d.attname),
    -- VALUE in the expression is then a column, of the type and the collation that a CHECK gives it.
    'values', CASE WHEN d.place IS NULL THEN '' ELSE format(
        '(SELECT (%s)::%s%s AS value FROM ONLY %s) AS stored',
        d.place, format_type(t.typbasetype, -1), ' COLLATE ' || nullif(b.typcollation, 0)::regcollation::text,
        d.attrelid::regclass) END,
    'test', CASE WHEN d.place IS NULL THEN '' ELSE 'NOT (' || pg_get_expr(k.conbin, 0) || ')' END,
    'collations', (SELECT json_agg(n.name ORDER BY n.name) FROM uses u JOIN names n ON n.oid = u.coll
                   WHERE u.kind = 'check' AND u.object = k.oid))
FROM by_domain d
JOIN pg_constraint k ON k.contypid = d.domain AND k.oid IN (SELECT object FROM uses WHERE kind = 'check')
JOIN pg_type t ON t.oid = k.contypid
JOIN pg_type b ON b.oid = t.typbasetype
UNION ALL
SELECT json_build_object(
    'kind', 'partition', 'oid', leaf::bigint, 'name', leaf::regclass::text, 'table', parent::regclass::text,
    'bytes', pg_relation_size(leaf), 'test', 'NOT (' || pg_get_partition_constraintdef(leaf) || ')',
    'collations', json_agg(DISTINCT n.name))
FROM by_partition p JOIN names n ON n.oid = p.coll
GROUP BY leaf, parent
UNION ALL
SELECT json_build_object(
    'kind', 'range column', 'oid', attrelid::bigint, 'name', quote_ident(attname),
    'table', attrelid::regclass::text, 'bytes', pg_relation_size(attrelid),
    -- Stored is what was in order when it was made: reading it back tells whether it still is.
    'test', format('lower(%1$I) > upper(%1$I)', attname),
    'collations', json_agg(DISTINCT n.name))
FROM by_column b JOIN names n ON n.oid = b.coll
GROUP BY attrelid, attname
UNION ALL
SELECT json_build_object(
    'kind', 'materialized view', 'oid', u.object::bigint, 'name', u.object::regclass::text,
    'table', u.object::regclass::text, 'bytes', pg_relation_size(u.object),
    'collations', json_agg(DISTINCT n.name))
FROM uses u JOIN names n ON n.oid = u.coll
WHERE u.kind = 'materialized view'
GROUP BY u.object
UNION ALL
SELECT json_build_object('kind', 'leftover', 'name', i.indexrelid::regclass::text)
FROM indexes i
WHERE NOT i.indisvalid AND i.relname ~ '_cc(new|old)\d*$'
  AND i.indrelid IN (SELECT o.indrelid FROM indexes o JOIN by_index b ON b.index = o.indexrelid
                     WHERE o.indisvalid)
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p
                  WHERE p.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND p.relid = i.indrelid)
"""

REFRESH = """
DO $$
DECLARE one record;
BEGIN
    FOR one IN
        SELECT oid FROM pg_collation
        WHERE collprovider <> 'd' AND collversion IS NOT NULL
          AND pg_collation_actual_version(oid) IS NOT NULL
          AND collversion <> pg_collation_actual_version(oid)
    LOOP
        EXECUTE format('ALTER COLLATION %s REFRESH VERSION', one.oid::regcollation);
    END LOOP;
END $$
"""
"""Notes the present versions of all collations of one database."""


def refresh_database(name: str) -> str:
    """Return what notes the present version of a database's own collation."""
    quoted = name.replace('"', '""')
    return f'ALTER DATABASE "{quoted}" REFRESH COLLATION VERSION'


def count_query(dependent: Dependent) -> str:
    """Return what counts the rows that do not belong where they are."""
    return f"SELECT count(*) FROM {dependent.source} WHERE {dependent.test}"  # noqa: S608 - by the server


def duplicates_query(index: Dependent) -> str:
    """Return what counts the keys that are more than once in a unique index's table, with one of them.

    The table itself is read, and not the index.
    """
    where = f"num_nulls({index.keys}) = 0" + (f" AND ({index.predicate})" if index.predicate else "")
    return f"""
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SET enable_bitmapscan = off;
SELECT json_build_object('keys', count(*), 'example', min(key))
FROM (SELECT ROW({index.keys})::text AS key FROM ONLY {index.table}
      WHERE {where} GROUP BY {index.keys} HAVING count(*) > 1) AS twice
"""  # noqa: S608 - names and expressions as the server quotes them
