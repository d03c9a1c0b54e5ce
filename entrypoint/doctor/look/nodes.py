"""Checks of a node under Patroni."""

from __future__ import annotations

import time

from entrypoint.doctor import judge
from entrypoint.doctor.sight import Check, Need, Sight
from entrypoint.finding import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.failover.member import Member


def _patroni(sight: Sight) -> list[Finding]:
    return [] if sight.member is None else judge.nodes.patroni(sight.member)


SHARED: dict[str, Callable[[Member, float, float], list[Finding]]] = {
    "patroni leader": judge.nodes.leader,
    "patroni dcs": judge.nodes.dcs,
    "patroni pause": judge.nodes.pause,
}
"""The checks of what all nodes of a cluster see, by their names; each judges what a node says."""


def _shared(name: str) -> Callable[[Sight], list[Finding]]:
    """Return how to make one of these checks."""

    def look(sight: Sight) -> list[Finding]:
        node = sight.settings.failover
        if node is None or sight.member is None:
            return []
        from entrypoint.failover import rest  # only under Patroni

        return SHARED[name](sight.member, rest.ttl(node), time.time())

    return look


UNDER_PATRONI = Need(
    lambda sight: sight.member is not None, "this server is not under Patroni, or is stopping"
)
ANSWERS = Need(
    lambda sight: sight.member is not None and sight.member.answers,
    "this server is not under Patroni, or Patroni does not answer",
)
CHECKS = (
    Check(
        "patroni",
        "a node without a working Patroni can neither lead nor take over",
        "whether Patroni on this node answers, the server's state, settings that wait for a restart",
        _patroni,
        UNDER_PATRONI,
        "fail-over",
    ),
    Check(
        "patroni leader",
        "without a leader nobody takes writes",
        "whether a node has the leader key, as Patroni on this node says",
        _shared("patroni leader"),
        ANSWERS,
        "fail-over",
    ),
    Check(
        "patroni dcs",
        "without the DCS nobody takes over, and without failsafe mode nobody takes writes either",
        "when Patroni last reached etcd or Consul, and failsafe mode",
        _shared("patroni dcs"),
        ANSWERS,
        "fail-over",
    ),
    Check(
        "patroni pause",
        "while the cluster is paused, nobody takes over by itself",
        "whether somebody has paused the cluster",
        _shared("patroni pause"),
        ANSWERS,
        "fail-over",
    ),
)
