"""A node under Patroni: whether somebody leads, and whether fail-over is possible; pure."""

from __future__ import annotations

from entrypoint.finding import Finding, error, ok, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.failover.member import Member


_ON_THE_WAY = (
    "creating replica",
    "initializing new cluster",
    "restarting",
    "running custom bootstrap script",
    "starting",
)
"""What a server does, in Patroni's words, while all is well but it may take long."""


def patroni(found: Member) -> list[Finding]:
    """Judge this node alone."""
    if not found.answers:
        return [
            error(
                "Patroni on this node does not answer, so this node can neither lead nor take over",
                "read its lines in the container's log; PID 1 starts it again if it ends",
            )
        ]
    wrong = []
    if found.pending_restart:
        wrong.append(
            warning(
                "settings wait for a restart of this node's server",
                f"patronictl restart {found.scope} {found.name} --pending",
            )
        )
    if found.state in _ON_THE_WAY and not wrong:
        return [ok(f"this node's server is not up yet: {found.state}")]
    if found.state != "running":
        wrong.append(
            warning(
                f"this node's server is not running: {found.state}", "patronictl list; the container's log"
            )
        )
    role = {"leader": "leads", "primary": "takes writes without the leader key in"}.get(
        found.role, f"is a {found.role} in"
    )
    return wrong or [ok(f"{found.name} {role} the cluster {found.scope}, on timeline {found.timeline}")]


def leader(found: Member, ttl: float, now: float) -> list[Finding]:
    """Judge whether somebody leads; without the DCS, this node does not know it."""
    if not found.unlocked or not found.has_dcs(ttl, now):
        return []
    return [
        error(
            f"the cluster {found.scope} has no leader: nobody takes writes",
            "patronictl list; read Patroni's lines in the log of each node",
        )
    ]


def dcs(found: Member, ttl: float, now: float) -> list[Finding]:
    """Judge whether Patroni reaches the DCS; `ttl` is in seconds, `now` in seconds since 1970."""
    age = found.dcs_age(now)
    away = age is not None and age > ttl
    hint = "make etcd or Consul reachable again; until then no node takes over"
    if found.failsafe:
        return [
            warning(
                "Patroni does not reach the DCS: the leader stays the leader only because it reaches all "
                "other nodes (failsafe mode)",
                hint,
            )
        ]
    return [error(f"Patroni has not reached the DCS for {age:.0f} seconds", hint)] if away else []


def pause(found: Member, _ttl: float, _now: float) -> list[Finding]:
    """Judge whether somebody has asked Patroni to leave the cluster alone."""
    if not found.paused:
        return []
    return [
        warning(f"the cluster {found.scope} is paused: no node takes over by itself", "patronictl resume")
    ]
