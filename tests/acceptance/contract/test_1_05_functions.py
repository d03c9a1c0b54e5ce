"""Row 1.5 of the contract: each function of the script, used by a script that sources it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from containers import Container, Files, Outcome, create, script

FUNCTIONS = (
    "file_env",
    "_is_sourced",
    "docker_create_db_directories",
    "docker_init_database_dir",
    "docker_verify_minimum_env",
    "docker_error_old_databases",
    "docker_process_init_files",
    "docker_process_sql",
    "docker_setup_db",
    "docker_setup_env",
    "pg_setup_hba_conf",
    "docker_temp_server_start",
    "docker_temp_server_stop",
    "_pg_want_help",
    "_main",
)

SOURCE = "source /usr/local/bin/docker-entrypoint.sh\n"

#: A wrapper of a program that records how it was called.
STUB = r"""#!/bin/bash
printf '%s\n' "$@" | sed "s/^/${0##*/}: /"
[[ "$*" != *--pwfile=* ]] || sed 's/^/password: /' "$(printf '%s\n' "$@" | sed -n 's/^--pwfile=//p')"
echo "hosts: <$PGHOST> <$PGHOSTADDR>"
"""

FULL_USE = r"""
set -e
docker_setup_env
echo "exists before=<$DATABASE_ALREADY_EXISTS> old=${#OLD_DATABASES[@]}"
docker_create_db_directories
docker_verify_minimum_env
docker_error_old_databases
docker_init_database_dir --data-checksums
pg_setup_hba_conf postgres -c password_encryption=md5 -c hba_file=/elsewhere
echo "hba=$(tail -n 1 "$PGDATA/pg_hba.conf")"
export PGPASSWORD="$POSTGRES_PASSWORD"
docker_temp_server_start postgres -c work_mem=7MB
docker_setup_db
docker_setup_db
count="SELECT count(*) FROM pg_database WHERE datname = 'app'"
echo "databases=$(docker_process_sql --dbname postgres -At -c "$count")"
docker_process_init_files /always/*
echo "array=${psql[*]}"
echo "stdin=$(docker_process_sql -At <<< 'SELECT current_database(), n FROM t')"
echo "file=$(docker_process_sql -At -f /query)"
both="SELECT current_setting('work_mem'), current_setting('listen_addresses')"
echo "settings=$(docker_process_sql -At -c "$both")"
echo "checksums=$(docker_process_sql -At -c 'SHOW data_checksums')"
docker_temp_server_stop
echo "stopped=$(ls "$PGDATA/postmaster.pid" 2> /dev/null || echo yes)"
docker_setup_env
echo "exists after=<$DATABASE_ALREADY_EXISTS>"
docker_temp_server_start -c work_mem=8MB
echo "again=$(docker_process_sql -At -c 'SHOW work_mem')"
docker_temp_server_stop
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Container]:
    """A container without a server, for scripts to run in."""
    files: Files = {
        "/stub/psql": script(STUB),
        "/stub/initdb": script(STUB),
        "/stub/pg_ctl": script(STUB),
        "/always/1.sql": "CREATE TABLE t AS SELECT 1 AS n;",
        "/always/2.sh": 'echo "in $f"; "${psql[@]}" -c "UPDATE t SET n = n + 1"\n',
        "/query": "SELECT n * 10 FROM t;",
        "/given/newlines": "value\n\n\n",
        "/lib.sh": f"{SOURCE} if _is_sourced; then echo library; else echo program; fi\n",
        "/main.sh": f"{SOURCE} if _is_sourced; then echo library; else echo program; fi\nsource /lib.sh\n",
    }
    with create("sleep", "600", files=files) as container:
        container.begin()
        yield container


def sourcing(
    box: Container,
    body: str,
    env: Mapping[str, str] | None = None,
    *,
    user: str = "postgres",
    stub: bool = False,
) -> Outcome:
    """The output of a bash that sources the script and then runs the body."""
    path = "PATH=/stub:$PATH\n" if stub else ""
    return box.exec("bash", "-c", SOURCE + path + body, env=env, user=user, check=False)


@pytest.fixture(scope="module")
def used(box: Container) -> dict[str, str]:
    """What a manual initialization observed, from the environment to the stopped server."""
    env = {
        "PGDATA": "/tmp/full/data",
        "POSTGRES_PASSWORD": "secret",
        "POSTGRES_USER": "me",
        "POSTGRES_DB": "app",
    }
    outcome = sourcing(box, FULL_USE, {**env, "POSTGRES_INITDB_ARGS": "--no-sync"})
    assert outcome.code == 0, outcome.output
    return dict(line.split("=", 1) for line in outcome.stdout.splitlines() if "=" in line)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_are_defined(box: Container, function: str) -> None:
    """All fifteen names are there once the file is sourced."""
    assert (0, f"{function}\n") == sourcing(box, f"declare -F {function}")[:2]


def test_sourcing_does_nothing(box: Container) -> None:
    """Sourcing prints nothing and starts nothing."""
    outcome = sourcing(box, "ls /tmp/none", {"PGDATA": "/tmp/none", "POSTGRES_PASSWORD": "secret"})
    assert (2, "") == outcome[:2]


def test_shell_options(box: Container) -> None:
    """Errors end the script, even in functions and pipes; unset variables do not."""
    outcome = sourcing(box, 'echo "$-"; shopt -o pipefail')
    options, pipefail = outcome.stdout.splitlines()
    assert {"e", "E"} <= set(options)
    assert "u" not in options
    assert pipefail.split() == ["pipefail", "on"]


def test_is_sourced(box: Container) -> None:
    """It is true in a file that is being sourced and false in one that runs."""
    assert ["program", "library"] == box.exec("bash", "/main.sh").stdout.splitlines()


@pytest.mark.parametrize(
    ("env", "call", "expected"),
    [
        ({}, "file_env X", "<>"),
        ({}, "file_env X default", "<default>"),
        ({"X": ""}, "file_env X default", "<default>"),
        ({"X": "set"}, "file_env X default", "<set>"),
        ({"X_FILE": "/given/newlines"}, "file_env X default", "<value>"),
        ({"X": "", "X_FILE": "/given/newlines"}, "file_env X", "<value>"),
        ({"X": "set", "X_FILE": ""}, "file_env X", "<set>"),
    ],
)
def test_file_env(box: Container, env: dict[str, str], call: str, expected: str) -> None:
    """The value, the file's content without trailing newlines, or the default is exported; X_FILE is gone."""
    outcome = sourcing(box, f'{call}; bash -c \'echo "<$X>"\'; [ -z "${{X_FILE+set}}" ]', env)
    assert (0, f"{expected}\n") == outcome[:2]


def test_file_env_with_both(box: Container) -> None:
    """Both forms end the calling script."""
    outcome = sourcing(box, "file_env X; echo continued", {"X": "a", "X_FILE": "/given/newlines"})
    assert (1, "") == outcome[:2]
    assert "both X and X_FILE are set" in outcome.stderr


def test_file_env_with_missing_file(box: Container) -> None:
    """A missing file ends the calling script."""
    assert (1, "") == sourcing(box, "file_env X; echo continued", {"X_FILE": "/no/such"})[:2]


def test_create_directories(box: Container) -> None:
    """As root, folders are created with the right owner and closed to others."""
    env = {"PGDATA": "/made/data", "POSTGRES_INITDB_WALDIR": "/made/wal"}
    show = "docker_create_db_directories; stat --format '%n %a %U' /made /made/data /made/wal /run/postgresql"
    expected = [
        "/made 755 root",
        "/made/data 700 postgres",
        "/made/wal 700 postgres",
        "/run/postgresql 3775 postgres",
    ]
    assert expected == sourcing(box, show, env, user="root").stdout.splitlines()


def test_initdb_is_called(box: Container) -> None:
    """The order is: user, password, own arguments, WAL folder, arguments of the caller."""
    env = {
        "PGDATA": "/tmp/called/data",
        "POSTGRES_USER": "a user",
        "POSTGRES_PASSWORD": "pass word",
        "POSTGRES_INITDB_ARGS": "--one 'two three' --four=$((2 + 2))",
        "POSTGRES_INITDB_WALDIR": "/tmp/wal",
    }
    lines = sourcing(box, "docker_init_database_dir --last 'x y'", env, stub=True).stdout.splitlines()
    given = [line.removeprefix("initdb: ") for line in lines if line.startswith("initdb: ")]
    assert "--username=a user" == given[0]
    assert given[1].startswith("--pwfile=")
    expected = ["--one", "two three", "--four=4", "--waldir", "/tmp/wal", "--last", "x y"]
    assert expected == given[-len(expected) :]
    assert "password: pass word" in lines


def test_verify_without_password(box: Container) -> None:
    """A missing password ends the script with a hint."""
    outcome = sourcing(box, "docker_setup_env; docker_verify_minimum_env; echo continued")
    assert (1, "", True) == (*outcome[:2], "POSTGRES_PASSWORD" in outcome.stderr)


@pytest.mark.parametrize(
    ("env", "warned"),
    [({"POSTGRES_PASSWORD": "x"}, False), ({"POSTGRES_HOST_AUTH_METHOD": "trust"}, True)],
)
def test_verify_with_password_or_trust(box: Container, env: dict[str, str], *, warned: bool) -> None:
    """A password or trust is enough; trust causes a warning on stderr."""
    outcome = sourcing(box, "docker_setup_env; docker_verify_minimum_env; echo continued", env)
    assert (0, "continued\n", warned) == (*outcome[:2], 'has been set to "trust"' in outcome.stderr)


def test_error_old_databases(box: Container) -> None:
    """The message names the places, the two threads to read and the mount to use."""
    outcome = sourcing(
        box, 'OLD_DATABASES=( /one "/two (note)" ); docker_error_old_databases; echo continued'
    )
    assert (1, "") == outcome[:2]
    for text in ("/one", "/two (note)", "/var/lib/postgresql", "/pull/1259", "/issues/37"):
        assert text in outcome.stderr


def test_no_old_databases(box: Container) -> None:
    """Without old databases there is no output."""
    assert (0, "continued\n", "") == sourcing(
        box, "OLD_DATABASES=(); docker_error_old_databases; echo continued"
    )


def test_psql_is_called(box: Container) -> None:
    """User, database, stop on error, no prompt, no personal file; blank hosts; the caller's arguments."""
    env = {"POSTGRES_USER": "a user", "POSTGRES_DB": "a db", "PGHOST": "far", "PGHOSTADDR": "192.0.2.1"}
    called = sourcing(box, "docker_process_sql --more 'x y'", env, stub=True).stdout.splitlines()
    options = [
        "-v",
        "ON_ERROR_STOP=1",
        "--username",
        "a user",
        "--no-password",
        "--no-psqlrc",
        "--dbname",
        "a db",
    ]
    assert [*(f"psql: {word}" for word in [*options, "--more", "x y"]), "hosts: <> <>"] == called


def test_psql_is_called_without_a_database(box: Container) -> None:
    """With an empty POSTGRES_DB the caller chooses the database."""
    called = sourcing(
        box, "POSTGRES_DB= docker_process_sql --dbname x", {"POSTGRES_USER": "u"}, stub=True
    ).stdout
    assert 1 == called.count("--dbname")


def test_pg_ctl_is_called(box: Container) -> None:
    """The server's arguments are quoted, then socket only and the port; pg_ctl waits; the stop is fast."""
    env = {"PGDATA": "/tmp/data", "PGPORT": "6543", "POSTGRES_USER": "u"}
    body = "docker_temp_server_start postgres -c 'a=b c'; docker_temp_server_stop"
    called = [
        line.removeprefix("pg_ctl: ") for line in sourcing(box, body, env, stub=True).stdout.splitlines()
    ]
    parts = [line.strip() for line in called if not line.startswith("hosts")]
    assert ["-D", "/tmp/data", "-o", r"-c a=b\ c -c listen_addresses= -p 6543", "-w", "start"] == [
        part.replace("''", "") for part in parts[:6]
    ]
    assert ["-D", "/tmp/data", "-m", "fast", "-w", "stop"] == parts[6:]


def test_setup_env_sets_defaults(box: Container) -> None:
    """User and database get their defaults and are exported; the two globals are set."""
    body = r"""docker_setup_env
    bash -c 'echo "$POSTGRES_USER $POSTGRES_DB <$POSTGRES_PASSWORD> <$POSTGRES_INITDB_ARGS>"'
    declare -p DATABASE_ALREADY_EXISTS OLD_DATABASES"""
    lines = sourcing(box, body, {"PGDATA": "/tmp/none", "POSTGRES_USER": "me"}).stdout.splitlines()
    assert ["me me <> <>", 'declare -- DATABASE_ALREADY_EXISTS=""', "declare -a OLD_DATABASES=()"] == lines


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exists before", "<> old=0"),
        ("hba", "host all all all md5"),
        ("databases", "1"),
        ("array", "docker_process_sql"),
        ("stdin", "app|2"),
        ("file", "20"),
        ("settings", "7MB|"),
        ("checksums", "on"),
        ("stopped", "yes"),
        ("exists after", "<true>"),
        ("again", "8MB"),
    ],
)
def test_manual_initialization(used: dict[str, str], name: str, expected: str) -> None:
    """A script that calls the functions one by one, as wrappers do, gets a complete cluster."""
    assert expected == used[name]


@pytest.mark.parametrize("option", ["-?", "--help", "--describe-config", "-V", "--version"])
def test_want_help(box: Container, option: str) -> None:
    """Any argument that exactly equals one of these requests help."""
    assert (0, "yes\n") == sourcing(box, f"if _pg_want_help postgres -c a=b '{option}'; then echo yes; fi")[
        :2
    ]


@pytest.mark.parametrize(
    "arguments", ["postgres", "postgres -C port", "postgres --help=x", "postgres -c --versions=1"]
)
def test_want_no_help(box: Container, arguments: str) -> None:
    """No other argument does, not even `-C`."""
    assert (0, "no\n") == sourcing(box, f"if _pg_want_help {arguments}; then echo yes; else echo no; fi")[:2]


def test_main_with_another_command(box: Container) -> None:
    """`_main` replaces the shell, in the same process, with unchanged arguments."""
    outcome = sourcing(box, "echo $$; _main bash -c 'echo $$ \"$1\"' - 'a  b'; echo continued")
    first, second = outcome.stdout.splitlines()
    assert f"{first} a  b" == second


def test_main_with_a_flag(box: Container) -> None:
    """`_main --version` queries postgres."""
    assert sourcing(box, "_main --version").stdout.startswith("postgres (PostgreSQL)")
