"""Doctor in real containers: each check is made to fail by a real fault, and is quiet without one."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

import archives
import containers
from archives import Archive
from containers import FRESH, Container, until

DATA = containers.data_folder()
INIT_FILE = "/docker-entrypoint-initdb.d/1.sql"
ROOMY = ("--shm-size", "256m")


def doctor(server: Container, *names: str, **options: Any) -> list[dict[str, str]]:
    """Return the findings of the named checks, or of all checks."""
    asked = server.exec("entrypoint", "doctor", "--json", *names, check=False, **options)
    found: list[dict[str, str]] = json.loads(asked.stdout)
    levels = {each["level"] for each in found}
    assert asked.code == (2 if "error" in levels else 1 if "warning" in levels else 0), asked.output
    return found


def alone(*names: str, **options: Any) -> list[dict[str, str]]:
    """Return the findings of doctor in a container of its own."""
    ended = containers.run("doctor", "--json", *names, **options)
    assert "Traceback" not in ended.output
    found: list[dict[str, str]] = json.loads(ended.stdout)
    return found


def worst(found: list[dict[str, str]]) -> str:
    """Return the warnings and errors as lines; each must say why it matters and how to fix it."""
    bad = [each for each in found if each["level"] != "ok"]
    assert [] == [each for each in bad if not each["why"] or not each["hint"]]
    return "\n".join(f"{each['level']}: {each['check']}: {each['found']}" for each in bad)


@pytest.fixture(scope="module", params=archives.TOOLS)
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """An archive in a folder."""
    with archives.made(request.param, None) as made:
        yield made


@pytest.fixture(scope="module")
def server(archive: Archive) -> Iterator[Container]:
    """A healthy server with a backup and an archived segment; each test repairs what it breaks."""
    with (
        containers.volume() as data,
        containers.create(
            env={**FRESH, **archive.env()},
            files={INIT_FILE: "CREATE TABLE made AS SELECT 1", "/secret": "password"},
            volumes={"/archive": archive.volume, DATA: data},
            options=ROOMY,
        ) as made,
    ):
        made.begin()
        made.ready()
        made.exec("entrypoint", "backup", "push", timeout=60)
        archives.write(made, 1)
        until(lambda: archives.waiting(made) == 0, "everything archived")
        yield made


def test_a_healthy_server(server: Container) -> None:
    """Doctor finds nothing wrong, as root and as the server's user."""
    for user in ("", "postgres"):
        found = doctor(server, user=user)
        assert "" == worst(found)
        expected = "settings shell version server start archive backups collations extensions secrets".split()
        assert set(expected) - {"start"} <= {each["check"] for each in found}


def test_doctor_is_quick(server: Container) -> None:
    """All checks together take less than a second on an idle machine."""

    def takes() -> float:
        began = time.monotonic()
        server.exec("entrypoint", "doctor")
        return time.monotonic() - began

    until(lambda: takes() < 1, "less than a second", 60)


def test_names_explanations_and_advice(server: Container) -> None:
    """Checks run by name and explain themselves; a wrong name gets the list; findings carry their advice."""
    shown = server.exec("entrypoint", "doctor", "slots", "free space").stdout.splitlines()
    assert ["free space", "slots"] == [line[7:24].strip() for line in shown[:-1]]
    assert "2 checks: all is well" == shown[-1]
    explained = server.exec("entrypoint", "doctor", "--explain", "slots").stdout.splitlines()
    expected = ["slots", "  why: a slot ", "  looks at: pg", "  docs: when-t"]
    assert expected == [line[:14] for line in explained]
    wrong = server.exec("entrypoint", "doctor", "slot", check=False)
    assert (2, True) == (wrong.code, 'use "slots", or one of: settings, shell, ' in wrong.stderr)
    bad = server.exec("entrypoint", "doctor", "settings", env={"ARCHIVE_URLS": "x"}, check=False)
    assert 2 == bad.code
    lines = [line.strip() for line in bad.stdout.splitlines()]
    assert "ERROR  settings" == lines[0][:15]
    assert "why: a misspelled variable has no effect, and a wrong value ends the start" in lines
    assert "hint: did you mean ARCHIVE_URL?" in lines


def test_an_unprivileged_user_may_run_it(server: Container) -> None:
    """A user without rights gets findings about what the user may not see, and no check crashes."""
    asked = server.exec("entrypoint", "doctor", "--json", user="12345", check=False)
    assert "the check itself failed" not in asked.output
    assert "Traceback" not in asked.output
    assert {"error", "warning"} & {each["level"] for each in json.loads(asked.stdout)}


def test_it_changes_nothing(server: Container, archive: Archive) -> None:
    """The archive and the files in the runtime folder are the same afterwards."""
    listed = "cd /run/entrypoint && find . -type f ! -name status | sort | xargs sha256sum"
    before = server.shell(listed), archive.digest()
    doctor(server)
    assert before == (server.shell(listed), archive.digest())


def _stored(server: Container) -> str:
    """Return the file of the last archived segment."""
    name = server.shell("head -n 1 /run/entrypoint/archived")
    return server.shell(f"find /archive -name '{name}[-.]*'", user="0")


def _do(server: Container, step: str) -> None:
    """Run a step: bash as root if it begins with a dollar sign, else SQL; then wait for changed settings."""
    if step.startswith("$ "):
        server.shell(step.removeprefix("$ ").replace("{stored}", _stored(server)), user="0")
        return
    loaded = server.sql("SELECT pg_conf_load_time()")
    server.sql(step)
    if step.startswith("ALTER SYSTEM"):
        server.sql("SELECT pg_reload_conf()")
        until(lambda: server.sql(f"SELECT pg_conf_load_time() > '{loaded}'") == "t", "settings are loaded")


class Break(NamedTuple):
    """How to break a healthy server, and how to repair it."""

    check: str
    level: str
    words: str
    steps: tuple[str, ...] = ()
    repair: tuple[str, ...] = ()
    env: Mapping[str, str] = {}


def _away(path: str) -> tuple[tuple[str], tuple[str]]:
    """Return the steps that take files away and bring them back."""
    return (f"$ for f in {path}; do mv $f $f.away; done",), (
        f"$ for f in {path}.away; do mv $f ${{f%.away}}; done",
    )


def _setting(name: str, value: str) -> tuple[tuple[str], tuple[str]]:
    return (f"ALTER SYSTEM SET {name} = '{value}'",), (f"ALTER SYSTEM RESET {name}",)


def _password(value: str, kind: str = "scram-sha-256") -> tuple[str]:
    return (f"SET password_encryption = '{kind}'; ALTER ROLE postgres PASSWORD {value}",)


_RECORDED = "UPDATE pg_database SET datcollversion = {} WHERE datname = 'postgres'"
_ODD = 'it\'s = \\"odd"'
_QUOTED = '"' + _ODD.replace('"', '""') + '"'
"""The name of a database, and the same in SQL."""
_CONNECT = "dbname='" + _ODD.replace("\\", "\\\\").replace("'", "\\'") + "'"
_LLVM = "/usr/lib/postgresql/$PG_MAJOR/lib/llvmjit.so"
_SWITCHES = (
    "$ for i in $(seq 17); do echo 'CREATE TABLE s (); DROP TABLE s; SELECT pg_switch_wal();'; done"
    " | psql -XqU postgres -o /dev/null"
)
_NOT_SLEEP = ("$ kill $(grep -l sleep /proc/[0-9]*/comm | cut -d/ -f3)",)
_HSTORE, _NO_HSTORE = "CREATE EXTENSION hstore", "DROP EXTENSION hstore"
_CONTROL = _away("/usr/share/postgresql/*/extension/hstore.control")
_LIBRARY = _away("/usr/lib/postgresql/*/lib/hstore.so")

OF_THE_ARCHIVE = (
    Break(
        "archive", "error", "cannot write to /archive", ("$ chmod 000 /archive",), ("$ chmod 700 /archive",)
    ),
    Break(
        "archiving",
        "error",
        "is not the entrypoint's, but: /bin/true",
        *_setting("archive_command", "/bin/true"),
    ),
    Break("archiving", "warning", "archive_timeout is 0", *_setting("archive_timeout", "0")),
    Break(
        "way back",
        "error",
        "cannot be read back",
        ("$ cp -a {stored} /tmp/kept; printf xxxx | dd of={stored} bs=1 seek=40 conv=notrunc 2>&1",),
        ("$ cp -a /tmp/kept {stored}",),
    ),
    Break(
        "clock",
        "warning",
        "behind this machine's",
        ("$ touch -d '-2 minutes' {stored}",),
        ("$ touch {stored}",),
    ),
    Break(
        "clock", "error", "behind this machine's", ("$ touch -d '-1 hour' {stored}",), ("$ touch {stored}",)
    ),
)
KEYS = {
    "pgbackrest": {"PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc", "PGBACKREST_REPO1_CIPHER_PASS": "x"},
    "wal-g": {"WALG_LIBSODIUM_KEY": "0123456789abcdef0123456789abcdef"},
}
"""Keys with which the server was not started."""
OTHERS = (
    Break("settings", "error", "unknown variable ARCHIVE_URLS", env={"ARCHIVE_URLS": "x"}),
    Break("shell", "error", "/bin/sh is missing", *_away("/bin/sh")),
    Break(
        "shell", "error", "/usr/bin/env: archive_command would end with exit code 127", *_away("/usr/bin/env")
    ),
    Break("shell", "error", "does not find seq", *_away("/usr/bin/seq")),
    Break("version", "error", "lacks pg_waldump", *_away("/usr/lib/postgresql/*/bin/pg_waldump")),
    Break(
        "version",
        "error",
        "the data is from PostgreSQL 9",
        (f"$ cp -a {DATA}/PG_VERSION /tmp && echo 9 >{DATA}/PG_VERSION",),
        (f"$ cp -a /tmp/PG_VERSION {DATA}",),
    ),
    Break(
        "folders", "warning", "open to others (mode 0755)", (f"$ chmod 755 {DATA}",), (f"$ chmod 700 {DATA}",)
    ),
    Break(
        "folders",
        "error",
        "closed to its owner",
        (f"$ chmod 500 {DATA}/pg_wal",),
        (f"$ chmod 700 {DATA}/pg_wal",),
    ),
    Break(
        "folders",
        "warning",
        "belongs to uid 0",
        (f"$ chown root {DATA}/pg_wal",),
        (f"$ chown postgres {DATA}/pg_wal",),
    ),
    Break(
        "folders",
        "error",
        "is in the container's own layer",
        ("$ install -d -o postgres -m 700 /elsewhere", "CREATE TABLESPACE t LOCATION '/elsewhere'"),
        ("DROP TABLESPACE t", "$ rmdir /elsewhere"),
    ),
    Break(
        "folders",
        "error",
        "/elsewhere is missing",
        (f"$ ln -s /elsewhere {DATA}/pg_tblspc/12345",),
        (f"$ rm {DATA}/pg_tblspc/12345",),
    ),
    Break(
        "run folder",
        "error",
        "cannot be written",
        ("$ chmod 555 /var/run/postgresql/",),
        ("$ chmod 3775 /var/run/postgresql/",),
    ),
    Break(
        "init files",
        "warning",
        "changed: 1.sql",
        (f"$ echo >>{INIT_FILE}",),
        (f"$ truncate -s -1 {INIT_FILE}",),
    ),
    Break("shared memory", "warning", "can request", *_setting("work_mem", "64MB")),
    Break("memory", "warning", "add up to", *_setting("work_mem", "1TB")),
    Break("processors", "warning", "max_parallel_workers is 500", *_setting("max_parallel_workers", "500")),
    Break(
        "jit",
        "warning",
        "this image has no LLVM",
        (*_setting("jit", "on")[0], f"$ mv {_LLVM} {_LLVM}.off"),
        (*_setting("jit", "on")[1], f"$ mv {_LLVM}.off {_LLVM}"),
    ),
    Break("pending restart", "warning", "shared_buffers", *_setting("shared_buffers", "64MB")),
    Break(
        "slots",
        "warning",
        "slot idle, which nobody reads",
        ("SELECT pg_create_physical_replication_slot('idle', true)", _SWITCHES),
        ("SELECT pg_drop_replication_slot('idle')",),
    ),
    Break(
        "collations",
        "warning",
        "database postgres, collation default: 1.0 is recorded",
        (_RECORDED.format("'1.0'"),),
        (_RECORDED.format("pg_database_collation_actual_version(oid)"),),
    ),
    Break(
        "collations",
        "warning",
        'collation "und-x-icu": 1 is recorded',
        (
            'CREATE TABLE sorted (word text COLLATE "und-x-icu" UNIQUE)',
            "UPDATE pg_collation SET collversion = '1' WHERE collname = 'und-x-icu'",
        ),
        ('ALTER COLLATION "und-x-icu" REFRESH VERSION', "DROP TABLE sorted"),
    ),
    Break(
        "locales",
        "error",
        "no locale xx_XX.utf8, which is needed by database other",
        ("CREATE DATABASE other", "UPDATE pg_database SET datcollate = 'xx_XX.utf8' WHERE datname = 'other'"),
        ("DROP DATABASE other",),
    ),
    Break(
        "extensions",
        "warning",
        f"hstore of {_ODD} is 1.4",
        (
            f"CREATE DATABASE {_QUOTED}",
            f"$ psql -XqU postgres -d {shlex.quote(_CONNECT)} -c \"CREATE EXTENSION hstore VERSION '1.4'\"",
        ),
        (f"DROP DATABASE {_QUOTED}",),
    ),
    Break("extensions", "error", "is not in the image", (_HSTORE, *_CONTROL[0]), (*_CONTROL[1], _NO_HSTORE)),
    Break(
        "extensions", "error", "lacks: $libdir/hstore", (_HSTORE, *_LIBRARY[0]), (*_LIBRARY[1], _NO_HSTORE)
    ),
    Break("password", "warning", "is not the password", _password("'other'"), _password("'secret'")),
    Break(
        "password",
        "warning",
        "is not the password",
        _password("'other'", "md5"),
        _password("'secret'", "md5"),
    ),
    Break("password", "warning", "has no password", _password("NULL"), _password("'secret'")),
    Break(
        "secrets",
        "error",
        "the command line of",
        ("$ (exec -a 'psql password=secret' sleep 60) >/dev/null 2>&1 & disown",),
        _NOT_SLEEP,
    ),
    Break(
        "secrets",
        "warning",
        "the environment of sleep",
        (
            "$ POSTGRES_PASSWORD=secret setpriv --reuid postgres --regid postgres --clear-groups sleep 60 >/dev/null 2>&1 & disown",
        ),
        _NOT_SLEEP,
    ),
    Break(
        "secrets",
        "warning",
        "can be read by everybody (mode 0644)",
        env={"POSTGRES_PASSWORD": "", "POSTGRES_PASSWORD_FILE": "/secret"},
    ),
)
CASES = [
    pytest.param(*tool.values, case, marks=tool.marks, id=f"{case.check}: {case.words}: {tool.values[0]}")
    for tool in archives.TOOLS
    for case in (
        *OF_THE_ARCHIVE,
        Break("encryption", "error", "is stored without encryption (lz4)", env=KEYS[str(tool.values[0])]),
        *(OTHERS if tool is archives.TOOLS[0] else ()),
    )
]


@pytest.mark.parametrize(("archive", "case"), CASES, indirect=["archive"])
def test_each_fault_is_found(server: Container, case: Break) -> None:
    """The check is quiet, then reports the fault, and is quiet again after the repair."""
    assert "" == worst(doctor(server, case.check))
    try:
        for step in case.steps:
            _do(server, step)
        found = worst(doctor(server, case.check, env=case.env))
    finally:
        for step in case.repair:
            _do(server, step)
    assert f"{case.level}: {case.check}: " in found
    assert case.words in found
    until(lambda: archives.waiting(server) == 0, "everything archived")
    assert "" == worst(doctor(server, case.check))
