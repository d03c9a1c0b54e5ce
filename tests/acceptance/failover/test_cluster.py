"""Three nodes under Patroni with a real etcd: from empty volumes to fail-over and back."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

import containers
import nodes
import s3
import sinks
from nodes import Cluster, Node, Probing, Writer

FILES: containers.Files = {
    "/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE made AS SELECT 1 AS once;\n",
    "/docker-entrypoint-conf.d/own.conf": "work_mem = 7MB\n",
}
ENV = {
    "POSTGRES_CONF_max_connections": "60",
    "POSTGRES_CONF_jit": "off",
    "POSTGRES_DB": "shop",
    "PATRONI_DCS_TTL": "20",
    "PATRONI_DCS_LOOP_WAIT": "3",
    "PATRONI_DCS_RETRY_TIMEOUT": "3",
    "STATUS_LISTEN": ":9187",
    "WATCH_INTERVAL": "4",
    "NOTIFY_LEVEL": "warning",
    "STOP_FAST_TIMEOUT": "20",
}


@pytest.fixture(scope="module")
def web() -> Iterator[sinks.Web]:
    """Where the messages go."""
    with sinks.web(s3.bridge()) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(web: sinks.Web) -> Iterator[Cluster]:
    """Three nodes that were started at once on empty volumes; each test leaves them settled."""
    with nodes.serve(env={**ENV, "NOTIFY_URLS": f"json://{web.place}/messages"}, files=FILES) as found:
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


def test_what_each_node_says(cluster: Cluster) -> None:
    """Status, status.json, the page and the metrics say what Patroni says; Patroni's metrics are passed on."""
    leader = cluster.settled()
    for node in cluster.nodes:
        _check_faces(node, leader)


def _check_faces(node: Node, leader: Node) -> None:
    containers.until(lambda: _known(node) != [], "who leads")
    (found,) = _known(node)
    shown = json.loads(node.container.exec("entrypoint", "status", "--json").stdout)["patroni"]
    live = json.loads(node.watch("/status.json")[1])["patroni"]
    for each in (found, shown, live):
        assert ("shop", node.name, leader.name) == (each["cluster"], each["node"], each["leader"])
        assert (node is leader) == each["leads"]
        assert ("leader" if node is leader else "standby") == each["role"]
        assert (None if node is leader else 0) == each["behind_leader_bytes"]
        assert each["dcs_age_seconds"] < 30
        assert {False} == {each[name] for name in ("paused", "failsafe", "pending_restart", "leaderless")}
    text = node.container.exec("entrypoint", "status").stdout
    assert f"leader {leader.name}" in " ".join(text.split())
    lines = node.watch("/metrics")[1].decode().splitlines()
    (line,) = [line for line in lines if line.startswith("patroni_primary{")]
    assert f'patroni_primary{{name="{node.name}",scope="shop"}} {float(node is leader)}' == line
    assert "nixpg_patroni_up 1.0" in lines
    theirs = {line.split()[0].partition("{")[0] for line in _patroni_metrics(node)}
    assert theirs == {line.partition("{")[0] for line in lines if line.startswith("patroni_")}
    assert "Cluster" in node.watch("/")[1].decode()


def _known(node: Node) -> list[dict[str, Any]]:
    """Return what status.json says of Patroni, once the DCS has this node's position of now."""
    found = json.loads(node.watch("/status.json")[1] or b"{}").get("patroni")
    return [found] if found and found["leader"] and not found["behind_leader_bytes"] else []


def _patroni_metrics(node: Node) -> list[str]:
    with urllib.request.urlopen(f"http://{node.address}:8008/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_probes(cluster: Cluster) -> None:
    """`/primary` is 200 on the leader only, `/standby` on the others, which also know their lag."""
    leader = cluster.settled()
    for node in cluster.nodes:
        codes = [
            node.watch(path)[0] for path in ("/primary", "/standby", "/ready?lag=16MB", "/standby?lag=0")
        ]
        assert ([200, 503, 200, 503] if node is leader else [503, 200, 200, 200]) == codes


def test_a_switchover(cluster: Cluster, web: sinks.Web) -> None:
    """No load balancer ever sees two primaries, nor one that takes no writes; one message reports the new leader."""
    old = cluster.settled()
    web.taken.clear()
    candidate = cluster.standbys[0]
    with Probing(cluster) as probing:
        old.container.exec("patronictl", "switchover", "--force", "--candidate", candidate.name)
        probing.finds(candidate)
    assert candidate is cluster.settled()
    assert [] == probing.wrong
    containers.until(lambda: _messages(web, "fail-over") != [], "a message about the fail-over", 60)
    time.sleep(5)
    assert [("warning", f"node {candidate.name} leads the cluster shop now, before it was {old.name}")] == [
        (each["type"], each["message"].splitlines()[0]) for each in _messages(web, "fail-over")
    ]
    assert "before it was this one" in old.container.logs().output
    assert [] == _messages(web, "promotion")


def _messages(web: sinks.Web, name: str) -> list[dict[str, str]]:
    """Return the messages about a check or an event, oldest first."""
    return [each for each in web.messages() if f" {name}: " in each["title"]]


def test_the_dcs_is_away(cluster: Cluster, web: sinks.Web) -> None:
    """The leader stays the one primary in failsafe mode, standbys know their lag, and one node reports it."""
    leader = cluster.settled()
    web.taken.clear()
    (etcd,) = cluster.etcds
    with Probing(cluster, stays=leader) as probing:
        containers.docker("pause", etcd.name)
        try:
            containers.until(
                lambda: json.loads(leader.watch("/status.json")[1])["patroni"]["failsafe"],
                "failsafe mode",
                40,
            )
            for node in cluster.nodes:
                assert 200 == node.watch("/ready?lag=16MB")[0]
            containers.until(lambda: _messages(web, "patroni dcs") != [], "a message about the DCS", 60)
            time.sleep(4)
            assert "failsafe" in leader.container.exec("entrypoint", "status").stdout
        finally:
            containers.docker("unpause", etcd.name)
        containers.until(lambda: len(_messages(web, "patroni dcs")) > 1, "a message about the end", 60)
        time.sleep(4)
    assert [] == probing.wrong
    kinds = [each["title"].split()[0] for each in _messages(web, "patroni dcs")]
    assert ["WARNING", "ENDED"] == kinds
    assert leader is cluster.settled()


def test_a_leader_whose_patroni_hangs(cluster: Cluster) -> None:
    """Within seconds no load balancer sends it writes any more, though its server runs, and it leads again after."""
    leader = cluster.settled()
    others = [node for node in cluster.nodes if node is not leader]
    patroni = str(leader.patroni)
    leader.container.exec("kill", "-STOP", patroni, user="0")
    try:
        begun = time.monotonic()
        assert leader.watch("/metrics")[0] == 200
        assert time.monotonic() - begun < 4
        containers.until(lambda: leader.watch("/primary")[0] == 503, "no primary any more", 5)
        assert 200 not in [node.watch("/primary")[0] for node in others]
        assert "f" == leader.sql("SELECT pg_is_in_recovery()")
    finally:
        leader.container.exec("kill", "-CONT", patroni, user="0", check=False)
    containers.until(lambda: leader.watch("/primary")[0] == 200, "it leads again", 30)
    assert leader is cluster.settled()


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


def test_a_paused_cluster(cluster: Cluster, web: sinks.Web) -> None:
    """Patroni then leaves the server to itself; a stop is clean all the same, and nobody takes over."""
    leader = cluster.settled()
    web.taken.clear()
    leader.container.exec("patronictl", "pause", "--wait")
    try:
        containers.until(lambda: _messages(web, "patroni pause") != [], "a message about the pause", 60)
        assert 0 == leader.container.stop(timeout=60)
        assert "waiting" not in leader.container.logs().output.splitlines()[-1]
        time.sleep(2)
        assert [] == [node for node in cluster.leaders if node is not leader]
        leader.container.begin()
        containers.until(lambda: leader.ask("/liveness")[0] != 0, "Patroni is back", 60)
    finally:
        leader.container.exec("patronictl", "resume", "--wait", check=False)
    cluster.settled()
    containers.until(lambda: len(_messages(web, "patroni pause")) > 1, "a message about its end", 60)
    assert ["WARNING", "ENDED"] == [each["title"].split()[0] for each in _messages(web, "patroni pause")]


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
