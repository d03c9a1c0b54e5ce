"""Which variables of a shared environment are meant for us."""

from __future__ import annotations

import pytest

from entrypoint.errors import Problem
from entrypoint.settings import environment, fields, foreign, restoring, variables
from unit import made

STORAGES = (
    {"ARCHIVE_URL": "file:///archive"},
    {"ARCHIVE_URL_FILE": "/url"},
    {"WALG_S3_PREFIX": "s3://b/p"},
    {"PGBACKREST_REPO1_PATH": "/archive"},
)


def _none(path: str) -> str:
    if path == "/url":
        return "file:///archive"
    raise FileNotFoundError(2, "No such file or directory", path)


def _judge(values: dict[str, str]) -> tuple[list[Problem], tuple[Problem, ...]]:
    """Return all problems and all doubts that a start finds."""
    read = environment.read({**made.PLAIN, **values}, _none)
    return [*read.problems, *made.load(read.values)[1]], read.warnings


OTHERS = [
    *({"BACKUP_RETENTION_DAYS": "14"}, {"BACKUP_SCHEDULE": "@daily"}, {"BACKUP_SCHEDULE": "0 3 * * *"}),
    *({"BACKUP_SCHEDULE": "@every 6h"}, {"BACKUP_TIMEOUT": "2h"}, {"BACKUP_TIMEZONE": "Mars"}),
    *({"BACKUP_RETAIN_DAYS": "7d"}, {"BACKUP_VERIFY": "true"}, {"BACKUP_KEEP_DAYS": "7"}),
    *({"ARCHIVE_ENABLED": "false"}, {"ARCHIVE_DIR": "/backups"}, {"ARCHIVE_PATH": "/archive"}),
    *({"ARCHIVE_MODE": "on"}, {"ARCHIVE_COMMAND": "cp %p /a/%f"}, {"ARCHIVE_TOOL": "tar"}),
    *({"ARCHIVE_TIMEOUT": "soon"}, {"ARCHIVE_FORK": "yes"}, {"ARCHIVE_TOOLS": "x"}, {"ARCHIVE_BUCKET": "b"}),
    *(
        {"RESTORE_FROM": "backup.sql"},
        {"RESTORE_FROM": "/dumps/base.tar.gz"},
        {"RESTORE_FROM": "s3://b/dump"},
    ),
    *({"RESTORE_FROM": "base_backup"}, {"RESTORE_TARGET": "/data"}, {"RESTORE_TARGET_NAME": "staging"}),
    *({"RESTORE_TARGET_ACTION": "drop"}, {"RESTORE_TARGET_TIME": "noon"}, {"RESTORE_FORM": "x"}),
    *({"STANDBY": "true"}, {"STANDBY": "yes"}, {"STANDBY": "db2"}, {"STANDBY_HOST": "db2"}),
    *({"STANDBY_SLOT": "a-b"}, {"STANDBY_MODE": "on"}, {"STANDBY_PORTS": "5432"}),
    *({"STOP_TIMEOUT": "10"}, {"STOP_FAST_TIMEOUT": "60s"}, {"STOP_SMART_TIMEOUT": "1m"}),
    *({"DRILL_MODE": "on"}, {"DRILL_SCHEDULE": "weekly"}, {"DRILL_SCHEDULE": "@weekly"}),
    *({"DRILL_FOLDER": "drills"}, {"STATUS_LOG_LEVEL": "warning"}, {"STATUS_LOG_LEVEL": "INFO"}),
    *({"STATUS_PAGE": "x"}, {"COLLATION_OF_DUMPS": "C"}),
    *({"WALG_X": "1"}, {"WALG_DELTA_MAX_STEP": "6"}, {"PGBACKREST_X": "1"}, {"WALG_PGP_KEY_FILE": "/none"}),
    *({"PGBACKREST_REPO1_CIPHER_PASS_FILE": "/none"}, {"WALG_X": "1", "AWS_SECRET_ACCESS_KEY_FILE": "/none"}),
    *({"POSTGRES_CONF_DIR": "/etc/postgresql"}, {"POSTGRES_CONF_FILE": "/etc/postgresql.conf"}),
    *({"POSTGRES_CONF_PATH": ""}, {"POSTGRES_CONF_VOLUME": "conf"}, {"POSTGRES_CONF_FILE_NAME": "a.conf"}),
    *({"POSTGRES_CONF_MOUNT_PATH": "/etc"}, {"POSTGRES_CONF_ENABLED": "1"}),
    *({"POSTGRES_CONF_D": "/etc/postgresql/conf.d"}, {"POSTGRES_CONF_SOURCE": "git"}),
]


@pytest.mark.parametrize("values", OTHERS, ids=lambda values: " ".join(f"{k}={v}" for k, v in values.items()))
def test_variables_of_other_programs_end_no_start(values: dict[str, str]) -> None:
    """Without an archive, each name or value that is not ours gets a warning of one line."""
    problems, doubts = _judge(values)
    assert [] == problems
    told = [doubt for doubt in doubts if any(name in doubt.what for name in values)]
    assert len(doubts) == len(told) >= 1
    assert all("\n" not in doubt.what + doubt.hint and doubt.hint for doubt in doubts)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("STOP_FAST_TIMEOUT", value)
            for value in ("-1", "word", "1:2", "0x10", "nan", "inf", "1e999", "5s5")
        ),
        *(("STATUS_LOG_LEVEL", value) for value in ("loud", "5", "debug,info")),
    ],
)
def test_a_value_that_no_program_accepts_is_a_mistake(name: str, value: str) -> None:
    """These variables have an effect without an archive too, so a mistake in their value must not pass."""
    problems, _ = _judge({name: value})
    assert [f"{name}={value}"] == [problem.what.partition(" ")[0] for problem in problems]


def test_each_foreign_variable_is_reported() -> None:
    """The environment of many services gets one warning for each variable."""
    values = {name: value for each in OTHERS for name, value in each.items()}
    problems, doubts = _judge(values)
    assert [] == problems
    assert len(doubts) >= len(values) - 1, "AWS_* is not one of our groups"


@pytest.mark.parametrize("archive", STORAGES, ids=lambda values: next(iter(values)))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("BACKUP_RETENTION_DAYS", "14"), ("ARCHIVE_DIR", "/backups"), ("STOP_TIMEOUT", "10")),
        *(("WALG_S3_PERFIX", "x"), ("STANDBY_SLOTS", "x"), ("RESTORE_FORM", "x")),
        *(("BACKUP_SCHEDULE", "@every 1h"), ("STOP_FAST_TIMEOUT", "60s"), ("STATUS_LOG_LEVEL", "warning")),
        *(("BACKUP_TIMEOUT", "2h"), ("STANDBY", "db2"), ("BACKUP_RETAIN_DAYS", "7d")),
    ],
)
def test_with_an_archive_it_is_a_mistake(archive: dict[str, str], name: str, value: str) -> None:
    """With an archive, a near miss of one of our names, and a bad value, are refused."""
    problems, _ = _judge({**archive, name: value})
    assert 1 == len(problems)
    assert name in problems[0].what


VALUES = {
    "time": "2026-11-22T14:02:00+01:00",
    "name": "before the migration",
    "lsn": "0/3000060",
    "xid": "1234",
    "immediate": "immediate",
}


@pytest.mark.parametrize(("name", "kind"), restoring.TARGETS.items())
def test_every_target_requests_a_restore(name: str, kind: str) -> None:
    """A target alone requests a restore, except a target's name, since any word can be one."""
    assert restoring.is_target(name, VALUES[kind])
    assert (kind != "name") == foreign.is_asked_for({name: VALUES[kind]})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"RESTORE_FROM": "LATEST"}, "RESTORE_FROM=LATEST is set, but there is no archive to restore from"),
        ({"RESTORE_FROM": "latest"}, "RESTORE_FROM=latest is set, but there is no archive to restore from"),
        ({"RESTORE_FROM": "base_000000010000000000000004"}, "but there is no archive to restore from"),
        ({"RESTORE_FROM": "20261129-063541F_20261129-070000I"}, "but there is no archive to restore from"),
        ({"RESTORE_TARGET_TIME": "2026-11-22T14:02:00+01:00"}, "but RESTORE_FROM is not set"),
        ({"RESTORE_TARGET": "immediate"}, "but RESTORE_FROM is not set"),
        ({"STANDBY": "on"}, "STANDBY=on is set, but neither an archive nor a primary to follow"),
        ({"STANDBY_PRIMARY_CONNINFO": "host=db1"}, "but STANDBY is off"),
        ({"ARCHIVE_TOOL": "wal-g"}, "ARCHIVE_TOOL=wal-g is set, but no storage is set"),
        ({"ARCHIVE_URL": "/archive"}, "ARCHIVE_URL is malformed"),
        ({"ARCHIVE_ULR": "file:///archive"}, "unknown variable ARCHIVE_ULR"),
        ({"ARCHIVE_URLS": "x"}, "unknown variable ARCHIVE_URLS"),
        ({"ARCHIVE_ULR_FILE": "/url"}, "unknown variable ARCHIVE_ULR_FILE"),
        ({"RESTORE_ARCHIVE_ULR": "file:///archive"}, "unknown variable RESTORE_ARCHIVE_ULR"),
        ({"WALG_S3_PERFIX": "s3://b/p"}, "unknown variable WALG_S3_PERFIX"),
        ({"WALG_PREFIX": "s3://b/p"}, "unknown variable WALG_PREFIX"),
        ({"PGBACKREST_REPO_PATH": "/archive"}, "unknown variable PGBACKREST_REPO_PATH"),
        ({"PGBACKREST_REPO1_TPYE": "s3"}, "unknown variable PGBACKREST_REPO1_TPYE"),
        ({"RESTORE_FORM": "LATEST"}, "unknown variable RESTORE_FORM"),
        ({"COLLATION_POLICY": "never"}, "COLLATION_POLICY=never is not a valid value"),
        ({"POSTGRES_CONF_FSYCN": "off", "X": ""}, None),
        ({"POSTGRES_TUNE": "yes"}, "POSTGRES_TUNE=yes is not a valid value"),
    ],
)
def test_variables_that_are_meant_for_us_are_checked(values: dict[str, str], expected: str | None) -> None:
    """A valid value or a misspelt name can request an archive: no start continues without it."""
    problems, doubts = _judge(values)
    assert () == doubts
    if expected is not None:
        assert expected in problems[0].what
    else:
        assert ["fsycn"] == [*made.settings(values).conf], "the server itself checks it"


@pytest.mark.parametrize(
    "service", ["postgres-conf", "archive", "backup", "restore", "standby", "status", "drill", "stop"]
)
def test_the_variables_of_a_service_belong_to_the_engine(service: str) -> None:
    """Kubernetes and `docker run --link` name these variables after the service; they are left alone."""
    name = service.upper().replace("-", "_")
    values = {
        f"{name}_SERVICE_HOST": "10.0.0.7",
        f"{name}_SERVICE_PORT": "5432",
        f"{name}_SERVICE_PORT_POSTGRES": "5432",
        f"{name}_PORT": "tcp://10.0.0.7:5432",
        f"{name}_PORT_5432_TCP": "tcp://10.0.0.7:5432",
        f"{name}_PORT_5432_TCP_ADDR": "10.0.0.7",
        f"{name}_PORT_5432_TCP_PORT": "5432",
        f"{name}_PORT_5432_TCP_PROTO": "tcp",
        f"{name}_ENV_PGDATA": "/data",
    }
    assert ([], ()) == _judge(values)
    assert ([], ()) == _judge({**values, "ARCHIVE_URL": "file:///archive"})
    assert {} == made.settings(values).conf


def test_the_port_is_still_a_setting() -> None:
    """Only the value shows whether an engine has set POSTGRES_CONF_PORT."""
    assert {"port": "5433"} == made.settings({"POSTGRES_CONF_PORT": "5433"}).conf
    assert {} == made.settings({"POSTGRES_CONF_PORT": "tcp://10.0.0.7:5432"}).conf
    assert {"a.my_port": "1"} == made.settings({"POSTGRES_CONF_A__MY_PORT": "1"}).conf


@pytest.mark.parametrize(
    "name",
    [
        *(
            "WORK_MEM",
            "FSYNC",
            "HBA_FILE",
            "SSL_CERT_FILE",
            "SEARCH_PATH",
            "LOG_DIRECTORY",
            "TIMEZONE",
            "JIT",
        ),
        *(
            "CLUSTER_NAME",
            "UNIX_SOCKET_DIRECTORIES",
            "CRON__DATABASE_NAME",
            "LOG_FILENAME",
            "wrok_mem",
            "dir",
        ),
        *(
            "DEFAULT_STATISTICS_TARGET",
            "CHECKPOINT_COMPLETION_TARGET",
            "EVENT_SOURCE",
            "RECOVERY_TARGET_NAME",
        ),
        *(
            "LOG_FILE_MODE",
            "UNIX_SOCKET_GROUP",
            "RECOVERY_TARGET",
            "SSL_CRL_DIR",
            "DYNAMIC_LIBRARY_PATH",
            "D",
        ),
    ],
)
def test_settings_are_still_settings(name: str) -> None:
    """A setting may be in capitals; a name in small letters is always a setting, and the server checks it."""
    assert [name.lower().replace("__", ".")] == [*made.settings({f"POSTGRES_CONF_{name}": "x"}).conf]


def test_others_variables_stay_in_the_environment() -> None:
    """Init files and the server get them as in the official image."""
    values = {"BACKUP_SCHEDULE": "@daily", "STOP_FAST_TIMEOUT": "60s", "STANDBY": "true"}
    assert values == {name: made.settings(values).values[name] for name in values}


def test_no_value_is_repeated() -> None:
    """A value may be the secret of another program."""
    values = {
        name: "geheim"
        for name in (*variables.table(), "BACKUP_PASSWORD", "WALG_X", "ARCHIVE_DIR", "POSTGRES_CONF_PATH")
        if name.startswith((*foreign.STRICT_GROUPS, *foreign.OUR_GROUPS, "STANDBY", "POSTGRES_CONF_"))
        and name not in ("ARCHIVE_URL", "RESTORE_ARCHIVE_URL", "STANDBY_PRIMARY_CONNINFO")
    }
    _, doubts = _judge(values)
    assert len(doubts) > len(values) - 15, "the variables that have an effect without an archive are refused"
    assert not [doubt for doubt in doubts if "geheim" in doubt.what + doubt.hint]


def test_a_doubt_says_what_it_would_mean_here() -> None:
    """The hint contains the first sentence of the variable's description."""
    _, (known,) = _judge({"BACKUP_SCHEDULE": "@daily"})
    assert "BACKUP_SCHEDULE has no effect: no archive is set (ARCHIVE_URL)" == known.what
    assert known.hint.startswith("in this image it means: When to take base backups, in cron's syntax")
    _, (near,) = _judge({"BACKUP_RETENTION_DAYS": "14"})
    assert near.hint.startswith(
        "it is ignored; did you mean BACKUP_RETAIN_DAYS? Keep everything that is needed"
    )


@pytest.mark.parametrize("text", ["ARCHIVE_UR", "ARCHIVE_URLL", "ARCHIVE_URI", "ARCHIVE_ULR", "RCHIVE_URL"])
def test_slips(text: str) -> None:
    """One letter, or two swapped ones; ARCHIVE_DIR is another name, not a slip."""
    assert fields.is_slip(text, "ARCHIVE_URL")
    assert not fields.is_slip("ARCHIVE_DIR", "ARCHIVE_URL")


@pytest.mark.parametrize(("folder", "warnings"), [("/drill", 0), ("drills", 1)])
def test_the_folder_of_a_rehearsal_counts_without_an_archive(folder: str, warnings: int) -> None:
    """A rehearsal of an upgrade copies the cluster there; what is no path is another program's still."""
    problems, doubts = _judge({"POSTGRES_UPGRADE": "on", "DRILL_FOLDER": folder})
    assert [] == problems
    assert warnings == len([each for each in doubts if "DRILL_FOLDER" in each.what])
