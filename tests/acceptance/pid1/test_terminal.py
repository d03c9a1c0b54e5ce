"""
Sessions on a terminal: T15, T16, T22, D18, D20 and D21, and what people do there with the server and psql.

The terminal is that of `docker run -it` and `docker exec -it`; pexpect holds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import pexpect
import pytest

from containers import Container, create, serve, until

USED = {"PGDATA": "/volume/data"}
# A dumb terminal, so that there is nothing between the lines but their text.
TERMINAL = ("--interactive", "--tty", "--env", "TERM=dumb")
PROMPT = "READY> "

Terminal: TypeAlias = "pexpect.spawn[str]"


@contextmanager
def _terminal(*command: str) -> Iterator[Terminal]:
    """A terminal with a docker command on it."""
    child = pexpect.spawn(
        "docker", list(command), encoding="utf-8", timeout=15, dimensions=(40, 150), echo=False
    )
    try:
        yield child
    finally:
        child.close(force=True)


@contextmanager
def _run(*command: str, options: Sequence[str] = ()) -> Iterator[tuple[Terminal, Container]]:
    """A container in the foreground of a terminal."""
    with (
        create(*command, options=(*TERMINAL, *options)) as container,
        _terminal("start", "--attach", "--interactive", container.name) as terminal,
    ):
        yield terminal, container


@contextmanager
def _shell(options: Sequence[str] = ()) -> Iterator[tuple[Terminal, Container]]:
    """An interactive shell as the container's command, which waits for a line."""
    with _run("bash", "--norc", "--noprofile", options=("--env", f"PS1={PROMPT}", *options)) as (
        terminal,
        container,
    ):
        terminal.expect_exact(PROMPT)
        yield terminal, container


def _ask(terminal: Terminal, line: str) -> str:
    """The output of a line; in the line, `$code` is the code of the line before."""
    # A prompt may appear again when the size of the terminal becomes known, so it is no reliable mark.
    terminal.sendline(f"code=$?; echo be''gin; {line}; echo en''d")
    terminal.expect("begin\r\n(.*?)end\r\n")
    shown = terminal.match
    assert isinstance(shown, re.Match)
    return str(shown[1]).replace("\r", "").strip()


def _job(first: str) -> str:
    """The line for a job in the foreground, which says when it runs."""
    return f'bash -c "{first}; echo \\$\\$ runs; while :; do :; done"'


def _code(terminal: Terminal, container: Container) -> int:
    """How the container ended, once the terminal is empty."""
    terminal.expect(pexpect.EOF)
    return container.wait(5)


@pytest.fixture
def running(used_volume: str) -> Iterator[Container]:
    """A server of its own."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        yield container


@pytest.mark.parametrize("code", [0, 7])
def test_t15_t22_exit_of_a_shell(code: int) -> None:
    """A line typed into a shell ends the container with the shell's code, within 2 seconds."""
    with _shell() as (terminal, container):
        terminal.timeout = 2
        terminal.sendline(f"exit {code}")
        assert code == _code(terminal, container)


@pytest.mark.parametrize("init", [(), ("--init",)], ids=["pid1", "docker-init"])
def test_t16_interrupt_ends_a_loop(init: tuple[str, ...]) -> None:
    """Ctrl-C ends the running loop, not the shell, which then ends with 130."""
    with _shell(init) as (terminal, container):
        terminal.sendline("printf rou; echo nd; while :; do :; done")
        terminal.expect_exact("round")
        terminal.sendintr()
        terminal.expect_exact(PROMPT)
        terminal.sendline("exit")
        assert 130 == _code(terminal, container)


@pytest.mark.parametrize("init", [(), ("--init",)], ids=["pid1", "docker-init"])
def test_d18_job_control(init: tuple[str, ...]) -> None:
    """Ctrl-Z stops the job in the foreground, fg continues it, and Ctrl-C ends it."""
    with _shell(init) as (terminal, container):
        terminal.sendline(_job("trap 'echo going' CONT"))
        terminal.expect("[0-9]+ runs")
        terminal.sendcontrol("z")
        terminal.expect_exact("Stopped")
        terminal.expect_exact(PROMPT)
        assert "Stopped" in _ask(terminal, "jobs -s")
        terminal.sendline("fg")
        terminal.expect("going\r\n")
        terminal.sendintr()
        terminal.expect_exact(PROMPT)
        assert "130" == _ask(terminal, "echo $code")
        assert "" == _ask(terminal, "jobs")
        terminal.sendline("exit 3")
        assert 3 == _code(terminal, container)


def test_d20_standard_streams_are_the_terminal() -> None:
    """A command reads from the terminal and writes to it."""
    with _run("sh", "-c", "stty -echo; echo go; exec tac") as (terminal, container):
        terminal.expect_exact("go\r\n")
        for line in ("one", "two", "three"):
            terminal.sendline(line)
        terminal.sendeof()
        terminal.expect_exact("three\r\ntwo\r\none\r\n")
        assert 0 == _code(terminal, container)


def test_d21_shell_has_the_controlling_terminal() -> None:
    """An interactive shell has job control, prints no complaint, and is the terminal's foreground group."""
    with _shell() as (terminal, container):
        assert "job control" not in (terminal.before or "")
        assert "m" in _ask(terminal, "echo $-")
        assert (
            "yes"
            == _ask(terminal, "[[ $(ps -o tpgid= -p $$) -ne -1 ]] && tty > /dev/tty && echo yes").split()[-1]
        )
        terminal.sendline("exit 0")
        assert 0 == _code(terminal, container)


@pytest.mark.parametrize("init", [(), ("--init",)], ids=["pid1", "docker-init"])
def test_interrupt_stops_a_server_on_a_terminal(used_volume: str, init: tuple[str, ...]) -> None:
    """Ctrl-C with a server in the foreground is one fast shutdown, without a second request."""
    options = ("--env", "PGDATA=/volume/data", "--volume", f"{used_volume}:/volume", *init)
    with _run("postgres", options=options) as (terminal, container):
        terminal.expect_exact("database system is ready to accept connections")
        terminal.sendintr()
        assert 0 == _code(terminal, container)
        log = container.logs().output
        assert 1 == log.count("SIGINT: fast shutdown")
        assert 1 == log.count("shutdown request")
        assert "database system is shut down" in log


@pytest.mark.parametrize("init", [(), ("--init",)], ids=["pid1", "docker-init"])
def test_d18_suspend_does_not_stop_a_server(used_volume: str, init: tuple[str, ...]) -> None:
    """Ctrl-Z with a server in the foreground suspends nothing: it answers, and still stops on request."""
    options = ("--env", "PGDATA=/volume/data", "--volume", f"{used_volume}:/volume", *init)
    with _run("postgres", options=options) as (terminal, container):
        terminal.expect_exact("database system is ready to accept connections")
        terminal.sendcontrol("z")
        terminal.expect_exact("^Z")
        assert "42" == container.sql("SELECT answer FROM kept")
        assert 0 == container.stop(timeout=5)


def test_psql_on_a_terminal(running: Container) -> None:
    """Psql works on a terminal: a query, one that Ctrl-C cancels, a shell inside, the end."""
    with _terminal("exec", *TERMINAL, running.name, "psql", "-X", "-U", "postgres") as terminal:
        terminal.expect_exact("postgres=# ")
        terminal.sendline("SELECT answer FROM kept \\g (format=unaligned tuples_only)")
        terminal.expect("\n42\r\n")
        terminal.expect_exact("postgres=# ")
        terminal.sendline("SELECT pg_sleep(1000);")
        begun = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
        )
        until(lambda: running.sql(begun) == "1", "the query runs")
        terminal.sendintr()
        terminal.expect_exact("canceling statement due to user request")
        terminal.expect_exact("postgres=# ")
        terminal.sendline("\\! echo $((6 * 7)) within")
        terminal.expect_exact("42 within")
        terminal.sendline("\\q")
        terminal.expect(pexpect.EOF)
        terminal.wait()
        assert 0 == terminal.exitstatus


def test_shell_next_to_the_server_on_a_terminal(running: Container) -> None:
    """A shell by `docker exec -it` has job control; processes that it leaves behind do not disturb the server."""
    shell = ("bash", "--norc", "--noprofile")
    with _terminal("exec", *TERMINAL, "--env", f"PS1={PROMPT}", running.name, *shell) as terminal:
        terminal.expect_exact(PROMPT)
        assert "m" in _ask(terminal, "echo $-")
        terminal.sendline(_job(":"))
        terminal.expect("[0-9]+ runs")
        terminal.sendintr()
        terminal.expect_exact(PROMPT)
        assert "130" == _ask(terminal, "echo $code")
        terminal.sendline("exit 4")
        terminal.expect(pexpect.EOF)
        terminal.wait()
        assert 4 == terminal.exitstatus
    assert "42" == running.sql("SELECT answer FROM kept")
