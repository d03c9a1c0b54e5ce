"""A cluster of several nodes that comes from an archive, and standbys that are built from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import archives
import containers
import nodes
from archives import Archive
from nodes import Cluster

pytestmark = pytest.mark.long

QUICK = {"PATRONI_DCS_TTL": "20", "PATRONI_DCS_LOOP_WAIT": "5", "PATRONI_DCS_RETRY_TIMEOUT": "5"}


@pytest.fixture(scope="module", params=archives.TOOLS)
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """The archive of a single server that is gone, with a row from before the point `here` and one from after."""
    with archives.made(request.param, None) as found:
        with found.serve({"POSTGRES_PASSWORD": nodes.SUPERUSER}) as server:
            server.exec("entrypoint", "backup", "push")
            server.sql("CREATE TABLE kept (row bigint PRIMARY KEY)", database="postgres")
            server.sql("INSERT INTO kept VALUES (1)", database="postgres")
            server.sql("SELECT pg_create_restore_point('here')", database="postgres")
            server.sql("INSERT INTO kept VALUES (2)", database="postgres")
            assert 0 == server.stop(timeout=60)
        yield found


@pytest.fixture(scope="module")
def cluster(archive: Archive) -> Iterator[Cluster]:
    """Two nodes that were started at once on empty volumes, from a moment of that archive."""
    env = {
        **QUICK,
        "RESTORE_FROM": "LATEST",
        "RESTORE_TARGET_NAME": "here",
        "ARCHIVE_FORK": "confirm",
        "ARCHIVE_FORK_INTERVAL": "5",
    }
    with nodes.serve(2, env=env, archive=archive) as found:
        found.settled()
        yield found


def test_one_node_restores(cluster: Cluster) -> None:
    """The other one copies it, so that both have the same identity, and the state of that moment."""
    logs = [node.container.logs().output for node in cluster.nodes]
    assert 1 == sum("the restore is complete" in text for text in logs)
    assert ["1", "1"] == [node.sql("SELECT string_agg(row::text, ' ') FROM kept") for node in cluster.nodes]
    assert 1 == len({node.sql("SELECT system_identifier FROM pg_control_system()") for node in cluster.nodes})


def test_a_full_backup_follows(cluster: Cluster) -> None:
    """The leader takes it by itself, since the new timeline has none."""
    shown = "entrypoint backup list"
    containers.until(lambda: cluster.leader.container.shell(shown).count("full  ") > 1, "a full backup", 120)
    for node in cluster.nodes:
        said = node.container.exec("entrypoint", "doctor", check=False).stdout
        assert "all is well" in said.splitlines()[-1], said


def test_a_standby_from_the_archive(cluster: Cluster) -> None:
    """A node with an empty volume does not burden the leader; it continues from the archive, then streams."""
    (node,) = cluster.standbys
    cluster.leader.sql("INSERT INTO kept VALUES (3)")
    node.container.stop(timeout=60)
    containers.in_volume(node.volume, "find . -mindepth 1 -delete")
    node.container.begin()
    node.container.says("the standby is built from backup", 60)
    cluster.settled()
    assert "2" == node.sql("SELECT count(*) FROM kept")


def test_all_volumes_are_lost(cluster: Cluster, archive: Archive) -> None:
    """The DCS still knows the cluster: both nodes come from the archive, and one of them leads."""
    cluster.leader.sql("INSERT INTO kept VALUES (4)")
    cluster.leader.sql("SELECT pg_switch_wal()")
    archives.wait_for_archiving(cluster.leader.container)
    for node in cluster.nodes:
        node.container.stop(timeout=60)
        containers.in_volume(node.volume, "find . -mindepth 1 -delete")
    for node in cluster.nodes:
        node.container.begin()
    cluster.settled()
    assert ["3", "3"] == [node.sql("SELECT count(*) FROM kept") for node in cluster.nodes]
