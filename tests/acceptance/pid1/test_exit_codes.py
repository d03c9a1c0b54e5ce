"""Every row in the table of the container's exit codes, on real containers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

import containers
from containers import FRESH, Files, complaints, create, docker, in_volume, run, script, serve, start, until
from repository import REPOSITORY

USED = {"PGDATA": "/volume/data"}
INIT = "/docker-entrypoint-initdb.d"
DATA = containers.data_folder()
PAGE = REPOSITORY / "docs/reference/exit-codes.md"
#: The tests in this module for each row.
TESTED = {
    "`0`",
    "`1`",
    "`2`",
    "`3`",
    "`10`",
    "`11`",
    "`12`",
    "`13`",
    "`14`",
    "`15`",
    "`126`",
    "`127`",
    "`128` + signal",
}


def test_every_row_of_the_table_has_a_test() -> None:
    """A new row of the table needs a test below."""
    table = PAGE.read_text(encoding="utf-8").split("\n## ")[1]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert sorted(TESTED) == sorted(rows)


def test_14_text_may_sort_differently(used_volume: str) -> None:
    """The recorded version of the library is not the installed one."""
    place = {"/volume": used_volume}
    with serve(env=USED, volumes=place) as container:
        container.sql("UPDATE pg_database SET datcollversion = '1.0' WHERE datname = 'postgres'")
        assert 0 == container.stop()
    in_volume(used_volume, "rm data/entrypoint.collation")
    outcome = run(env={**USED, "COLLATION_POLICY": "refuse"}, volumes=place)
    assert 14 == outcome.code, outcome.output


def test_15_another_server_was_promoted(used_volume: str, volume: str) -> None:
    """The archive contains the history of a newer timeline that this cluster is not on."""
    env = {**USED, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    place = {"/volume": used_volume, "/archive": volume}
    with serve(env=env, volumes=place) as container:
        container.exec("entrypoint", "archive", "check")
        assert 0 == container.stop()
    theirs = r"printf '1\t0/2000000\tno recovery target specified\n' >00000002.history"
    in_volume(volume, f"cd archive/*/*-1 && {theirs} && chmod 644 00000002.history")
    outcome = run(env=env, volumes=place)
    assert 15 == outcome.code, outcome.output


@pytest.mark.parametrize("signal", ["INT", "TERM"])
def test_0_asked_to_stop(used_volume: str, signal: str) -> None:
    """The server was asked to stop, and did."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        assert 0 == container.stop(signal)


def test_0_asked_to_stop_at_once(used_volume: str) -> None:
    """SIGQUIT is a request too: postgres ends with 0, although the next start has to recover."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        assert 0 == container.stop("QUIT")
        container.again()
        assert "was not properly shut down" in container.logs().output


ONE: dict[str, tuple[Mapping[str, str], tuple[str, ...], Files]] = {
    "setting": ({}, (), {}),
    "argument": (FRESH, ("-c", "nosuchsetting=1"), {}),
    "initdb": ({**FRESH, "POSTGRES_INITDB_ARGS": "--nosuch"}, (), {}),
    "init-file": (FRESH, (), {f"{INIT}/1.sh": script("#!/bin/sh\nexit 1\n")}),
    "sourced-exit-0": (FRESH, (), {f"{INIT}/1.sh": "exit 0\n"}),
}


@pytest.mark.parametrize("case", ONE)
def test_1_something_is_wrong(case: str) -> None:
    """The cause is a setting, the environment, or a helper program of the start."""
    env, arguments, files = ONE[case]
    outcome = run(*arguments, env=env, files=files)
    assert 1 == outcome.code, outcome.output
    assert "Traceback" not in outcome.output


def test_1_data_folder(used_volume: str) -> None:
    """The data folder is of another major version: the way out is named, and nothing is touched."""
    in_volume(used_volume, "echo 9 > data/PG_VERSION")
    before = in_volume(used_volume, "find data -printf '%p %T@ %C@\\n' | sort")
    outcome = run(env=USED, volumes={"/volume": used_volume})
    assert 1 == outcome.code, outcome.output
    assert "database files are incompatible with server" in outcome.stderr
    assert "docs: upgrade-to-a-newer-major" in outcome.stderr
    assert before == in_volume(used_volume, "find data -printf '%p %T@ %C@\\n' | sort")


@pytest.mark.parametrize("mode", ["smart", "fast"])
def test_0_shutdown_by_somebody_else(used_volume: str, mode: str) -> None:
    """A job that ends its own server, or an orchestrator's hook, has succeeded."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        container.shell(f"pg_ctl stop --mode {mode} --no-wait", user="postgres")
        assert 0 == container.wait()
        assert "the server was shut down by something other than the entrypoint" in container.logs().stderr


def test_0_init_file_that_ends_the_server(volume: str) -> None:
    """A process that an init file leaves behind may end the real server when its work is done."""
    until = "psql -h 127.0.0.1 -U postgres -tc 'SELECT 1' >/dev/null 2>&1"
    job = f"(until {until}; do sleep 0.1; done; pg_ctl stop -m smart) >/dev/null 2>&1 &\n"
    files: containers.Files = {f"{INIT}/1.sh": job}
    env = {**FRESH, "PGDATA": "/volume/data", "POSTGRES_HOST_AUTH_METHOD": "trust"}
    assert 0 == run(env=env, files=files, volumes={"/volume": volume}).code


@pytest.mark.parametrize(
    "end",
    [
        "pg_ctl stop --mode immediate --no-wait",
        pytest.param("rm /volume/data/postmaster.pid", marks=pytest.mark.long),
    ],
)
def test_1_server_that_ends_without_a_request(used_volume: str, end: str) -> None:
    """An exit code 0 without a shutdown: the server checks for its lock file once a minute."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        container.shell(end, user="postgres")
        assert 1 == container.wait(90)
        assert "the server ended although nothing requested a shutdown" in container.logs().stderr


def test_2_init_folder_cannot_be_read() -> None:
    """The server's user cannot list the folder."""
    outcome = run(env=FRESH, files={INIT: containers.folder(0o700), f"{INIT}/1.sql": "SELECT 1"})
    assert 2 == outcome.code, outcome.output
    assert INIT in complaints(outcome)[0]


def test_2_psql_cannot_connect() -> None:
    """The first start refuses connections."""
    deny = {f"{INIT}/1.sql": "SELECT 1"}
    args = "--no-sync --auth-local=reject"
    outcome = run(env={**FRESH, "POSTGRES_INITDB_ARGS": args}, files=deny)
    assert 2 == outcome.code, outcome.output


def test_3_sql_error() -> None:
    """An init file contains an error."""
    outcome = run(env=FRESH, files={f"{INIT}/1.sql": "SELECT 1 FROM nosuch;"})
    assert 3 == outcome.code, outcome.output
    assert f"{INIT}/1.sql" in complaints(outcome)[0]


@pytest.mark.parametrize("code", [7, 42, 255])
def test_other_codes_of_init_files_are_passed_on(code: int) -> None:
    """In all other cases, the container ends with the code of what failed."""
    outcome = run(env=FRESH, files={f"{INIT}/1.sh": script(f"#!/bin/sh\nexit {code}\n")})
    assert code == outcome.code, outcome.output


def test_10_init_files_have_begun() -> None:
    """An init file that was killed does not simply run again."""
    files: Files = {f"{INIT}/1.sh": "sleep 60\n"}
    with create(env=FRESH, files=files) as container:
        container.begin()
        until(lambda: container.has_process("sleep"), "the init file")
        container.kill()
        container.wait()
        assert 10 == container.finish().code


def test_11_volume_is_in_use(used_volume: str) -> None:
    """A second server starts on the same volume."""
    with serve(env=USED, volumes={"/volume": used_volume}):
        assert 11 == run(env=USED, volumes={"/volume": used_volume}).code


RESTORE = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest", "RESTORE_FROM": "LATEST"}


def test_12_archive_without_a_backup(volume: str) -> None:
    """There is nothing to restore."""
    outcome = run(env=RESTORE, volumes={"/archive": volume})
    assert 12 == outcome.code, outcome.output


def test_13_restore_that_cannot_continue(volume: str) -> None:
    """A restore has begun; a start without an archive cannot continue it."""
    with containers.volume() as data:
        env = {**FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
        with serve(env=env, volumes={"/archive": volume}) as container:
            container.exec("entrypoint", "backup", "push", timeout=60)
            assert 0 == container.stop()
        waits = '#!/bin/bash\n[[ " $* " != *" archive-get "* ]] || sleep 60\nexec /usr/bin/pgbackrest "$@"\n'
        files = {"/usr/local/bin/pgbackrest": script(waits)}
        with start(env=RESTORE, files=files, volumes={"/archive": volume, DATA: data}) as container:
            until(lambda: container.has_process("sleep"), "the replay")
            container.kill()
            container.wait()
        outcome = run(volumes={DATA: data})
        assert 13 == outcome.code, outcome.output


def test_126_command_that_cannot_be_executed() -> None:
    """The command is a folder, or a file without the right."""
    assert [126, 126] == [run(command).code for command in ("/etc", "/etc/passwd")]


def test_127_command_that_does_not_exist() -> None:
    """The command is given by name and by path."""
    assert [127, 127] == [run(command).code for command in ("nosuch", "/no/such")]


def test_127_server_that_does_not_exist(used_volume: str) -> None:
    """A PATH without postgres is reported at once, with a hint."""
    env = {**USED, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    outcome = run(env=env, volumes={"/volume": used_volume}, timeout=10)
    assert 127 == outcome.code, outcome.output
    assert "postgres: command not found" in complaints(outcome)[0]


def test_128_and_signal_of_the_server(used_volume: str) -> None:
    """A signal ended the server."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        for name, number in (("KILL", 9), ("SEGV", 11)):
            container.shell(f"kill -{name} {container.postmaster()}", user="0")
            assert 128 + number == container.wait()
            container.again()


@pytest.mark.parametrize(("signal", "code"), [("INT", 130), ("QUIT", 131), ("TERM", 143)])
def test_128_and_signal_before_the_server_is_up(signal: str, code: int) -> None:
    """A stop arrived during the first start."""
    with start(env=FRESH, files={f"{INIT}/1.sh": "sleep 60\n"}) as container:
        until(lambda: container.has_process("sleep"), "the init file")
        assert code == container.stop(signal)
        assert docker("inspect", container.name, "--format", "{{.State.OOMKilled}}").stdout.strip() == "false"


@pytest.mark.parametrize("code", [0, 1, 5, 255])
def test_commands_that_are_passed_through(code: int) -> None:
    """Any other command ends with its own code."""
    assert code == run("sh", "-c", f"exit {code}").code
