"""Settings that roles, databases and functions have: whether the new server accepts them, and has them.

pg_upgrade repeats the statements that made them, and fails half way at one that the new server refuses. So
the new server is asked before, while its cluster is empty: it runs each statement, and rolls it back. But
those of ALTER ROLE ALL are in no dump, so we repeat them.
"""

from __future__ import annotations

import json

from entrypoint.finding import Finding, error, warning
from entrypoint.light import NamedTuple, re
from entrypoint.postgres import sql
from entrypoint.server import sessions, tour
from entrypoint.upgrade import hurdles, older, underway, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from entrypoint.server.context import Context

_SHARED = """\
SELECT coalesce(json_agg(json_build_object(
        'config', encode(convert_to(config, 'SQL_ASCII'), 'hex'),
        'role', r.rolname, 'database', d.datname)
    ORDER BY d.datname, r.rolname, config), '[]')
FROM pg_db_role_setting AS s
    LEFT JOIN pg_roles AS r ON r.oid = s.setrole
    LEFT JOIN pg_database AS d ON d.oid = s.setdatabase,
    unnest(s.setconfig) AS config
"""
"""A setting is its bytes: in whose encoding they are, nobody knows."""
_GRANTED = """\
SELECT coalesce(json_agg(DISTINCT jsonb_build_object('name', a.parname, 'role', r.rolname)), '[]')
FROM pg_parameter_acl AS a, aclexplode(a.paracl) AS x LEFT JOIN pg_roles AS r ON r.oid = x.grantee
WHERE x.grantee <> 10
"""
_GRANTS = 15
"""The first major version that has rights on parameters."""
_FUNCTIONS = """\
SELECT coalesce(json_agg(json_build_object(
        'config', encode(convert_to(config, 'SQL_ASCII'), 'hex'),
        'routine', p.oid::regprocedure::text)
    ORDER BY p.oid::regprocedure::text, config), '[]')
FROM pg_proc AS p, unnest(p.proconfig) AS config
WHERE p.oid >= 16384
"""
_TRIAL = """\
DECLARE
    statement text;
    said text[] := '{{}}';
BEGIN
    FOR statement IN SELECT json_array_elements_text({statements}) LOOP
        BEGIN
            EXECUTE statement;
            RAISE EXCEPTION USING ERRCODE = 'EP000';
        EXCEPTION
            WHEN SQLSTATE 'EP000' THEN said := said || ''::text;
            WHEN OTHERS THEN said := said || SQLERRM;
        END;
    END LOOP;
    PERFORM set_config('entrypoint.said', to_json(said)::text, false);
END"""
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")


_LISTS = (
    *("local_preload_libraries", "session_preload_libraries", "shared_preload_libraries"),
    *("search_path", "temp_tablespaces", "unix_socket_directories"),
)
"""The settings whose value is a list of names, which are quoted one by one."""
_ELEMENT = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",\s][^,]*?))\s*(?:,|$)')
_PRELOADED = "session_preload_libraries"
_MARK = "\ufffd"


class Stored(NamedTuple):
    """A setting, or a right on one, that a dump of the old cluster repeats."""

    owner: str
    """What has it, for people."""
    name: str
    value: str
    trial: str
    """A statement that the new server refuses if it refuses the setting."""
    reset: str
    """The statement with which the old server forgets it."""
    repeat: str = ""
    """The statement that makes it in the new cluster, if pg_upgrade does not."""


def ask(old_context: Context, host: str, databases: Sequence[str], before: str) -> list[Stored]:
    """Return all of them; raises Failure if the old cluster's private server does not answer."""

    def shared(text: str) -> list[dict[str, str | None]]:
        return sessions.query_json(old_context, text, list, host=host, patience=sessions.PATIENCE)

    found = [_of_shared(row) for row in shared(_SHARED)]
    if int(before) >= _GRANTS:
        found += [_granted(row) for row in shared(_GRANTED)]
    asked = {"functions": _FUNCTIONS}
    for database, look in tour.ask(
        old_context, databases, asked, each=sessions.QUICK, host=host, patience=sessions.PATIENCE
    ):
        rows = json.loads(look.answers.get("functions", "[]"))
        found += [_of_function(row, database) for row in rows]
    return found


def tried(context: Context, cluster: str, superuser: str, found: Sequence[Stored]) -> list[Finding]:
    """Return which of them the new server refuses; `cluster` is its empty one."""
    statements = list(dict.fromkeys(each.trial for each in found))
    if not statements:
        return []
    body = _TRIAL.format(statements=sql.literal(json.dumps(statements)))
    texts = [f"DO {sql.literal(body)}", "SELECT current_setting('entrypoint.said')"]
    new = older.newest(context, cluster)
    with older.private_server(new, "the new, empty cluster") as host:
        said = sessions.query_json(new, texts, list, **_how(host, superuser))
    answers = dict(zip(statements, said, strict=True))
    lacking = [
        finding
        for each in found
        if each.name == _PRELOADED
        for finding in hurdles.preloaded(context, each.value, f"{_PRELOADED} of {each.owner}")
    ]
    return refused(found, answers, context.environment.get("PG_MAJOR", "")) + lacking


def repeat(context: Context, cluster: str, superuser: str, found: Iterable[Stored]) -> None:
    """Make in the new cluster what pg_upgrade has not taken over.

    Its server runs for that without libraries, whose workers would begin their work, and without autovacuum:
    it writes to no file that it shares with the old cluster.
    """
    texts = [each.repeat for each in found if each.repeat and _MARK not in each.repeat]
    if not texts:
        return
    view.adjust(cluster, {"shared_preload_libraries": ""})
    new = older.newest(context, cluster)
    with older.private_server(new, "the new cluster") as host:
        sessions.query(new, texts, **_how(host, superuser))


def _how(host: str, superuser: str) -> dict[str, Any]:
    """Return how the new server is asked: values may be secrets, and more than a command line can hold."""
    return {
        "host": host,
        "user": superuser,
        "patience": sessions.PATIENCE,
        "writes": True,
        "private": True,
        "seconds": None,
    }


def refused(found: Iterable[Stored], said: dict[str, str], major: str) -> list[Finding]:
    """Return the findings about those to whose trial the new server has said something.

    And about those that we cannot repeat, since nobody knows the encoding of their bytes.
    """
    wrong = [
        error(
            f"{each.owner} has {each.name}, which PostgreSQL {major} does not accept: {said[each.trial]}",
            f"with the old image: {each.reset}",
            underway.PAGE,
        )
        for each in found
        if said[each.trial]
    ]
    return wrong + [
        warning(
            f"the value of {each.name} for {each.owner} is not in UTF-8: the new cluster does not get it",
            f"set it again after the upgrade: ALTER ROLE ALL SET {each.name} TO …",
            underway.PAGE,
        )
        for each in found
        if each.repeat and _MARK in each.repeat
    ]


def _of_shared(row: dict[str, str | None]) -> Stored:
    r"""Return the setting of a role, of a database, or of a role in a database.

    >>> found = _of_shared({"config": b"jit=off".hex(), "role": "app", "database": "shop"})
    >>> print(found.trial, "--", found.reset)
    ALTER DATABASE template1 SET "jit" TO 'off' -- ALTER ROLE "app" IN DATABASE "shop" RESET jit
    >>> _of_shared({"config": b"x.Y=1".hex(), "role": None, "database": None})[4:]
    ('ALTER ROLE ALL RESET "x.Y"', 'ALTER ROLE ALL SET "x.Y" TO \'1\'')
    """
    role, database = row["role"], row["database"]
    if role is None and database is not None:
        return _setting(row, f"the database {database}", f"ALTER DATABASE {sql.identifier(database)}")
    owner = "every role" if role is None else f"the role {role}"
    alter = f"ALTER ROLE {'ALL' if role is None else sql.identifier(role)}"
    if database is not None:
        return _setting(
            row, f"{owner} in the database {database}", f"{alter} IN DATABASE {sql.identifier(database)}"
        )
    found = _setting(row, owner, alter)
    return found if role is not None else found._replace(repeat=f"{alter} {_set(row)}")


def _of_function(row: dict[str, str | None], database: str) -> Stored:
    found = _setting(row, f"{row['routine']} in the database {database}", f"ALTER ROUTINE {row['routine']}")
    return found._replace(reset=f"in the database {database}: {found.reset}")


def _setting(row: dict[str, str | None], owner: str, alter: str) -> Stored:
    name, value = _parts(row)
    trial, reset = f"ALTER DATABASE template1 {_set(row)}", f"{alter} RESET {_shown(name)}"
    return Stored(owner, name, value, trial, reset)


def _set(row: dict[str, str | None]) -> str:
    """Return the part of a statement that sets it, as pg_dump writes it.

    >>> print(_set({"config": b'search_path="a, b", c'.hex()}))
    SET "search_path" TO 'a, b', 'c'
    """
    name, value = _parts(row)
    words = _elements(value) if name.lower() in _LISTS else [value]
    return f"SET {sql.identifier(name)} TO {', '.join(sql.literal(each) for each in words)}"


def _parts(row: dict[str, str | None]) -> tuple[str, str]:
    """Return the name and the value of a setting; what is no UTF-8 becomes a mark.

    >>> _parts({"config": b"a.b=c=".hex() + "e4"}) == ("a.b", f"c={_MARK}")
    True
    """
    name, _, value = bytes.fromhex(str(row["config"])).decode("utf-8", "replace").partition("=")
    return name, value


def _elements(value: str) -> list[str]:
    """Return the elements of a list of names.

    >>> _elements('"$user", public,"a""b"'), _elements("")
    (['$user', 'public', 'a"b'], [''])
    """
    found = [
        quoted.replace('""', '"') if quoted or not plain else plain
        for quoted, plain in _ELEMENT.findall(value)
    ]
    return found or [""]


def _granted(row: dict[str, str | None]) -> Stored:
    """Return the right of a role on a setting.

    >>> _granted({"name": "jit", "role": None})[3:5]
    ('GRANT SET ON PARAMETER "jit" TO PUBLIC', 'REVOKE ALL ON PARAMETER jit FROM PUBLIC')
    """
    name, role = str(row["name"]), row["role"]
    owner, grantee = ("everybody", "PUBLIC") if role is None else (f"the role {role}", sql.identifier(role))
    trial = f"GRANT SET ON PARAMETER {sql.identifier(name)} TO PUBLIC"
    reset = f"REVOKE ALL ON PARAMETER {_shown(name)} FROM {grantee}"
    return Stored(f"{owner} (by GRANT)", name, "", trial, reset)


def _shown(name: str) -> str:
    """Return the name of a setting for SQL, quoted only where it must be."""
    return name if _PLAIN.fullmatch(name) else sql.identifier(name)
