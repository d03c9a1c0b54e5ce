"""Checks of a node under Patroni."""

import time

from entrypoint.doctor import judge
from entrypoint.doctor.sight import Check, Need, Sight
from entrypoint.finding import Finding


def _ttl(sight: Sight) -> float:
    from entrypoint.failover import rest

    return rest.ttl(sight.settings.failover) if sight.settings.failover else 0.0


def _patroni(sight: Sight) -> list[Finding]:
    return [] if sight.member is None else judge.nodes.patroni(sight.member)


def _leader(sight: Sight) -> list[Finding]:
    if sight.member is None:
        return []
    return judge.nodes.leader(sight.member, ttl=_ttl(sight), now=time.time())


def _dcs(sight: Sight) -> list[Finding]:
    if sight.member is None:
        return []
    return judge.nodes.dcs(sight.member, ttl=_ttl(sight), now=time.time())


def _pause(sight: Sight) -> list[Finding]:
    return [] if sight.member is None else judge.nodes.pause(sight.member)


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
        _leader,
        ANSWERS,
        "fail-over",
    ),
    Check(
        "patroni dcs",
        "without the DCS nobody takes over, and without failsafe mode nobody takes writes either",
        "when Patroni last reached etcd or Consul, and failsafe mode",
        _dcs,
        ANSWERS,
        "fail-over",
    ),
    Check(
        "patroni pause",
        "while the cluster is paused, nobody takes over by itself",
        "whether somebody has paused the cluster",
        _pause,
        ANSWERS,
        "fail-over",
    ),
)
