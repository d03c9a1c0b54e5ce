"""Networks that are cut, stores that are away, disks that are full: never do two nodes acknowledge writes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import containers
import nodes
from nodes import Cluster, Node, Writer

pytestmark = pytest.mark.long

TTL = 25


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes and three etcds; each test leaves them settled."""
    with nodes.serve(etcds=3, env={"PATRONI_DCS_TTL": str(TTL), "PATRONI_DCS_LOOP_WAIT": "5"}) as found:
        found.settled()
        found.leader.sql("CREATE TABLE kept (row bigint PRIMARY KEY)")
        yield found


def _takes_writes(node: Node) -> bool:
    try:
        return "f" == node.sql("SELECT pg_is_in_recovery()")
    except AssertionError:
        return False  # the server is down


def test_a_leader_that_is_cut_off(cluster: Cluster) -> None:
    """It takes no more writes before another node leads, and follows that one once the network is back."""
    old = cluster.settled()
    with Writer(cluster) as writer:
        old.cut()
        cluster.another_leads(old, 2 * TTL + 30)
        containers.until(lambda: len(writer.changes()) > 1, "writes on another node")
        time.sleep(5)
        old.plug()
        new = cluster.settled(120)
    assert new is not old
    assert [old.name, new.name] == writer.changes()
    print(f"no writes for {writer.longest:.1f} s")


def test_a_standby_that_is_cut_off(cluster: Cluster) -> None:
    """Nothing happens to the others, and it follows again."""
    leader = cluster.settled()
    with Writer(cluster) as writer:
        standby = cluster.standbys[0]
        standby.cut()
        time.sleep(TTL + 10)
        standby.plug()
        assert leader is cluster.settled(120)
    assert [leader.name] == writer.changes()
    assert leader.name not in writer.refused
    assert [] == writer.lost(leader)


@pytest.mark.parametrize("away", [1, 2, 3])
def test_stores_that_are_away(cluster: Cluster, away: int) -> None:
    """One of three is missed by nobody; without a majority the leader stays as long as it reaches all nodes."""
    leader = cluster.settled()
    with Writer(cluster) as writer:
        for store in cluster.etcds[:away]:
            store.kill("KILL")
        time.sleep(2 * TTL)
        assert _takes_writes(leader)
        shown = leader.container.exec("entrypoint", "doctor", "patroni", check=False).output
        assert ("failsafe" in shown) == (away > 1)
        for store in cluster.etcds[:away]:
            store.begin()
        assert leader is cluster.settled(120)
    assert [leader.name] == writer.changes()
    assert [] == writer.lost(leader)


def test_a_leader_without_stores_and_with_a_lost_standby(cluster: Cluster) -> None:
    """In failsafe mode it only leads while it reaches all nodes: else it might be the one that is cut off."""
    leader = cluster.settled()
    standby = cluster.standbys[0]
    for store in cluster.etcds:
        store.kill("KILL")
    containers.until(lambda: bool(leader.ask("/patroni")[1].get("failsafe_mode_is_active")), "failsafe", 60)
    standby.container.kill("KILL")
    containers.until(lambda: not _takes_writes(leader), "no more writes", 2 * TTL + 30)
    for store in cluster.etcds:
        store.begin()
    standby.container.begin()
    cluster.settled(180)


def test_a_leader_that_was_frozen(cluster: Cluster) -> None:
    """A whole container that was paused beyond the ttl takes at most the writes of a moment afterwards."""
    old = cluster.settled()
    containers.docker("pause", old.container.name)
    new = cluster.another_leads(old, 2 * TTL + 30)
    containers.docker("unpause", old.container.name)
    begun = time.monotonic()
    containers.until(lambda: not _takes_writes(old), "no more writes", 30)
    print(f"took writes for {time.monotonic() - begun:.1f} s")
    assert new is cluster.settled(120)


def test_stores_that_are_away_without_failsafe_mode(cluster: Cluster) -> None:
    """The leader takes no more writes before its place could be another node's; it leads again afterwards."""
    cluster.settled().container.exec("patronictl", "edit-config", "--force", "-s", "failsafe_mode=false")
    time.sleep(2 * TTL)
    leader = cluster.settled()
    for store in cluster.etcds:
        store.kill("KILL")
    containers.until(lambda: not _takes_writes(leader), "no more writes", TTL + 15)
    for store in cluster.etcds:
        store.begin()
    cluster.settled(180)
