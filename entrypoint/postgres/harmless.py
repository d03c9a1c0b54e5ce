r"""Which expressions of users a superuser may evaluate; pure.

A CHECK, an index or a partition key is an expression that a role wrote. To look whether rows still obey it,
it is evaluated, and then whatever it calls runs with the rights of whoever looks. `SET ROLE` is no way out:
the function that is called can take it back. So a superuser evaluates what cannot run anybody's code, and
nothing else.

This is decided by the tree that PostgreSQL stores, from an allowed list: the kinds of nodes, no oid of a
user's object, and functions that came with the server and are immutable. Immutable alone rules out what
runs a text as a query (`query_to_xml`, `ts_stat`, `table_to_xml`), or changes something. A cast to a domain
evaluates its CHECKs, one to a composite type or a range what these are made of. Even a value of a type of
users is not read: text is made of the tree and read again, and whoever owns the type may meanwhile have
defined a cast that the new reading finds. A domain over a type of the server's is the exception, since
PostgreSQL ignores casts from a domain itself.
"""

_FIRST_OF_USERS = r"(?:\d{6,}|[2-9]\d{4}|1[7-9]\d{3}|16[4-9]\d\d|163[89]\d)"
"""An oid from 16380 on; those of users begin at 16384."""
_NODES = (
    "VAR CONST OPEXPR FUNCEXPR BOOLEXPR SCALARARRAYOPEXPR DISTINCTEXPR NULLIFEXPR ROWCOMPAREEXPR MINMAXEXPR "
    "COALESCEEXPR CASEEXPR CASEWHEN CASETESTEXPR NULLTEST BOOLEANTEST ARRAYEXPR SUBSCRIPTINGREF ROWEXPR "
    "RELABELTYPE COERCEVIAIO ARRAYCOERCEEXPR COLLATEEXPR COERCETODOMAINVALUE"
)
_NUMBERS = (
    "location|list_start|list_end|[a-z]*typmod|typeMod|[a-z_]*collid|inputcollids|collation|collOid|constlen"
    "|vartype|typeId"
)
"""Fields with numbers that may be as large: sizes, places in a text, and collations, which run nothing.

The type of a column, and of the value of a domain, is judged by itself.
"""

_STABLE = "concat concat_ws format to_char to_date to_timestamp to_number date_trunc timezone now"
"""Functions that follow the session's settings, and run nothing else."""

PLAIN = """
bases (type, base) AS (
    SELECT oid, oid FROM pg_type WHERE typtype <> 'd'
    UNION ALL SELECT t.oid, b.base FROM bases b JOIN pg_type t ON t.typbasetype = b.type WHERE t.typtype = 'd'
),
plain (type, base) AS MATERIALIZED (SELECT type, base FROM bases WHERE base < 16384)"""
"""The types that came with the server and domains over them, with the type whose values these are."""

LENDERS = """
lenders (type) AS MATERIALIZED (
    SELECT b.type
    FROM pg_range g
    JOIN pg_proc f ON f.oid IN (g.rngsubdiff, g.rngcanonical)
    JOIN pg_roles r ON r.oid = f.proowner AND NOT r.rolsuper
    JOIN bases b ON b.base IN (g.rngtypid, (to_jsonb(g) ->> 'rngmultitypid')::oid)
)"""
"""The ranges, and domains over them, whose own functions no superuser owns."""


def risky(tree: str) -> str:
    """Return a condition, as SQL: to evaluate what this expression has as its tree may run code of users.

    `plain` has to be there.
    """
    nodes = _NODES.replace(" ", "|")
    stable = ", ".join(f"'{name}'" for name in _STABLE.split())
    return rf"""(
        {tree} ~ '\{{(?!(?:{nodes})[ }}])'
        OR {tree} ~ ':(?!(?:{_NUMBERS}) )\w+ (?:\(o (?:\d+ )*)?{_FIRST_OF_USERS}\M'
        OR EXISTS (SELECT FROM regexp_matches({tree}, ':(?:vartype|typeId) (\d+)', 'g') AS found (oid)
                   WHERE found.oid[1]::oid NOT IN (SELECT type FROM plain))
        OR EXISTS (SELECT FROM regexp_matches({tree}, ':funcid (\d+)', 'g') AS found (oid)
                   LEFT JOIN pg_proc f ON f.oid = found.oid[1]::oid
                   WHERE f.provolatile IS DISTINCT FROM 'i' AND NOT coalesce(f.proname IN ({stable}), false)
                      OR f.prolang NOT IN (SELECT oid FROM pg_language WHERE lanname IN ('internal', 'sql')))
        OR EXISTS (SELECT FROM regexp_matches({tree}, ':opno (\d+)', 'g') AS found (oid)
                   LEFT JOIN pg_operator o ON o.oid = found.oid[1]::oid
                   LEFT JOIN pg_proc f ON f.oid = o.oprcode
                   WHERE f.oid >= 16384 OR coalesce(f.provolatile, 'v') = 'v'))"""  # noqa: S608 - ours


def lent(index: str) -> str:
    """Return a condition, as SQL: the expressions of this index need what no superuser owns; see LENDERS.

    Whoever rebuilds an index becomes its table's owner for it, in a context that can change little. Where
    that is a superuser, it must not run what others may write anew.
    """
    return f"""EXISTS (
        SELECT FROM pg_depend n
        LEFT JOIN pg_operator o ON n.refclassid = 'pg_operator'::regclass AND o.oid = n.refobjid
        LEFT JOIN pg_proc f ON f.oid = CASE n.refclassid WHEN 'pg_proc'::regclass THEN n.refobjid
                                                         WHEN 'pg_operator'::regclass THEN o.oprcode END
        LEFT JOIN pg_type t ON n.refclassid = 'pg_type'::regclass AND t.oid = n.refobjid
        JOIN pg_roles r ON r.oid IN (f.proowner, o.oprowner, t.typowner) AND NOT r.rolsuper
        WHERE n.classid = 'pg_class'::regclass AND n.objid = {index})
        -- GiST asks a range's own function how far apart two values are.
        OR EXISTS (
        SELECT FROM pg_attribute a
        WHERE a.attrelid = {index} AND a.attnum > 0 AND a.atttypid IN (SELECT type FROM lenders))"""  # noqa: S608 - a column


def shape(table: str) -> str:
    """Return an expression, as SQL, that is another one once a table or the type of a column is another one.

    What was judged has to be what is evaluated later: in between a table can have become a view.
    """
    columns = "a.attnum, a.atttypid, a.attcollation, a.attgenerated, a.attname"
    return f"""(
        SELECT encode(sha256(convert_to(
            concat_ws(' ', s.oid, s.relkind, string_agg(concat_ws(' ', {columns}), ',' ORDER BY a.attnum)),
            getdatabaseencoding())), 'hex')
        FROM pg_class s
        LEFT JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE s.oid = {table}
        GROUP BY s.oid, s.relkind)"""  # noqa: S608 - a column, or a name that is quoted


def guard(table: str, expected: str) -> str:
    """Return what holds a table as it is until the transaction ends; fails where it has another shape.

    `table` is as SQL wants it. PREPARE takes the lock and evaluates nothing.
    """
    quoted = table.replace("'", "''")
    body = f"""BEGIN
        IF {shape(f"'{quoted}'::regclass")} IS DISTINCT FROM '{expected}' THEN
            RAISE EXCEPTION 'it was changed meanwhile, look again';
        END IF;
    END""".replace("'", "''")
    return f"PREPARE entrypoint AS SELECT FROM ONLY {table}; DO '{body}'"
