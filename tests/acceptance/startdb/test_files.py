"""/docker-entrypoint-startdb.d: files that run at every start, against the real server."""

from __future__ import annotations

import gzip
import json
import lzma
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

import containers
from containers import (
    FRESH,
    READY,
    Container,
    File,
    Files,
    Outcome,
    complaints,
    create,
    folder,
    in_volume,
    script,
    serve,
    until,
)

STARTDB = "/docker-entrypoint-startdb.d"
USED = {"PGDATA": "/volume/data"}
WAITS = "until [ -e /tmp/go ]; do sleep 0.1; done\n"
CLEAN_STOP = "database system is shut down"
Wait = Callable[[Container], None]


def _insert(value: str) -> bytes:
    return f"INSERT INTO seen VALUES ('{value}');\n".encode()


@pytest.fixture(scope="module")
def zstd() -> bytes:
    """A small SQL file, compressed with zstd."""
    return containers.compressed(_insert("zst"))


EXECUTED = """#!/bin/bash
env --null > /tmp/environment
pg_isready --quiet --host 127.0.0.1; echo $? > /tmp/loopback
echo "$(type -t docker_process_sql)$SHARED" > /tmp/executed
psql -qX -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "INSERT INTO seen VALUES ('executed')"
"""
SOURCED = """
"${psql[@]}" --quiet <<< "INSERT INTO seen VALUES ('sourced')"
shared=variable
return
touch /tmp/after-return
"""
KINDS = "executed sourced variable sql gz xz zst".split()


@pytest.fixture
def every_kind(used_volume: str, zstd: bytes, until_ready: Wait) -> Iterator[Container]:
    """A server on an existing cluster that ran every kind of file at this start."""
    files: Files = {
        "0-table.sql": "CREATE TABLE IF NOT EXISTS seen (what text);",
        "1-executed.sh": script(EXECUTED),
        "2-sourced.sh": SOURCED,
        "3-same-shell.sh": "docker_process_sql -qc \"INSERT INTO seen VALUES ('$shared')\"\n",
        "4.sql": File(_insert("sql")),
        "5.sql.gz": File(gzip.compress(_insert("gz"))),
        "6.sql.xz": File(lzma.compress(_insert("xz"))),
        "7.sql.zst": File(zstd),
        "8.dump": "not for psql",
        ".hidden.sql": File(_insert("hidden")),
    }
    placed: Files = {f"{STARTDB}/{name}": file for name, file in files.items()}
    env = {**USED, "POSTGRES_PASSWORD": "secret", "OF_THE_USER": "a b"}
    with serve(env=env, files=placed, volumes={"/volume": used_volume}) as container:
        until_ready(container)
        yield container


def test_every_kind_of_file_runs_at_every_start(every_kind: Container, until_ready: Wait) -> None:
    """All kinds of init files run in order against the real server, with the same environment and log."""
    assert 0 == every_kind.stop()
    every_kind.again()
    until_ready(every_kind)
    assert KINDS * 2 == every_kind.sql("SELECT what FROM seen").splitlines()
    assert "0" == every_kind.shell("cat /tmp/loopback"), "the real server listens on TCP"
    assert "" == every_kind.shell("cat /tmp/executed")
    assert 1 == every_kind.exec("test", "-e", "/tmp/after-return", check=False).code
    raw = every_kind.shell("tr '\\0' '\\1' < /tmp/environment")
    seen = dict(entry.split("=", 1) for entry in raw.split("\1") if "=" in entry)
    expected = {
        "POSTGRES_USER": "postgres",
        "POSTGRES_DB": "postgres",
        "POSTGRES_PASSWORD": "secret",
        "PGPASSWORD": "secret",
        "PGDATA": "/volume/data",
        "PGPORT": "5432",
        "HOME": "/var/lib/postgresql",
        "OF_THE_USER": "a b",
    }
    assert expected == {name: seen.get(name) for name in expected}
    assert [] == [name for name in seen if name.startswith("ENTRYPOINT_")]
    lines = every_kind.logs().stdout.splitlines()
    for verb, name in (
        ("running", "1-executed.sh"),
        ("sourcing", "2-sourced.sh"),
        ("running", "5.sql.gz"),
        ("ignoring", "8.dump"),
    ):
        assert 2 == lines.count(f"/usr/local/bin/docker-entrypoint.sh: {verb} {STARTDB}/{name}")


def test_a_first_start_runs_them_too(until_ready: Wait) -> None:
    """They run after the init files and on the real server, at its real port."""
    files: Files = {
        "/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE seen (what text); INSERT INTO seen VALUES ('init');",
        f"{STARTDB}/1.sql": "INSERT INTO seen SELECT current_setting('port');",
    }
    env = {**FRESH, "POSTGRES_USER": "me", "POSTGRES_DB": "app"}
    with serve("-c", "port=5999", env=env, files=files) as container:
        until_ready(container)
        found = container.shell("psql -qAtX -p 5999 -U me -d app -c 'SELECT what FROM seen'")
        assert ["init", "5999"] == found.splitlines()


def test_it_is_not_ready_before_they_are_done(used_volume: str, until_ready: Wait) -> None:
    """The server answers, but neither `ready` nor `status` report it ready until the last file has ended."""
    files: Files = {f"{STARTDB}/1.sh": WAITS}
    with serve(env=USED, files=files, volumes={"/volume": used_volume}) as container:
        until(lambda: container.has_process("sleep"), "the file runs")
        assert "42" == container.sql("SELECT answer FROM kept")
        asked = container.exec("entrypoint", "ready", check=False)
        assert (1, "not ready: startdb\n") == (asked.code, asked.stderr)
        shown = json.loads(container.exec("entrypoint", "status", "--json").stdout)
        assert ("startdb", False) == (shown["phase"], shown["ready"])
        container.shell("touch /tmp/go")
        until_ready(container)
        shown = json.loads(container.exec("entrypoint", "status", "--json").stdout)
        assert ("serving", True, "primary") == (shown["phase"], shown["ready"], shown["role"])


class Failing(NamedTuple):
    """A file that fails, and the resulting exit of the container."""

    name: str
    file: File
    code: int
    words: str = "failed with exit code"


FAILING = {
    "sql": Failing("5.sql", File("SELECT 1/0;"), 3),
    "gz": Failing("5.sql.gz", File(gzip.compress(b"SELECT 1/0;")), 3),
    "sourced": Failing("5.sh", File("(exit 9)\n"), 9),
    "executed": Failing("5.sh", script("#!/bin/sh\nexit 7\n"), 7),
    "exit-0": Failing(
        "5.sh", File("exit 0\n"), 1, "called `exit 0`, which ended the shell that runs all these files"
    ),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_failing_file_ends_the_container(used_volume: str, kind: str, until_ready: Wait) -> None:
    """It has the file's exit code, after a clean stop; the message names the file and a way out."""
    bad = FAILING[kind]
    files: Files = {f"{STARTDB}/{bad.name}": bad.file, f"{STARTDB}/6.sql": "CREATE TABLE later ();"}
    with create(env=USED, files=files, volumes={"/volume": used_volume}) as container:
        ended = container.finish()
        assert bad.code == ended.code, ended.output
        (told,) = complaints(ended)
        assert f"the start file {STARTDB}/{bad.name} {bad.words}" in told
        assert f"remove it from {STARTDB}" in told
        assert CLEAN_STOP in ended.stderr
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        until_ready(container)
        assert "t" == container.sql("SELECT to_regclass('later') IS NULL")
        assert "not properly shut down" not in container.logs().output


@pytest.mark.parametrize(
    "body", [WAITS, 'docker_process_sql -c "SELECT pg_sleep(100)"\n'], ids=["shell", "query"]
)
@pytest.mark.parametrize("signal", ["TERM", "INT", "QUIT"])
def test_a_stop_in_the_middle_is_obeyed_at_once(used_volume: str, signal: str, body: str) -> None:
    """The file ends, then the server; this is no failure."""
    files: Files = {f"{STARTDB}/1.sh": f"touch /tmp/begun\n{body}"}
    # A smart shutdown waits this long for the session of a query whose client is gone.
    env = {**USED, "STOP_SMART_TIMEOUT": "1"}
    with serve(env=env, files=files, volumes={"/volume": used_volume}) as container:
        until(lambda: container.exec("test", "-e", "/tmp/begun", check=False).code == 0, "the file runs")
        time.sleep(0.3)  # in the middle of its wait
        began = time.monotonic()
        assert 0 == container.stop(signal)
        assert time.monotonic() - began < 4
        assert "failed" not in container.logs().output


def test_a_stop_before_the_server_is_up(used_volume: str) -> None:
    """The process that waits for the server does not prevent the container's stop."""
    files: Files = {f"{STARTDB}/1.sh": "touch /tmp/begun\n"}
    for pause in (0.05, 0.1, 0.15, 0.2, 0.3):
        with create(env=USED, files=files, volumes={"/volume": used_volume}) as container:
            container.begin()
            time.sleep(pause)  # no condition to wait for: this is the point in time
            began = time.monotonic()
            assert container.stop("INT") in (0, 130)
            assert time.monotonic() - began < 4


def test_a_file_that_ignores_a_stop_is_killed(used_volume: str) -> None:
    """It gets a grace period, and no more."""
    files: Files = {f"{STARTDB}/1.sh": script(f"#!/bin/bash\ntrap '' TERM INT\ntouch /tmp/begun\n{WAITS}")}
    with serve(env=USED, files=files, volumes={"/volume": used_volume}) as container:
        until(lambda: container.exec("test", "-e", "/tmp/begun", check=False).code == 0, "the file runs")
        began = time.monotonic()
        assert 0 == container.stop("INT")
        assert time.monotonic() - began < 12
        assert CLEAN_STOP in container.logs().stderr


def test_killed_in_the_middle_they_run_again(used_volume: str, until_ready: Wait) -> None:
    """After SIGKILL the next start runs all files from the first one on."""
    files: Files = {
        f"{STARTDB}/1.sql": "CREATE TABLE IF NOT EXISTS seen (what text); INSERT INTO seen VALUES ('one');",
        f"{STARTDB}/2.sh": WAITS,
        f"{STARTDB}/3.sql": "INSERT INTO seen VALUES ('three');",
    }
    with serve(env=USED, files=files, volumes={"/volume": used_volume}) as container:
        until(lambda: container.has_process("sleep"), "the second file runs")
        container.kill()
        container.wait()
        container.again()
        until(lambda: container.has_process("sleep"), "the second file runs again")
        container.shell("touch /tmp/go")
        until_ready(container)
        assert ["one", "one", "three"] == container.sql("SELECT what FROM seen").splitlines()


@pytest.mark.parametrize("files", [{}, {STARTDB: folder()}], ids=["none", "empty"])
def test_without_files_nothing_is_started(used_volume: str, files: Files, until_ready: Wait) -> None:
    """There is no process and no log line."""
    with serve(env=USED, files=files, volumes={"/volume": used_volume}) as container:
        until_ready(container)
        assert [] == json.loads(container.exec("entrypoint", "status", "--json").stdout)["helpers"]
        assert "startdb" not in container.logs().output


def test_not_on_a_standby(used_volume: str, until_ready: Wait) -> None:
    """A server in recovery accepts no writes, so it does not run the files, and logs that."""
    in_volume(used_volume, "touch data/standby.signal && chown --reference data data/standby.signal")
    files: Files = {f"{STARTDB}/1.sh": "touch /tmp/begun\n"}
    env = {**USED, "POSTGRES_PASSWORD": "wrong", "POSTGRES_EXTENSIONS": "hstore"}
    with containers.start(env=env, files=files, volumes={"/volume": used_volume}) as container:
        container.says("ready to accept read-only connections")
        until_ready(container)
        assert "t" == container.sql("SELECT pg_is_in_recovery()")
        assert 1 == container.exec("test", "-e", "/tmp/begun", check=False).code
        output = container.logs().output
        assert f"skipped on a standby: {STARTDB}" in output
        assert "POSTGRES_PASSWORD is not" not in output
        assert [] == json.loads(container.exec("entrypoint", "status", "--json").stdout)["helpers"]


def test_a_folder_that_cannot_be_listed_is_refused(used_volume: str) -> None:
    """Otherwise its files would silently not run."""
    files: Files = {STARTDB: folder(0o700), f"{STARTDB}/1.sql": "SELECT 1"}
    with create(env=USED, files=files, volumes={"/volume": used_volume}) as container:
        ended: Outcome = container.finish()
    assert 2 == ended.code
    (told,) = complaints(ended)
    assert f"cannot list the files of {STARTDB}" in told
    assert READY not in ended.output
