"""What the server reports about itself for the watch: the queries, and the value of their answers.

Each query is one SELECT whose answer is a list of JSON objects, as `doctor.questions` asks them: all in one
call of psql, without a connection per database. In an answer, a column with the name of a metric is its
value, and the other columns of that row are its labels. A value that the server does not know is NULL and
becomes no sample. No answer has more than 200 rows, however many databases, slots and sessions there are.
"""

from __future__ import annotations

import os

from entrypoint.collation import queries
from entrypoint.noted import certificate
from entrypoint.noted.seen import Sample, Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    Rows = Sequence[Mapping[str, object]]

LAG = """(SELECT pg_wal_lsn_diff(latest_end_lsn, pg_last_wal_replay_lsn())::bigint
            FROM pg_stat_wal_receiver WHERE status = 'streaming')"""
"""On a standby: bytes of WAL that its primary has and that are not replayed; NULL: it does not stream."""
_PLACES = {
    "$lag": LAG,
    "$most": "200",
    "$position": """CASE WHEN pg_is_in_recovery()
                         THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                         ELSE pg_current_wal_lsn() END""",
}

_IDENTITY = """
    SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END AS role,
           current_setting('server_version') AS version,
           (SELECT system_identifier::text FROM pg_control_system()) AS identifier,
           CASE WHEN pg_is_in_recovery() THEN coalesce(
                    (SELECT received_tli FROM pg_stat_wal_receiver),
                    (SELECT nullif(min_recovery_end_timeline, 0) FROM pg_control_recovery()),
                    c.timeline_id)
                ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline,
           extract(epoch FROM pg_postmaster_start_time())::float8 AS started,
           (SELECT extract(epoch FROM backend_start)::float8 FROM pg_stat_activity
            WHERE backend_type = 'checkpointer') AS recovered,
           $lag AS lag_bytes
    FROM pg_control_checkpoint() c"""

_FIGURES = """
    SELECT extract(epoch FROM pg_postmaster_start_time())::float8 AS pg_postmaster_start_time_seconds,
           pg_is_in_recovery()::int AS pg_replication_is_replica,
           CASE WHEN NOT pg_is_in_recovery() THEN NULL
                WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
                ELSE greatest(0, extract(epoch FROM now() - pg_last_xact_replay_timestamp()))
           END::float8 AS pg_replication_lag_seconds,
           pg_wal_lsn_diff($position, '0/0') AS nixpg_wal_written_bytes_total,
           (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
            FROM pg_stat_activity
            WHERE state IS DISTINCT FROM 'idle' AND backend_type = 'client backend'
                  AND pid <> pg_backend_pid()
           ) AS pg_long_running_transactions_oldest_timestamp_seconds"""

_QUESTIONS = {
    "identity": _IDENTITY,
    "figures": _FIGURES,
    "standbys": """
        SELECT pid, usename, application_name, client_addr, client_hostname, backend_start, state,
               sent_lsn, write_lsn, flush_lsn, replay_lsn, write_lag, flush_lag, replay_lag,
               sync_state, sync_priority, reply_time,
               pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                               ELSE pg_current_wal_lsn() END, replay_lsn)::bigint AS behind
        FROM pg_stat_replication ORDER BY application_name, pid LIMIT $most""",
    "conf": """
        SELECT max(setting::int) FILTER (WHERE name = 'max_connections') AS pg_settings_max_connections,
               max(setting::int) FILTER (WHERE name = 'archive_timeout')
                   AS pg_settings_archive_timeout_seconds,
               count(*) FILTER (WHERE pending_restart) AS nixpg_config_pending_restart
        FROM pg_settings WHERE pending_restart OR name IN ('max_connections', 'archive_timeout')""",
    "sessions": """
        SELECT datname, coalesce(state, 'unknown') AS state, count(*) AS pg_stat_activity_count
        FROM pg_stat_activity WHERE datname IS NOT NULL
        GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT $most""",
    "transactions": """
        SELECT datname, xact_commit AS pg_stat_database_xact_commit,
               xact_rollback AS pg_stat_database_xact_rollback, deadlocks AS pg_stat_database_deadlocks,
               temp_bytes AS pg_stat_database_temp_bytes, blks_hit AS pg_stat_database_blks_hit,
               blks_read AS pg_stat_database_blks_read
        FROM pg_stat_database WHERE datname IS NOT NULL ORDER BY datid LIMIT $most""",
    "archiver": """
        SELECT archived_count AS pg_stat_archiver_archived_count,
               failed_count AS pg_stat_archiver_failed_count,
               extract(epoch FROM now() - last_archived_time)::float8 AS pg_stat_archiver_last_archive_age
        FROM pg_stat_archiver""",
    "wal": """
        SELECT count(*) AS pg_wal_segments, coalesce(sum(size), 0) AS pg_wal_size_bytes
        FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'""",
    "held": """
        SELECT slot_name, slot_type, active::int AS pg_replication_slots_active,
               pg_wal_lsn_diff($position, restart_lsn) AS pg_replication_slots_pg_wal_lsn_diff,
               safe_wal_size AS pg_replication_slots_safe_wal_size_bytes
        FROM pg_replication_slots ORDER BY restart_lsn, slot_name LIMIT $most""",
    "certificate": """
        SELECT current_setting('ssl_cert_file') AS file, current_setting('data_directory') AS folder
        WHERE current_setting('ssl')::bool""",
    "ages": """
        SELECT datname, age(datfrozenxid) AS nixpg_xid_age, mxid_age(datminmxid) AS nixpg_mxid_age
        FROM pg_database ORDER BY 2 DESC, datname LIMIT $most""",
}
_SIZES = """
    SELECT datname, pg_database_size(oid) AS pg_database_size_bytes
    FROM pg_database ORDER BY oid LIMIT $most"""


_COLLATIONS = 15
"""The first major that records a version for each database."""


def questions(major: int, *, sizes: bool) -> dict[str, str]:
    """Return the queries by name; `sizes` asks for the sizes of the databases, which takes the longest."""
    asked = {**_QUESTIONS, "sizes": _SIZES} if sizes else dict(_QUESTIONS)
    if major >= _COLLATIONS:
        counted = queries.changed_databases_query(major)
        asked["mismatches"] = f"SELECT changed AS nixpg_collation_mismatches FROM ({counted}) c"  # noqa: S608 - our own
    return {name: _fill(text) for name, text in asked.items()}


def _fill(text: str) -> str:
    for place, value in _PLACES.items():
        text = text.replace(place, value)
    return text


def server(rows: Mapping[str, Rows]) -> Server | None:
    """Return what the answers say; None if the server has not even said who it is."""
    if not rows.get("identity"):
        return None
    found: Mapping[str, Any] = rows["identity"][0]
    return Server(
        role=found["role"],
        version=found["version"],
        identifier=found["identifier"],
        timeline=found["timeline"],
        started=found["started"],
        recovered=found["recovered"] or found["started"],
        samples=(*_samples(rows), *_certificate(rows)),
        lag_bytes=found["lag_bytes"],
        standbys=tuple(
            {name: str(value) for name, value in row.items() if value is not None}
            for row in rows.get("standbys", ())
        ),
    )


def _samples(rows: Mapping[str, Rows]) -> Iterator[Sample]:
    for answer in (rows.get(name, ()) for name in (*_QUESTIONS, "mismatches", "sizes")):
        for row in answer:
            values = {name: value for name, value in row.items() if name.startswith(("pg_", "nixpg_"))}
            labels = tuple((name, str(value)) for name, value in row.items() if name not in values)
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    yield Sample(name, labels, float(value))


def _certificate(rows: Mapping[str, Rows]) -> Iterator[Sample]:
    for row in rows.get("certificate", ()):
        expires = certificate.expiry(os.path.join(str(row["folder"]), str(row["file"])))
        if expires is not None:
            yield Sample("nixpg_tls_expiry_timestamp_seconds", (), expires)
