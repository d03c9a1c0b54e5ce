"""The queries of the checks: one call of psql for the cluster, and a tour of the databases.

Each question is one SELECT with an answer in JSON. If one fails, the others still get their answers. The
sessions are read-only. Objects that initdb made are the same in all databases, so they are queried once;
their oid is below 16384.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from entrypoint.light import NamedTuple
from entrypoint.noted import figures
from entrypoint.server import sessions, tour
from entrypoint.server.context import Context

Row = Mapping[str, object]
Rows = list[Row]

_SECONDS = 10
"""For all questions about the cluster; a single statement gets half of it."""
_STATEMENT = 5
_PATIENT = {"statement_timeout": f"{_STATEMENT}s", "lock_timeout": "1s"}

CLUSTER = {
    "settings": """
        SELECT name, current_setting(name) AS value, source, pending_restart, boot_val AS built_in,
               CASE WHEN source = 'configuration file' THEN sourcefile || ':' || sourceline END AS origin
        FROM pg_settings""",
    "recovery": """
        SELECT pg_is_in_recovery() AS standby,
               CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END AS segment""",
    "replay": f"""
        SELECT pg_is_in_recovery() AND pg_is_wal_replay_paused() AS paused,
               extract(epoch FROM now() - pg_last_xact_replay_timestamp())::bigint AS seconds,
               {figures.LAG} AS behind""",  # noqa: S608 - our own
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
    "extensions": """
        SELECT name, default_version AS available FROM pg_available_extensions""",
    "libraries": """
        SELECT DISTINCT probin AS path FROM pg_proc WHERE probin IS NOT NULL AND oid < 16384""",
    "password": """
        SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = current_user""",
}
DATABASE = {
    "extensions": """
        SELECT extname AS name, extversion AS installed FROM pg_extension""",
    "libraries": """
        SELECT DISTINCT probin AS path FROM pg_proc WHERE probin IS NOT NULL AND oid >= 16384""",
}
_MARK = "@ "


class Answers(NamedTuple):
    """The answers of one database."""

    rows: Mapping[str, Rows]
    """By the name of the question; a question without an answer is missing."""
    words: str
    """The server's error messages."""
    connected: bool
    late: bool
    """Whether there was no time to query this database."""


def ask(context: Context, asked: Mapping[str, str]) -> tuple[dict[str, Rows], str]:
    """Return the answers by question, and the server's error messages unless it has answered all of them."""
    script = "".join(f"\\echo '{_MARK}{name}'\n{_rows(text)};\n" for name, text in asked.items())
    text, words = sessions.script(context, script, settings=_PATIENT, seconds=_SECONDS)
    answers = dict(_answers(text))
    return answers, "" if len(answers) == len(asked) else words.strip()


def ask_databases(
    context: Context, names: Sequence[str], asked: Mapping[str, str], *, seconds: float
) -> dict[str, Answers]:
    """Return the answers by database; no further database is queried after this many seconds."""
    found: dict[str, Answers] = {}
    queries = {name: _rows(text) for name, text in asked.items()}
    for name, look in tour.ask(context, names, queries, settings=_PATIENT, each=_STATEMENT, seconds=seconds):
        rows = {question: json.loads(text) for question, text in look.answers.items()}
        found[name] = Answers(rows, look.words, look.connected, look.late)
    return {name: found[name] for name in names}


def _rows(text: str) -> str:
    return f"SELECT coalesce(json_agg(row_to_json(answer)), '[]') FROM ({text}) answer"  # noqa: S608 - our own


def _answers(text: str) -> Iterator[tuple[str, Rows]]:
    """Read the output of a script: a line with the mark, then the rows; none if the question failed."""
    for part in f"\n{text}".split(f"\n{_MARK}")[1:]:
        name, _, rows = part.partition("\n")
        try:
            yield name, json.loads(rows)
        except ValueError:
            continue  # there is no answer
