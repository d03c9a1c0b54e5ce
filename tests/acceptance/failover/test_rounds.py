"""Many rounds of kill -9 under a writer: no acknowledged row is lost, and the takeover is in time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest

import containers
import nodes
from nodes import Cluster, Writer

pytestmark = pytest.mark.long

ROUNDS = 50
TTL = 30


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes and three etcds, where each commit waits for a standby."""
    with nodes.serve(etcds=3, env={"PATRONI_DCS_SYNCHRONOUS_MODE": "on"}) as found:
        found.settled()
        found.leader.sql("CREATE TABLE kept (row bigint PRIMARY KEY)")
        yield found


def test_patroni_dies(cluster: Cluster) -> None:
    """Twenty times: the server is the same one, the leader stays, and it refuses no write."""
    leader = cluster.settled()
    server = leader.container.postmaster()
    with Writer(cluster) as writer:
        for _ in range(20):
            leader.kill_patroni()
    assert server == leader.container.postmaster()
    assert [] == writer.lost(leader)
    assert leader.name not in writer.refused


def test_the_leader_dies(cluster: Cluster) -> None:
    """Another node takes over within the ttl and a few seconds; all acknowledged rows are there."""
    took = []
    for _ in range(ROUNDS):
        old = cluster.settled(300)
        with Writer(cluster) as writer:
            begun = time.monotonic()
            old.container.kill("KILL")
            new = cluster.another_leads(old, 90)
            took.append(time.monotonic() - begun)
        assert [] == writer.lost(new)
        old.container.begin()
    cluster.settled(300)
    print(f"takeover: median {statistics.median(took):.1f} s, most {max(took):.1f} s")
    assert max(took) < TTL + 15


def test_bootstrap_is_killed() -> None:
    """Twenty kills while the cluster is created: in the end there is exactly one, and it is complete."""
    files: containers.Files = {
        "/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE made AS SELECT 1 AS once;\n"
    }
    with nodes.serve(files=files) as cluster:
        for number in range(20):
            time.sleep(0.3 + 0.15 * number)
            for node in cluster.nodes:
                node.container.kill("KILL")
            for node in cluster.nodes:
                node.container.begin()
        try:
            cluster.settled(120)
        except AssertionError:
            # A killed init file is for a person to judge: the node refuses, and says how to continue.
            assert any(
                "an earlier first start did not finish" in node.container.logs().output
                for node in cluster.nodes
            )
            return
        identities = {node.sql("SELECT system_identifier FROM pg_control_system()") for node in cluster.nodes}
        assert 1 == len(identities)
        assert {"1"} == {node.sql("SELECT once FROM made") for node in cluster.nodes}
