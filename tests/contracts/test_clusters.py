"""The examples of several nodes: the program accepts each node, and the parts fit together."""

from __future__ import annotations

import re

import pytest
import yaml

from clusters import FOLDER, NODES, Node, services
from entrypoint.archivers.known import TOOLS
from entrypoint.settings import environment, loading
from examples import stop_timeouts
from layout import layout_of
from repository import REPOSITORY


@pytest.fixture(params=NODES, ids=[f"{each.example}-{each.name}" for each in NODES])
def node(request: pytest.FixtureRequest) -> Node:
    found: Node = request.param
    return found


def test_the_program_accepts_it(node: Node) -> None:
    """Every variable is known, and nothing is wrong with the node."""
    given = {**node.environment, "PGDATA": "/var/lib/postgresql/data", "PG_MAJOR": "17", "PATH": "/usr/bin"}
    read = environment.read(given, lambda path: f"content of {path}")
    assert () == read.problems + read.warnings
    wanted, problems = loading.load(read.values, [], dict.fromkeys(TOOLS, True))
    assert [] == problems
    assert wanted.failover is not None
    assert "shop" == wanted.failover.scope
    assert wanted.failover.shared["synchronous_mode"]
    assert wanted.watching is not None


def test_secrets_places_and_times(node: Node) -> None:
    """Secrets are files, the volume is the image's and the node's own, and SIGKILL comes late enough."""
    assert node.secrets == {value for name, value in node.environment.items() if name.endswith("_FILE")}
    assert {"POSTGRES_PASSWORD_FILE", "PATRONI_REPLICATION_PASSWORD_FILE"} < node.environment.keys()
    (data,) = layout_of(17)["config"]["volumes"]
    assert [data] == [volume.partition(":")[2] for volume in node.volumes]
    assert stop_timeouts() < node.stop_seconds


@pytest.mark.parametrize("name", ["compose.yaml", "witness.yaml"])
def test_the_nodes_differ_only_in_what_must_differ(name: str) -> None:
    """Names, addresses and, on one machine, volumes; all name the same three etcds, which know each other."""
    nodes = [each for each in NODES if each.example == name]
    assert len(nodes) == (3 if name == "compose.yaml" else 2)
    names = [each.environment["PATRONI_NAME"] for each in nodes]
    assert names == [each.name for each in nodes]
    assert [f"{each}:5432" for each in names] == [
        each.environment["PATRONI_POSTGRESQL_CONNECT_ADDRESS"] for each in nodes
    ]
    own = {"PATRONI_NAME", "PATRONI_POSTGRESQL_CONNECT_ADDRESS"}
    assert 1 == len({tuple(sorted(each.environment.keys() - own)) for each in nodes})
    found = services(name)
    members = sorted(each for each in found if each.startswith("etcd"))
    assert ["etcd1", "etcd2", "etcd3"] == members
    assert {",".join(f"{each}:2379" for each in members)} == {
        each.environment["PATRONI_ETCD3_HOSTS"] for each in nodes
    }
    peers = ",".join(f"{each}=http://{each}:2380" for each in members)
    for each in members:
        command = found[each]["command"]
        assert f"--name={each}" in command
        assert f"--initial-cluster={peers}" in command
        assert f"--advertise-client-urls=http://{each}:2379" in command
        assert f"--initial-advertise-peer-urls=http://{each}:2380" in command


def test_a_machine_has_what_belongs_together() -> None:
    """On one machine, a node and its etcd are started with one profile, and the witness has no database."""
    found = services("witness.yaml")
    assert {"one": {"db1", "etcd1"}, "two": {"db2", "etcd2"}, "witness": {"etcd3"}} == {
        profile: {name for name, each in found.items() if each["profiles"] == [profile]}
        for profile in ("one", "two", "witness")
    }


def test_volumes_on_one_machine() -> None:
    """In the file that runs on one machine, no two services have the same volume."""
    volumes = [
        volume.partition(":")[0] for each in services("compose.yaml").values() for volume in each["volumes"]
    ]
    assert len(volumes) == len(set(volumes))
    file = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    assert set(volumes) - {"./haproxy.cfg"} == set(file["volumes"])


def test_haproxy_knows_all_nodes() -> None:
    """Each backend has all of them, and asks at the port of the watch."""
    text = (FOLDER / "haproxy.cfg").read_text(encoding="utf-8")
    names = sorted(each.name for each in NODES if each.example == "compose.yaml")
    servers = re.findall(r"^ +server (\w+) (\w+):5432$", text, re.MULTILINE)
    assert [(each, each) for each in names] * 2 == servers
    assert "check port 9187" in text
    assert ["/primary", "/standby?lag=16MB"] == re.findall(r"option httpchk GET (\S+)", text)


def test_the_page_refers_to_them() -> None:
    """Each file is linked where people read about it."""
    page = (REPOSITORY / "docs/how-to/fail-over.md").read_text(encoding="utf-8")
    assert [] == [
        each.name for each in FOLDER.iterdir() if f"../../examples/fail-over/{each.name}" not in page
    ]
