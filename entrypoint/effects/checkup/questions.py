"""What the checks ask the server: about the cluster in one call of psql, about all databases in a second one.

Each question is one SELECT, answered as JSON; one that fails leaves the others their answers. The sessions
are read-only.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from entrypoint import sql
from entrypoint.effects import sessions
from entrypoint.effects.server import Context

Row = Mapping[str, object]
Rows = list[Row]

_SECONDS = 10
"""For all of it; a single statement gets half."""
_PATIENT = {"statement_timeout": "5s", "lock_timeout": "1s"}

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
        SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = current_user""",
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
    broken = [name for name in names if "\n" in name or "\r" in name]
    places = [name for name in names if name not in broken]
    script = ""
    for number, name in enumerate(places):
        script += f"\\connect -reuse-previous=on {sql.identifier(sql.connection(dbname=name))}\n"
        script += _script({f"{number} {question}": text for question, text in asked.items()})
    found: dict[str, dict[str, Rows]] = {name: {} for name in names}
    for label, rows in _answers(_run(context, script)[0]) if script else ():
        place, _, question = label.partition(" ")
        found[places[int(place)]][question] = rows
    for name in broken:
        found[name] = dict(_answers(_run(context, _script(asked), name)[0]))
    return found


def _script(asked: Mapping[str, str]) -> str:
    rows = "SELECT coalesce(json_agg(row_to_json(answer)), '[]')"
    return "".join(f"\\echo '{_MARK}{name}'\n{rows} FROM ({text}) answer;\n" for name, text in asked.items())


def _run(context: Context, script: str, database: str | None = None) -> tuple[str, str]:
    """Return what psql prints and what it complains about."""
    return sessions.script(context, script, settings=_PATIENT, seconds=_SECONDS, database=database)


def _answers(text: str) -> Iterator[tuple[str, Rows]]:
    """Read the output of a script: a line with the mark, and behind it the rows; nothing where it failed."""
    for part in f"\n{text}".split(f"\n{_MARK}")[1:]:
        name, _, rows = part.partition("\n")
        try:
            yield name, json.loads(rows)
        except ValueError:
            continue  # it gave no answer
