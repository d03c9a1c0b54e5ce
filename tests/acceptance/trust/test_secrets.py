"""No value that may be a secret is shown by a command, in the log, in an environment or on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import containers
from containers import FRESH, LOOK_INSIDE, Container, create, run, serve, until

MARK = "GEHEIM"
ARCHIVE = {"ARCHIVE_TOOL": "pgbackrest", "ARCHIVE_COMMAND_TIMEOUT": "60"}
KEYS = {
    "PGBACKREST_REPO1_CIPHER_PASS": f"cipher{MARK}",
    "AWS_SECRET_ACCESS_KEY": f"aws{MARK}",
    "AWS_SESSION_TOKEN": f"session{MARK}",
    "WALG_LIBSODIUM_KEY": f"libsodium{MARK}",
    "AZURE_STORAGE_SAS_TOKEN": f"sas{MARK}",
    "GOOGLE_KEY_OF_A_TOOL": f"google{MARK}",
    "RESTIC_PASSWORD": f"restic{MARK}",
    "DATABASE_URL": f"postgres://me:{MARK}@db/app",
    "HTTPS_PROXY": f"http://me:{MARK}@proxy:3128",
    "POSTGRES_PASSWORD": f"superuser{MARK}",
    "PGPASSWORD": f"superuser{MARK}",
}
"""Secrets of the archivers, of unknown tools, and of the server itself."""
NEEDED = {"LC_MESSAGES": "C", "PGTZ": "UTC", "TZ": "UTC", "POSTGIS_GDAL_ENABLED_DRIVERS": "ENABLE_ALL"}
ENVIRON = "for file in /proc/[0-9]*/environ; do [ $file = /proc/$$/environ ] || tr '\\0' '\\n' <$file | sed \"s,^,$file ,\"; done 2>/dev/null"
"""Prints the environments of all processes; run as root."""


@pytest.fixture(scope="module")
def archive() -> Iterator[str]:
    """Yield a volume with an archive that has one base backup, made without any of the keys."""
    env = {**FRESH, "ARCHIVE_URL": "file:///archive", **ARCHIVE}
    with containers.volume() as name:
        with serve(env=env, volumes={"/archive": name}) as container:
            container.exec("entrypoint", "backup", "push", timeout=60)
            assert 0 == container.stop()
        yield name


def test_a_restored_server_has_no_key(archive: str) -> None:
    """If only RESTORE_* name an archive, the server, PID 1 and their children have what they need, but no key."""
    env = {"RESTORE_FROM": "LATEST", "RESTORE_ARCHIVE_URL": "file:///archive", **KEYS, **NEEDED}
    env |= {"POSTGRES_ENVIRONMENT": "MY_* PGPASSFILE", "MY_VARIABLE": "mine", "OTHER": "unknown"}
    with (
        containers.copied_volume(archive) as copy,
        serve(
            env={**env, "RESTORE_ARCHIVE_TOOL": "pgbackrest"}, volumes={"/archive": copy}, options=LOOK_INSIDE
        ) as container,
    ):
        container.sql("CREATE TABLE seen (line text)")
        container.sql("COPY seen FROM PROGRAM 'env' WITH (DELIMITER E'\\x01')")
        assert "" == container.sql(f"SELECT line FROM seen WHERE line LIKE '%{MARK}%'")
        names = set(container.sql("SELECT split_part(line, '=', 1) FROM seen").splitlines())
        assert {"PATH", "LANG", "PGDATA", "PG_MAJOR", "MY_VARIABLE", *NEEDED} <= names
        assert "OTHER" not in names
        (told,) = re.findall(
            r"hidden from the server: (.*); POSTGRES_ENVIRONMENT can", container.logs().stderr
        )
        assert {"DATABASE_URL", "GOOGLE_KEY_OF_A_TOOL", "HTTPS_PROXY", "OTHER", "RESTIC_PASSWORD"} == {
            *told.split(", ")
        }
        found = container.shell(ENVIRON, user="0")
        assert "/proc/1/environ PATH=" in found
        assert [] == [line for line in found.splitlines() if MARK in line]
        assert MARK not in container.logs().output


def _mask(container: Container, *command: str) -> str:
    return container.exec("entrypoint", *command, check=False).output


SETTINGS = {
    "POSTGRES_CONF_primary_conninfo": f"host=a sslpassword={MARK}1 user=b password='pw {MARK}2'",
    "POSTGRES_CONF_ssl_passphrase_command": f"echo {MARK}3",
    "POSTGRES_CONF_app__jwt_secret": f"{MARK}4",
    "POSTGRES_CONF_archive_cleanup_command": f"AWS_SECRET_ACCESS_KEY={MARK}5 wal-g delete",
    "POSTGRES_CONF_app__hook": f"https://me:{MARK}6@host/{MARK}7",
}


def test_commands_show_no_secret() -> None:
    """`config show`, `config diff`, `render`, `doctor` and a reload hide possible secrets in every form."""
    conf = {"/docker-entrypoint-conf.d/a.conf": f"recovery_end_command = 'curl -u me:{MARK}8 https://h'\n"}
    with serve("-c", f"app.dsn=password='{MARK}9", env={**FRESH, **SETTINGS}, files=conf) as container:
        container.sql(f"ALTER SYSTEM SET archive_command = 'push --key={MARK}10 %p'")
        container.sql(f"ALTER SYSTEM SET primary_conninfo = 'postgres://u:{MARK}11@h/d?sslpassword={MARK}12'")
        said = [
            _mask(container, "config", *rest)
            for rest in (("show",), ("show", "--json"), ("diff",), ("diff", "--json"))
        ]
        said += [_mask(container, "render"), _mask(container, "doctor"), _mask(container, "doctor", "--json")]
        container.kill("HUP")
        container.says("setting", timeout=60)
        container.says("reloaded")
        # PostgreSQL itself logs each parameter that a reload changes, with its value.
        said.append(
            "".join(
                line
                for line in container.logs().stderr.splitlines(keepends=True)
                if 'parameter "' not in line
            )
        )
        assert [] == [text for text in said if MARK in text]
        assert "push ***" in said[0]
        assert "postgres://u:***@h/d?sslpassword=***" in said[0]
        assert "***" in said[4]


WRONG = {
    "ARCHIVE_URL": f"s3://AKIA{MARK}:secret{MARK}@bucket/prefix",
    "WALG_S3_PREFIX": f"s3://AKIA{MARK}:secret{MARK}@bucket/prefix",
    "POSTGRES_HOST_AUTH_METHOD": f'ldaps ldapbindpasswd="{MARK}"',
    "POSTGRES_INITDB_ARGS": f"--x='{MARK}",
    "POSTGRES_PASSWORD_FILE": MARK,
    "POSTGRES_CONF_primary_conninfo": f"host=a password=b {MARK}",
    "POSTGRES_CONF_password_encryption": MARK,
    "POSTGRES_ENVIRONMENT": f"A={MARK}",
}


@pytest.mark.parametrize("command", ["postgres", "doctor"])
def test_a_mistake_is_reported_without_its_value(command: str) -> None:
    """A start and doctor name each wrong variable, and repeat no part of its value."""
    env = {**FRESH, **WRONG}
    env.pop("POSTGRES_PASSWORD")
    said = run(command, *(["--json"] if command == "doctor" else []), env=env).output
    assert "Traceback" not in said
    assert MARK not in said
    if command == "postgres":
        for name in sorted({*WRONG} - {"WALG_S3_PREFIX"}):
            assert name in said, name


@pytest.mark.parametrize(
    "conninfo", [f"host=a password=b {MARK}9", f"postgres://u:{MARK}%ZZ9@a", f"host=a port={MARK}"]
)
def test_a_standbys_connection_string_is_checked_at_the_start(conninfo: str, archive: str) -> None:
    """It is refused before anything is restored; the server would log parts of it every few seconds."""
    env = {**ARCHIVE, "ARCHIVE_URL": "file:///archive", "STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": conninfo}
    with create(env=env, volumes={"/archive": f"{archive}:ro"}) as container:
        outcome = container.finish()
    assert 1 == outcome.code
    assert "STANDBY_PRIMARY_CONNINFO is not a connection string: " in outcome.stderr
    assert MARK not in outcome.output


def test_no_command_line_has_a_secret() -> None:
    """`config diff` passes no secret to the server's binary on a command line, which the whole host can see."""
    spy = '#!/bin/sh\necho "$*" >>/tmp/seen\nexec /usr/lib/postgresql/*/bin/postgres "$@"\n'
    secret = {"POSTGRES_CONF_primary_conninfo": f"host=a password={MARK}"}
    with serve(
        env={**FRESH, **secret}, files={"/usr/local/bin/postgres": containers.script(spy)}
    ) as container:
        container.sql("ALTER SYSTEM SET primary_conninfo = 'host=b'")
        container.sql(f"ALTER SYSTEM SET primary_conninfo = 'host=b password={MARK}2'")
        container.exec("entrypoint", "config", "diff")
        until(lambda: "-C primary_conninfo" in container.shell("cat /tmp/seen"), "the question")
        assert MARK not in container.shell("cat /tmp/seen")
