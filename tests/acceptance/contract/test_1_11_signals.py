"""Row 1.11 of the contract: arguments, signals to the running server, exit codes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containers import SERVERS, Container, create, in_volume, run, serve, until

USED = {"PGDATA": "/volume/data"}

CLEAN = "database system was shut down at"
UNCLEAN = "database system was not properly shut down; automatic recovery in progress"


@pytest.fixture
def running(used_volume: str) -> Iterator[Container]:
    """A server for one test, to be stopped."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        yield container


def test_nothing_to_do() -> None:
    """The entrypoint without any argument does nothing and prints nothing."""
    assert (0, "", "") == run(options=("--entrypoint", "docker-entrypoint.sh"))


def test_stop_signal_of_the_image_is_a_fast_shutdown(running: Container) -> None:
    """`docker stop` ends sessions, writes everything and exits with 0."""
    with running.session("SELECT pg_sleep(60)") as client:
        assert 0 == running.stop()
        assert 0 != client.wait(5)
    running.again()
    assert (True, False) == (CLEAN in running.logs().output, UNCLEAN in running.logs().output)


def test_interrupt_is_a_fast_shutdown(running: Container) -> None:
    """SIGINT ends sessions and exits with 0."""
    with running.session("SELECT pg_sleep(60)"):
        assert 0 == running.stop("INT")
    assert "received fast shutdown request" in running.logs().output


def test_terminate_is_a_smart_shutdown(running: Container) -> None:
    """SIGTERM lets sessions finish, accepts no new ones, and exits with 0."""
    with running.session("SELECT pg_sleep(2)") as client:
        running.kill("TERM")
        running.says("received smart shutdown request")
        refused = running.exec("psql", "-U", "postgres", "-c", "SELECT 1", check=False)
        assert (2, True) == (refused.code, "the database system is shutting down" in refused.stderr)
        assert 0 == client.wait(10)
        assert 0 == running.wait()


def test_quit_is_an_immediate_shutdown(running: Container) -> None:
    """SIGQUIT leaves recovery to the next start, and exits with 0."""
    assert 0 == running.stop("QUIT")
    assert "received immediate shutdown request" in running.logs().output
    running.again()
    assert UNCLEAN in running.logs().output
    assert "42" == running.sql("SELECT answer FROM kept")


def test_hangup_reloads(running: Container) -> None:
    """SIGHUP applies changed settings."""
    running.sql("ALTER SYSTEM SET work_mem = '9MB'")
    running.kill("HUP")
    until(lambda: running.sql("SHOW work_mem") == "9MB", "the changed setting")


def test_container_can_be_killed_and_started_again(running: Container) -> None:
    """After SIGKILL, the same container starts again, more than once, and the data is there."""
    for _ in range(2):
        running.kill("KILL")
        assert 137 == running.wait()
        running.again()
        assert "42" == running.sql("SELECT answer FROM kept")


def test_broken_configuration_ends_the_start(used_volume: str) -> None:
    """The server itself refuses, with exit code 1."""
    in_volume(used_volume, "echo 'no such setting at all' >> data/postgresql.conf")
    outcome = run(env=USED, volumes={"/volume": used_volume})
    assert (1, True) == (outcome.code, "syntax error" in outcome.stderr)


def test_single_user_mode(used_volume: str) -> None:
    """`--single` is postgres itself, which reads commands from stdin."""
    outcome = run(
        *("--single", "postgres"),
        env=USED,
        volumes={"/volume": used_volume},
        stdin="SELECT answer FROM kept\n",
    )
    assert (0, True) == (outcome.code, 'answer = "42"' in outcome.stdout)


def test_single_user_mode_is_pid_1(used_volume: str) -> None:
    """It replaces the entrypoint, so that it owns the terminal and gets the signals."""
    with create(
        "--single", "postgres", env=USED, volumes={"/volume": used_volume}, options=("--interactive",)
    ) as container:
        container.begin()
        until(lambda: container.shell("cat /proc/1/comm") in SERVERS, "the server as PID 1")
        assert "999" == container.process(1)["Uid"].split()[0]


def test_asking_for_a_setting(used_volume: str) -> None:
    """`-C` prints the answer on the last line, and no server starts."""
    outcome = run("-C", "data_directory", env=USED, volumes={"/volume": used_volume})
    assert (0, "/volume/data") == (outcome.code, outcome.stdout.splitlines()[-1])
