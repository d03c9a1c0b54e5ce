"""Secrets are in no environment, command line, log or file in which somebody else may see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

import containers
from containers import (
    FRESH,
    LOOK_INSIDE,
    PYTHON,
    SERVERS,
    Container,
    Files,
    create,
    docker,
    script,
    serve,
    until,
)

INIT = "/docker-entrypoint-initdb.d"
STARTDB = "/docker-entrypoint-startdb.d"
SECRETS = {
    "POSTGRES_PASSWORD": "first-secret-of-postgres",
    "PGPASSWORD": "first-secret-of-postgres",
    "PGBACKREST_REPO1_CIPHER_PASS": "second-secret-of-pgbackrest",
    "AWS_SECRET_ACCESS_KEY": "third-secret-of-the-storage",
}
ENV = {
    **FRESH,
    **SECRETS,
    "AWS_ACCESS_KEY_ID": "known",
    "ARCHIVE_URL": "file:///archive",
    "ARCHIVE_TOOL": "pgbackrest",
    "PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc",
    "STATUS_LOG_LEVEL": "debug",
}
#: An empty volume for an archive.
ARCHIVE = ("--volume", "/archive")
#: Waits in place of the program that fetches segments, and otherwise is that program.
WAITING_FETCH: Files = {
    "/usr/local/bin/pgbackrest": script(
        '#!/bin/bash\n[[ " $* " != *" archive-get "* ]] || sleep 60\nexec /usr/bin/pgbackrest "$@"\n'
    )
}


class Process(NamedTuple):
    """A process, as root in its container sees it."""

    name: str
    argv: str
    environ: str


def _processes(container: Container) -> dict[int, Process]:
    """What the kernel shows of all processes except those of this query."""
    text = """
for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    [ $pid != $$ ] || continue
    { name=$(<$folder/comm) && argv=$(tr '\\0\\n' '  ' < $folder/cmdline) &&
        environ=$(tr '\\0\\n' '  ' < $folder/environ) || continue; } 2> /dev/null
    printf '%s\\t%s\\t%s\\t%s\\n' $pid "$name" "$argv" "$environ"
done
"""
    rows = (line.split("\t") for line in container.shell(text, user="0").splitlines())
    return {int(pid): Process(name, argv, environ) for pid, name, argv, environ in rows}


def _spilled(text: str) -> list[str]:
    """Names of the secrets in a text."""
    return [name for name, value in SECRETS.items() if value in text]


@pytest.fixture(scope="module")
def archive() -> Iterator[str]:
    """A volume with an encrypted archive that contains one base backup."""
    with containers.volume() as name:
        with serve(env=ENV, volumes={"/archive": name}) as container:
            container.exec("entrypoint", "backup", "push", timeout=60)
            assert 0 == container.stop()
        yield name


@pytest.fixture(scope="module")
def serving(archive: str) -> Iterator[Container]:
    """A running server with all secrets, after a restore."""
    with (
        containers.copied_volume(archive) as copy,
        serve(
            env={**ENV, "RESTORE_FROM": "LATEST"}, volumes={"/archive": copy}, options=LOOK_INSIDE
        ) as container,
    ):
        yield container


def test_no_process_shows_a_secret_while_serving(serving: Container) -> None:
    """PID 1, the server and its children show none in /proc/<pid>/environ or in `ps`."""
    found = _processes(serving)
    assert found[1].name.startswith("python3")
    assert "postgres" in {process.name for process in found.values()}
    assert "PGDATA=" in found[1].environ, "the environment could not be read"
    assert {} == {process: _spilled(text) for process in found.values() if _spilled(text := str(process))}


def test_no_process_shows_a_secret_while_archiving(serving: Container) -> None:
    """The archiver of a segment gets its secrets from a file."""
    before = int(serving.sql("SELECT archived_count FROM pg_stat_archiver"))
    serving.shell(
        "cd /usr/bin; cp -p pgbackrest pgbackrest.real; "
        'printf \'#!/bin/sh\\n{ tr "\\\\0" " " < /proc/$$/environ; echo "$*"; } >> /tmp/seen\\n'
        'exec /usr/bin/pgbackrest.real "$@"\\n\' > pgbackrest.new; chmod 755 pgbackrest.new; mv pgbackrest.new pgbackrest',
        user="0",
    )
    serving.sql("SELECT pg_create_restore_point('something to archive')")
    serving.sql("SELECT pg_switch_wal()")
    count = "SELECT archived_count FROM pg_stat_archiver"
    until(lambda: int(serving.sql(count)) > before, "a segment is archived")
    seen = serving.shell("cat /tmp/seen", user="0")
    assert "archive-push" in seen
    assert "PATH=" in seen
    assert [] == _spilled(seen)


def test_no_file_but_the_archivers_holds_a_secret(serving: Container) -> None:
    """Of all files, including volumes and /run, one contains a secret: the archiver's, closed to all others."""
    holds: dict[tuple[str, str], list[str]] = {}
    for name, value in SECRETS.items():
        look = f"grep --recursive --files-with-matches --fixed-strings --devices=skip -e {value} "
        look += "/var /run /tmp /etc /home /root /opt /srv /dev/shm /archive /usr/local /docker* || true"
        paths = serving.shell(look, user="0").splitlines()
        for path in paths:
            mode = serving.shell(f"stat --format '%a %U' {path}", user="0")
            holds[path, mode] = [*holds.get((path, mode), []), name]
    (path, mode), names = holds.popitem()
    assert {} == holds
    assert ("/run/entrypoint/", "600 postgres") == (path[: len("/run/entrypoint/")], mode)
    assert ["PGBACKREST_REPO1_CIPHER_PASS"] == names


def test_no_log_line_holds_a_secret(serving: Container) -> None:
    """This holds even at the debug level."""
    assert "entrypoint: debug: started the server" in serving.logs().stderr
    assert [] == _spilled(serving.logs().output)


def test_no_process_shows_a_secret_during_the_replay(archive: str) -> None:
    """This concerns PID 1, the server that replays, and the program that fetches its segments."""
    with (
        containers.copied_volume(archive) as copy,
        create(
            env={**ENV, "RESTORE_FROM": "LATEST"},
            files=WAITING_FETCH,
            volumes={"/archive": copy},
            options=LOOK_INSIDE,
        ) as container,
    ):
        container.begin()
        until(lambda: container.has_process("sleep"), "a segment is being fetched")
        found = _processes(container)
        names = {process.name for process in found.values()}
        assert {"sleep", "postgres", "pgbackrest"} <= names, names
        assert "PGDATA=" in found[1].environ, "the environment could not be read"
        assert {} == {process: _spilled(text) for process in found.values() if _spilled(text := str(process))}


def test_during_an_init_file_only_init_files_have_the_password() -> None:
    """Neither PID 1 nor the temporary server shows a secret while a long init file runs."""
    files = {f"{INIT}/1.sh": "test -n $POSTGRES_PASSWORD -a -n $PGPASSWORD && sleep 60\n"}
    with create(env=ENV, files=files, options=(*LOOK_INSIDE, *ARCHIVE)) as container:
        container.begin()
        until(lambda: container.has_process("sleep"), "a running init file")
        found = _processes(container)
        assert "PGDATA=" in found[1].environ, "the environment could not be read"
        servers = [process for process in found.values() if process.name in SERVERS]
        assert len(servers) > 3
        assert {} == {one: _spilled(text) for one in [found[1], *servers] if _spilled(text := str(one))}
        # the official image's contract promises the password to init files
        assert ["POSTGRES_PASSWORD", "PGPASSWORD"] == _spilled(
            next(process.environ for process in found.values() if process.name == "sleep")
        )[:2]
        assert [] == [word for process in found.values() for word in _spilled(process.argv)]
        assert [] == _spilled(container.logs().output)


def test_initdb_gets_the_password_from_memory() -> None:
    """The password is neither in initdb's environment nor on its command line."""
    spy = '#!/bin/sh\n{ env; echo "$*"; } > /tmp/seen\nexec /usr/lib/postgresql/*/bin/initdb "$@"\n'
    with serve(env=ENV, files={"/usr/local/bin/initdb": script(spy)}, options=ARCHIVE) as container:
        seen = container.shell("cat /tmp/seen")
        assert "--pwfile=" in seen
        assert [] == _spilled(seen)
        asked = container.sql("SELECT 1", host="127.0.0.1", password=SECRETS["POSTGRES_PASSWORD"])
        assert "1" == asked


def test_helpers_get_no_secret() -> None:
    """The helper that requests a checkpoint has the server's environment, without secrets."""
    spy = '#!/bin/sh\n{ echo "$*"; env; } >> /tmp/seen\nexec /usr/lib/postgresql/*/bin/psql "$@"\n'
    with serve(env=ENV, files={"/usr/local/bin/psql": script(spy)}, options=ARCHIVE) as container:
        container.shell("rm --force /tmp/seen", user="0")  # psql of the first start may have the password
        assert 0 == container.stop("TERM")
        seen = docker("cp", f"{container.name}:/tmp/seen", "-").stdout
    assert "CHECKPOINT" in seen
    assert "PGDATA=" in seen
    assert [] == _spilled(seen)


MEMORY = """
import sys
with open("/proc/1/maps") as maps, open("/proc/1/mem", "rb", buffering=0) as memory:
    held = b""
    for line in maps:
        first, last = (int(word, 16) for word in line.split()[0].split("-"))
        if "r" in line.split()[1] and "[v" not in line:
            memory.seek(first)
            held += memory.read(last - first)
print(*[word for word in sys.argv[1:] if word[::-1].encode() in held])
"""
"""Which of the words PID 1 has in its memory; they are given backwards, so that this command line does not contain them."""


def test_only_start_files_have_the_password() -> None:
    """It is in their environment while they run, and neither in PID 1 nor in any descriptor or file."""
    files: Files = {f"{STARTDB}/1.sh": "until [ -e /tmp/go ]; do sleep 0.1; done\n"}
    options = (*LOOK_INSIDE, *ARCHIVE)
    secret = SECRETS["POSTGRES_PASSWORD"]
    with serve(env=ENV, files=files, options=options) as container:
        until(lambda: container.has_process("sleep"), "the start file runs")
        found = _processes(container)
        holders = {process.name for process in found.values() if _spilled(str(process))}
        assert {"bash"} == holders - {"sleep"}, "the file's shell, and what it waits by"
        look = f"grep -ls --devices=skip -e {secret} /proc/[0-9]*/fd/* || true"
        assert "" == container.shell(look, user="0")
        words = ("checkpoint"[::-1], secret[::-1])
        asked = container.exec(PYTHON, "-c", MEMORY, *words, user="0").stdout.split()
        assert ["checkpoint"[::-1]] == asked, "the memory of PID 1 was read, and the secret is not in it"
        container.shell("touch /tmp/go")
        until(lambda: container.exec("entrypoint", "ready", check=False).code == 0, "ready")
        found = _processes(container)
        assert {} == {process: _spilled(text) for process in found.values() if _spilled(text := str(process))}
        look = f"grep --recursive -l --devices=skip -e {secret} /run /tmp /var/lib/postgresql || true"
        assert "" == container.shell(look, user="0")
        assert [] == _spilled(container.logs().output)


def test_secrets_from_files_do_not_become_environment() -> None:
    """`NAME_FILE` has the same effect as the value: the secret is in no environment."""
    env = {name: value for name, value in ENV.items() if name not in SECRETS}
    names = ("POSTGRES_PASSWORD", "PGBACKREST_REPO1_CIPHER_PASS")
    env |= {f"{name}_FILE": f"/secrets/{name}" for name in names}
    files = {f"/secrets/{name}": SECRETS[name] for name in names}
    with serve(env=env, files=files, options=(*LOOK_INSIDE, *ARCHIVE)) as container:
        found = _processes(container)
        assert "PGDATA=" in found[1].environ
        assert {} == {process: _spilled(text) for process in found.values() if _spilled(text := str(process))}
