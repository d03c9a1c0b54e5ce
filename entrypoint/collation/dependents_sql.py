"""The query for everything that depends on a changed collation, as one text with placeholders; pure.

`queries` fills the placeholders. Objects that do not need the order do not count: hash and SP-GiST indexes,
the `text_pattern_ops` family, and equality in expressions and predicates, as long as the collation is
deterministic; C and POSIX, which have no version. In doubt (a user's function in an expression) the index
counts: a needless rebuild only costs time. `harmless` judges whether a superuser may evaluate an object.
"""

VERSIONS = """
WITH RECURSIVE own AS (
    SELECT $recorded AS recorded, $actual AS actual, $provider AS provider
    FROM pg_database WHERE datname = current_database()
),
-- Any role may record any version for its own collation, so only versions recorded by superusers count fully.
known AS MATERIALIZED (
    SELECT c.collprovider AS provider, c.collversion AS version
    FROM pg_collation c JOIN pg_roles r ON r.oid = c.collowner AND r.rolsuper
    UNION SELECT $provider, $recorded FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba AND r.rolsuper
),
-- Only a few of hundreds of collations are used, and asking ICU for a version is slow. pg_depend holds the
-- dependencies, except those on the first collations, which cannot be dropped.
used AS MATERIALIZED (
    SELECT DISTINCT refobjid AS oid FROM pg_depend WHERE refclassid = 'pg_collation'::regclass
),
versions AS (
    SELECT c.oid, c.collisdeterministic AS exact,
           CASE WHEN c.collprovider = 'd' THEN own.provider ELSE c.collprovider END AS provider,
           CASE WHEN c.collprovider = 'd' THEN own.recorded ELSE c.collversion END AS recorded,
           CASE WHEN c.collprovider = 'd' THEN own.actual
                ELSE pg_collation_actual_version(c.oid) END AS actual,
           CASE WHEN c.collprovider = 'd' THEN 'default' ELSE c.oid::regcollation::text END AS name
    FROM pg_collation c, own WHERE c.oid < 12000 OR c.oid IN (SELECT oid FROM used)
),
changed AS MATERIALIZED (
    SELECT * FROM versions
    WHERE (recorded IS NOT NULL AND recorded IS DISTINCT FROM actual) OR ($mixed AND actual IS NOT NULL)
)
"""


DEPENDENTS = r"""
$versions,
-- Types whose values are compared with collations of their components, in addition to the column's collation.
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
    -- A B-tree compares the strings in jsonb with the database's default collation.
    UNION SELECT 'jsonb'::regtype::oid, oid FROM pg_collation WHERE collprovider = 'd'
),
holds (type, coll, exact) AS (
    SELECT s.type, s.coll, c.exact FROM seeds s JOIN changed c ON c.oid = s.coll
    UNION SELECT e.outside, h.coll, h.exact FROM holds h JOIN edges e ON e.inside = h.type
),
trees (kind, object, tree) AS (
    SELECT 'index', indexrelid, concat_ws(' ', indexprs::text, indpred::text) FROM pg_index
    WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
    UNION ALL SELECT 'check', k.oid, concat_ws(' ', k.conbin::text, $computed)
              FROM pg_constraint k WHERE k.contype = 'c'
    UNION ALL SELECT 'partition', partrelid, partexprs::text FROM pg_partitioned_table
              WHERE partexprs IS NOT NULL
    UNION ALL SELECT 'materialized view', v.oid, r.ev_action::text
              FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class WHERE v.relkind = 'm'
),
-- Most of them compare no text at all, which is quick to find out.
compared AS MATERIALIZED (SELECT * FROM trees WHERE tree ~ ':inputcollids? (?:\(o )?(?:0 )*[1-9]'),
-- The collations with which an expression compares or folds case, rather than only tests for equality.
uses (kind, object, coll) AS (
    SELECT t.kind, t.object, c.oid
    FROM compared t
    CROSS JOIN LATERAL regexp_matches(
        t.tree,
        '\{(?:OPEXPR|DISTINCTEXPR|NULLIFEXPR|SCALARARRAYOPEXPR) :opno (\d+) [^{}(]*:inputcollid (\d+)',
        'g') AS m
    JOIN changed c ON c.oid = m[2]::oid
    JOIN pg_operator o ON o.oid = m[1]::oid
    WHERE NOT c.exact OR o.oprname IN ('<', '<=', '>', '>=', '~', '!~', '~*', '!~*', '~~*', '!~~*')
    UNION
    SELECT t.kind, t.object, c.oid
    FROM compared t
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
    FROM compared t
    CROSS JOIN LATERAL regexp_matches(t.tree, '\{MINMAXEXPR [^{}(]*:inputcollid (\d+)', 'g') AS m
    JOIN changed c ON c.oid = m[1]::oid
    UNION
    SELECT t.kind, t.object, c.oid
    FROM compared t
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
    SELECT k.indexrelid, h.coll FROM keys k JOIN holds h ON h.type = k.type
    WHERE NOT (h.exact AND k.amname = 'hash') AND (k.type <> 'jsonb'::regtype OR k.amname = 'btree')
    UNION
    SELECT object, coll FROM uses WHERE kind = 'index'
    UNION
    -- An expression or a predicate over a column whose components are compared.
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
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
      AND coalesce(b.typtype, t.typtype) IN ('r', 'm')
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
-- Types whose values are values of a domain with a CHECK that counts: the domain, and domains over it.
domains (domain, type) AS (
    SELECT k.contypid, k.contypid FROM pg_constraint k
    WHERE k.contypid <> 0 AND k.oid IN (SELECT object FROM uses WHERE kind = 'check')
    UNION SELECT d.domain, t.oid FROM domains d JOIN pg_type t ON t.typbasetype = d.type AND t.typtype = 'd'
),
-- Types that hold such values: these types, arrays of them, and types composed of both.
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
$plain,
$lenders,
-- Only these are judged, since judging takes a while for each.
judged AS MATERIALIZED (
    SELECT t.kind, t.object, t.tree FROM trees t
    WHERE t.kind = 'index' AND t.object IN (SELECT index FROM by_index)
       OR t.kind = 'check' AND t.object IN (SELECT object FROM uses WHERE kind = 'check')
       OR t.kind = 'partition' AND EXISTS (SELECT FROM by_partition)
),
risks (kind, object) AS MATERIALIZED (
    SELECT t.kind, t.object FROM judged t WHERE $risky
    UNION
    -- A column in a partition key.
    SELECT 'partition', p.partrelid FROM pg_partitioned_table p JOIN pg_attribute a
        ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::smallint[])
    WHERE a.atttypid NOT IN (SELECT type FROM plain)
),
names AS (SELECT oid, name FROM changed),
-- Joined once: a look-up for each object would take quadratic time.
named_indexes (index, collations) AS MATERIALIZED (
    SELECT b.index, json_agg(n.name ORDER BY n.name) FROM by_index b JOIN names n ON n.oid = b.coll
    GROUP BY b.index
),
named_checks (object, collations) AS MATERIALIZED (
    SELECT u.object, json_agg(n.name ORDER BY n.name) FROM uses u JOIN names n ON n.oid = u.coll
    WHERE u.kind = 'check' GROUP BY u.object
),
constraints (index, name) AS MATERIALIZED (
    SELECT conindid, min(conname::text) FROM pg_constraint WHERE contype IN ('p', 'u', 'x') GROUP BY conindid
),
-- Everything except the facts about the table that holds the rows, which are looked up once for each table.
objects (relation, bytes, fields) AS MATERIALIZED (
    SELECT i.indrelid, i.bytes, json_build_object(
        'kind', 'index', 'oid', i.indexrelid::bigint, 'filenode', pg_relation_filenode(i.indexrelid)::bigint,
        'name', i.indexrelid::regclass::text, 'table', i.indrelid::regclass::text, 'method', i.amname,
        'unique', i.indisunique, 'exclusion', i.indisexclusion,
        'constraint', coalesce(k.name, ''),
        'keys', CASE WHEN i.indisunique THEN (
            SELECT string_agg('(' || pg_get_indexdef(i.indexrelid, k + 1, false) || ')' || coalesce(
                ' COLLATE ' || nullif(i.indcollation[k], 0)::regcollation::text, ''), ', ' ORDER BY k)
            FROM generate_series(0, i.indnkeyatts - 1) AS k) ELSE '' END,
        'predicate', coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
        'written', i.indexprs IS NOT NULL OR i.indpred IS NOT NULL,
        'foreign', i.indexrelid IN (SELECT object FROM risks WHERE kind = 'index'),
        'unsafe',
            (SELECT r.rolsuper FROM pg_class s JOIN pg_roles r ON r.oid = s.relowner WHERE s.oid = i.indrelid)
            AND ($lent)
            -- These versions do not switch to the owner (CVE-2022-1552).
            OR current_setting('server_version_num')::int BETWEEN 140000 AND 140002
               AND i.indexrelid IN (SELECT object FROM risks WHERE kind = 'index'),
        'collations', i.collations)
    FROM (SELECT i.*, b.collations, $size(i.indexrelid) AS bytes
          FROM named_indexes b JOIN indexes i ON i.indexrelid = b.index WHERE i.indisvalid OFFSET 0) AS i
    LEFT JOIN constraints k ON k.index = i.indexrelid
    UNION ALL
    SELECT k.conrelid, NULL, json_build_object(
        'kind', 'check', 'oid', k.oid::bigint, 'name', quote_ident(k.conname),
        'table', k.conrelid::regclass::text,
        'test', 'NOT (' || pg_get_expr(k.conbin, k.conrelid) || ')',
        'foreign', k.oid IN (SELECT object FROM risks WHERE kind = 'check'),
        'collations', u.collations)
    FROM named_checks u JOIN pg_constraint k ON k.oid = u.object
    WHERE k.conrelid <> 0
    UNION ALL
    SELECT d.attrelid, NULL, json_build_object(
        'kind', 'check', 'oid', k.oid::bigint, 'name', quote_ident(k.conname),
        'table', d.attrelid::regclass::text,
        'domain', k.contypid::regtype::text, 'column', quote_ident(d.attname),
        -- VALUE in the expression becomes a column with the type and the collation that it has in a CHECK.
        'values', CASE WHEN d.place IS NULL THEN '' ELSE format(
            '(SELECT (%s)::%s%s AS value FROM ONLY %s) AS stored',
            d.place, format_type(coalesce(p.base, b.oid), -1),
            ' COLLATE ' || nullif(b.typcollation, 0)::regcollation::text,
            d.attrelid::regclass) END,
        'test', CASE WHEN d.place IS NULL THEN '' ELSE 'NOT (' || pg_get_expr(k.conbin, 0) || ')' END,
        'foreign', k.oid IN (SELECT object FROM risks WHERE kind = 'check') OR p.base IS NULL,
        'collations', u.collations)
    FROM by_domain d
    JOIN pg_constraint k ON k.contypid = d.domain
    JOIN named_checks u ON u.object = k.oid
    JOIN pg_type t ON t.oid = k.contypid
    JOIN pg_type b ON b.oid = t.typbasetype
    LEFT JOIN plain p ON p.type = b.oid
    UNION ALL
    SELECT p.leaf, NULL, json_build_object(
        'kind', 'partition', 'oid', p.leaf::bigint, 'name', p.leaf::regclass::text,
        'table', p.parent::regclass::text, 'test', 'NOT (' || pg_get_partition_constraintdef(p.leaf) || ')',
        'foreign', EXISTS (SELECT FROM pg_partition_ancestors(p.leaf) AS a (relid)
                           JOIN risks r ON r.kind = 'partition' AND r.object = a.relid),
        'collations', json_agg(DISTINCT n.name))
    FROM by_partition p JOIN names n ON n.oid = p.coll
    GROUP BY p.leaf, p.parent
    UNION ALL
    SELECT b.attrelid, NULL, json_build_object(
        'kind', 'range column', 'oid', b.attrelid::bigint, 'name', quote_ident(attname),
        'table', b.attrelid::regclass::text,
        -- A range was in order when it was stored: reading it back shows whether it still is.
        'test', format('lower(%1$I)%2$s > upper(%1$I)%2$s', attname,
                       ' COLLATE ' || nullif(g.rngcollation, 0)::regcollation::text),
        'foreign', g.rngsubtype IS NULL OR g.rngsubtype NOT IN (SELECT type FROM plain),
        'collations', json_agg(DISTINCT n.name))
    FROM by_column b JOIN names n ON n.oid = b.coll
    JOIN bases t ON t.type = b.atttypid
    LEFT JOIN pg_range g ON t.base IN (g.rngtypid, (to_jsonb(g) ->> 'rngmultitypid')::oid)
    GROUP BY b.attrelid, b.attname, g.rngsubtype, g.rngcollation
    UNION ALL
    SELECT u.object, NULL, json_build_object(
        'kind', 'materialized view', 'oid', u.object::bigint, 'name', u.object::regclass::text,
        'table', u.object::regclass::text,
        'collations', json_agg(DISTINCT n.name))
    FROM uses u JOIN names n ON n.oid = u.coll
    WHERE u.kind = 'materialized view'
    GROUP BY u.object
),
tables AS MATERIALIZED (
    SELECT w.oid AS relation, $size(w.oid) AS stored, quote_ident(r.rolname) AS owner,
           r.rolsuper AS privileged, $shape AS shape
    FROM pg_class w JOIN pg_roles r ON r.oid = w.relowner WHERE w.oid IN (SELECT relation FROM objects)
)
SELECT json_build_object(
    'kind', 'changed', 'collation', name, 'recorded', recorded, 'actual', actual,
    'trusted', $mixed OR (provider, recorded) IN (SELECT provider, version FROM known))
FROM changed
UNION ALL
-- The smallest first, so that many are repaired soon.
(SELECT json_build_object(
    'bytes', coalesce(o.bytes, t.stored), 'stored', t.stored, 'owner', t.owner, 'privileged', t.privileged,
    'shape', t.shape, 'fields', o.fields)
FROM objects o JOIN tables t ON t.relation = o.relation
ORDER BY o.bytes, o.relation)
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
