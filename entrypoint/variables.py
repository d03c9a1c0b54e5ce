"""Every variable that can be set, declared once.

The parser, the README's table, `doctor` and the check for misspelt names derive from this table.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple, re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


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
    mixed: bool = False
    """A part of the value may be a secret, at the latest where it is malformed."""

    @property
    def hidden(self) -> bool:
        """Whether no message repeats the value; a file may be the wrong one, so what it holds never is."""
        return self.secret or self.mixed or self.from_file


LOG_LEVELS = ("info", "debug")

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
        mixed=True,  # ldapbindpasswd
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
        "Password that psql uses during the first start; in the running server's environment only where "
        "`POSTGRES_ENVIRONMENT` names it.",
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
        "`restart` (move what is there to `$PGDATA/unfinished-<time>/` and begin anew).",
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
        "POSTGRES_ENVIRONMENT",
        "",
        "Names of further variables for the server's environment, parted by spaces; `APP_*` is a family. "
        "With an archive it gets only what PostgreSQL and its libraries read; PGPASSWORD only by its name.",
        mixed=True,  # a value in the name's place
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
        mixed=True,
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
        "What happens where another server has gone on in the archive: `refuse` (a restored copy archives "
        "nothing, an old primary does not start), `confirm` (the other one is gone for good, and this one "
        "takes its place; for one start) or `readonly` (an old primary starts read-only, to look at it).",
    ),
    Variable(
        "ARCHIVE_FORK_INTERVAL",
        "30",
        "Seconds between two looks of a primary into the archive, whether another server was promoted.",
    ),
    Variable(
        "BACKUP_SCHEDULE",
        "",
        "When base backups are taken, in cron's syntax, for example `0 3 * * *` or `@daily`. The first one "
        "is taken right after the first start; what was missed meanwhile is caught up once.",
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
        "BACKUP_VERIFY_PERIOD",
        "30",
        "Days in which the whole archive is read once by `BACKUP_VERIFY=content`: after each backup what is "
        "new, and a slice of the rest.",
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
        mixed=True,
        from_file=True,
    ),
    Variable(
        "RESTORE_ARCHIVE_TOOL",
        "as `ARCHIVE_TOOL`",
        "The tool of that archive; the variables of one tool with `RESTORE_` before them decide too.",
    ),
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


def said(name: str, value: str) -> str:
    """Return a variable with its value for a message, or its name alone where that may hold a secret.

    >>> said("STANDBY", "maybe"), said("ARCHIVE_URL", "s3://key:secret@bucket")
    ('STANDBY=maybe', 'ARCHIVE_URL')
    """
    declared = ALL.get(name)
    return name if declared is None or declared.hidden else f"{name}={value}"


CONF_PREFIX = "POSTGRES_CONF_"
"""`POSTGRES_CONF_<setting>` sets a server setting."""

OUR_GROUPS = ("BACKUP_", "RESTORE_", "STANDBY_", "STOP_", "COLLATION_", "STATUS_", "DRILL_")
"""A name of these groups that is nearly one of ours is an error; others belong to somebody else's script."""

INJECTED = re.compile(r"(?s)[A-Z]+_NAME|.*_(SERVICE_(HOST|PORT).*|PORT|PORT_\d+_(TCP|UDP|SCTP).*|ENV_.*)")
"""What Kubernetes (service links) and Docker (`--link`) put into the environment for a service that
happens to be called `archive` or `backup`."""

_FOR_THE_SERVER = frozenset(
    """
    PATH HOME USER LOGNAME SHELL HOSTNAME TERM TMPDIR container NOTIFY_SOCKET
    TZ TZDIR LANG LANGUAGE LOCPATH LOCALE_ARCHIVE LOCALE_ARCHIVE_2_27 ICU_DATA ICU_TIMEZONE_FILES_DIR
    GLIBC_TUNABLES GCONV_PATH RES_OPTIONS LOCALDOMAIN HOSTALIASES
    PGDATA PG_MAJOR PG_VERSION PG_GRANDPARENT_PID PG_OOM_ADJUST_FILE PG_OOM_ADJUST_VALUE PG_COLOR
    GOSU_VERSION
    PGAPPNAME PGCHANNELBINDING PGCLIENTENCODING PGCONNECT_TIMEOUT PGDATABASE PGDATESTYLE PGGEQO
    PGGSSDELEGATION PGGSSENCMODE PGGSSLIB PGHOST PGHOSTADDR PGKRBSRVNAME PGLOADBALANCEHOSTS PGLOCALEDIR
    PGMAXPROTOCOLVERSION PGMINPROTOCOLVERSION PGOPTIONS PGPASSFILE PGPORT PGREQUIREAUTH PGREQUIREPEER
    PGREQUIRESSL PGSERVICE PGSERVICEFILE PGSSLCERT PGSSLCERTMODE PGSSLCOMPRESSION PGSSLCRL PGSSLCRLDIR
    PGSSLKEY PGSSLMAXPROTOCOLVERSION PGSSLMINPROTOCOLVERSION PGSSLMODE PGSSLNEGOTIATION PGSSLROOTCERT
    PGSSLSNI PGSYSCONFDIR PGTARGETSESSIONATTRS PGTZ PGUSER
    SSL_CERT_FILE SSL_CERT_DIR NIX_SSL_CERT_FILE OPENSSL_CONF OPENSSL_MODULES OPENSSL_ENGINES CURL_CA_BUNDLE
    LDAPCONF LDAPRC LDAPNOINIT
    TCLLIBPATH TCL_LIBRARY CLASSPATH JAVA_HOME LUA_PATH LUA_CPATH NODE_PATH JULIA_PROJECT JULIA_DEPOT_PATH
    GDAL_DATA GDAL_DRIVER_PATH GDAL_CACHEMAX GDAL_NUM_THREADS
    ORACLE_HOME ORACLE_BASE ORACLE_SID TNS_ADMIN ODBCINI ODBCSYSINI ODBCINSTINI FREETDS FREETDSCONF TDSVER
    """.split()
)
"""What PostgreSQL, libpq, the C library and the libraries of well-known extensions and languages read."""
_FAMILIES_FOR_THE_SERVER = (
    "LC_",
    "LD_",
    "MALLOC_",
    "KRB5",
    "LDAPTLS_",
    "NSS_WRAPPER_",
    "PERL",
    "PYTHON",
    "R_",
    "PLJAVA_",
    "POSTGIS_",
    "PROJ_",
    "NLS_",
    "OMP_",
    "CUDA_",
    "NVIDIA_",
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy")
_NEVER_FOR_THE_SERVER = ("POSTGRES_", "ARCHIVE_", "RESTORE_", "STANDBY_", "ENTRYPOINT_")


def is_for_server(name: str, value: str, asked: Sequence[str], *, all_else: bool) -> bool:
    """Tell whether the server's environment is to have a variable.

    `asked` are the names, and beginnings of names with a `*`, of POSTGRES_ENVIRONMENT. `all_else`: nothing
    of ours needs secrets in the container's environment, so that all of it is the server's, as in the
    official image, but for what the start alone is told.
    """
    if name.startswith(_NEVER_FOR_THE_SERVER):
        return False
    if name in asked:
        return True
    if name == "PGPASSWORD":
        return False
    if all_else or any(each[-1] == "*" and name.startswith(each[:-1]) for each in asked):
        return True
    if name.lower() in _PROXIES:
        return "@" not in value
    return name in _FOR_THE_SERVER or name.startswith(_FAMILIES_FOR_THE_SERVER)
