"""What Patroni on a node says about the node and the cluster, as a value; pure.

Whoever controls the DCS or another node writes a part of it, so every text is short and on one line, and what
is not of the expected kind counts as not known.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple
from entrypoint.shown import ago, inline, spell
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

WRONG = ("Patroni", "paused", "settings")
"""The names among `rows` that are there only if something is wrong."""
_MOST = 80
"""Characters of a text that are kept."""
_MOST_MEMBERS = 20
_LARGE = 2**63


class Peer(NamedTuple):
    """Another node of the cluster."""

    name: str
    url: str
    """The address of its Patroni, `http://host:port/patroni`."""


class Member(NamedTuple):
    """This node of the cluster."""

    scope: str
    """The name of the cluster."""
    name: str
    answers: bool = False
    """Patroni has answered; if not, nothing below is known."""
    role: str = ""
    """`leader`, `standby leader`, `sync standby`, `quorum standby`, `standby`, or `primary`: that is a server
    that takes writes, or soon no longer does, without the leader key."""
    leads: bool = False
    """It has the leader key, as Patroni says."""
    leader: str = ""
    """The name of the leader; empty: there is none, or it is not known."""
    leader_timeline: int | None = None
    state: str = ""
    """What the server does, in Patroni's words: `running`."""
    timeline: int | None = None
    lag_bytes: int | None = None
    """On a standby: WAL that the leader had at Patroni's last loop, and that this node has not received."""
    dcs_seen: float | None = None
    """When Patroni last reached the DCS, in seconds since 1970."""
    unlocked: bool = False
    """Nobody has the leader key, as far as this node knows."""
    failsafe: bool = False
    """The leader leads without the DCS, because it reaches all other nodes."""
    paused: bool = False
    pending_restart: bool = False
    """Settings wait for a restart of the server."""
    peers: tuple[Peer, ...] = ()
    """The other nodes that the DCS has."""

    def dcs_age(self, now: float) -> float | None:
        """Return for how many seconds the DCS was not reached; None: that is not known."""
        return None if self.dcs_seen is None else max(0.0, now - self.dcs_seen)

    def has_dcs(self, ttl: float, now: float) -> bool:
        """Return whether the DCS was reached lately: within the time that a leader key lasts."""
        age = self.dcs_age(now)
        return age is not None and age <= ttl and not self.failsafe


def read(scope: str, name: str, found: object, *, leads: bool) -> Member:
    """Return what an answer of Patroni says; `leads`: its status was that for a leader.

    >>> read("shop", "db1", {"role": "replica", "sync_standby": True, "state": "running"}, leads=False).role
    'sync standby'
    >>> read("shop", "db1", [], leads=True) == Member("shop", "db1")
    True
    """
    if not isinstance(found, dict):
        return Member(scope, name)
    return Member(
        scope,
        name,
        answers=True,
        role=_role(found, leads=leads),
        leads=leads,
        leader=name if leads else "",
        state=_text(found.get("state")) or "unknown",
        timeline=_number(found.get("timeline")),
        dcs_seen=_number(found.get("dcs_last_seen")) or None,
        unlocked=found.get("cluster_unlocked") is True,
        failsafe=found.get("failsafe_mode_is_active") is True,
        paused=found.get("pause") is True,
        pending_restart=found.get("pending_restart") is True,
    )


def _role(found: Mapping[str, Any], *, leads: bool) -> str:
    role = found.get("role")
    if role == "standby_leader":
        return "standby leader"
    if leads or role in ("primary", "master"):
        return "leader" if leads else "primary"
    kinds = {"sync_standby": "sync standby", "quorum_standby": "quorum standby"}
    return next((word for key, word in kinds.items() if found.get(key) is True), "standby")


def with_cluster(member: Member, found: object) -> Member:
    """Return what is known together with an answer about the whole cluster, which comes from the DCS."""
    rows = found.get("members") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        return member
    peers = []
    for row in rows[:_MOST_MEMBERS]:
        name = _text(row.get("name")) if isinstance(row, dict) else ""
        if not name:
            continue
        if row.get("role") in ("leader", "standby_leader") and not member.leads:
            member = member._replace(leader=name, leader_timeline=_number(row.get("timeline")))
        if name == member.name:
            lag = _number(row.get("lag"))
            member = member._replace(lag_bytes=None if member.leads else lag)
        elif isinstance(row.get("api_url"), str):
            peers.append(Peer(name, row["api_url"]))
    return member._replace(peers=tuple(peers))


def newest(before: Member | None, found: Member) -> Member:
    """Return what is known now, if only the earlier answer knew about the whole cluster."""
    if before is None or not found.answers:
        return found
    leader = found.leader or ("" if found.unlocked and not found.failsafe else before.leader)
    return found._replace(
        leader=leader,
        leader_timeline=before.leader_timeline,
        lag_bytes=before.lag_bytes,
        peers=before.peers,
    )


def as_json(member: Member, now: float) -> dict[str, object]:
    """Return what is known for programs; what is not known is None."""
    known: dict[str, object] = {"cluster": member.scope, "node": member.name, "answers": member.answers}
    age = member.dcs_age(now)
    rest = {
        "role": member.role,
        "leads": member.leads,
        "leader": member.leader or None,
        "leaderless": member.unlocked,
        "server_state": member.state,
        "timeline": member.timeline,
        "behind_leader_bytes": member.lag_bytes,
        "dcs_age_seconds": None if age is None else int(age),
        "failsafe": member.failsafe,
        "paused": member.paused,
        "pending_restart": member.pending_restart,
    }
    return known | (rest if member.answers else dict.fromkeys(rest))


def rows(member: Member, now: float) -> list[tuple[str, str]]:
    """Return what is known for people, as names and values."""
    found = [("cluster", f"{member.scope}, of which this is node {member.name}")]
    if not member.answers:
        return [*found, ("Patroni", "does not answer")]
    nobody = "nobody, as far as this node knows" if member.unlocked and not member.failsafe else "not known"
    found += [("node", f"{member.role}, {member.state}"), ("leader", member.leader or nobody)]
    if member.lag_bytes is not None:
        found.append(("behind", f"{spell(member.lag_bytes)} behind the leader"))
    age = member.dcs_age(now)
    seen = "not reached yet" if age is None else f"last reached {ago(age)}"
    found.append(("DCS", f"{seen}; failsafe mode is active" if member.failsafe else seen))
    if member.paused:
        found.append(("paused", "no node takes over by itself"))
    if member.pending_restart:
        found.append(("settings", "some wait for a restart of the server"))
    return found


def parse(body: bytes) -> object:
    """Return the value of an answer; None: it is no JSON."""
    try:
        return guest.parse_json(body.decode())
    except ValueError:
        return None


def _text(value: object) -> str:
    return inline(value)[:_MOST] if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LARGE:
        return None
    return int(value)
