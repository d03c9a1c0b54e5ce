"""Row 3.5: postgres is the child of a PID 1 that has dropped root, reaps orphans and forwards signals."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from containers import Container, serve, until

USED = {"PGDATA": "/volume/data"}


@pytest.fixture
def running(used_volume: str) -> Iterator[Container]:
    """A server for one test."""
    with serve(env={**USED, "STOP_SMART_TIMEOUT": "1"}, volumes={"/volume": used_volume}) as container:
        yield container


@pytest.mark.better
def test_server_is_a_child_of_the_entrypoint(server: Container) -> None:
    """PID 1 is the entrypoint, and the server its direct child."""
    assert "1" == server.process(server.postmaster())["PPid"]
    assert "entrypoint" in server.shell("tr '\\0' ' ' < /proc/1/cmdline")


def test_root_is_gone_for_good(server: Container) -> None:
    """PID 1 and the server are postgres in every respect, without a capability to become root again."""
    for pid in (1, server.postmaster()):
        status = server.process(pid)
        assert ["999"] * 4 == status["Uid"].split()
        assert ["999"] * 4 == status["Gid"].split()
        assert "0" not in status["Groups"].split()
        assert {0} == {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}


@pytest.mark.better
@pytest.mark.parametrize("end", ["exit 2", "exit 127", "kill -KILL $BASHPID"])
def test_orphans_do_not_crash_the_server(running: Container, end: str) -> None:
    """A process that outlives its `docker exec` and fails is reaped; sessions continue."""
    with running.session("SELECT pg_sleep(2)") as client:
        pid = running.shell(f"({{ sleep 0.2; {end}; }} < /dev/null > /dev/null 2>&1 & echo $!)")
        until(
            lambda: running.exec("test", "-e", f"/proc/{pid}", check=False).code != 0, "the orphan is reaped"
        )
        assert 0 == client.wait(10)
    assert "terminating any other active server processes" not in running.logs().output


@pytest.mark.better
def test_terminate_does_not_wait_for_ever(running: Container) -> None:
    """After STOP_SMART_TIMEOUT a smart shutdown becomes a fast one."""
    with running.session("SELECT pg_sleep(60)"):
        began = time.monotonic()
        assert 0 == running.stop("TERM", timeout=8)
        assert 0.9 < time.monotonic() - began < 5
    assert ["smart", "fast"] == [
        mode
        for mode in ("smart", "fast", "immediate")
        if f"received {mode} shutdown request" in running.logs().output
    ]


@pytest.mark.better
@pytest.mark.long
def test_terminate_waits_five_seconds_by_default(used_volume: str) -> None:
    """By default, sessions have five seconds to finish."""
    with (
        serve(env=USED, volumes={"/volume": used_volume}) as container,
        container.session("SELECT pg_sleep(60)"),
    ):
        began = time.monotonic()
        assert 0 == container.stop("TERM", timeout=15)
        assert 4.9 < time.monotonic() - began < 9


@pytest.mark.better
def test_server_that_is_killed_ends_the_container(running: Container) -> None:
    """If somebody kills the server, the container ends with 128 plus the signal."""
    running.shell(f"kill -KILL {running.postmaster()}")
    assert 137 == running.wait(10)


def test_under_another_init(used_volume: str) -> None:
    """Under docker's own init the entrypoint works as well."""
    with serve(env=USED, volumes={"/volume": used_volume}, options=("--init",)) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
        with container.session("SELECT pg_sleep(60)"):
            assert 0 == container.stop()
