"""One environment for several containers: other programs' variables end no start, and ours work."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from containers import FRESH, LOOK_INSIDE, Container, data_folder, in_volume, serve, start, until, volume
from entrypoint.settings import serving

OTHERS = {
    "BACKUP_RETENTION_DAYS": "14",
    "BACKUP_SCHEDULE": "@every 6h",
    "BACKUP_TIMEOUT": "2h",
    "BACKUP_TIMEZONE": "Mars/Olympus",
    "ARCHIVE_ENABLED": "false",
    "ARCHIVE_DIR": "/backups",
    "ARCHIVE_PATH": "/archive",
    "ARCHIVE_MODE": "on",
    "ARCHIVE_COMMAND": "cp %p /backups/%f",
    "RESTORE_FROM": "backup.sql",
    "STANDBY": "true",
    "STANDBY_HOST": "db2",
    "STOP_TIMEOUT": "10",
    "STOP_FAST_TIMEOUT": "60s",
    "DRILL_MODE": "on",
    "DRILL_SCHEDULE": "weekly",
    "STATUS_LOG_LEVEL": "warning",
    "WALG_X": "1",
    "PGBACKREST_X": "1",
    "POSTGRES_CONF_DIR": "/etc/postgresql",
    "POSTGRES_CONF_FILE": "/etc/postgresql/postgresql.conf",
    "POSTGRES_CONF_PATH": "/etc/postgresql",
}
SERVICE = {
    "POSTGRES_CONF_SERVICE_HOST": "10.0.0.7",
    "POSTGRES_CONF_SERVICE_PORT": "5432",
    "POSTGRES_CONF_PORT": "tcp://10.0.0.7:5432",
    "POSTGRES_CONF_PORT_5432_TCP_ADDR": "10.0.0.7",
}
"""The variables that Kubernetes sets for a service with the name postgres-conf."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Container]:
    """A server with all these variables, after its second start."""
    env = {**FRESH, **OTHERS, **SERVICE, "PGPASSWORD": "secret"}
    with serve(env=env, options=LOOK_INSIDE) as container:
        assert "5432" == container.sql("SHOW port")
        container.stop()
        container.again()
        yield container


def test_no_foreign_variable_ends_a_start(shared: Container) -> None:
    """Both starts succeed, and the variables of other programs are passed on."""
    seen = shared.environ(shared.postmaster())
    expected = {
        name: value for name, value in OTHERS.items() if name.startswith(("BACKUP_", "STOP_", "DRILL_"))
    }
    assert expected == {name: seen.get(name) for name in expected}


@pytest.mark.better
def test_each_is_reported_in_one_line(shared: Container) -> None:
    """No value is repeated, and the variables of a service are not mentioned."""
    lines = shared.logs().stderr.splitlines()
    for name, value in OTHERS.items():
        told = [line for line in lines if re.search(rf"entrypoint: warning: .*\b{name}\b", line)]
        assert 2 == len(told), (name, told)
        assert not [line for line in told if f"={value}" in line]
    assert not [line for line in lines if "entrypoint: " in line and any(name in line for name in SERVICE)]


def test_every_server_setting_is_recognized(shared: Container) -> None:
    """Every setting may be in capitals."""
    names = shared.sql("SELECT upper(name) FROM pg_settings WHERE name !~ '\\.'").splitlines()
    assert len(names) > 300
    assert [] == [name for name in names if serving.conf_doubt(f"POSTGRES_CONF_{name}", "/x") is not None]


@pytest.mark.better
def test_a_withheld_password_is_reported(shared: Container) -> None:
    """The start that finds a database reports it once; a first start needs the password itself."""
    told = [line for line in shared.logs().stderr.splitlines() if "POSTGRES_ENVIRONMENT=PGPASSWORD" in line]
    assert 1 == len(told), told


def test_a_standby_has_its_password_from_the_environment() -> None:
    """If POSTGRES_ENVIRONMENT names PGPASSWORD, the server gets it, as in the official image.

    The standby's primary_conninfo has no password.
    """
    role = {
        "/docker-entrypoint-initdb.d/1.sql": "CREATE ROLE copier REPLICATION LOGIN PASSWORD 'cpw';\n",
        "/docker-entrypoint-initdb.d/2.sh": "echo 'host replication all all scram-sha-256' >> $PGDATA/pg_hba.conf\n",
    }
    with volume() as data, serve(env=FRESH, files=role) as first:
        in_volume(
            data,
            f"PGPASSWORD=cpw pg_basebackup -h {first.address} -U copier -D . -X stream -c fast && "
            f"echo \"primary_conninfo = 'host={first.address} user=copier'\" >> postgresql.auto.conf && "
            "touch standby.signal && chown -R 999:999 . && chmod 700 .",
        )
        env = {"PGPASSWORD": "cpw", "POSTGRES_ENVIRONMENT": "PGPASSWORD"}
        with start(env=env, volumes={data_folder(): data}) as second:
            until(lambda: "1" == first.sql("SELECT count(*) FROM pg_stat_replication"), "the standby streams")
            assert "not in the server's environment" not in second.logs().output
