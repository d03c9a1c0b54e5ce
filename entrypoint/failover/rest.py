"""What Patroni on this node says about itself and about the cluster, asked by a process that may wait."""

from __future__ import annotations

import os
import selectors
import time

from entrypoint.failover import member, question
from entrypoint.failover.member import Member, Peer
from entrypoint.failover.question import Answer, Asking, Place
from entrypoint.settings.failing_over import Failover

SECONDS = 2.0
"""For each question."""
STATUS = "/leader"
"""Its status says whether the node leads, and its body is the same as that of `/patroni`."""
_CLUSTER = "/cluster"


def look(node: Failover) -> Member:
    """Return what Patroni on this node says.

    About the whole cluster it asks the DCS, and hangs if that is away, so it is asked only if it is not.
    """
    found = read(node, fetch(question.own(node), STATUS, SECONDS))
    if not found.answers or not found.has_dcs(ttl(node), time.time()):
        return found
    answer = fetch(question.own(node), _CLUSTER, SECONDS)
    return found if answer is None else member.with_cluster(found, member.parse(answer.body))


def look_at(node: Failover, peer: Peer) -> Member:
    """Return what Patroni on another node says about that node."""
    place = question.other(node, peer.url)
    answer = None if place is None else fetch(place, STATUS, SECONDS)
    return read(node, answer)._replace(name=peer.name)


def read(node: Failover, answer: Answer | None) -> Member:
    """Return what an answer to the question `STATUS` says."""
    name = node.name or os.uname().nodename
    if answer is None:
        return Member(node.scope, name)
    return member.read(node.scope, name, member.parse(answer.body), leads=answer.status == 200)


def ttl(node: Failover) -> int:
    """Return how many seconds a leader key lasts, by the settings of this node."""
    return int(str(node.shared["ttl"]))


def fetch(place: Place, path: str, seconds: float) -> Answer | None:
    """Return an answer; None: there is none within this time."""
    got: list[Answer | None] = []
    with selectors.DefaultSelector() as selector:
        asked = Asking(selector, place, path, got.append, seconds)
        while not got:
            for key, mask in selector.select(max(0.0, asked.deadline - time.monotonic())):
                key.data(mask)
            asked.on_time(time.monotonic())
    return got[0]
