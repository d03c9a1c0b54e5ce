"""What happened between two looks that no check can see afterwards; pure."""

from __future__ import annotations

from entrypoint.finding import ERROR, OK, WARNING, Finding
from entrypoint.noted import refusals
from entrypoint.noted.conditions import ENDED, HAPPENED, INFO, Event
from entrypoint.noted.ledger import STARTS, Record, Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.failover.member import Member
    from entrypoint.noted.conditions import Serious
    from entrypoint.noted.refusals import Refusal
    from entrypoint.noted.seen import Server

FAILOVER = "fail-over"
"""The event, and the page about it."""
RESTARTS = "restarts"
START = "start"
UPGRADE = "upgrade"
_UPGRADES = "upgrade-to-a-newer-major"
_MOST = 2
"""Restarts by itself within `_SPAN` that are not worth a message."""
_SPAN = 600
"""Seconds."""
_SLACK = 2.0
"""Seconds between the start of the postmaster and that of its first checkpointer, since PostgreSQL 15."""
_EARLY = 15
"""Earlier versions start the checkpointer only after a recovery."""
_ROLES = ("primary", "standby")


def started(record: Record, now: float, *, requested: bool) -> Record:
    """Return the record after a start at `now`; `requested`: it is the first, or somebody had stopped it."""
    before = _in_a_row(record.starts)
    record = record._replace(starts=(*record.starts, Start(now, requested))[-STARTS:])
    count = _in_a_row(record.starts)
    if count <= _MOST or before > _MOST:  # a loop is reported when it begins
        return record
    what = f"the container has restarted by itself {count} times within ten minutes"
    hint = "look for the reason in its log: docker logs CONTAINER"
    return _happened(record, RESTARTS, Finding(ERROR, what, hint), now)


def accepted(record: Record, refused: Sequence[Refusal], now: float) -> Record:
    """Return the record after a start that serves and that followed refused ones, which people heard of."""
    since = min(each.first for each in refused)
    event = Event(0, now, ENDED, START, ERROR, refusals.summary(refused), min(since, now))
    return record._replace(noted=record.noted.add(event))


def _in_a_row(starts: Sequence[Start]) -> int:
    """Return how many starts that nobody requested happened in the ten minutes up to the last start."""
    now = starts[-1].at if starts else 0.0
    return len([each for each in starts if not each.requested and 0 <= now - each.at <= _SPAN])


def answered(record: Record, server: Server, now: float) -> Record:
    """Return the record after a look at a server."""
    if _has_crashed(record, server):
        what = "a process of the server crashed: all sessions were ended, and the server has recovered"
        hint = "look for “was terminated by signal” in the log: docker logs CONTAINER"
        record = _happened(record, "crash", Finding(ERROR, what, hint), now)
    if (record.role, server.role) == ("standby", "primary") and not record.node:
        what = f"this server was promoted: it is a primary now, on timeline {server.timeline}"
        hint = "make sure that the old primary stays down: entrypoint doctor 'archive fork'"
        record = _happened(record, "promotion", Finding(WARNING, what, hint, "run-a-standby"), now)
    role = server.role if server.role in _ROLES else record.role
    return record._replace(role=role, recovered=server.recovered, started=server.started)


def led(record: Record, member: Member, now: float) -> Record:
    """Return the record after a look at a node under Patroni: who leads is a fact of the whole cluster.

    The new leader reports it, since the old one may be gone.
    """
    before, leader = record.leader, member.leader
    if not leader:
        return record
    record = record._replace(leader=leader)
    if before in ("", leader):
        return record
    if leader == member.name:
        what = f"node {leader} leads the cluster {member.scope} now, before it was {before}"
        hint = f"see whether {before} is a standby again: patronictl list"
        return _happened(record, FAILOVER, Finding(WARNING, what, hint, FAILOVER), now)
    what = f"node {leader} leads the cluster {member.scope} now, before it was "
    what += "this one" if before == member.name else before
    return _happened(record, FAILOVER, Finding(OK, what, docs=FAILOVER), now, elsewhere=True)


def _has_crashed(record: Record, server: Server) -> bool:
    """Return whether the postmaster has started its processes again since the last look, or its start."""
    if server.started == record.started:
        return server.recovered > record.recovered
    return server.major >= _EARLY and server.recovered - server.started > _SLACK


def restored(record: Record, now: float) -> Record:
    """Return the record after a restore that has ended, with a server that serves."""
    what = "a restore has ended: the server accepts connections"
    return _happened(record, "restore", Finding(OK, what), now)


def upgrading(record: Record, before: str, now: float) -> Record:
    """Return the record after an upgrade of a cluster of the major version `before` has begun."""
    what = f"an upgrade from PostgreSQL {before} has begun: clients can connect again when it has ended"
    return _happened(record, UPGRADE, Finding(OK, what, docs=_UPGRADES), now)


def upgraded(record: Record, after: str, now: float) -> Record:
    """Return the record after an upgrade that has ended, with a server that serves."""
    what = f"an upgrade to PostgreSQL {after} has ended: the server accepts connections"
    return _happened(record, UPGRADE, Finding(OK, what, docs=_UPGRADES), now)


def _happened(record: Record, name: str, what: Finding, now: float, *, elsewhere: bool = False) -> Record:
    level: Serious = INFO if what.level == OK else what.level
    event = Event(0, now, HAPPENED, name, level, what.found, now, what.hint, what.docs, elsewhere)
    return record._replace(noted=record.noted.add(event))
