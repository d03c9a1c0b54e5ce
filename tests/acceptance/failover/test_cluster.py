"""Three nodes under Patroni with a real etcd: from empty volumes to fail-over and back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import containers
import nodes
from nodes import Cluster, Writer

FILES: containers.Files = {
    "/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE made AS SELECT 1 AS once;\n",
    "/docker-entrypoint-conf.d/own.conf": "work_mem = 7MB\n",
}
ENV = {"POSTGRES_CONF_max_connections": "60", "POSTGRES_CONF_jit": "off", "POSTGRES_DB": "shop"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes that were started at once on empty volumes; each test leaves them settled."""
    with nodes.serve(env=ENV, files=FILES) as found:
        found.settled()
        found.leader.sql("CREATE TABLE kept (row bigint PRIMARY KEY)")
        yield found


def test_three_empty_volumes_become_one_cluster(cluster: Cluster) -> None:
    """The init files ran once, on one node; all nodes have its identity, database and settings."""
    assert 1 == sum(
        "init process complete" in node.container.logs().output or "1.sql" in node.container.logs().output
        for node in cluster.nodes
    )
    identities = {node.sql("SELECT system_identifier FROM pg_control_system()") for node in cluster.nodes}
    assert 1 == len(identities)
    for node in cluster.nodes:
        assert "1" == node.container.sql("SELECT once FROM made", database="shop")
        shown = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN "
        assert "off 60 7168" == node.sql(f"{shown} ('max_connections', 'work_mem', 'jit')")


def test_pid_1_knows_the_server(cluster: Cluster) -> None:
    """`entrypoint ready` and `status` answer for the server that Patroni has started."""
    for node in cluster.nodes:
        word = "primary" if node is cluster.leader else "standby"
        assert f"ready: {word}\n" == node.container.exec("entrypoint", "ready").stdout
        status = node.container.shell("cat /run/entrypoint/status")
        assert f"server {node.container.postmaster()}" in status.splitlines()
        assert "1" == node.container.process(node.container.postmaster())["PPid"]


def test_the_data_folder_stays_an_ordinary_one(cluster: Cluster) -> None:
    """Patroni writes its configuration elsewhere: in the cluster's own file nothing has changed."""
    data = cluster.leader.container.shell("echo $PGDATA")
    own = cluster.leader.container.shell(f"cat {data}/postgresql.conf {data}/postgresql.auto.conf")
    lines = [line for line in own.splitlines() if not line.startswith("#")]
    assert [] == [line for line in lines if line.startswith(("include", "primary_", "max_connections = 60"))]
    assert "Patroni" not in own
    hba = cluster.leader.container.shell(f"tail -n 1 {data}/pg_hba.conf")
    assert 'host replication "replicator" all scram-sha-256' == hba


def test_secrets(cluster: Cluster) -> None:
    """No password is in the environment or on the command line of a process; its file is closed to others."""
    secrets = (nodes.SUPERUSER, nodes.STREAMS)
    for node in cluster.nodes:
        seen = node.container.exec(
            "bash", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'", user="0"
        ).stdout
        own = [f"POSTGRES_PASSWORD={secrets[0]}", f"PATRONI_REPLICATION_PASSWORD={secrets[1]}"]
        # What docker exec itself has is the container's.
        lines = [line for line in seen.splitlines() if any(secret in line for secret in secrets)]
        assert set(lines) <= set(own), lines
        modes = node.container.shell(
            "stat -c '%a %U' /run/entrypoint/patroni.yml /run/entrypoint/patroni", "0"
        )
        assert "600 postgres\n700 postgres" == modes
        assert not node.container.shell("ls /run/entrypoint | grep first-start || true", "0")


def test_patronictl_in_the_container(cluster: Cluster) -> None:
    """As root and without an option, it shows the nodes."""
    shown = cluster.leader.container.exec("patronictl", "list").stdout
    assert [] == [node.name for node in cluster.nodes if node.name not in shown]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/config"),
        ("PUT", "/config"),
        ("POST", "/restart"),
        ("POST", "/switchover"),
        ("POST", "/sigterm"),
    ],
)
def test_a_stranger_gives_commands(cluster: Cluster, method: str, path: str) -> None:
    """Who reaches Patroni's port cannot change the cluster, since a setting can run any program."""
    harm = {"postgresql": {"parameters": {"archive_command": "touch /tmp/harm"}}, "leader": "x"}
    assert [401] * 3 == [node.ask(path, method, harm)[0] for node in cluster.nodes]


def test_a_command_to_another_node(cluster: Cluster) -> None:
    """The patronictl of one node may restart the server of another one."""
    node = cluster.standbys[0]
    server = node.container.postmaster()
    cluster.leader.container.exec("patronictl", "restart", "--force", "shop", node.name)
    cluster.settled()
    assert server != node.container.postmaster()


def test_promote_is_refused(cluster: Cluster) -> None:
    """Patroni chooses the leader; the message names its command."""
    node = cluster.standbys[0]
    outcome = node.container.exec("entrypoint", "promote", check=False)
    assert 1 == outcome.code
    assert "patronictl switchover" in containers.complaints(outcome)[0]


def test_a_killed_patroni(cluster: Cluster) -> None:
    """Clients notice nothing: the next Patroni takes the same server over, and the leader stays."""
    leader = cluster.leader
    server = leader.container.postmaster()
    with Writer(cluster) as writer:
        for _ in range(3):
            leader.kill_patroni()
    assert server == leader.container.postmaster()
    assert [] == writer.lost(leader)
    assert leader.name not in writer.refused
    assert [leader] == cluster.leaders


def test_a_patroni_that_a_signal_has_stopped(cluster: Cluster) -> None:
    """It is replaced well within the ttl, after which another node would lead while this server takes writes."""
    leader = cluster.settled()
    server, patroni = leader.container.postmaster(), leader.patroni
    with Writer(cluster) as writer:
        leader.container.exec("kill", "-STOP", str(patroni), user="0")
        containers.until(lambda: leader.patroni not in (0, patroni) and leader.leads, "another Patroni", 20)
    assert server == leader.container.postmaster()
    assert leader.name not in writer.refused
    assert [leader] == cluster.leaders


def test_a_reload(cluster: Cluster) -> None:
    """SIGHUP makes the server read its files again."""
    node = cluster.standbys[0]
    node.container.exec("bash", "-c", "echo work_mem = 9MB >/docker-entrypoint-conf.d/own.conf", user="0")
    node.container.kill("HUP")
    containers.until(lambda: node.sql("SHOW work_mem") == "9MB", "reloaded")


def test_a_stopped_leader(cluster: Cluster) -> None:
    """Its container ends with 0, another node leads within seconds, and no acknowledged row is lost."""
    old = cluster.settled()
    with Writer(cluster) as writer:
        begun = time.monotonic()
        code = old.container.stop(timeout=60)
        new = cluster.another_leads(old)
        took = time.monotonic() - begun
    assert 0 == code
    assert took < 10
    assert [] == writer.lost(new)
    old.container.begin()
    assert new is cluster.settled()


def test_a_killed_leader(cluster: Cluster) -> None:
    """After kill -9 of the whole container another node leads within the ttl; the old one follows it then."""
    old = cluster.settled()
    with Writer(cluster):
        begun = time.monotonic()
        old.container.kill("KILL")
        new = cluster.another_leads(old)
        took = time.monotonic() - begun
    assert took < 45
    old.container.begin()
    assert new is cluster.settled()


def test_a_paused_cluster(cluster: Cluster) -> None:
    """Patroni then leaves the server to itself; a stop is clean all the same, and nobody takes over."""
    leader = cluster.settled()
    leader.container.exec("patronictl", "pause", "--wait")
    try:
        assert 0 == leader.container.stop(timeout=60)
        assert "waiting" not in leader.container.logs().output.splitlines()[-1]
        time.sleep(2)
        assert [] == [node for node in cluster.leaders if node is not leader]
        leader.container.begin()
        containers.until(lambda: leader.ask("/liveness")[0] != 0, "Patroni is back", 60)
    finally:
        leader.container.exec("patronictl", "resume", "--wait", check=False)
    cluster.settled()


def test_a_patroni_that_hangs(cluster: Cluster) -> None:
    """It is killed after STOP_FAST_TIMEOUT, and PID 1 stops the server in order."""
    node = cluster.standbys[0]
    node.container.exec("kill", "-STOP", str(node.patroni), user="0")
    assert 0 == node.container.stop(timeout=90)
    node.container.begin()
    cluster.settled()


def test_other_values_than_in_the_dcs(cluster: Cluster) -> None:
    """A node that is started again with other variables warns, and names the command for all nodes."""
    node = cluster.standbys[0]
    assert "max_connections=60 has no effect" not in node.container.logs().output
    node.container.exec(
        "bash", "-c", "echo max_connections = 70 >/docker-entrypoint-conf.d/own.conf", user="0"
    )
    node.container.stop(timeout=60)
    node.container.begin()
    node.container.says(
        "max_connections=70 has no effect: all nodes share the setting in the DCS, which has 60"
    )
    cluster.settled()
    assert "60" == node.sql("SHOW max_connections")


def test_a_copy_that_was_interrupted(cluster: Cluster) -> None:
    """A standby whose pg_basebackup was killed together with its container is made again by itself."""
    node = cluster.standbys[0]
    node.container.stop(timeout=60)
    # What pg_basebackup writes last is not there yet.
    containers.in_volume(
        node.volume, "rm global/pg_control && echo 'START WAL LOCATION: 0/2000028' >backup_label"
    )
    node.container.begin()
    node.container.says("holds a copy of the leader that was interrupted")
    cluster.settled()
