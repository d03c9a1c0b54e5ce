"""The compose files of examples/fail-over, run with Debian's etcd and HAProxy: a machine is lost under clients."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import containers
import nodes
from clusters import FOLDER
from containers import Container, docker, until
from platforms import interpolated
from projects import Compose

pytestmark = pytest.mark.long

PASSWORD = "of-the-superuser"


@functools.cache
def _haproxy_image() -> str:
    """The name of an image with Debian's HAProxy; it is kept for the next run."""
    return nodes.package_image("haproxy", "haproxy")


@contextmanager
def _run(name: str, folder: Path) -> Iterator[Compose]:
    """Start an example with the images under test, in a folder of its own."""
    file: dict[str, Any] = yaml.safe_load(interpolated((FOLDER / name).read_text(encoding="utf-8")))
    (volume,) = containers.inspect(nodes.HA)["Config"]["Volumes"]
    for service, each in file["services"].items():
        each.pop("ports", None)
        each.pop("profiles", None)
        if service.startswith("db"):
            each["image"] = nodes.HA
            each["volumes"] = [f"{service}:{volume}"]
        elif service.startswith("etcd"):
            each["image"] = nodes.etcd_image()
            each["volumes"] = [f"{service}:/etcd"]
        else:
            each["image"] = _haproxy_image()
            each["command"] = ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
    file["volumes"] = dict.fromkeys(file["services"])
    (folder / "haproxy.cfg").write_bytes((FOLDER / "haproxy.cfg").read_bytes())
    (folder / "secrets").mkdir()
    (folder / "secrets/superuser").write_text(PASSWORD, encoding="utf-8")
    (folder / "secrets/replication").write_text("of-the-standbys", encoding="utf-8")
    project = Compose(folder, file)
    try:
        project("up", "--detach")
        yield project
    finally:
        project("down", "--volumes", "--timeout", "0")


def _node(project: Compose, service: str) -> Container:
    return Container(project("ps", "--all", "--quiet", service).strip())


def _ask(project: Compose, place: str, query: str) -> str:
    """Return the answer of a server at a place, asked by psql in whichever node runs; raises AssertionError."""
    url = f"{place} user=postgres dbname=postgres connect_timeout=3 password={PASSWORD}"
    for service in ("db1", "db2"):
        node = _node(project, service)
        if node.running:
            return node.exec("psql", "-XAtqc", query, url).stdout.strip()
    raise AssertionError("no node runs")


def _works(project: Compose, place: str, query: str, expected: str) -> bool:
    try:
        return expected == _ask(project, place, query)
    except AssertionError:
        return False


def _leader(project: Compose, place: str) -> str:
    """Return which node answers at a place for writes."""
    name = "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE host(inet_server_addr()) END"
    address = _ask(project, place, name)
    names = project("config", "--services").split()
    (found,) = [each for each in names if each.startswith("db") and address in _addresses(project, each)]
    return found


def _addresses(project: Compose, service: str) -> list[str]:
    identity = project("ps", "--all", "--quiet", service).strip()
    networks = containers.inspect(identity)["NetworkSettings"]["Networks"] if identity else {}
    return [str(each["IPAddress"]) for each in networks.values()]


def test_three_nodes_and_haproxy(tmp_path: Path) -> None:
    """Writes get to the leader and reads to standbys; when the leader is lost, HAProxy finds the next one."""
    writes, reads = "host=haproxy port=5000", "host=haproxy port=5001"
    with _run("compose.yaml", tmp_path) as project:
        until(lambda: _works(project, writes, "SELECT pg_is_in_recovery()", "f"), "a leader", 180)
        until(lambda: _works(project, reads, "SELECT pg_is_in_recovery()", "t"), "a standby", 180)
        _ask(project, writes, "CREATE TABLE kept AS SELECT 42 AS answer")
        until(lambda: _works(project, reads, "SELECT answer FROM kept", "42"), "it is on the standbys", 30)
        lost = _leader(project, writes)
        begun = time.monotonic()
        docker("kill", _node(project, lost).name)
        until(
            lambda: _works(project, writes, "INSERT INTO kept VALUES (43) RETURNING answer", "43"),
            "writes",
            90,
        )
        print(f"writes again after {time.monotonic() - begun:.0f} s")
        assert lost != _leader(project, writes)
        assert "42" == _ask(project, writes, "SELECT min(answer) FROM kept")
        project("start", lost)
        until(
            lambda: "200" in _probe(project, lost, "/standby?lag=16MB"),
            "the lost node follows the leader",
            120,
        )


def _probe(project: Compose, service: str, path: str) -> str:
    """Return the first line of an answer of a node's watch."""
    script = f"exec 3<>/dev/tcp/127.0.0.1/9187; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; head -n 1 <&3"
    return _node(project, service).exec("bash", "-c", script, check=False).stdout


def test_two_nodes_and_a_witness(tmp_path: Path) -> None:
    """When the machine of the leader is lost, with its etcd, the other one leads, thanks to the witness."""
    place = "host=db1,db2 target_session_attrs=read-write"
    with _run("witness.yaml", tmp_path) as project:
        until(lambda: _works(project, place, "SELECT pg_is_in_recovery()", "f"), "a leader", 180)
        _ask(project, place, "CREATE TABLE kept AS SELECT 42 AS answer")
        lost = _leader(project, place)
        other = "db2" if lost == "db1" else "db1"
        until(lambda: "200" in _probe(project, other, "/standby?lag=16MB"), "a standby", 120)
        until(
            lambda: "sync standby" in _node(project, other).exec("entrypoint", "status").stdout,
            "a synchronous standby",
            60,
        )
        for service in (lost, lost.replace("db", "etcd")):
            docker("kill", _node(project, service).name)
        until(lambda: "200" in _probe(project, other, "/primary"), "the other node leads", 90)
        assert "42" == _ask(project, place, "SELECT answer FROM kept")
        project("start", lost, lost.replace("db", "etcd"))
        until(lambda: "200" in _probe(project, lost, "/standby?lag=16MB"), "the lost node follows", 120)
        assert "f" == _ask(project, place, "SELECT pg_is_in_recovery()")
