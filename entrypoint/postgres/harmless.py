r"""Which expressions of users a superuser may evaluate; pure.

A CHECK, an index or a partition key is an expression that a role wrote. To check whether rows still satisfy
it, it is evaluated, and every function that it calls then runs with the rights of the role that checks. `SET
ROLE` does not help: the called function can undo it. So a superuser evaluates only expressions that cannot
run anybody's code.

This is decided from the tree that PostgreSQL stores, with a list of what is allowed: certain kinds of nodes,
no oid of a user's object, and functions that came with the server and are immutable. Immutability alone
excludes functions that run a text as a query (`query_to_xml`, `ts_stat`, `table_to_xml`) or change something.
A cast to a domain evaluates its CHECKs; a cast to a composite type or a range evaluates what these are made
of. Even reading a value of a user's type is not allowed: the tree is turned into text and parsed again, and
the type's owner may have defined a cast in between that the second parsing finds. The exception is a domain
over one of the server's types, because PostgreSQL ignores casts from a domain itself.
"""

_FIRST_OF_USERS = r"(?:\d{6,}|[2-9]\d{4}|1[7-9]\d{3}|16[4-9]\d\d|163[89]\d)"
"""A regular expression for oids from 16380 on; those of users begin at 16384."""
_NODES = (
    "VAR CONST OPEXPR FUNCEXPR BOOLEXPR SCALARARRAYOPEXPR DISTINCTEXPR NULLIFEXPR ROWCOMPAREEXPR MINMAXEXPR "
    "COALESCEEXPR CASEEXPR CASEWHEN CASETESTEXPR NULLTEST BOOLEANTEST ARRAYEXPR SUBSCRIPTINGREF ROWEXPR "
    "RELABELTYPE COERCEVIAIO ARRAYCOERCEEXPR COLLATEEXPR COERCETODOMAINVALUE"
)
_NUMBERS = (
    "location|list_start|list_end|[a-z]*typmod|typeMod|[a-z_]*collid|inputcollids|collation|collOid|constlen"
    "|vartype|typeId"
)
"""Fields with numbers that may be as large: sizes, positions in a text, and collations, which run nothing.

The type of a column, and the type of a domain's value, are checked separately.
"""

_STABLE = "concat concat_ws format to_char to_date to_timestamp to_number date_trunc timezone now"
"""Functions that depend on the session's settings, and run nothing else."""

PLAIN = """
bases (type, base) AS (
    SELECT oid, oid FROM pg_type WHERE typtype <> 'd'
    UNION ALL SELECT t.oid, b.base FROM bases b JOIN pg_type t ON t.typbasetype = b.type WHERE t.typtype = 'd'
),
plain (type, base) AS MATERIALIZED (SELECT type, base FROM bases WHERE base < 16384)"""
"""The types that came with the server and domains over them, each with its base type."""

LENDERS = """
lenders (type) AS MATERIALIZED (
    SELECT b.type
    FROM pg_range g
    JOIN pg_proc f ON f.oid IN (g.rngsubdiff, g.rngcanonical)
    JOIN pg_roles r ON r.oid = f.proowner AND NOT r.rolsuper
    JOIN bases b ON b.base IN (g.rngtypid, (to_jsonb(g) ->> 'rngmultitypid')::oid)
)"""
"""The ranges, and domains over them, whose own functions belong to a role that is not a superuser."""


def risky(tree: str) -> str:
    """Return an SQL condition: evaluating the expression with this tree may run code of users.

    The query must define `plain`.
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
    """Return an SQL condition: this index's expressions need objects that no superuser owns; see LENDERS.

    Rebuilding an index happens as its table's owner, in a context that can change little. If the owner is a
    superuser, the rebuild must not run code that other roles can replace.
    """
    return f"""EXISTS (
        SELECT FROM pg_depend n
        LEFT JOIN pg_operator o ON n.refclassid = 'pg_operator'::regclass AND o.oid = n.refobjid
        LEFT JOIN pg_proc f ON f.oid = CASE n.refclassid WHEN 'pg_proc'::regclass THEN n.refobjid
                                                         WHEN 'pg_operator'::regclass THEN o.oprcode END
        LEFT JOIN pg_type t ON n.refclassid = 'pg_type'::regclass AND t.oid = n.refobjid
        JOIN pg_roles r ON r.oid IN (f.proowner, o.oprowner, t.typowner) AND NOT r.rolsuper
        WHERE n.classid = 'pg_class'::regclass AND n.objid = {index})
        -- GiST calls a range's own function to find out how far apart two values are.
        OR EXISTS (
        SELECT FROM pg_attribute a
        WHERE a.attrelid = {index} AND a.attnum > 0 AND a.atttypid IN (SELECT type FROM lenders))"""  # noqa: S608 - a column


def shape(table: str) -> str:
    """Return an SQL expression whose value changes when a table or the type of a column is replaced.

    What was checked must also be what is evaluated later: in between, a view can have replaced the table.
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
    """Return SQL that keeps a table unchanged until the transaction ends; it fails if the shape differs.

    `table` is the name as SQL needs it. PREPARE takes the lock and evaluates nothing.
    """
    quoted = table.replace("'", "''")
    body = f"""BEGIN
        IF {shape(f"'{quoted}'::regclass")} IS DISTINCT FROM '{expected}' THEN
            RAISE EXCEPTION 'the table was changed in the meantime: check it again';
        END IF;
    END""".replace("'", "''")
    return f"PREPARE entrypoint AS SELECT FROM ONLY {table}; DO '{body}'"
