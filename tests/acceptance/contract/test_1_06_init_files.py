"""Row 1.6 of the contract: which init files run, in what order, how, and what remains of them."""

from __future__ import annotations

import gzip
import lzma
import re
from collections.abc import Iterator

import pytest

import containers
from containers import (
    FRESH,
    LOOK_INSIDE,
    Container,
    File,
    Files,
    build,
    create,
    folder,
    link,
    run,
    script,
    serve,
)

INIT = "/docker-entrypoint-initdb.d"

ORDER = ("_z", "1-a", "10-b", "2 c", "a", "B", "b", "Z")
AMERICAN = ["10-b", "1-a", "2 c", "a", "b", "B", "_z", "Z"]
BYTES = ["1-a", "10-b", "2 c", "B", "Z", "_z", "a", "b"]

EXECUTED = """#!/bin/bash
env --null > /tmp/environment
echo "$- $(shopt -o pipefail | cut -f2) $(id -un) $PPID $(type -t docker_process_sql)" > /tmp/executed
pg_isready --quiet; echo $? > /tmp/socket
pg_isready --quiet --host 127.0.0.1; echo $? > /tmp/loopback
"""

SOURCED = r"""
echo "$- $(shopt -o pipefail | cut -f2) $(id -un) $$ $(type -t docker_process_sql)" > /tmp/sourced
echo "$f" > /tmp/f
"${psql[@]}" --quiet <<-EOSQL
	INSERT INTO seen VALUES ('array');
EOSQL
docker_process_sql -c "INSERT INTO seen VALUES ('function')"
file_env FROM_FILE_ENV default
export EXPORTED="from a file" SHELL_PID=$$
plain=variable
cd /tmp
set -f
own_function() { echo redefined; }
return
touch /tmp/after-return
"""

LATER = r"""
echo "$EXPORTED|$plain|$PWD|$-|$(own_function)|$SHELL_PID-$$|$FROM_FILE_ENV" > /tmp/later
set +f
cd /
"""


def insert(value: str) -> bytes:
    """A statement that leaves a row behind."""
    return f"INSERT INTO seen VALUES ('{value}');\n".encode()


@pytest.fixture(scope="module")
def compressed() -> bytes:
    """A small SQL file, compressed with zstd."""
    return containers.compressed(insert("zst"))


@pytest.fixture(scope="module")
def every_kind(compressed: bytes) -> Iterator[Container]:
    """A server whose first start met every kind of init file."""
    files: Files = {
        "00.sql": "CREATE TABLE seen (what text);",
        "01-executed.sh": script(EXECUTED),
        "02-no-shebang.sh": script('echo "${BASH_VERSION%%.*}" > /tmp/no-shebang\n'),
        "03-awk.sh": script('#!/usr/bin/awk -f\nBEGIN { print "awk" > "/tmp/awk" }\n'),
        "04-sourced.sh": SOURCED,
        "05-later.sh": LATER,
        "10.sql": File(insert("sql")),
        "11.sql.gz": File(gzip.compress(insert("gz"))),
        "12.sql.xz": File(lzma.compress(insert("xz"))),
        "13.sql.zst": File(compressed),
        "14 with blank.sql": File(insert("blank")),
        ".hidden.sql": File(insert("hidden")),
        "20-link.sql": link("../given/linked.sql"),
        "30.SQL": "not for psql",
        "31.sql.bz2": "not for psql",
        "32.dump": "not for psql",
        "33.conf": "not for psql",
        "34-folder": folder(),
        "34-folder/in.sql": File(insert("folder")),
        **{f"{name}.sh": f"echo '{name}' >> /tmp/order\n" for name in ORDER},
    }
    env = {**FRESH, "POSTGRES_USER": "me", "POSTGRES_DB": "app", "NOTIFY_SOCKET": "/tmp/notify"}
    placed: Files = {f"{INIT}/{name}": file for name, file in files.items()}
    linked: Files = {"/given/linked.sql": File(insert("link"))}
    with serve(env=env, files={**placed, **linked}, options=LOOK_INSIDE) as container:
        yield container


def test_all_sql_files_ran_once(every_kind: Container) -> None:
    """Plain and compressed SQL ran, links were followed; hidden files and folders did not run."""
    seen = every_kind.sql("SELECT what FROM seen", user="me", database="app").splitlines()
    assert ["array", "function", "sql", "gz", "xz", "zst", "blank", "link"] == seen


def test_executed_script(every_kind: Container) -> None:
    """An executable script runs in a separate process, as postgres, without our options and functions."""
    options, pipefail, user, _parent, *function = every_kind.shell("cat /tmp/executed").split()
    assert ("off", "postgres", []) == (pipefail, user, function)
    assert "e" not in options


def test_sourced_script(every_kind: Container) -> None:
    """A script that is not executable runs in our shell, with our options and functions."""
    options, pipefail, user, _shell, function = every_kind.shell("cat /tmp/sourced").split()
    assert ("on", "postgres", "function") == (pipefail, user, function)
    assert {"e", "E"} <= set(options)
    assert f"{INIT}/04-sourced.sh" == every_kind.shell("cat /tmp/f")


def test_interpreters(every_kind: Container) -> None:
    """A script has its own interpreter; without a first line that names one it is bash."""
    assert ("awk", "5") == (every_kind.shell("cat /tmp/awk"), every_kind.shell("cat /tmp/no-shebang"))


def test_sourced_scripts_share_one_shell(every_kind: Container) -> None:
    """Later files see exports, variables, folder, options and functions; `return` ends one file."""
    exported, plain, pwd, options, function, pids, from_file_env = every_kind.shell("cat /tmp/later").split(
        "|"
    )
    expected = ("from a file", "variable", "/tmp", "redefined", "default")
    assert expected == (exported, plain, pwd, function, from_file_env)
    assert "f" in options
    assert 1 == len(set(pids.split("-")))
    assert 1 == every_kind.exec("test", "-e", "/tmp/after-return", check=False).code


def test_exports_reach_the_server(every_kind: Container) -> None:
    """A sourced file's exports are in the environment of the real server."""
    environment = every_kind.environ(every_kind.postmaster())
    assert ("from a file", "default") == (environment["EXPORTED"], environment["FROM_FILE_ENV"])


def test_environment_of_scripts(every_kind: Container) -> None:
    """Scripts have the start's variables, including passwords in plain text."""
    raw = every_kind.shell("tr '\\0' '\\1' < /tmp/environment")
    seen = dict(entry.split("=", 1) for entry in raw.split("\1") if "=" in entry)
    expected = {
        "POSTGRES_USER": "me",
        "POSTGRES_PASSWORD": "secret",
        "POSTGRES_DB": "app",
        "PGPASSWORD": "secret",
        "PGDATA": every_kind.shell("echo $PGDATA"),
        "HOME": "/var/lib/postgresql",
        "NOTIFY_SOCKET": "/tmp/notify",
    }
    assert expected == {name: seen.get(name) for name in expected}


def test_temporary_server_is_on_the_socket_only(every_kind: Container) -> None:
    """While init files run, the socket answers and TCP does not."""
    assert ("0", "2") == (every_kind.shell("cat /tmp/socket"), every_kind.shell("cat /tmp/loopback"))


def test_order_of_the_locale(every_kind: Container) -> None:
    """In American English, punctuation and case count less than letters and digits."""
    assert AMERICAN == every_kind.shell("cat /tmp/order").splitlines()


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("running", "00.sql"),
        ("running", "01-executed.sh"),
        ("sourcing", "04-sourced.sh"),
        ("running", "11.sql.gz"),
        ("running", "12.sql.xz"),
        ("running", "13.sql.zst"),
        ("running", "14 with blank.sql"),
        ("running", "20-link.sql"),
        ("ignoring", "30.SQL"),
        ("ignoring", "31.sql.bz2"),
        ("ignoring", "32.dump"),
        ("ignoring", "33.conf"),
        ("ignoring", "34-folder"),
    ],
)
def test_a_line_says_what_happens_to_each_file(every_kind: Container, verb: str, name: str) -> None:
    """Each file gets a line on stdout that begins with the path of the entrypoint."""
    assert (
        f"/usr/local/bin/docker-entrypoint.sh: {verb} {INIT}/{name}" in every_kind.logs().stdout.splitlines()
    )


def test_hidden_file_is_not_even_mentioned(every_kind: Container) -> None:
    """Names that begin with a dot do not match."""
    assert ".hidden" not in every_kind.logs().output


def test_files_are_separated_by_blank_lines(every_kind: Container) -> None:
    """An empty line separates the output of two files."""
    lines = every_kind.logs().stdout.splitlines()
    heads = [
        number
        for number, line in enumerate(lines)
        if re.search(rf"(running|sourcing|ignoring) {INIT}/", line)
    ]
    assert len(heads) > 10
    assert {""} == {lines[number - 1] for number in heads}


def test_empty_folder_is_reported_as_its_pattern(server: Container) -> None:
    """Without files, the log says that the pattern itself is ignored."""
    assert f"/usr/local/bin/docker-entrypoint.sh: ignoring {INIT}/*" in server.logs().stdout.splitlines()


def test_order_of_bytes() -> None:
    """LC_ALL=C sorts by bytes."""
    files: Files = {f"{INIT}/{name}.sh": f"echo '{name}' >> /tmp/order\n" for name in ORDER}
    with serve(env={**FRESH, "LC_ALL": "C"}, files=files) as container:
        assert BYTES == container.shell("cat /tmp/order").splitlines()


@pytest.mark.parametrize(
    ("name", "file", "code"),
    [
        ("1.sh", script("#!/bin/sh\nexit 42\n"), 42),
        ("1.sh", File("true\nbash -c 'exit 7'\n"), 7),
        ("1.sh", File("false | cat\n"), 1),
        ("1.sql", File("SELECT 1;\nSELECT nothing;\n"), 3),
    ],
)
def test_failing_file_ends_the_start(name: str, file: File, code: int) -> None:
    """The exit code is the script's own, or psql's for an error in SQL; later files do not run."""
    outcome = run(env=FRESH, files={f"{INIT}/{name}": file, f"{INIT}/2.sh": "echo second\n"})
    assert (code, False) == (outcome.code, "2.sh" in outcome.output)


def test_windows_line_ends_end_the_start(missing_interpreter: int) -> None:
    """A carriage return belongs to the interpreter's name, which then does not exist."""
    outcome = run(env=FRESH, files={f"{INIT}/1.sh": script("#!/bin/bash\r\ntrue\r\n")})
    assert missing_interpreter == outcome.code


@pytest.fixture(scope="module")
def box() -> Iterator[Container]:
    """A container with a temporary server, for calls of `docker_process_init_files`."""
    whole = gzip.compress(b"CREATE TABLE part AS SELECT 1;\n")
    files: Files = {
        "/bad/folder.sh": folder(),
        "/bad/folder.sql": folder(),
        "/bad/interpreter.sh": script("#!/no/such/interpreter\n"),
        "/bad/crlf.sh": script("#!/bin/bash\r\ntrue\r\n"),
        "/bad/truncated.sql.gz": File(whole[:-4]),
        "/bad/broken.sql.xz": "not xz",
        "/bad/broken.sql.zst": "not zstd",
        "/bad/error.sql": "SELECT nothing;",
        "/bad/error.sh": "false\necho continued\n",
    }
    with create(
        "sleep", "600", env={**FRESH, "PGDATA": "/tmp/data"}, files=files, options=("--user", "postgres")
    ) as container:
        container.begin()
        steps = ("setup_env", "create_db_directories", "init_database_dir", "temp_server_start")
        body = "\n".join(f"docker_{step} >> /tmp/log 2>&1" for step in steps)
        container.exec("bash", "-c", f"source docker-entrypoint.sh\n{body}")
        yield container


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("folder.sh", 126),
        ("folder.sql", 1),
        ("interpreter.sh", None),
        ("crlf.sh", None),
        ("truncated.sql.gz", 1),
        ("broken.sql.xz", 1),
        ("broken.sql.zst", 1),
        ("error.sql", 3),
        ("error.sh", 1),
    ],
)
def test_exit_codes_of_bad_files(
    box: Container, missing_interpreter: int, name: str, code: int | None
) -> None:
    """Each kind of failure has its exit code and ends the calling shell."""
    body = f"source docker-entrypoint.sh; docker_setup_env; docker_process_init_files /bad/{name}; echo continued"
    outcome = box.exec("bash", "-c", body, check=False)
    expected = missing_interpreter if code is None else code
    assert (expected, False) == (outcome.code, "continued" in outcome.stdout)


def test_truncated_archive_runs_in_part(box: Container) -> None:
    """The part that could be decompressed ran before the failure."""
    body = "source docker-entrypoint.sh; docker_setup_env; docker_process_init_files /bad/truncated.sql.gz"
    box.shell("psql -q -U postgres -c 'DROP TABLE IF EXISTS part'")
    box.exec("bash", "-c", body, check=False)
    assert "1" == box.shell("psql -At -U postgres -c 'SELECT count(*) FROM part'")


def test_unreadable_init_folder_ends_the_start_before_initdb() -> None:
    """The folder is listed as postgres first: exit code 2, and no cluster that looks complete."""
    with create(env={**FRESH, "PGDATA": "/tmp/data"}, files={INIT: folder(0o700)}) as container:
        outcome = container.finish()
        assert (2, True) == (outcome.code, INIT in outcome.stderr)
        assert not [change for change in container.changes() if change.startswith("A /tmp/data/")]


def test_missing_init_folder_ends_the_start_before_initdb() -> None:
    """The same is true if a derived image has removed the folder."""
    without = f"FROM IMAGE\nRUN rmdir {INIT}\n"
    with build(without) as image, create(env={**FRESH, "PGDATA": "/tmp/data"}, image=image) as container:
        outcome = container.finish()
        assert (2, True) == (outcome.code, INIT in outcome.stderr)
        assert not [change for change in container.changes() if change.startswith("A /tmp/data/")]


def test_config_map() -> None:
    """Files that Kubernetes links through a hidden folder run once each."""
    files: Files = {
        f"{INIT}/..2026/1.sql": "CREATE TABLE mapped (a int);",
        f"{INIT}/..data": link("..2026"),
        f"{INIT}/1.sql": link("..data/1.sql"),
    }
    with serve(files={f"{INIT}/..2026": folder(), **files}) as container:
        assert "0" == container.sql("SELECT count(*) FROM mapped")
        assert 1 == container.logs().stdout.count(f"running {INIT}/1.sql")


def test_a_users_psql_is_called() -> None:
    """The first psql on PATH is called; only Debian's wrapper is bypassed."""
    own = {"/usr/local/bin/psql": script('echo "own psql"; exec /usr/lib/postgresql/*/bin/psql "$@"')}
    with serve(
        env=FRESH, files={**own, f"{INIT}/a.sql": "SELECT 1", f"{INIT}/b.sql": "SELECT 2"}
    ) as container:
        assert 2 == container.logs().stdout.count("own psql")
