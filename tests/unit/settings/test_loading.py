"""The settings, typed and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.archivers.pgbackrest import PgBackRest
from entrypoint.archivers.terms import Storage
from entrypoint.archivers.walg import WalG
from entrypoint.settings import backing_up, loading, rehearsing, serving, variables
from entrypoint.settings.restoring import Request
from entrypoint.settings.serving import Stop
from entrypoint.settings.starting import Init
from entrypoint.settings.values import Backups, Drills
from unit import made

URL = "file:///archive"
ARCHIVED = {"ARCHIVE_URL": URL}
ONLY_PGBACKREST = {"wal-g": False, "pgbackrest": True}
ONLY_WALG = {"wal-g": True, "pgbackrest": False}
NEITHER = {"wal-g": False, "pgbackrest": False}


def _problems(
    values: Mapping[str, str], arguments: Sequence[str] = (), programs: Mapping[str, bool] = made.BOTH
) -> list[str]:
    found = made.load(values, arguments, programs)[1]
    assert [] == [problem for problem in found if not problem.hint or problem.code != 1]
    return [problem.what for problem in found]


def test_defaults() -> None:
    """With a password and a data folder, everything else is as in the official image."""
    found = made.settings()
    expected = Init("postgres", "secret", "postgres", "", None, "", restart_unfinished=False)
    assert expected == found.init
    assert ("/data", "5432", 60, None, None, {}) == (
        found.data_folder,
        found.port,
        found.server_timeout,
        found.archive,
        found.restore,
        found.conf,
    )


def test_each_step_of_a_stop_has_its_own_time() -> None:
    """The three steps of the shutdown have three timeouts."""
    assert Stop(5, 60, 10) == made.settings().serving.stop
    values = {"STOP_SMART_TIMEOUT": "0", "STOP_FAST_TIMEOUT": "1", "STOP_IMMEDIATE_TIMEOUT": "0002"}
    assert Stop(0, 1, 2) == made.settings(values).serving.stop


def test_the_database_has_the_name_of_its_user() -> None:
    """POSTGRES_DB is POSTGRES_USER unless it is set; an empty variable is not set."""
    assert "app" == made.settings({"POSTGRES_USER": "app", "POSTGRES_DB": ""}).init.database
    assert "db" == made.settings({"POSTGRES_USER": "app", "POSTGRES_DB": "db"}).init.database
    assert "postgres" == made.settings({"POSTGRES_USER": ""}).init.user


def test_first_start_settings() -> None:
    """The values for initdb and pg_hba.conf are taken unchanged."""
    values = {
        "POSTGRES_INITDB_ARGS": "--data-checksums -A 'x y'",
        "POSTGRES_INITDB_WALDIR": "/wal",
        "POSTGRES_HOST_AUTH_METHOD": "ident map=x",
        "POSTGRES_INIT_UNFINISHED": "restart",
        "PGPORT": "6000",
        "PGCTLTIMEOUT": "600",
    }
    found = made.settings(values)
    expected = Init(
        "postgres",
        "secret",
        "postgres",
        "--data-checksums -A 'x y'",
        "/wal",
        "ident map=x",
        restart_unfinished=True,
    )
    assert (expected, "6000", 600) == (found.init, found.port, found.server_timeout)


@pytest.mark.parametrize("path", ["/data/", "/data//"])
def test_a_trailing_slash_means_nothing(path: str) -> None:
    """The data folder has only one name, so that comparisons are right."""
    assert "/data" == made.settings({"PGDATA": path}).data_folder


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"PGDATA": ""}, "PGDATA is empty"),
        ({"PGDATA": "data"}, "PGDATA=data is not an absolute path"),
        ({"POSTGRES_INITDB_WALDIR": "wal"}, "POSTGRES_INITDB_WALDIR=wal is not an absolute path"),
        ({"POSTGRES_INIT_UNFINISHED": "ignore"}, "POSTGRES_INIT_UNFINISHED=ignore is not a valid value"),
        ({**ARCHIVED, "STOP_FAST_TIMEOUT": "1m"}, "STOP_FAST_TIMEOUT=1m is not a whole number of seconds"),
        ({**ARCHIVED, "STOP_SMART_TIMEOUT": "-1"}, "STOP_SMART_TIMEOUT=-1 is not a whole number of seconds"),
        (
            {**ARCHIVED, "STOP_IMMEDIATE_TIMEOUT": "٣"},
            "STOP_IMMEDIATE_TIMEOUT=٣ is not a whole number of seconds",
        ),
        ({"PGCTLTIMEOUT": " 60"}, "PGCTLTIMEOUT= 60 is not a whole number of seconds"),
        (
            {"ARCHIVE_URL": URL, "ARCHIVE_COMMAND_TIMEOUT": "x"},
            "ARCHIVE_COMMAND_TIMEOUT=x is not a whole number of seconds",
        ),
        (
            {"ARCHIVE_URL": URL, "ARCHIVE_TOOL": "pgbackrest", "ARCHIVE_UPGRADED_FROM": "1x"},
            "ARCHIVE_UPGRADED_FROM=1x is not a system identifier",
        ),
        ({"ARCHIVE_URL": URL, "ARCHIVE_TIMEOUT": "soon"}, "ARCHIVE_TIMEOUT=soon is not a time"),
        ({"ARCHIVE_URL": URL, "ARCHIVE_TIMEOUT": "60\n"}, "ARCHIVE_TIMEOUT=60\n is not a time"),
        ({"RESTORE_FROM": "LATEST"}, "RESTORE_FROM=LATEST is set, but there is no archive to restore from"),
        ({**ARCHIVED, "STANDBY": "maybe"}, "STANDBY=maybe is not a valid value"),
        ({"STANDBY": "on"}, "STANDBY=on is set, but neither an archive nor a primary to follow"),
        (
            {"STANDBY_PRIMARY_CONNINFO": "host=db", "STANDBY_SLOT": "a"},
            "STANDBY_PRIMARY_CONNINFO, STANDBY_SLOT are set, but STANDBY is off",
        ),
        (
            {
                "STANDBY": "on",
                "ARCHIVE_URL": URL,
                "RESTORE_TARGET_XID": "7",
                "RESTORE_TARGET_ACTION": "pause",
            },
            (
                "STANDBY=on contradicts RESTORE_TARGET_ACTION, RESTORE_TARGET_XID: a standby never stops "
                "at a target"
            ),
        ),
        (
            {"STANDBY": "on", "ARCHIVE_URL": URL, "STANDBY_SLOT": "a"},
            "STANDBY_SLOT is for streaming, but STANDBY_PRIMARY_CONNINFO is not set",
        ),
        (
            {"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": "host=db", "STANDBY_SLOT": "My-Slot"},
            "STANDBY_SLOT=My-Slot is not the name of a replication slot",
        ),
        (
            {"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": "host=db\npassword=geheim"},
            "STANDBY_PRIMARY_CONNINFO contains a line break",
        ),
        (
            {"STANDBY": "on", "ARCHIVE_URL": "x"},
            "ARCHIVE_URL is malformed: it begins with neither file:/// nor s3://",
        ),
        (
            {"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": "host=db password='geheim"},
            (
                "STANDBY_PRIMARY_CONNINFO is not a connection string: a part of it is not name=value, or it lacks "
                "a closing quote"
            ),
        ),
        (
            {"POSTGRES_CONF_primary_conninfo": "postgres://me:ge/heim@db"},
            (
                "POSTGRES_CONF_primary_conninfo is not a connection string: it is not a valid URI; write %40 for @ "
                "and %2F for / in a user, password or name"
            ),
        ),
        (
            {"NOTIFY_URLS": "ntfy://ntfy.sh/topic Syslog://"},
            "NOTIFY_URLS: entry 2 of 2 is for Syslog on this machine, and a container has none",
        ),
    ],
)
def test_a_bad_value_is_reported(values: dict[str, str], expected: str) -> None:
    """The problem names the variable and its value, and has a hint."""
    assert [expected] == _problems(values)


@pytest.mark.parametrize("text", ["60", "0", "500ms", "2min", "1 h", "1d", "5s", "7us"])
def test_archive_timeout_takes_postgresqls_units(text: str) -> None:
    """ARCHIVE_TIMEOUT is a PostgreSQL setting and may be written like one."""
    archive = made.settings({"ARCHIVE_URL": URL, "ARCHIVE_TIMEOUT": text}).archive
    assert archive is not None
    assert text == archive.timeout


def test_all_mistakes_are_found_at_once() -> None:
    """Nobody has to start several times to learn of several mistakes."""
    values = {
        "PGDATA": "",
        "POSTGRES_INITDB_WALDIR": "x",
        "POSTGRES_INIT_UNFINISHED": "x",
        "POSTGRES_HOST_AUTH_METHOD": "x",
        "POSTGRES_CONF_": "x",
        "STOP_FAST_TIMEOUT": "x",
        "PGCTLTIMEOUT": "x",
        "ARCHIVE_URL": "x",
    }
    assert len(values) == len(_problems(values))


@pytest.mark.parametrize(
    "method",
    [
        "trust",
        "reject",
        "scram-sha-256",
        "md5",
        "password",
        "gss",
        "ident",
        "pam",
        "ident map=x",
        "md5 # x",
        '"md5"',
        "md5\nhost replication all all trust",
    ],
)
def test_methods_for_tcp(method: str) -> None:
    """Every method that PostgreSQL accepts in a `host` line is accepted, with its options."""
    assert method == made.settings({"POSTGRES_HOST_AUTH_METHOD": method}).init.auth_method


@pytest.mark.parametrize(
    "method",
    [
        *("scram", "TRUST", " ", "md5,trust", "none", "\nmd5", "'md5'"),
        # PostgreSQL 15: "only supported on local sockets", "only supported on hostssl connections"
        *("peer", "cert"),
        # "not supported by this build": these methods are for Windows and BSD
        *("sspi", "bsd"),
        "ldaps\tldapbindpasswd=geheim",
    ],
)
def test_no_method_for_tcp(method: str) -> None:
    """A method with which the server would not start is refused before anything is created."""
    expected = "POSTGRES_HOST_AUTH_METHOD is not an authentication method for TCP connections"
    assert [expected] == _problems({"POSTGRES_HOST_AUTH_METHOD": method})


def test_server_settings_by_variable() -> None:
    """POSTGRES_CONF_<setting> sets a server setting, in upper or lower case; the value may be empty."""
    values = {
        "POSTGRES_CONF_WORK_MEM": "4MB",
        "POSTGRES_CONF_pg_stat_statements.max": "1",
        "POSTGRES_CONF_log_line_prefix": "",
    }
    expected = {"work_mem": "4MB", "pg_stat_statements.max": "1", "log_line_prefix": ""}
    assert expected == made.settings(values).conf


@pytest.mark.parametrize(
    "setting",
    # `$` and a second dot are syntax errors in a configuration file (PostgreSQL 15)
    ["", "1x", "a-b", "a b", "a.b.c", "a.", ".a", "a=b", "wörk_mem", "x\n", "a$b", "a.b$"],
)
def test_no_name_of_a_server_setting(setting: str) -> None:
    """A name that cannot be in a configuration file is refused."""
    assert [f"POSTGRES_CONF_{setting} is not the name of a server setting"] == _problems(
        {f"POSTGRES_CONF_{setting}": "x"}
    )


@pytest.mark.parametrize(
    ("setting", "values", "hint"),
    [
        ("archive_timeout", {"ARCHIVE_URL": "file:///a"}, "ARCHIVE_TIMEOUT"),
        ("Archive_Command", {"ARCHIVE_URL": "file:///a"}, "ARCHIVE_URL"),
        ("restore_command", {"ARCHIVE_URL": "file:///a"}, "remove it"),
        (
            "recovery_target_time",
            {"ARCHIVE_URL": "file:///a", "RESTORE_FROM": "LATEST"},
            "RESTORE_TARGET_TIME",
        ),
        (
            "primary_conninfo",
            {"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": "host=a", "ARCHIVE_URL": "file:///a"},
            "STANDBY_PRIMARY_CONNINFO",
        ),
        ("include_dir", {}, "/docker-entrypoint-conf.d"),
        ("data_directory", {}, "PGDATA"),
        ("max_slot_wal_keep_size", {"SLOT_WAL_LIMIT": "1GB"}, "remove it, or SLOT_WAL_LIMIT"),
    ],
)
def test_a_setting_that_another_variable_owns(setting: str, values: dict[str, str], hint: str) -> None:
    """The hint names the variable to set instead."""
    _, problems = made.load({**values, f"POSTGRES_CONF_{setting}": "x"})
    assert [True] == [hint in problem.hint for problem in problems]


def test_settings_of_the_archive_are_free_without_one() -> None:
    """Without our archiving these settings are the user's; with it, harmless values are still accepted."""
    own = {"POSTGRES_CONF_archive_command": "true", "POSTGRES_CONF_restore_command": "x"}
    assert {"archive_command": "true", "restore_command": "x"} == made.settings(own).conf
    other = {"ARCHIVE_URL": "file:///a", "POSTGRES_CONF_archive_mode": "always"}
    assert {"archive_mode": "always"} == made.settings(other).conf


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10GB", "10240MB"), ("1 TB", "1048576MB"), ("64MB", "64MB"), (" 2GB ", "2048MB")],
)
def test_the_limit_of_slots_is_a_server_setting(text: str, expected: str) -> None:
    """SLOT_WAL_LIMIT is rendered like POSTGRES_CONF_max_slot_wal_keep_size."""
    found = made.settings({"SLOT_WAL_LIMIT": text})
    assert {"max_slot_wal_keep_size": expected} == found.conf
    assert "SLOT_WAL_LIMIT" == serving.variable_of("max_slot_wal_keep_size", found.values)


@pytest.mark.parametrize(
    "text", ["10", "0GB", "-1", "10G", "GB", "1.5GB", "9999999999GB", "3000000TB", "10 kB"]
)
def test_no_limit_of_slots(text: str) -> None:
    """A size without a unit would be megabytes for PostgreSQL, and bytes for people."""
    assert [f"SLOT_WAL_LIMIT={text} is not a size above 0 in MB, GB or TB"] == _problems(
        {"SLOT_WAL_LIMIT": text}
    )


def test_whoever_sets_no_limit_of_slots_gets_none() -> None:
    """Unset or empty, PostgreSQL's default applies, or what POSTGRES_CONF_* says."""
    assert {} == made.settings({"SLOT_WAL_LIMIT": ""}).conf
    own = {"POSTGRES_CONF_max_slot_wal_keep_size": "1GB"}
    assert {"max_slot_wal_keep_size": "1GB"} == made.settings(own).conf


def test_two_underscores_are_a_dot() -> None:
    """A shell cannot export a name with a dot."""
    assert {"auto_explain.log_timing": "on"} == made.settings(
        {"POSTGRES_CONF_auto_explain__log_timing": "on"}
    ).conf


@pytest.mark.parametrize("setting", ["config_file", "DATA_DIRECTORY"])
def test_settings_that_cannot_be_in_a_file(setting: str) -> None:
    """A configuration file cannot set the place of the configuration files."""
    values = {f"POSTGRES_CONF_{setting}": "/x"}
    assert [f"POSTGRES_CONF_{setting} cannot be set by a variable"] == _problems(values)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\n"])
def test_a_setting_is_one_line(value: str) -> None:
    """With a line break, the rest of the value would become a second setting."""
    assert ["POSTGRES_CONF_x contains a line break"] == _problems({"POSTGRES_CONF_x": value})


def test_a_setting_is_set_only_once() -> None:
    """Two spellings of one setting with two values are a mistake, since one would silently win."""
    assert 1 == len(_problems({"POSTGRES_CONF_work_mem": "4MB", "POSTGRES_CONF_WORK_MEM": "8MB"}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("file:///archive", Storage("file:///archive", "/archive", from_url=True)),
        ("file:///a/b/", Storage("file:///a/b/", "/a/b", from_url=True)),
        ("s3://bucket", Storage("s3://bucket", None, from_url=True)),
        ("s3://my.bucket-1/a/b", Storage("s3://my.bucket-1/a/b", None, from_url=True)),
        ("s3://bucket/", Storage("s3://bucket", None, from_url=True)),
    ],
)
def test_archive_url(url: str, expected: Storage) -> None:
    """A folder or a bucket turns archiving on."""
    archive = made.settings({"ARCHIVE_URL": url}, programs=ONLY_WALG).archive
    assert archive is not None
    assert expected == archive.storage


@pytest.mark.parametrize(
    "url",
    [
        *(
            "archive",
            "/archive",
            "file://archive",
            "file:/archive",
            "file:///",
            "file:////",
            "s3:///x",
            "s3://",
        ),
        *(
            "gs://bucket",
            "http://host/x",
            "file:///a b",
            "file:///a'b",
            'file:///a"b',
            "file:///a%70",
            "s3://b/a b",
        ),
        *("file:///a\nb", "s3://bucket\n"),
    ],
)
def test_bad_archive_urls(url: str) -> None:
    """Any other URL is refused, including one that could not be quoted everywhere it is used."""
    (told,) = _problems({"ARCHIVE_URL": url})
    assert told.startswith("ARCHIVE_URL is malformed: it ")


@pytest.mark.parametrize(
    ("values", "programs", "expected"),
    [
        ({"ARCHIVE_URL": URL}, made.BOTH, "wal-g"),
        ({"ARCHIVE_URL": URL}, ONLY_WALG, "wal-g"),
        ({"ARCHIVE_URL": URL}, ONLY_PGBACKREST, "pgbackrest"),
        ({"ARCHIVE_URL": URL, "ARCHIVE_TOOL": "pgbackrest"}, made.BOTH, "pgbackrest"),
        ({"ARCHIVE_URL": URL, "PGBACKREST_PROCESS_MAX": "2"}, made.BOTH, "pgbackrest"),
        ({"ARCHIVE_URL": URL, "WALG_UPLOAD_CONCURRENCY": "2"}, made.BOTH, "wal-g"),
        ({"WALG_FILE_PREFIX": "/archive"}, made.BOTH, "wal-g"),
        ({"PGBACKREST_REPO1_PATH": "/archive"}, made.BOTH, "pgbackrest"),
        # an empty variable is not set
        ({"ARCHIVE_URL": URL, "PGBACKREST_PROCESS_MAX": ""}, made.BOTH, "wal-g"),
        ({"ARCHIVE_URL": URL, "WALG_UPLOAD_CONCURRENCY": ""}, ONLY_PGBACKREST, "pgbackrest"),
        ({"ARCHIVE_URL": URL, "ARCHIVE_TOOL": ""}, ONLY_PGBACKREST, "pgbackrest"),
    ],
)
def test_the_tool(values: dict[str, str], programs: Mapping[str, bool], expected: str) -> None:
    """The chosen tool, else the one whose own variables are set, else the image's, wal-g first."""
    archive = made.settings(values, programs=programs).archive
    assert archive is not None
    assert expected == archive.tool.name


def test_archive_settings() -> None:
    """The timeouts of the archive are read; a user's own archive_command is respected."""
    archive = made.settings({"ARCHIVE_URL": URL}).archive
    assert archive is not None
    assert ("60", 300, False) == (archive.timeout, archive.command_timeout, archive.by_user)
    for option in ("archive_command=x", "archive_command=", "archive_library=x"):
        archive = made.settings({"ARCHIVE_URL": URL}, ["-c", option]).archive
        assert archive is not None
        assert archive.by_user


@pytest.mark.parametrize(
    ("values", "programs", "expected"),
    [
        (
            {"ARCHIVE_URL": URL, "ARCHIVE_TOOL": "barman"},
            made.BOTH,
            "ARCHIVE_TOOL=barman is not a valid value",
        ),
        ({"ARCHIVE_TOOL": "wal-g"}, made.BOTH, "ARCHIVE_TOOL=wal-g is set, but no storage is set"),
        (
            {"ARCHIVE_URL": URL, "ARCHIVE_TOOL": "wal-g"},
            ONLY_PGBACKREST,
            "the archiver wal-g is not in this image",
        ),
        ({"ARCHIVE_URL": URL}, NEITHER, "the archiver pgbackrest is not in this image"),
        ({"WALG_S3_PREFIX": "s3://b"}, ONLY_PGBACKREST, "the archiver wal-g is not in this image"),
        (
            {"WALG_S3_PREFIX": "s3://b/p", "PGBACKREST_REPO1_PATH": "/archive"},
            made.BOTH,
            "storages for both archivers are set: s3://b/p for wal-g, file:///archive for pgbackrest",
        ),
        (
            {"WALG_FILE_PREFIX": "/x", "ARCHIVE_URL": URL},
            made.BOTH,
            "two storages are set: ARCHIVE_URL, and file:///x by wal-g's own variables",
        ),
        (
            {"WALG_FILE_PREFIX": "/x", "ARCHIVE_TOOL": "pgbackrest"},
            made.BOTH,
            "ARCHIVE_TOOL=pgbackrest, but the storage is set by wal-g's variables",
        ),
        (
            {"WALG_S3_PREFIX": "s3://b", "WALG_GS_PREFIX": "gs://b"},
            made.BOTH,
            "several storages are set: WALG_S3_PREFIX, WALG_GS_PREFIX; wal-g would silently use one",
        ),
    ],
)
def test_one_archive_only(values: dict[str, str], programs: Mapping[str, bool], expected: str) -> None:
    """Settings for two archives, or for a tool that is not in the image, are refused with one message."""
    assert [expected] == _problems(values, programs=programs)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {
                "WALG_S3_PREFIX": "s3://b/p",
                "PGBACKREST_REPO1_TYPE": "posix",
                "PGBACKREST_REPO1_PATH": "/archive",
            },
            "remove WALG_S3_PREFIX, or PGBACKREST_REPO1_TYPE and PGBACKREST_REPO1_PATH",
        ),
        ({"WALG_FILE_PREFIX": "/x", "ARCHIVE_URL": URL}, "remove ARCHIVE_URL, or WALG_FILE_PREFIX"),
        (
            {"PGBACKREST_REPO1_PATH": "/x", "ARCHIVE_URL": URL, "ARCHIVE_TOOL": "pgbackrest"},
            "remove ARCHIVE_URL, or PGBACKREST_REPO1_PATH",
        ),
        ({"WALG_FILE_PREFIX": "/x", "ARCHIVE_TOOL": "pgbackrest"}, "set ARCHIVE_TOOL=wal-g"),
        (
            {
                "ARCHIVE_URL": URL,
                "RESTORE_WALG_FILE_PREFIX": "/x",
                "RESTORE_PGBACKREST_REPO1_PATH": "/y",
            },
            "remove RESTORE_WALG_FILE_PREFIX, or RESTORE_PGBACKREST_REPO1_PATH",
        ),
        (
            {"ARCHIVE_URL": URL, "RESTORE_WALG_FILE_PREFIX": "/x", "RESTORE_ARCHIVE_TOOL": "pgbackrest"},
            "set RESTORE_ARCHIVE_TOOL=wal-g",
        ),
    ],
)
def test_the_hint_names_the_variables(values: dict[str, str], expected: str) -> None:
    """The hint names each variable of conflicting settings, with its full name."""
    _, (problem,) = made.load(values)
    assert expected in problem.hint


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"RESTORE_ARCHIVE_URL": "file:///old"}, ("wal-g", "wal-g")),
        ({"ARCHIVE_TOOL": "pgbackrest", "RESTORE_ARCHIVE_URL": "file:///old"}, ("pgbackrest", "pgbackrest")),
        ({"PGBACKREST_PROCESS_MAX": "2", "RESTORE_ARCHIVE_URL": "file:///old"}, ("pgbackrest", "pgbackrest")),
        (
            {
                "ARCHIVE_TOOL": "pgbackrest",
                "RESTORE_ARCHIVE_URL": "file:///o",
                "RESTORE_ARCHIVE_TOOL": "wal-g",
            },
            ("pgbackrest", "wal-g"),
        ),
        ({"ARCHIVE_TOOL": "pgbackrest", "RESTORE_WALG_FILE_PREFIX": "/old"}, ("pgbackrest", "wal-g")),
        (
            {
                "ARCHIVE_TOOL": "wal-g",
                "RESTORE_ARCHIVE_URL": "file:///old",
                "RESTORE_PGBACKREST_REPO1_CIPHER_PASS": "x",
            },
            ("wal-g", "pgbackrest"),
        ),
        (
            {"ARCHIVE_URL": "", "PGBACKREST_REPO1_PATH": "/a", "RESTORE_ARCHIVE_URL": "file:///old"},
            ("pgbackrest",) * 2,
        ),
        (
            {"ARCHIVE_URL": "", "ARCHIVE_TOOL": "pgbackrest", "RESTORE_ARCHIVE_URL": "file:///old"},
            (None, "pgbackrest"),
        ),
        ({"ARCHIVE_TOOL": "pgbackrest", "RESTORE_AWS_REGION": "x"}, ("pgbackrest", "pgbackrest")),
    ],
)
def test_the_tool_of_the_archive_to_restore_from(
    values: dict[str, str], expected: tuple[str | None, str]
) -> None:
    """It is the archive's tool, unless the variables of the other archive name or imply another one."""
    found = made.settings({**ARCHIVED, **values})
    assert expected == tuple(each and each.tool.name for each in (found.archive, found.source))


def test_both_archives_have_the_same_timeouts() -> None:
    """ARCHIVE_COMMAND_TIMEOUT decides how long a recovery waits, whatever archive it restores from."""
    source = made.settings(
        {**ARCHIVED, "ARCHIVE_COMMAND_TIMEOUT": "9", "RESTORE_ARCHIVE_URL": "file:///o"}
    ).source
    assert source is not None
    assert ("file:///o", 9) == (source.storage.url, source.command_timeout)
    assert ["ARCHIVE_COMMAND_TIMEOUT=x is not a whole number of seconds"] == _problems(
        {**ARCHIVED, "ARCHIVE_COMMAND_TIMEOUT": "x", "RESTORE_ARCHIVE_URL": "file:///o"}
    )


def test_a_restore_with_a_bad_archive_is_one_mistake() -> None:
    """If the archive's URL is malformed, no second problem says that there is no archive."""
    (told,) = _problems({"ARCHIVE_URL": "x", "RESTORE_FROM": "LATEST"})
    assert told.startswith("ARCHIVE_URL is malformed")


def test_a_restore() -> None:
    """RESTORE_FROM is read if there is an archive."""
    found = made.settings({"ARCHIVE_URL": URL, "RESTORE_FROM": "LATEST"})
    assert (Request("LATEST"), found.archive) == (found.restore, found.source)


@pytest.mark.parametrize(
    ("values", "tool"),
    [({"WALG_FILE_PREFIX": "archive"}, WalG), ({"PGBACKREST_REPO1_PATH": "archive"}, PgBackRest)],
)
def test_an_archives_folder_needs_an_absolute_path(values: dict[str, str], tool: type) -> None:
    """For the server, a relative path would be in the data folder; for all others it would be elsewhere."""
    assert 1 == len(_problems(values)), tool


NAMES = st.sampled_from(
    [
        *variables.table(),
        *(
            "POSTGRES_CONF_work_mem",
            "POSTGRES_CONF_a.b",
            "WALG_FILE_PREFIX",
            "WALG_S3_PREFIX",
            "WALG_ZSTD_LEVEL",
        ),
        *("PGBACKREST_REPO1_PATH", "PGBACKREST_REPO1_TYPE", "PGBACKREST_COMPRESS_TYPE", "PGBACKREST_STANZA"),
    ]
)
TEXTS = st.text() | st.sampled_from(
    [
        "",
        "file:///a",
        "s3://bucket/x",
        "wal-g",
        "pgbackrest",
        "trust",
        "restart",
        "/x",
        "5",
        "s3",
        "LATEST",
        "zst",
    ]
)
PROGRAMS = st.fixed_dictionaries({"wal-g": st.booleans(), "pgbackrest": st.booleans()})


@given(values=st.dictionaries(NAMES, TEXTS), arguments=st.lists(st.text()), programs=PROGRAMS)
def test_any_environment_gives_settings_or_problems(
    values: dict[str, str], arguments: list[str], programs: dict[str, bool]
) -> None:
    """Every problem has a hint, and no environment raises an exception."""
    found, problems = loading.load(values, arguments, programs)
    assert values == found.values
    assert [] == [problem for problem in problems if not problem.what or not problem.hint]
    if not problems and found.archive is not None:
        assert programs[found.archive.tool.name]
        assert found.data_folder.startswith("/")


def test_backups_by_default() -> None:
    """By default no backup is taken or removed, and a backup is verified by reading it."""
    expected = Backups(None, "UTC", 0, 0, None, None, 86400, None, contents=True, verify_days=30)
    assert expected == made.settings().backup
    assert not expected.retains


def test_backups() -> None:
    """All settings of backups are read."""
    values = {
        **ARCHIVED,
        "BACKUP_SCHEDULE": " 0 3 * * * ",
        "BACKUP_TIMEZONE": "Europe/Berlin",
        "BACKUP_JITTER": "600",
        "BACKUP_INCREMENTALS": "6",
        "BACKUP_RETAIN_FULL": "4",
        "BACKUP_RETAIN_DAYS": "30",
        "BACKUP_TIMEOUT": "3600",
        "BACKUP_RATE_LIMIT": "50MB",
        "BACKUP_VERIFY": "names",
        "BACKUP_VERIFY_PERIOD": "7",
    }
    found = made.settings(values).backup
    assert found.retains
    assert ("0 3 * * *", "Europe/Berlin", 600, 6, 4, 30, 3600, 50 * 1024**2, False, 7) == found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"BACKUP_SCHEDULE": "often"}, "BACKUP_SCHEDULE=often is not a schedule: Wrong number of fields"),
        (
            {"BACKUP_SCHEDULE": "0 3 * * *", "BACKUP_TIMEZONE": "Nowhere"},
            "BACKUP_TIMEZONE=Nowhere is not a time zone",
        ),
        ({"BACKUP_JITTER": "1h"}, "BACKUP_JITTER=1h is not a whole number of seconds"),
        ({"BACKUP_INCREMENTALS": "-1"}, "BACKUP_INCREMENTALS=-1 is not a whole number of at least 0"),
        ({"BACKUP_RETAIN_FULL": "0"}, "BACKUP_RETAIN_FULL=0 is not a whole number of at least 1"),
        ({"BACKUP_RETAIN_DAYS": "2w"}, "BACKUP_RETAIN_DAYS=2w is not a whole number of at least 1"),
        ({"BACKUP_RATE_LIMIT": "fast"}, "BACKUP_RATE_LIMIT=fast is not a number of bytes per second"),
        ({"BACKUP_RATE_LIMIT": "0"}, "BACKUP_RATE_LIMIT=0 is not a number of bytes per second"),
        ({"BACKUP_VERIFY": "no"}, "BACKUP_VERIFY=no is not a valid value"),
        ({"BACKUP_VERIFY_PERIOD": "0"}, "BACKUP_VERIFY_PERIOD=0 is not a whole number of at least 1"),
        ({"BACKUP_VERIFY_PERIOD": "30d"}, "BACKUP_VERIFY_PERIOD=30d is not a whole number of at least 1"),
    ],
)
def test_mistakes_in_backups(values: dict[str, str], expected: str) -> None:
    """Each problem says what is right."""
    assert [expected] == _problems({**ARCHIVED, **values})


def test_backup_variables_without_an_archive_belong_to_another_program() -> None:
    """One environment may serve several containers: without an archive, these variables have no effect."""
    assert (
        made.settings().backup
        == made.settings({"BACKUP_SCHEDULE": "@every 1h", "BACKUP_RETAIN_FULL": "x"}).backup
    )


def test_only_the_word_confirm_confirms_a_fork() -> None:
    """The default refuses; another word is a mistake."""
    given = {"ARCHIVE_URL": "file:///archive"}
    for word, expected in (("", False), ("refuse", False), ("confirm", True)):
        archive = made.settings({**given, "ARCHIVE_FORK": word}).archive
        assert archive is not None
        assert expected == archive.fork_confirmed, word
    _, problems = made.load({**given, "ARCHIVE_FORK": "yes"})
    assert ["ARCHIVE_FORK=yes is not a valid value"] == [problem.what for problem in problems]


def test_a_standby() -> None:
    """It is built from the newest or the named backup; without an archive it is built from none."""
    base = {"STANDBY": "On", "ARCHIVE_URL": URL}
    found = made.settings(base)
    assert ("", "") == found.standby
    assert found.restore is not None
    assert ("LATEST", "", "follow") == (found.restore.backup, found.restore.kind, found.restore.action)
    named = made.settings({**base, "RESTORE_FROM": "base_1"}).restore
    assert named is not None
    assert "base_1" == named.backup
    streaming = made.settings({"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": "host=db", "STANDBY_SLOT": "a_1"})
    assert ("host=db", "a_1") == streaming.standby
    assert streaming.restore is None
    assert made.settings({"STANDBY": "off"}).standby is None


def test_the_defaults_are_those_of_the_sections() -> None:
    """The values of a start that does not load a section equal those that the section parses from nothing."""
    assert (Backups(), []) == backing_up.parse({}, archive=False, wrong=False)
    assert (Drills(), []) == rehearsing.parse({}, archive=False, wrong=False)


def test_drills() -> None:
    """There are none by default, and their folder is outside the data folder."""
    assert Drills(None, "/var/lib/postgresql/drill") == made.settings().drill
    given = {**ARCHIVED, "DRILL_SCHEDULE": "0 5 * * 0", "DRILL_FOLDER": "/drill/"}
    assert Drills("0 5 * * 0", "/drill") == made.settings(given).drill


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"STANDBY_PRIMARY_CONNINFO": "host=a", "STANDBY": "on", "DRILL_SCHEDULE": "0 5 * * 0"},
            "DRILL_SCHEDULE is set, but there is no archive",
        ),
        ({**ARCHIVED, "DRILL_SCHEDULE": "daily"}, "DRILL_SCHEDULE=daily is not a schedule"),
        ({**ARCHIVED, "DRILL_FOLDER": "/data"}, "DRILL_FOLDER=/data is in the data folder"),
        ({**ARCHIVED, "DRILL_FOLDER": "/data/drill/"}, "DRILL_FOLDER=/data/drill is in the data folder"),
        ({**ARCHIVED, "DRILL_FOLDER": "drill"}, "DRILL_FOLDER=drill is not an absolute path"),
    ],
)
def test_mistakes_in_drills(values: dict[str, str], expected: str) -> None:
    """Each mistake is reported once."""
    _, (problem,) = made.load(values)
    assert expected in problem.what


def test_a_bad_time_zone_is_reported_once() -> None:
    """Both schedules share the time zone."""
    both = {"BACKUP_SCHEDULE": "0 3 * * *", "DRILL_SCHEDULE": "0 5 * * 0", "BACKUP_TIMEZONE": "Mars"}
    assert 1 == len(made.load({**ARCHIVED, **both})[1])


def test_a_folder_next_to_the_data_folder() -> None:
    """A folder whose name only begins like the data folder's is not in it."""
    assert "/data-drill" == made.settings({**ARCHIVED, "DRILL_FOLDER": "/data-drill"}).drill.folder


def test_the_extensions_of_every_start() -> None:
    """Names may be separated by commas, spaces and line breaks; each counts once."""
    asked = made.settings({"POSTGRES_EXTENSIONS": " hstore, uuid-ossp\npg_trgm,,hstore "}).every_start
    assert (("hstore", "uuid-ossp", "pg_trgm"), False, False) == asked
    assert ((), False, False) == made.settings().every_start


def test_an_update_of_the_password_needs_a_password() -> None:
    """POSTGRES_PASSWORD_UPDATE alone is a mistake."""
    problems = _problems({"POSTGRES_PASSWORD_UPDATE": "on", "POSTGRES_PASSWORD": ""})
    assert ["POSTGRES_PASSWORD_UPDATE=on, but POSTGRES_PASSWORD is empty"] == problems
