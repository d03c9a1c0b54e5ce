"""Two servers of one archive, killed, promoted and started in any order: only the last promoted one takes writes."""

from __future__ import annotations

import contextlib
import random

import pytest

import archives
import containers
from archives import Archive
from containers import FRESH, Container

DATA = containers.data_folder()
ENV = {"ARCHIVE_FORK_INTERVAL": "1", "ARCHIVE_TIMEOUT": "5"}
STANDBY = {**ENV, "STANDBY": "on"}
SUPERSEDED = 15
STEPS = 7
SETTLED = 60
"""Seconds that a check may take on a busy machine."""


class Node:
    """One of the two servers, with its current volume."""

    def __init__(self, archive: Archive, stack: contextlib.ExitStack, name: str) -> None:
        self.archive, self.stack, self.name = archive, stack, name
        self.container: Container | None = None
        self.standby = False
        """Whether it was built as a standby and has not been promoted yet."""

    def make(self, *, standby: bool) -> None:
        """Create the server from scratch, on an empty volume."""
        if self.container is not None and self.container.running:
            self.kill()
        volume = self.stack.enter_context(containers.volume())
        env = STANDBY if standby else {**FRESH, **ENV}
        created = self.archive.create(env, volumes={DATA: volume})
        self.container = self.stack.enter_context(created)
        self.standby = standby

    @property
    def server(self) -> Container:
        """The container, which exists from `make` on."""
        assert self.container is not None
        return self.container

    def kill(self) -> None:
        """Kill it."""
        self.server.kill()
        self.server.wait()

    def start(self) -> str:
        """Start it and return its role: it serves as a `primary` or `standby`, or is `superseded`."""
        self.server.begin()
        found: list[str] = []

        def settled() -> bool:
            if not self.server.running:
                code = int(self.server.state["ExitCode"])
                assert SUPERSEDED == code, self.server.logs().output
                found.append("superseded")
            else:
                asked = self.server.exec("entrypoint", "ready", check=False)
                if asked.code == 0:
                    found.append(asked.stdout.strip().removeprefix("ready: "))
            return bool(found)

        containers.until(settled, f"{self.name} has started", SETTLED)
        return found[0]

    def takes_writes(self) -> bool:
        """Return whether it takes writes now."""
        if not self.server.running:
            return False
        question = ("psql", "-XAtw", "-U", "postgres", "-c", "SELECT pg_is_in_recovery()")
        return self.server.exec(*question, check=False).stdout.strip() == "f"


class Pair:
    """Both servers, and what must hold for them."""

    def __init__(self, archive: Archive, stack: contextlib.ExitStack, seed: int) -> None:
        self.chance = random.Random(seed)
        self.nodes = [Node(archive, stack, name) for name in ("one", "other")]
        self.leader = self.nodes[0]
        self.rows = 0
        """The number of rows that the leader has acknowledged since it was promoted."""
        self.term = 1
        self.done: list[str] = []
        self.leader.make(standby=False)
        assert "primary" == self.leader.start()
        self.leader.server.sql("CREATE TABLE kept (term int, i int)")
        self.leader.server.exec("entrypoint", "backup", "push", timeout=120)
        self.write()
        self.nodes[1].make(standby=True)
        assert "standby" == self.nodes[1].start()

    def write(self) -> None:
        """Write a row to the leader; sometimes its segment goes to the archive at once."""
        self.rows += 1
        self.leader.server.sql(f"INSERT INTO kept VALUES ({self.term}, {self.rows})")
        if self.chance.random() < 0.5:
            self.leader.server.sql("SELECT pg_switch_wal()")

    def step(self) -> None:
        """Do something to one of them, and check that the right one takes writes afterwards."""
        node = self.chance.choice(self.nodes)
        if not node.server.running:
            if node is not self.leader and not node.standby and self.chance.random() < 0.4:
                node.make(standby=True)
            self.done.append(f"start {node.name}")
            became = node.start()
            assert self.role(node) == became, self.done
        elif node.standby and self.chance.random() < 0.6:
            self.done.append(f"promote {node.name}")
            done = node.server.exec("entrypoint", "promote", check=False, timeout=90)
            if done.code == 0:
                assert "is in the archive" in done.stdout, done.output
                node.standby = False
                self.leader, self.rows, self.term = node, 0, self.term + 1
            else:
                # It does not follow the newest timeline yet, or it never can.
                assert done.code in (1, SUPERSEDED), done.output
        else:
            self.done.append(f"kill {node.name}")
            node.kill()
        self.settle()

    def role(self, node: Node) -> str:
        """Return the role that a server must have after its start."""
        if node is self.leader:
            return "primary"
        return "standby" if node.standby else "superseded"

    def settle(self) -> None:
        """Wait until only the leader takes writes; all its rows are there."""
        others = [node for node in self.nodes if node is not self.leader]
        containers.until(
            lambda: not any(node.takes_writes() for node in others), f"one writer, after {self.done}", SETTLED
        )
        for node in others:
            if not node.standby and not node.server.running and "another server" in node.server.logs().stderr:
                assert node.server.state["ExitCode"] in (SUPERSEDED, 137), self.done
        if self.leader.server.running:
            self.write()
            self.check()

    def check(self) -> None:
        """Check that every row that the leader has acknowledged is there."""
        asked = f"SELECT count(*) FROM kept WHERE term = {self.term}"
        assert str(self.rows) == self.leader.server.sql(asked), self.done

    def end(self) -> None:
        """Check that the server that was promoted last serves after a start, with all its rows."""
        if not self.leader.server.running:
            assert "primary" == self.leader.start(), self.done
        self.settle()


def _run(tool: str, seed: int) -> None:
    with archives.made(tool, None) as archive, contextlib.ExitStack() as stack:
        pair = Pair(archive, stack, seed)
        for _ in range(STEPS):
            pair.step()
        pair.end()


@pytest.fixture(params=archives.TOOLS)
def tool(request: pytest.FixtureRequest) -> str:
    """Each archiver."""
    return str(request.param)


def test_in_one_order(tool: str) -> None:
    """One random sequence runs at each change."""
    _run(tool, 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 32))
def test_in_any_order(tool: str, seed: int) -> None:
    """Thirty more random sequences run in the long tests."""
    _run(tool, seed)
