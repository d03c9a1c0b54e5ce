"""Every variable that can be set, declared once.

The parser, the README's table, `doctor` and the check for misspelt names derive from this table.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple, re


class Variable(NamedTuple):
    """One environment variable."""

    name: str
    default: str
    """As shown to people; empty means unset."""
    doc: str
    """What it does, in one or two sentences of Markdown."""
    secret: bool = False
    from_file: bool = False
    """`NAME_FILE` may name a file that holds the value."""


OFFICIAL = (
    Variable(
        "POSTGRES_PASSWORD",
        "",
        "Password of the superuser; needed on an empty volume unless the method is `trust`.",
        secret=True,
        from_file=True,
    ),
    Variable("POSTGRES_USER", "postgres", "Name of the superuser that initdb makes.", from_file=True),
    Variable(
        "POSTGRES_DB",
        "value of `POSTGRES_USER`",
        "Database to create on an empty volume.",
        from_file=True,
    ),
    Variable(
        "POSTGRES_INITDB_ARGS",
        "",
        "Arguments for initdb, evaluated as a shell would.",
        from_file=True,
    ),
    Variable("POSTGRES_INITDB_WALDIR", "", "Folder for the write-ahead log, outside `PGDATA`."),
    Variable(
        "POSTGRES_HOST_AUTH_METHOD",
        "the server's `password_encryption`",
        "Method of the `host all all all` line in pg_hba.conf; `trust` needs no password.",
    ),
    Variable("PGDATA", "set by the image", "The data folder."),
    Variable("PGPORT", "5432", "Port of the server, also during the first start."),
    Variable(
        "PGUSER",
        "",
        "libpq's variable, handed on to init files and to the server's environment.",
    ),
    Variable(
        "PGPASSWORD",
        "value of `POSTGRES_PASSWORD`",
        "Password that psql uses during the first start; never in the running server's environment.",
        secret=True,
    ),
    Variable(
        "PGCTLTIMEOUT",
        "60",
        "Seconds to wait for the temporary server of a first start to come up and to go down.",
    ),
)

OURS = (
    Variable(
        "POSTGRES_INIT_UNFINISHED",
        "refuse",
        "What to do when an init file of an earlier first start failed or was killed: `refuse`, or "
        "`restart` (move what is there to `$PGDATA/.unfinished-<time>/` and begin anew).",
    ),
    Variable(
        "POSTGRES_PASSWORD_UPDATE",
        "off",
        "`on`: make `POSTGRES_PASSWORD` the superuser's password at each start where it is not. `off`: warn.",
    ),
    Variable(
        "POSTGRES_EXTENSIONS",
        "",
        "Extensions that `POSTGRES_DB` and template1 are to have, parted by commas or spaces. Created where "
        "they are missing, before init files and at every start.",
    ),
    Variable(
        "POSTGRES_EXTENSIONS_UPDATE",
        "off",
        "`on`: at every start update all extensions of all databases to the version that the image brings.",
    ),
    Variable(
        "POSTGRES_NO_NEW_PRIVILEGES",
        "off",
        "`on`: setuid programs and file capabilities have no power below the entrypoint (no_new_privs). "
        "An init file that calls sudo needs `off`.",
    ),
    Variable(
        "POSTGRES_TUNE",
        "off",
        "`auto`: memory, workers and WAL settings follow the container's limits of memory and CPU, wherever "
        "nobody has set them; `entrypoint config show` tells the numbers and why.",
    ),
    Variable(
        "STATUS_LOG_LEVEL",
        "info",
        "`debug` also logs every signal and every reaped orphan.",
    ),
    Variable(
        "ARCHIVE_URL",
        "",
        "Turns WAL archiving on: `file:///folder` or `s3://bucket/prefix`.",
        from_file=True,
    ),
    Variable(
        "ARCHIVE_TOOL",
        "the tool whose own settings are there, else wal-g where the image has it, else pgbackrest",
        "`wal-g` or `pgbackrest`.",
    ),
    Variable(
        "ARCHIVE_TIMEOUT",
        "60",
        "A segment is archived at the latest after this time: seconds, or with PostgreSQL's units.",
    ),
    Variable(
        "ARCHIVE_COMMAND_TIMEOUT",
        "300",
        "Seconds after which one archiver call for one segment is ended and tried again; segments then go "
        "out one by one for ten minutes. A recovery waits so long for a storage that is away.",
    ),
    Variable(
        "ARCHIVE_UPGRADED_FROM",
        "",
        "After pg_upgrade: the old cluster's system identifier, so that its archive is gone on with. "
        "pgBackRest only; may stay set.",
    ),
    Variable(
        "ARCHIVE_FORK",
        "refuse",
        "Whether a restored cluster writes into an archive in which another one has gone on since: `refuse`, "
        "or `confirm` (the other one is gone for good, and this one takes its place).",
    ),
    Variable(
        "BACKUP_SCHEDULE",
        "",
        "When base backups are taken, in cron's syntax, for example `0 3 * * *`. The first one is taken "
        "right after the first start; what was missed meanwhile is caught up once.",
    ),
    Variable("BACKUP_TIMEZONE", "UTC", "Time zone of `BACKUP_SCHEDULE`, for example `Europe/Berlin`."),
    Variable(
        "BACKUP_JITTER",
        "0",
        "Seconds by which a scheduled backup is late at most; always the same for one cluster and one time.",
    ),
    Variable(
        "BACKUP_INCREMENTALS",
        "0",
        "How many incremental backups follow each full one of the schedule.",
    ),
    Variable(
        "BACKUP_RETAIN_FULL",
        "",
        "Keep so many full backups that restore, with their incremental ones and all WAL since.",
    ),
    Variable(
        "BACKUP_RETAIN_DAYS",
        "",
        "Keep what restores any moment of so many days. With neither this nor `BACKUP_RETAIN_FULL` nothing "
        "is ever removed; with both, what either keeps is kept.",
    ),
    Variable("BACKUP_TIMEOUT", "86400", "Seconds after which a backup is ended and counts as failed."),
    Variable(
        "BACKUP_RATE_LIMIT",
        "",
        "Bytes per second that a backup reads at most: a number, or with kB, MB or GB. wal-g only.",
    ),
    Variable(
        "BACKUP_VERIFY",
        "content",
        "What is verified after each backup: `content`, or `names` (no segment is missing; nothing is read).",
    ),
    Variable(
        "DRILL_SCHEDULE",
        "",
        "When the newest backup is restored into `DRILL_FOLDER`, checked and thrown away, in cron's syntax "
        "and in `BACKUP_TIMEZONE`, for example `0 5 * * 0`.",
    ),
    Variable(
        "DRILL_FOLDER",
        "/var/lib/postgresql/drill",
        "Where drills restore to: outside `PGDATA`, with room for the whole database.",
    ),
    Variable(
        "RESTORE_FROM",
        "",
        "On an empty volume: restore this backup, a name or `LATEST` (the newest that fits), and replay the "
        "archive to the target. A volume that holds a database is simply started.",
    ),
    Variable(
        "RESTORE_TARGET_TIME",
        "",
        "Restore up to this time: ISO 8601, UTC where it has no offset, or `10 minutes ago` (seconds, "
        "minutes, hours, days). At most one target; with none up to the end of the archive.",
    ),
    Variable(
        "RESTORE_TARGET_NAME", "", "Restore up to this restore point, made by `pg_create_restore_point()`."
    ),
    Variable("RESTORE_TARGET_LSN", "", "Restore up to this LSN, for example `0/3000060`."),
    Variable("RESTORE_TARGET_XID", "", "Restore up to this transaction."),
    Variable("RESTORE_TARGET", "", "`immediate`: restore up to the end of the base backup."),
    Variable(
        "RESTORE_TARGET_INCLUSIVE",
        "on",
        "`off`: stop right before the target (time, LSN or transaction), not right after it.",
    ),
    Variable(
        "RESTORE_TARGET_TIMELINE", "latest", "`latest`, `current` (the backup's), or a timeline's number."
    ),
    Variable(
        "RESTORE_TARGET_ACTION",
        "promote",
        "What to do at the target: `promote`, `pause` (serve read-only until it is promoted), or `shutdown`.",
    ),
    Variable(
        "RESTORE_ARCHIVE_URL",
        "",
        "Restore from another archive than `ARCHIVE_URL`. Any variable of the archive can be given for it "
        "with `RESTORE_` before its name, for example `RESTORE_AWS_ACCESS_KEY_ID`.",
        from_file=True,
    ),
    Variable("RESTORE_ARCHIVE_TOOL", "as `ARCHIVE_TOOL`", "The tool of that archive."),
    Variable(
        "STANDBY",
        "off",
        "`on`: be a standby. On an empty volume it is built from the newest base backup of the archive "
        "(`RESTORE_FROM` may name another). May stay set: a cluster that was promoted stays a primary.",
    ),
    Variable(
        "STANDBY_PRIMARY_CONNINFO",
        "",
        "The standby also follows by streaming from this primary, in libpq's form, for example "
        "`host=db1 user=replicator password=…`; without it by the archive alone.",
        secret=True,
        from_file=True,
    ),
    Variable("STANDBY_SLOT", "", "Replication slot on the primary, which must exist there."),
    Variable(
        "COLLATION_POLICY",
        "warn",
        "What a start does when text sorts otherwise than when the indexes were built: `warn` with a list, "
        "`refuse`, or `reindex` before anybody can connect.",
    ),
    Variable(
        "STOP_SMART_TIMEOUT",
        "5",
        "Seconds that a smart shutdown (SIGTERM) may take before it becomes a fast one.",
    ),
    Variable(
        "STOP_FAST_TIMEOUT",
        "60",
        "Seconds that a fast shutdown (SIGINT) may take before it becomes an immediate one.",
    ),
    Variable(
        "STOP_IMMEDIATE_TIMEOUT",
        "10",
        "Seconds that an immediate shutdown (SIGQUIT) may take before the server is killed.",
    ),
)

ALL = {variable.name: variable for variable in OFFICIAL + OURS}

CONF_PREFIX = "POSTGRES_CONF_"
"""`POSTGRES_CONF_<setting>` sets a server setting."""

STRICT_GROUPS = ("ARCHIVE_", "WALG_", "PGBACKREST_")
"""Any unknown name of these groups is an error."""
OUR_GROUPS = ("BACKUP_", "RESTORE_", "STANDBY_", "STOP_", "COLLATION_", "STATUS_", "DRILL_")
"""A name of these groups that is nearly one of ours is an error; others belong to somebody else's script."""

INJECTED = re.compile(r"(?s)[A-Z]+_NAME|.*_(SERVICE_(HOST|PORT).*|PORT|PORT_\d+_(TCP|UDP|SCTP).*|ENV_.*)")
"""What Kubernetes (service links) and Docker (`--link`) put into the environment for a service that
happens to be called `archive` or `backup`."""
