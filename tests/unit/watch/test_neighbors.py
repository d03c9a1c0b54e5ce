"""Which node of a cluster reports what all of them see."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from entrypoint.doctor.look import nodes
from entrypoint.failover import rest
from entrypoint.failover.member import Member, Peer
from entrypoint.noted.conditions import Condition, Found
from entrypoint.watch import neighbors
from entrypoint.watch.neighbors import Neighbors
from unit.patroni_stub import LEADER, NOW, http, node, says, served

PAUSED: Mapping[str, Any] = {**LEADER, "pause": True}
AWAY: Mapping[str, Any] = {**LEADER, "dcs_last_seen": int(NOW) - 10000}
DCS = Found("patroni dcs", "error", "away", "", "", "", NOW)
PAUSE = Found("patroni pause", "warning", "paused", "", "", "", NOW)
OTHER = Found("free space", "error", "full", "", "", "", NOW)


def _settled(
    peers: Mapping[str, Mapping[str, Any]],
    fresh: Sequence[Found] = (DCS, PAUSE, OTHER),
    known: Sequence[Condition] = (),
    leader: str = "",
) -> list[str]:
    """Return the checks that another node reports, for node db2 of a cluster with these others."""
    with ExitStack() as stack:
        urls = {
            name: f"http://127.0.0.1:{stack.enter_context(served(says({b'/leader': http(answer)})))}/patroni"
            for name, answer in peers.items()
        }
        member = Member("shop", "db2", leader=leader, peers=tuple(Peer(*each) for each in urls.items()))
        found = Neighbors(node(1), member, nodes.SHARED).settle(fresh, known)
    assert [each.check for each in fresh] == [each.check for each in found]
    return [each.check for each in found if each.elsewhere]


ALREADY = (
    Condition("patroni dcs", "error", 1.0, "away", elsewhere=9.0),
    Condition("patroni pause", "warning", 1.0, "paused", elsewhere=9.0),
)


def test_the_first_that_sees_it() -> None:
    """The nodes before this one are asked, by name; those after it ask this one."""
    assert ["patroni pause"] == _settled({"db1": PAUSED}, known=ALREADY)
    assert ["patroni dcs"] == _settled({"db1": AWAY}, known=ALREADY)
    assert [] == _settled({"db1": LEADER, "db3": PAUSED}, known=ALREADY)
    assert ["patroni pause"] == _settled({"db0": LEADER, "db1": PAUSED}, known=ALREADY)


def test_what_is_new() -> None:
    """A node before this one that answers may see it a moment later, so it is given that time."""
    assert ["patroni dcs", "patroni pause"] == _settled({"db1": LEADER})
    assert [] == _settled({"db3": LEADER})


def test_the_leader_is_the_first() -> None:
    """It reports what it sees; if this node leads, it asks nobody."""
    assert ["patroni pause"] == _settled({"db3": PAUSED}, known=ALREADY, leader="db3")
    assert [] == _settled({"db1": PAUSED, "db3": PAUSED}, leader="db2")


def test_a_node_that_does_not_answer_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reported twice is better than not at all; nodes that hang do not hold up the look for long."""
    monkeypatch.setattr(rest, "SECONDS", 0.2)
    monkeypatch.setattr(neighbors, "_PATIENCE", 0.3)

    def hang(_taken: socket.socket, _request: bytes) -> None:
        time.sleep(1)

    hanging: Callable[[socket.socket, bytes], None] = hang
    with served(hanging) as port:
        peers = tuple(Peer(f"db1{number}", f"http://127.0.0.1:{port}/patroni") for number in range(10))
        member = Member("shop", "db2", peers=(*peers, Peer("db0", "no address")))
        begun = time.monotonic()
        (found,) = Neighbors(node(1), member, nodes.SHARED).settle([DCS], ())
        assert not found.elsewhere
        assert time.monotonic() - begun < 1


def test_what_is_decided_is_not_asked_again() -> None:
    """Nobody is asked about what this node reports already; what another one reports is asked again."""
    known = Condition("patroni pause", "warning", 1.0, "paused")
    assert [] == _settled({"db1": PAUSED}, [PAUSE], [known])
    assert ["patroni pause"] == _settled({"db1": PAUSED}, [PAUSE], [known._replace(elsewhere=1)])
    assert [] == _settled({"db1": LEADER}, [PAUSE], [known._replace(elsewhere=1)])
    worse = Condition("patroni dcs", "warning", 1.0, "failsafe")
    assert ["patroni dcs"] == _settled({"db1": LEADER}, [DCS], [worse])
    assert [] == _settled({"db1": PAUSED}, [PAUSE._replace(level="ok")])
