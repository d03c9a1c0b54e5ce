"""
A cluster of nodes under Patroni, with a real etcd, in a network of its own.

`image/build.sh all` makes the image; etcd is Debian's, in an image that is built for the tests.
"""

from __future__ import annotations

import functools
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import containers
from archives import Archive
from containers import Container
from majors import DEFAULT, TAGS

__all__ = ["HA", "Cluster", "Node", "Probing", "Writer", "etcd_image", "package_image", "serve", "variables"]

HA = containers.kin(f"{TAGS[DEFAULT]}-ha")
"""The image with Patroni."""
_COUNTS = 2.0
"""Seconds for which a probe's answer may be that of a moment ago."""
SUPERUSER, STREAMS = "of-the-superuser", "of-the-standbys"


class Node:
    """One node: a container, and the Patroni in it."""

    def __init__(self, name: str, container: Container, network: str) -> None:
        """Refer to a node that is a container in this network."""
        self.name = name
        self.container = container
        self.network = network

    def ask(self, path: str, method: str = "GET", body: object = None) -> tuple[int, dict[str, Any]]:
        """Patroni's answer to a request, as status and JSON; status 0: it does not answer."""
        found = containers.inspect(self.container.name)["NetworkSettings"]["Networks"].get(self.network)
        if found is None:
            return 0, {}  # it was cut off
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{found['IPAddress']}:8008{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=3) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            said = error.read()
            return error.code, json.loads(said) if said.startswith(b"{") else {}
        except (OSError, ValueError):
            return 0, {}

    @property
    def address(self) -> str:
        """Its address in the network of the cluster; empty if it is cut off, or does not run."""
        networks = containers.inspect(self.container.name)["NetworkSettings"]["Networks"]
        return str(networks.get(self.network, {}).get("IPAddress", ""))

    def watch(self, path: str) -> tuple[int, bytes]:
        """The watch's answer to a request, with STATUS_LISTEN=:9187; status 0: it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}:9187{path}", timeout=8) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    @property
    def leads(self) -> bool:
        """Whether it is the leader, as load balancers see it."""
        return self.ask("/primary")[0] == 200

    @property
    def follows(self) -> bool:
        """Whether it is a standby that streams."""
        status, found = self.ask("/replica")
        return status == 200 and found.get("replication_state") == "streaming"

    @property
    def patroni(self) -> int:
        """The pid of Patroni, as PID 1 reports it; 0: it does not run."""
        rows = self.container.exec("cat", "/run/entrypoint/status", check=False).stdout.splitlines()
        return next((int(row.split()[3]) for row in rows if row.startswith("helper patroni running")), 0)

    def cut(self) -> None:
        """Take the node out of the network; `docker exec` still reaches it."""
        containers.docker("network", "disconnect", "--force", self.network, self.container.name)

    def plug(self) -> None:
        """Put the node back into the network."""
        containers.docker("network", "connect", "--alias", self.name, self.network, self.container.name)

    def kill_patroni(self) -> None:
        """Kill Patroni alone, and wait until there is another one and this node leads as before."""
        before = self.patroni
        self.container.exec("kill", "-9", str(before), user="0")
        containers.until(lambda: self.patroni not in (0, before) and self.leads, "Patroni is back", 20)

    @property
    def volume(self) -> str:
        """The name of the volume with its data folder."""
        mounts = containers.inspect(self.container.name)["Mounts"]
        return next(
            str(each["Name"]) for each in mounts if each["Destination"].startswith("/var/lib/postgresql")
        )

    def sql(self, query: str) -> str:
        """The answer of this node's server."""
        return self.container.sql(query, database="postgres")


class Cluster:
    """The nodes."""

    def __init__(self, nodes: list[Node], etcds: list[Container]) -> None:
        """Refer to nodes that may not run yet."""
        self.nodes = nodes
        self.etcds = etcds

    @property
    def leaders(self) -> list[Node]:
        """The nodes that lead now; never more than one."""
        return [node for node in self.nodes if node.leads]

    @property
    def leader(self) -> Node:
        """The one leader."""
        (found,) = self.leaders
        return found

    @property
    def standbys(self) -> list[Node]:
        """The nodes that stream from the leader."""
        return [node for node in self.nodes if node.follows]

    def settled(self, timeout: float = 120) -> Node:
        """Wait until one node leads and all others stream; return the leader."""
        try:
            containers.until(
                lambda: len(self.leaders) == 1 and len(self.standbys) == len(self.nodes) - 1,
                "one leader, and all others stream",
                timeout,
            )
        except AssertionError:
            logs = "\n".join(
                f"--- {node.name}\n{node.container.logs().output[-6000:]}" for node in self.nodes
            )
            raise AssertionError(logs) from None
        return self.leader

    def another_leads(self, than: Node, timeout: float = 60) -> Node:
        """Wait until another node leads, and return it."""
        containers.until(
            lambda: [node for node in self.leaders if node is not than] != [], "another leader", timeout
        )
        return next(node for node in self.leaders if node is not than)


class Writer:
    """A client that writes rows one by one, and knows which of them the server has acknowledged."""

    def __init__(self, cluster: Cluster) -> None:
        """Write to the table `kept` of whichever node takes writes."""
        self.cluster = cluster
        self.acknowledged: list[int] = []
        self.moments: list[tuple[float, str]] = []
        """When a row was acknowledged, in seconds of the monotonic clock, and by which node."""
        self.refused: set[str] = set()
        """The nodes that have refused a row, or not answered."""
        self.longest = 0.0
        self._next = time.time_ns()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        """Begin to write."""
        self._thread.start()
        containers.until(lambda: len(self.acknowledged) > 1, "the writer writes")
        return self

    def __exit__(self, *_: object) -> None:
        """Write no more."""
        self._ends.set()
        self._thread.join()

    def _write(self) -> None:
        last = time.monotonic()
        while not self._ends.is_set():
            for node in self.cluster.nodes:
                self._next += 1
                try:
                    node.sql(f"SET statement_timeout = '3s'; INSERT INTO kept VALUES ({self._next})")
                except AssertionError:
                    self.refused.add(node.name)
                    continue
                self.acknowledged.append(self._next)
                self.moments.append((time.monotonic(), node.name))
                self.longest = max(self.longest, time.monotonic() - last)
                last = time.monotonic()

    def changes(self) -> list[str]:
        """The nodes that have acknowledged rows, in order; a name that is there twice has taken writes again."""
        return [name for name, _ in itertools.groupby(name for _, name in self.moments)]

    def lost(self, node: Node) -> list[int]:
        """The acknowledged rows that a node lacks."""
        there = set(map(int, node.sql("SELECT row FROM kept").split()))
        return [row for row in self.acknowledged if row not in there]


class Probing:
    """A load balancer that asks each node for `/primary`, and writes to the one that says yes."""

    def __init__(self, cluster: Cluster, *, stays: Node | None = None) -> None:
        """Ask all the time; `stays`: the node that is the primary all the time."""
        self.cluster = cluster
        self.wrong: list[str] = []
        """What no load balancer may see."""
        self.seen: list[Node] = []
        """The primaries, by the time."""
        self._stays = stays
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._thread.start()
        containers.until(lambda: self.seen != [], "a primary")
        return self

    def __exit__(self, *_: object) -> None:
        """Ask no more."""
        self._ends.set()
        self._thread.join()

    def finds(self, node: Node) -> None:
        """Wait until this node is the primary."""
        containers.until(lambda: self.seen[-1] is node, f"{node.name} is the primary", 40)

    def _primaries(self) -> list[Node]:
        return [node for node in self.cluster.nodes if node.watch("/primary")[0] == 200]

    def _ask(self) -> None:
        missed, refused = 0, 0.0
        while not self._ends.is_set():
            found = self._primaries()
            if len(found) > 1:
                self.wrong.append(f"two primaries: {[node.name for node in found]}")
            missed = 0 if self._stays is None or found == [self._stays] else missed + 1
            if missed > 1:  # as load balancers count: `fall 2`
                self.wrong.append(f"not the primary as before: {[node.name for node in found]}")
            if len(found) != 1:
                refused = 0.0
                continue
            (node,) = found
            self.seen.append(node)
            try:
                node.sql(f"INSERT INTO kept VALUES ({time.time_ns()})")
                refused = 0.0
            except AssertionError as error:
                # The answer of a server that ends just now counts for a second.
                refused = refused or time.monotonic()
                if time.monotonic() - refused > _COUNTS and self._primaries() == [node]:
                    self.wrong.append(f"{node.name} takes no writes: {error}")


@functools.cache
def etcd_image() -> str:
    """The name of an image with Debian's etcd; it is kept for the next run."""
    return package_image("etcd", "etcd-client etcd-server")


def package_image(name: str, packages: str) -> str:
    """Build an image with packages of Debian, and return its name."""
    base = f"nix-postgres-base:{TAGS[DEFAULT]}"
    text = f"FROM {base}\nRUN apt-get update && apt-get install --yes --no-install-recommends {packages}\n"
    options = containers.apt_options()
    tag = f"nix-postgres-{name}:test"
    containers.docker(
        *("build", "--quiet", "--tag", tag, "-"),
        stdin=text.replace("apt-get ", f"apt-get {options}"),
        timeout=300,
    )
    return tag


def variables(name: str, etcds: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a node."""
    hosts = ",".join(f"etcd{number}:2379" for number in range(1, etcds + 1))
    return {
        "PATRONI_SCOPE": "shop",
        "PATRONI_NAME": name,
        "PATRONI_ETCD3_HOSTS": hosts,
        "PATRONI_POSTGRESQL_CONNECT_ADDRESS": f"{name}:5432",
        "PATRONI_REPLICATION_PASSWORD": STREAMS,
        "POSTGRES_PASSWORD": SUPERUSER,
        **(more or {}),
    }


@contextmanager
def serve(
    nodes: int = 3,
    *,
    etcds: int = 1,
    env: Mapping[str, str] | None = None,
    files: containers.Files | None = None,
    archive: Archive | None = None,
) -> Iterator[Cluster]:
    """Nodes that were just started on empty volumes, all at once; all of them have the archive."""
    network = f"{containers.LABEL}-{uuid.uuid4().hex[:8]}"
    containers.docker("network", "create", network)
    with ExitStack() as stack:
        stack.callback(containers.docker, "network", "rm", network, check=False)

        def add(name: str, *command: str, **how: Any) -> Container:
            options = ("--network", network, "--network-alias", name, *how.pop("options", ()))
            return stack.enter_context(containers.create(*command, options=options, **how))

        members = [f"etcd{number}" for number in range(1, etcds + 1)]
        peers = ",".join(f"{name}=http://{name}:2380" for name in members)
        stores = [
            add(
                name,
                *("--name", name, "--data-dir", "/tmp/etcd"),
                *(
                    "--listen-client-urls",
                    "http://0.0.0.0:2379",
                    "--advertise-client-urls",
                    f"http://{name}:2379",
                ),
                *("--listen-peer-urls", "http://0.0.0.0:2380", "--initial-cluster", peers),
                *("--initial-advertise-peer-urls", f"http://{name}:2380"),
                image=etcd_image(),
                options=("--entrypoint", "etcd"),
            )
            for name in members
        ]
        found = []
        for number in range(1, nodes + 1):
            name = f"db{number}"
            volume = stack.enter_context(containers.volume())
            given = variables(name, etcds, {**(archive.env() if archive else {}), **(env or {})})
            path = containers.inspect(HA)["Config"]["Env"]
            data = next(line.partition("=")[2] for line in path if line.startswith("PGDATA="))
            made = add(
                name,
                env=given,
                files=files,
                volumes={data: volume, **({"/archive": archive.volume} if archive else {})},
                image=HA,
                options=("--hostname", name, *containers.LOOK_INSIDE),
            )
            found.append(Node(name, made, network))
        for each in (*stores, *(node.container for node in found)):
            each.begin()
        yield Cluster(found, stores)
