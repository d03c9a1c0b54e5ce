"""What the checks ask the server: about the cluster in one call of psql, about all databases in a second one.

Each question is one SELECT, answered as JSON; one that fails leaves the others their answers. The sessions
are read-only.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence

from entrypoint.argv import psql
from entrypoint.effects import server
from entrypoint.effects.children import memory_file, read_back
from entrypoint.effects.server import Context

Row = Mapping[str, object]
Rows = list[Row]

_SECONDS = 10
"""For all of it; a single statement gets half."""
_SAFE = (
    "-c default_transaction_read_only=on -c statement_timeout=5s -c lock_timeout=1s -c search_path=pg_catalog"
)

CLUSTER = {
    "settings": """
        SELECT name, current_setting(name) AS value, source, pending_restart, boot_val AS built_in,
               CASE WHEN source = 'configuration file' THEN sourcefile || ':' || sourceline END AS origin
        FROM pg_settings""",
    "recovery": """
        SELECT pg_is_in_recovery() AS standby,
               CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END AS segment""",
    "slots": """
        SELECT slot_name AS name, active, wal_status,
               pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()
                   THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                   ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS held
        FROM pg_replication_slots WHERE restart_lsn IS NOT NULL OR wal_status = 'lost'""",
    "databases": """
        SELECT datname AS name, datallowconn AS connectable, age(datfrozenxid) AS transactions,
               mxid_age(datminmxid) AS multixacts, datcollate AS collate, datctype AS ctype
        FROM pg_database ORDER BY datname""",
    "password": """
        SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = :'user'""",
}
DATABASE = {
    "extensions": """
        SELECT extname AS name, extversion AS installed, default_version AS available
        FROM pg_extension LEFT JOIN pg_available_extensions ON name = extname""",
    "libraries": """
        SELECT DISTINCT probin AS path FROM pg_proc WHERE probin IS NOT NULL""",
}
_MARK = "@ "


def ask(context: Context, asked: Mapping[str, str]) -> tuple[dict[str, Rows], str]:
    """Return the answers to questions by name, and the words of a server that gives none."""
    text, words = _run(context, _script(asked))
    answers = dict(_answers(text))
    return answers, "" if answers else f"the server cannot be asked:\n{words.strip()}"


def ask_databases(
    context: Context, names: Sequence[str], asked: Mapping[str, str]
) -> dict[str, dict[str, Rows]]:
    """Return the answers of each database by its name."""
    # A connection string in an identifier's quotes, as pg_dumpall writes it; no line break can be in it.
    places = [name for name in names if "\n" not in name and "\r" not in name]
    script = ""
    for number, name in enumerate(places):
        value = name.replace("\\", "\\\\").replace("'", "\\'").replace('"', '""')
        script += f"\\connect -reuse-previous=on \"dbname='{value}'\"\n"
        script += _script({f"{number} {question}": text for question, text in asked.items()})
    found: dict[str, dict[str, Rows]] = {name: {} for name in names}
    for label, rows in _answers(_run(context, script)[0]) if script else ():
        place, _, question = label.partition(" ")
        found[places[int(place)]][question] = rows
    return found


def _script(asked: Mapping[str, str]) -> str:
    rows = "SELECT coalesce(json_agg(row_to_json(answer)), '[]')"
    return "".join(f"\\echo '{_MARK}{name}'\n{rows} FROM ({text}) answer;\n" for name, text in asked.items())


def _run(context: Context, script: str) -> tuple[str, str]:
    """Return what psql prints and what it complains about."""
    user = context.settings.init.user
    argv = [
        *psql(user, "postgres", "--no-align", "--tuples-only", "--quiet"),
        *("--set", "ON_ERROR_STOP=0", "--set", f"user={user}"),
    ]
    password = context.environment.get("PGPASSWORD") or context.settings.init.password
    environment = {
        **context.environment,
        **({"PGPASSWORD": password} if password else {}),
        "PGHOST": "",
        "PGHOSTADDR": "",
        "PGPORT": server.port(context.settings),
        "PGOPTIONS": _SAFE,
        "PGCONNECT_TIMEOUT": "5",
        "PGCLIENTENCODING": "UTF8",
        "PGAPPNAME": "entrypoint doctor",
        "LC_ALL": "C",
    }
    given, errors = memory_file(script), memory_file("")
    out = memory_file("")
    try:
        context.children.run(argv, environment, descriptors={0: given, 1: out, 2: errors}, seconds=_SECONDS)
        return read_back(out), read_back(errors)
    except TimeoutError:
        return read_back(out), f"no answer within {_SECONDS} seconds"
    finally:
        for descriptor in (given, errors, out):
            os.close(descriptor)


def _answers(text: str) -> Iterator[tuple[str, Rows]]:
    """Read the output of a script: a line with the mark, and behind it the rows; nothing where it failed."""
    for part in f"\n{text}".split(f"\n{_MARK}")[1:]:
        name, _, rows = part.partition("\n")
        if rows.strip():
            yield name, json.loads(rows)
