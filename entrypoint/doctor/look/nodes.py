"""Check of a node under Patroni."""

import time

from entrypoint.doctor import judge
from entrypoint.doctor.sight import ALWAYS, Check, Sight
from entrypoint.failover import rest
from entrypoint.finding import Finding
from entrypoint.pid1 import lifecycle


def _patroni(sight: Sight) -> list[Finding]:
    node = sight.settings.failover
    if node is None or sight.phase != lifecycle.SERVING:
        return []
    ttl = int(str(node.shared["ttl"]))
    return judge.nodes.patroni(rest.ask(node), node.scope, node.name, ttl=ttl, now=time.time())


CHECKS = (
    Check(
        "patroni",
        "without a leader nobody takes writes, and without the DCS or while paused nobody takes over",
        "what Patroni on this node says: leader, DCS, pause, failsafe mode, pending restart",
        _patroni,
        ALWAYS,
        "fail-over",
    ),
)
