"""Three nodes under Patroni with one archive: only the leader writes there, and a new one continues it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import archives
import containers
import nodes
from archives import Archive
from nodes import Cluster, Node, Writer

QUICK = {"PATRONI_DCS_TTL": "20", "PATRONI_DCS_LOOP_WAIT": "5", "PATRONI_DCS_RETRY_TIMEOUT": "5"}
ENV = {
    **QUICK,
    "PATRONI_DCS_SYNCHRONOUS_MODE": "on",
    "ARCHIVE_TIMEOUT": "5",
    "ARCHIVE_FORK_INTERVAL": "5",
    "BACKUP_SCHEDULE": "0 3 * * *",
    "BACKUP_RETAIN_FULL": "5",
}
PUSH = {
    "pgbackrest": "PGBACKREST_CONFIG=/run/entrypoint/pgbackrest.conf /usr/bin/pgbackrest --stanza=main --no-archive-async archive-push",
    "wal-g": "PGDATA=$PGDATA wal-g --config /run/entrypoint/walg.json wal-push",
}


@pytest.fixture(scope="module", params=archives.TOOLS)
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """An archive in a folder that all nodes mount."""
    with archives.made(request.param, None) as found:
        yield found


@pytest.fixture(scope="module")
def cluster(archive: Archive) -> Iterator[Cluster]:
    """Three nodes that were started at once on empty volumes, where a commit waits for a standby."""
    with nodes.serve(env=ENV, archive=archive) as found:
        found.settled()
        found.leader.sql("CREATE TABLE kept (row bigint PRIMARY KEY)")
        yield found


def _backups(node: Node) -> list[str]:
    listed = node.container.exec("entrypoint", "backup", "list", "--json").stdout
    return [each["name"] for each in json.loads(listed)]


def _safe(cluster: Cluster) -> Node:
    """Wait until a standby may take over without a loss, and return the leader."""
    leader = cluster.leader
    containers.until(
        lambda: "Sync Standby" in leader.container.exec("patronictl", "list").stdout,
        "a synchronous standby",
        60,
    )
    return leader


def _history(node: Node) -> str:
    """The name of the history of the timeline that a leader writes on."""
    return node.sql("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '.history'")


def test_only_the_leader_archives_and_backs_up(cluster: Cluster) -> None:
    """The first backup is taken once, and each node knows of it."""
    leader = cluster.leader
    containers.until(lambda: len(_backups(leader)) == 1, "the first backup", 90)
    leader.sql("SELECT pg_switch_wal()")
    archives.wait_for_archiving(leader.container)
    for node in cluster.nodes:
        count = int(node.sql("SELECT archived_count FROM pg_stat_archiver"))
        assert (count > 0) == (node is leader)
        assert _backups(leader) == _backups(node)


def test_doctor_knows_who_archives(cluster: Cluster) -> None:
    """It finds nothing wrong, on any node."""
    for node in cluster.nodes:
        said = node.container.exec("entrypoint", "doctor", check=False).stdout
        assert "all is well" in said.splitlines()[-1], said


def test_a_manual_backup_on_a_standby(cluster: Cluster) -> None:
    """It says which node is the leader."""
    outcome = cluster.standbys[0].container.exec("entrypoint", "backup", "push", check=False)
    assert 1 == outcome.code
    assert f"{cluster.leader.name} is the leader" in outcome.output


def test_a_lost_leader(cluster: Cluster, archive: Archive) -> None:
    """The next one archives its timeline and what the last one had not archived; a restore has every row."""
    old = _safe(cluster)
    before = _backups(old)
    with Writer(cluster) as writer:
        archiver = old.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'")
        old.container.exec("kill", "-STOP", archiver)
        for _ in range(3):
            old.sql("CREATE TABLE filled (); DROP TABLE filled; SELECT pg_switch_wal()")
        old.container.kill("KILL")
        new = cluster.another_leads(old)
        lost = len(writer.acknowledged)
        containers.until(lambda: len(writer.acknowledged) > lost, "it writes", 30)
    assert [] == writer.lost(new)
    name = _history(new)
    containers.until(lambda: any(name in path for path in archive.digest()), f"{name} is archived", 30)
    new.container.exec("entrypoint", "backup", "push", "--incremental")
    new.sql("SELECT pg_switch_wal()")
    archives.wait_for_archiving(new.container)
    verified = json.loads(new.container.exec("entrypoint", "backup", "verify", "--json").stdout)
    assert (True, []) == (verified["sound"], verified["holes"])
    for source in (before[0], "LATEST"):
        with archive.copy() as copy, copy.serve({"RESTORE_FROM": source}, timeout=60) as restored:
            there = {*map(int, restored.sql("SELECT row FROM kept", database="postgres").split())}
            assert [] == [row for row in writer.acknowledged if row not in there]


def test_a_promotion_that_nobody_here_knows_of(cluster: Cluster, archive: Archive) -> None:
    """If the archive shows that another node was promoted since, the leader gives way, and no node takes over."""
    leader = _safe(cluster)
    path = f"$PGDATA/pg_wal/{_history(leader)}"
    lsn = leader.sql("SELECT pg_current_wal_lsn()")
    mine = int(_history(leader)[:8], 16)
    new = "$PGDATA/pg_wal/000000AA.history"
    leader.container.shell(
        f"{{ cat {path}; printf '\\n{mine}\\t{lsn}\\tof a test\\n'; }} >{new} && {PUSH[archive.tool]} {new} && rm {new}",
        "postgres",
    )
    assert 15 == leader.container.wait(60)
    assert "another server was promoted" in leader.container.logs().output
    others = [node for node in cluster.nodes if node is not leader and node.container.running]
    containers.until(
        lambda: any("this node may not lead" in node.container.logs().output for node in others),
        "refused",
        60,
    )
    # Until it gives the lock back, Patroni counts such a node as the leader.
    assert {"t"} == {node.sql("SELECT pg_is_in_recovery()") for node in others}
