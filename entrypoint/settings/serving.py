"""How the server runs: its own settings, its environment, and how it is stopped; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.light import NamedTuple
from entrypoint.settings.fields import INJECTED, Variable, choice, is_slip, is_whole, seconds
from entrypoint.shown import BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final, Literal

    from entrypoint.settings.archiving import Archive

    Policy = Literal["refuse", "warn", "reindex"]
    """What to do if text sorts differently from when it was indexed."""
    WhenFull = Literal["readonly", "wait", "drop"]
    """What to do when a filesystem of the server is about to be full."""


LOG_LEVELS = ("info", "debug")
LOG_FORMAT = "STATUS_LOG_FORMAT"
JSON = "json"

SLOT_LIMIT = "SLOT_WAL_LIMIT"
SLOT_SETTING = "max_slot_wal_keep_size"
"""What SLOT_LIMIT sets."""

SERVER = (
    Variable(
        "POSTGRES_NO_NEW_PRIVILEGES",
        "off",
        "`on`: setuid programs and file capabilities grant no privileges to the server and everything else "
        "that the entrypoint starts (no_new_privs). An init file that calls sudo needs `off`.",
    ),
    Variable(
        "POSTGRES_ENVIRONMENT",
        "",
        "Names of further variables for the server's environment, separated by spaces; `APP_*` stands for "
        "all names with that beginning. With an archive the server gets only the variables that PostgreSQL "
        "and its libraries read, and those named here. It gets PGPASSWORD only if it is named here in full.",
        mixed=True,  # somebody may write a value in place of a name
    ),
    Variable(
        "POSTGRES_TUNE",
        "off",
        "`auto`: the memory, worker and WAL settings that nobody has set follow the container's memory and "
        "CPU limits; `entrypoint config show` shows the values and the reasons.",
    ),
    Variable(
        "STATUS_LOG_LEVEL",
        "info",
        "Log level: `info`, or `debug`, which also logs every signal and every reaped orphan.",
    ),
    Variable(
        LOG_FORMAT,
        "text",
        "Format of the container's log: `text`, or `json`, which makes every message one object in one line, "
        "also those of the server and of init files.",
    ),
)

DROP: Final = "drop"
"""The value of ARCHIVE_WHEN_FULL that gives WAL up."""

POLICIES = (
    Variable(
        "COLLATION_POLICY",
        "warn",
        "What a start does if text sorts differently from when the indexes were built: `warn` (list the "
        "indexes), `refuse` (do not start), or `reindex` (rebuild them before anybody can connect).",
    ),
    Variable(
        "ARCHIVE_WHEN_FULL",
        "readonly",
        "What happens when the disk is about to be full: `readonly` (transactions become read-only until "
        "there is space again), `wait` (nothing; PostgreSQL ends with PANIC when no WAL fits), or "
        "`drop` (WAL that cannot be archived is given up: the archive has a gap, a full backup follows).",
    ),
    Variable(
        SLOT_LIMIT,
        "",
        "The most WAL that replication slots may hold, for example `10GB`. A slot that falls further behind "
        "loses WAL that its reader needs, and the reader has to be built again. Unset: no limit.",
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
_ALL = {each.name: each for each in SERVER + POLICIES}

CONF_PREFIX = "POSTGRES_CONF_"
"""`POSTGRES_CONF_<setting>` sets a server setting."""

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
"""Variables that PostgreSQL, libpq, the C library and well-known extensions and languages read."""
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

_SETTINGS = frozenset(
    """
    autovacuum bonjour datestyle fsync geqo intervalstyle jit port role seed ssl timezone xmlbinary xmloption
    include include_dir data_directory log_directory stats_temp_directory config_file hba_file ident_file
    external_pid_file krb_server_keyfile promote_trigger_file ssl_ca_file ssl_cert_file ssl_crl_file
    ssl_crl_dir ssl_dh_params_file ssl_key_file dynamic_library_path extension_control_path search_path
    application_name bonjour_name cluster_name primary_slot_name recovery_target_name
    """.split()
)
"""The settings of PostgreSQL 14 to 18 that are one word, or that end with one of `_PLACES`."""
_PLACES = ("dir", "directory", "file", "folder", "mount", "name", "path", "src", "url", "volume")
"""Last words of other programs' variables for a file, a folder or an address."""
_SHORTEST = 3
"""Minimum length of a name that is taken for another program's, unless the value is a path."""


class Stop(NamedTuple):
    """Seconds that each step of the shutdown may take."""

    smart: int
    fast: int
    immediate: int


class Serving(NamedTuple):
    """How the server runs."""

    tune: bool
    """Memory, worker and WAL settings follow the container's limits."""
    collation_policy: Policy
    stop: Stop
    no_new_privileges: bool
    debug: bool
    json_log: bool
    when_full: WhenFull
    handed_on: tuple[str, ...]
    """Names of variables for the server's environment; with `*` at the end, the beginning of names."""


def parse(values: Mapping[str, str]) -> tuple[Serving, list[Problem]]:
    """Return how the server runs, and the problems with that."""
    problems: list[Problem] = []
    tune = choice(values, _ALL["POSTGRES_TUNE"], ("off", "auto"), problems) == "auto"
    policy: Policy = choice(values, _ALL["COLLATION_POLICY"], ("refuse", "warn", "reindex"), problems)
    stop = Stop(
        smart=seconds(values, _ALL["STOP_SMART_TIMEOUT"], problems),
        fast=seconds(values, _ALL["STOP_FAST_TIMEOUT"], problems),
        immediate=seconds(values, _ALL["STOP_IMMEDIATE_TIMEOUT"], problems),
    )
    no_new_privileges = choice(values, _ALL["POSTGRES_NO_NEW_PRIVILEGES"], ("off", "on"), problems) == "on"
    debug = choice(values, _ALL["STATUS_LOG_LEVEL"], LOG_LEVELS, problems) == "debug"
    json_log = choice(values, _ALL[LOG_FORMAT], ("text", JSON), problems) == JSON
    when_full: WhenFull = choice(values, _ALL["ARCHIVE_WHEN_FULL"], ("readonly", "wait", DROP), problems)
    handed_on = _handed_on(values, problems)
    return Serving(tune, policy, stop, no_new_privileges, debug, json_log, when_full, handed_on), problems


def parse_conf(
    values: Mapping[str, str], archive: Archive | None, source: Archive | None
) -> tuple[dict[str, str], list[Problem]]:
    """Return the server settings of POSTGRES_CONF_*, and the problems with them."""
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for name, value in values.items():
        given = name.removeprefix(CONF_PREFIX)
        if given == name or is_injected(name, value) or conf_doubt(name, value) is not None:
            continue
        # A shell cannot export a name with a dot in it, and no setting has two underscores in a row.
        setting = given.lower().replace("__", ".")
        parts = setting.split(".")
        if len(parts) > 2 or not all(part.isascii() and part.isidentifier() for part in parts):
            problems.append(
                Problem(
                    f"{name} is not the name of a server setting",
                    f"correct or remove {name}",
                    docs="configure-the-server",
                )
            )
        elif (hint := _instead(setting, value, values, archive, source)) is not None:
            problems.append(Problem(f"{name} cannot be set by a variable", hint, docs="configure-the-server"))
        elif "\n" in value or "\r" in value:
            problems.append(Problem(f"{name} contains a line break", f"remove the line break from {name}"))
        elif setting == "primary_conninfo" and (wrong := _conninfo_problem(name, value)) is not None:
            problems.append(wrong)
        elif setting in found:
            problems.append(Problem(f"{name} sets {setting} a second time", f"remove {name}"))
        else:
            found[setting] = value
    return {**found, **_slot_limit(values, problems)}, problems


def _slot_limit(values: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    """Return the setting for SLOT_WAL_LIMIT: a whole number with a unit, as PostgreSQL writes sizes.

    >>> _slot_limit({"SLOT_WAL_LIMIT": "10GB"}, []), _slot_limit({}, [])
    ({'max_slot_wal_keep_size': '10240MB'}, {})
    """
    text = values.get(SLOT_LIMIT, "").strip()
    number, unit = text[:-2].strip(), text[-2:]
    if not text:
        return {}
    if unit in ("MB", "GB", "TB") and is_whole(number, 9) and int(number):
        megabytes = int(number) * BYTES[unit] // BYTES["MB"]
        if megabytes < 2**31:
            return {SLOT_SETTING: f"{megabytes}MB"}
    what = f"{SLOT_LIMIT}={text} is not a size above 0 in MB, GB or TB"
    problems.append(
        Problem(what, f"give a size, for example {SLOT_LIMIT}=10GB, or remove it", docs="when-the-disk-fills")
    )
    return {}


def variable_of(setting: str, values: Mapping[str, str]) -> str:
    """Return the variable that has set a setting of `parse_conf`."""
    return SLOT_LIMIT if setting == SLOT_SETTING and values.get(SLOT_LIMIT) else CONF_PREFIX + setting


_INSTEAD = {
    "config_file": "pass -c config_file=… instead",
    "data_directory": "set PGDATA instead",
    **dict.fromkeys(
        ("include", "include_dir", "include_if_exists"), "put the file into /docker-entrypoint-conf.d instead"
    ),
}


def _instead(
    setting: str, value: str, values: Mapping[str, str], archive: Archive | None, source: Archive | None
) -> str | None:
    """Return what to do instead, if a setting must not be set by POSTGRES_CONF_*."""
    if setting in _INSTEAD:
        return _INSTEAD[setting]
    if setting == SLOT_SETTING and values.get(SLOT_LIMIT):
        return f"remove it, or {SLOT_LIMIT}, which sets the same"
    if archive is not None and not archive.by_user and archive.asked:
        if setting == "archive_timeout":
            return "set ARCHIVE_TIMEOUT instead"
        if setting in ("archive_command", "archive_library") or (setting, value) in (
            ("archive_mode", "off"),
            ("wal_level", "minimal"),
        ):
            return f"remove it, or remove {archive.asked}: with that set, the entrypoint archives"
    if source is not None and setting == "restore_command":
        return "remove it: a restore from the archive sets its own restore_command"
    if values.get("RESTORE_FROM") and setting.startswith("recovery_target"):
        return f"set {setting.upper().replace('RECOVERY', 'RESTORE')} instead"
    following = {"primary_conninfo": "STANDBY_PRIMARY_CONNINFO", "primary_slot_name": "STANDBY_SLOT"}
    if values.get("STANDBY") == "on" and setting in following:
        return f"set {following[setting]} instead"
    return None


def _conninfo_problem(name: str, value: str) -> Problem | None:
    from entrypoint.settings.following import conninfo_problem

    return conninfo_problem(name, value)


def is_injected(name: str, value: str) -> bool:
    """Return whether a container engine has set this variable, for a service with a name like ours.

    >>> is_injected("POSTGRES_CONF_PORT", "tcp://10.0.0.1:5432"), is_injected("POSTGRES_CONF_PORT", "5433")
    (True, False)
    """
    given = name.removeprefix(CONF_PREFIX)
    is_setting = given == "PORT" or "__" in given
    return INJECTED.fullmatch(name) is not None and ("://" in value or not is_setting)


def conf_doubt(name: str, value: str) -> Problem | None:
    """Return the warning for a POSTGRES_CONF_* that is not a setting but another program's file or folder."""
    given = name.removeprefix(CONF_PREFIX)
    setting, last = given.lower(), given.lower().rpartition("_")[2]
    if given == name or not given.isupper() or "__" in given:
        return None
    if len(given) < _SHORTEST and not value.startswith("/"):
        return None
    if setting in _SETTINGS or is_injected(name, value) or any(is_slip(setting, each) for each in _SETTINGS):
        return None
    if "_" in setting and last not in _PLACES:
        return None
    return Problem(
        f"{name} has no effect: the server has no setting {setting}",
        f"use the setting's own name, for example {CONF_PREFIX}work_mem=64MB",
        docs="configure-the-server",
    )


def _handed_on(values: Mapping[str, str], problems: list[Problem]) -> tuple[str, ...]:
    names = tuple(values.get("POSTGRES_ENVIRONMENT", "").replace(",", " ").split())
    if not all(each == "*" or each.removesuffix("*").isidentifier() for each in names):
        problems.append(
            Problem(
                "POSTGRES_ENVIRONMENT contains a word that is not the name of a variable",
                "give names without values, separated by spaces, for example POSTGRES_ENVIRONMENT='TZ APP_*'",
                docs="handle-secrets",
            )
        )
    return names


def is_for_server(name: str, value: str, asked: Sequence[str], *, all_else: bool) -> bool:
    """Return whether the server gets a variable in its environment.

    `asked` are the names, and beginnings of names with a `*`, in POSTGRES_ENVIRONMENT. `all_else`: the
    container's environment holds no secrets for us, so the server gets all of it, as in the official image,
    except the variables that are only for the start.
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
