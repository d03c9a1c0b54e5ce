"""A node under Patroni: whether somebody leads, and whether fail-over is possible; pure."""

from __future__ import annotations

from collections.abc import Mapping

from entrypoint.finding import Finding, error, ok, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def patroni(found: Mapping[str, Any] | None, scope: str, name: str, *, ttl: int, now: float) -> list[Finding]:
    """Judge what Patroni says; None: it does not answer. `ttl` is in seconds, `now` in seconds since 1970."""
    if found is None:
        return [
            error(
                "Patroni on this node does not answer, so this node can neither lead nor take over",
                "read its lines in the container's log; PID 1 starts it again if it ends",
            )
        ]
    wrong = []
    seen = found.get("dcs_last_seen")
    if isinstance(seen, int) and now - seen > ttl:
        wrong.append(
            error(
                f"Patroni has not reached the DCS for {now - seen:.0f} seconds",
                "make etcd or Consul reachable again; until then no node takes over",
            )
        )
    if found.get("failsafe_mode_is_active"):
        wrong.append(
            warning(
                "the leader stays the leader only because it reaches all other nodes (failsafe mode)",
                "make etcd or Consul reachable again; until then no node takes over",
            )
        )
    elif found.get("cluster_unlocked"):
        wrong.append(
            error(
                f"the cluster {scope} has no leader: nobody takes writes",
                "patronictl list; read Patroni's lines in the log of each node",
            )
        )
    if found.get("pause"):
        wrong.append(
            warning(f"the cluster {scope} is paused: no node takes over by itself", "patronictl resume")
        )
    if found.get("pending_restart"):
        wrong.append(
            warning(
                "settings wait for a restart of this node's server",
                f"patronictl restart {scope} {name} --pending",
            )
        )
    state = found.get("state", "unknown")
    if state != "running" and not wrong:
        wrong.append(
            warning(f"this node's server is not running: {state}", "patronictl list; the container's log")
        )
    role = {"primary": "leads", "standby_leader": "leads"}.get(str(found.get("role")), "is a standby in")
    return wrong or [ok(f"{name} {role} the cluster {scope}, on timeline {found.get('timeline')}")]
