"""Restarts and changes of settings, node by node, under a client that tries a failed write once more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import containers
import nodes
from nodes import Cluster

pytestmark = pytest.mark.long

AGAIN = 5.0
"""Seconds after which the client tries again."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes; each test leaves them settled."""
    with nodes.serve(env={"PATRONI_DCS_SYNCHRONOUS_MODE": "on"}) as found:
        found.settled()
        found.leader.sql("CREATE TABLE kept (row bigint PRIMARY KEY)")
        yield found


def _written(cluster: Cluster, row: int) -> bool:
    """Write a row to whichever node takes it, as libpq does with target_session_attrs=read-write."""
    for node in cluster.nodes:
        try:
            node.sql(f"SET statement_timeout = '5s'; INSERT INTO kept VALUES ({row}) ON CONFLICT DO NOTHING")
        except AssertionError:
            continue
        return True
    return False


@contextmanager
def _client(cluster: Cluster) -> Iterator[tuple[list[int], list[int]]]:
    """Write rows for the duration of a block; the rows that are acknowledged, and those that failed twice."""
    acknowledged: list[int] = []
    failed: list[int] = []
    ends = threading.Event()

    def write() -> None:
        while not ends.is_set():
            row = time.time_ns()
            good = _written(cluster, row)
            if not good:
                time.sleep(AGAIN)
                good = _written(cluster, row)
            (acknowledged if good else failed).append(row)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        containers.until(lambda: len(acknowledged) > 1, "the client writes")
        yield acknowledged, failed
    finally:
        ends.set()
        thread.join()


def test_a_rolling_restart(cluster: Cluster) -> None:
    """Standbys first, then the leader: each container stops with 0, and no write fails twice or is lost."""
    with _client(cluster) as (acknowledged, failed):
        for node in [*cluster.standbys, cluster.leader]:
            assert 0 == node.container.stop(timeout=60)
            node.container.begin()
            cluster.settled()
    assert [] == failed
    rows = set(cluster.leader.sql("SELECT row FROM kept").split())
    assert [] == [row for row in acknowledged if str(row) not in rows]


def test_a_rolling_change_of_a_setting(cluster: Cluster) -> None:
    """A setting that needs a restart, and is the same on all nodes, gets there without a write that fails twice."""
    with _client(cluster) as (_, failed):
        shell = cluster.leader.container.exec
        shell("patronictl", "edit-config", "--force", "-p", "max_connections=90")
        containers.until(
            lambda: all(node.ask("/patroni")[1].get("pending_restart") for node in cluster.nodes),
            "all nodes wait for a restart",
            60,
        )
        for node in [*cluster.standbys, cluster.leader]:
            shell("patronictl", "restart", "--force", "--pending", "shop", node.name, timeout=60)
            cluster.settled()
    assert [] == failed
    assert {"90"} == {node.sql("SHOW max_connections") for node in cluster.nodes}
