"""The metrics: their names, types, descriptions and labels; pure.

A metric of PostgreSQL has the name that postgres_exporter gives it, or CloudNativePG, only where its meaning
is the same. Those names break rules that Prometheus made later, so their type is `unknown`, which is exempt.
Our own names begin with `nixpg_`. No metric has a label for each backup.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["gauge", "counter", "unknown"]


class Metric(NamedTuple):
    """A metric."""

    name: str
    """A counter's ends with `_total`."""
    kind: Kind
    text: str
    """Its description."""
    labels: tuple[str, ...] = ()


_BY_DATABASE = ("datname",)
_SLOT = ("slot_name", "slot_type")
_REPO = ("repo",)
_BACKUP = ("type", "repo")
_VOLUME = ("volume",)

_LIST = (
    Metric("pg_up", "gauge", "Whether the server accepts connections now."),
    Metric("pg_postmaster_start_time_seconds", "gauge", "When the server was started."),
    Metric("pg_replication_is_replica", "gauge", "Whether the server is a standby."),
    Metric(
        "pg_replication_lag_seconds",
        "gauge",
        "On a standby: age of the last replayed transaction; 0 if everything that was received is replayed.",
    ),
    Metric(
        "pg_database_size_bytes", "gauge", "Size of a database, measured every ten minutes.", _BY_DATABASE
    ),
    Metric(
        "pg_stat_activity_count", "unknown", "Sessions of a database in this state.", ("datname", "state")
    ),
    Metric("pg_settings_max_connections", "gauge", "The setting max_connections."),
    Metric("pg_settings_archive_timeout_seconds", "gauge", "The setting archive_timeout; 0: none."),
    Metric("pg_stat_database_xact_commit", "unknown", "Transactions committed.", _BY_DATABASE),
    Metric("pg_stat_database_xact_rollback", "unknown", "Transactions rolled back.", _BY_DATABASE),
    Metric("pg_stat_database_deadlocks", "unknown", "Deadlocks detected.", _BY_DATABASE),
    Metric("pg_stat_database_temp_bytes", "unknown", "Bytes written to temporary files.", _BY_DATABASE),
    Metric("pg_stat_database_blks_hit", "unknown", "Blocks found in shared buffers.", _BY_DATABASE),
    Metric("pg_stat_database_blks_read", "unknown", "Blocks read from files.", _BY_DATABASE),
    Metric("pg_stat_archiver_archived_count", "unknown", "WAL files archived."),
    Metric("pg_stat_archiver_failed_count", "unknown", "Failed attempts to archive a WAL file."),
    Metric(
        "pg_stat_archiver_last_archive_age",
        "gauge",
        "Seconds between the last archived WAL file and the last look.",
    ),
    Metric("pg_wal_segments", "gauge", "WAL segments in pg_wal."),
    Metric("pg_wal_size_bytes", "gauge", "Size of the WAL segments in pg_wal."),
    Metric("pg_replication_slots_active", "gauge", "Whether a slot has a reader.", _SLOT),
    Metric("pg_replication_slots_pg_wal_lsn_diff", "gauge", "WAL that a slot holds, in bytes.", _SLOT),
    Metric(
        "pg_replication_slots_safe_wal_size_bytes",
        "gauge",
        "Bytes of WAL that can be written before the slot loses what it needs.",
        _SLOT,
    ),
    Metric(
        "pg_long_running_transactions_oldest_timestamp_seconds",
        "gauge",
        "Age of the oldest transaction, as in postgres_exporter; 0: none is running.",
    ),
    Metric(
        "cnpg_collector_pg_wal_archive_status",
        "gauge",
        "WAL files by their state: `ready` for those that wait to be archived.",
        ("value",),
    ),
    Metric(
        "nixpg_info",
        "gauge",
        "Versions and role; the value is always 1, and what is not known is an empty label.",
        ("version", "postgres", "archiver", "archiver_version", "timeline", "role"),
    ),
    Metric("nixpg_phase", "gauge", "1 for the phase that the container is in, otherwise 0.", ("phase",)),
    Metric("nixpg_ready", "gauge", "Whether the server is ready, as `entrypoint ready` reports."),
    Metric(
        "nixpg_writes_refused",
        "gauge",
        "On a primary: whether transactions are read-only because the disk is about to be full.",
    ),
    Metric("nixpg_patroni_up", "gauge", "Whether Patroni on this node answers; absent without Patroni."),
    Metric(
        "nixpg_helper_failures",
        "gauge",
        "How many times in a row a helper of PID 1 has ended by itself.",
        ("helper",),
    ),
    Metric(
        "nixpg_server_recovered_timestamp_seconds",
        "gauge",
        "When the server last began to recover: at its start, or after a crash of one of its processes.",
    ),
    Metric(
        "nixpg_replication_lag_bytes",
        "gauge",
        "On a standby that streams: WAL of the primary that it has not replayed.",
    ),
    Metric("nixpg_archive_ready_segments", "gauge", "WAL files that wait to be archived.", _REPO),
    Metric("nixpg_archive_ready_bytes", "gauge", "Size of the WAL files that wait to be archived.", _REPO),
    Metric(
        "nixpg_archive_oldest_ready_timestamp_seconds",
        "gauge",
        "Since when the oldest WAL file waits to be archived; absent if none waits.",
        _REPO,
    ),
    Metric(
        "nixpg_archive_failing", "gauge", "Whether archiving fails; status.json contains the reason.", _REPO
    ),
    Metric(
        "nixpg_archive_last_success_timestamp_seconds", "gauge", "When a WAL file was archived last.", _REPO
    ),
    Metric(
        "nixpg_archive_gaps",
        "gauge",
        "Ranges of WAL segments that the last verification did not find in the archive.",
        _REPO,
    ),
    Metric("nixpg_archive_given_up", "gauge", "Gaps that ARCHIVE_WHEN_FULL=drop made in the archive.", _REPO),
    Metric(
        "nixpg_archive_given_up_last_timestamp_seconds",
        "gauge",
        "When WAL was given up last; absent if that never happened.",
        _REPO,
    ),
    Metric(
        "nixpg_archive_given_up_open",
        "gauge",
        "Whether a gap still waits for the full backup behind it: until then, nothing since can be restored.",
        _REPO,
    ),
    Metric("nixpg_wal_written_bytes_total", "counter", "WAL written or received since the cluster was made."),
    Metric(
        "nixpg_volume_size_bytes", "gauge", "Size of a filesystem, without what only root may use.", _VOLUME
    ),
    Metric("nixpg_volume_free_bytes", "gauge", "What is free in a filesystem.", _VOLUME),
    Metric(
        "nixpg_volume_full_seconds",
        "gauge",
        "Seconds until a filesystem is full at the present rate; absent if it does not fill up.",
        _VOLUME,
    ),
    Metric("nixpg_volume_inodes", "gauge", "Inodes of a filesystem; absent if it has no limit.", _VOLUME),
    Metric("nixpg_volume_free_inodes", "gauge", "Inodes that are free; absent if it has no limit.", _VOLUME),
    Metric(
        "nixpg_volume_part_bytes",
        "gauge",
        "What a part (slot, unarchived, temporary, database …) takes of a filesystem that is nearly full.",
        ("volume", "part", "name"),
    ),
    Metric(
        "nixpg_reserve_missing",
        "gauge",
        "Whether the reserve for a clean stop and the next start is missing.",
    ),
    Metric(
        "nixpg_backup_last_success_timestamp_seconds",
        "gauge",
        "When the last successful backup of a type ended.",
        _BACKUP,
    ),
    Metric(
        "nixpg_backup_last_failure_timestamp_seconds", "gauge", "When the last failed backup ended.", _REPO
    ),
    Metric("nixpg_backup_last_duration_seconds", "gauge", "Duration of the last successful backup.", _BACKUP),
    Metric(
        "nixpg_backup_last_size_bytes", "gauge", "Size of the last successful backup in the archive.", _BACKUP
    ),
    Metric("nixpg_backups", "gauge", "Backups in the archive when all checks were made last.", _BACKUP),
    Metric("nixpg_backup_running", "gauge", "Whether a backup is running."),
    Metric("nixpg_backup_next_timestamp_seconds", "gauge", "When a backup is due; in the past: overdue."),
    Metric("nixpg_restorable_from_timestamp_seconds", "gauge", "The first moment to restore to.", _REPO),
    Metric(
        "nixpg_restorable_to_timestamp_seconds",
        "gauge",
        "The last moment to restore to if the data were lost now; now while nothing waits to be archived.",
        _REPO,
    ),
    Metric("nixpg_verify_last_timestamp_seconds", "gauge", "When the archive was verified last.", _REPO),
    Metric("nixpg_verify_last_ok", "gauge", "Whether the last verification found nothing wrong.", _REPO),
    Metric("nixpg_drill_last_success_timestamp_seconds", "gauge", "When the last successful drill ended."),
    Metric("nixpg_drill_last_ok", "gauge", "Whether the last drill that was finished succeeded."),
    Metric(
        "nixpg_drill_last_duration_seconds",
        "gauge",
        "Duration of the last successful drill: how long a restore takes.",
    ),
    Metric("nixpg_drill_next_timestamp_seconds", "gauge", "When a drill is due; in the past: overdue."),
    Metric("nixpg_doctor_findings", "gauge", "Checks that find something wrong now.", ("level",)),
    Metric("nixpg_doctor_last_timestamp_seconds", "gauge", "When checks were made last."),
    Metric(
        "nixpg_condition_since_timestamp_seconds",
        "gauge",
        "Since when a check finds something wrong; absent if it does not.",
        ("check", "level"),
    ),
    Metric("nixpg_xid_age", "gauge", "Age of a database's oldest transaction ID.", _BY_DATABASE),
    Metric("nixpg_mxid_age", "gauge", "Age of a database's oldest multixact ID.", _BY_DATABASE),
    Metric("nixpg_collation_mismatches", "gauge", "Databases whose default collation has changed."),
    Metric("nixpg_tls_expiry_timestamp_seconds", "gauge", "When the server's certificate expires."),
    Metric("nixpg_config_pending_restart", "gauge", "Settings that take effect only at the next start."),
    Metric("nixpg_notify_waiting", "gauge", "Messages that wait to be sent."),
    Metric("nixpg_notify_failures_total", "counter", "Messages and pings that could not be sent."),
)
METRICS = {each.name: each for each in _LIST}
"""By the name."""
