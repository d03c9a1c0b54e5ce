"""Row 1.13 of the contract: lines of the log that other programs wait for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containers import READY, Container, serve

COMPLETE = "PostgreSQL init process complete; ready for start up."
SKIPPING = "PostgreSQL Database directory appears to contain a database; Skipping initialization"


@pytest.fixture(scope="module")
def second(cluster: str) -> Iterator[Container]:
    """A server on an existing cluster; nobody else uses the volume now."""
    with serve(env={"PGDATA": "/volume/data"}, volumes={"/volume": cluster}) as container:
        yield container
        container.stop()


def test_ready_twice_on_a_fresh_volume(server: Container) -> None:
    """Tools wait for two such lines in both streams, and time out without them."""
    assert 2 == server.logs().output.count(READY)


def test_ready_once_on_a_used_volume(second: Container) -> None:
    """Without an initialization there is only one such line."""
    assert 1 == second.logs().output.count(READY)


def test_line_after_initialization(server: Container) -> None:
    """Wait scripts look for this line on stdout, between the two servers."""
    lines = server.logs().stdout.splitlines()
    assert 1 == lines.count(COMPLETE)
    assert lines.index(COMPLETE) > max(number for number, line in enumerate(lines) if READY in line)


def test_line_without_initialization(second: Container) -> None:
    """The line that says that nothing was initialized is on stdout."""
    lines = second.logs().stdout.splitlines()
    assert (1, 0) == (lines.count(SKIPPING), lines.count(COMPLETE))
