"""What all nodes of a cluster under Patroni see, and which of them reports it.

It is the first one that sees it: the leader, or else the first by name. The others ask those before them,
which see something new a few seconds earlier or later. Who does not answer reports nothing, so that what is
wrong is reported twice rather than not at all.
"""

from __future__ import annotations

import time

from entrypoint.finding import OK
from entrypoint.light import NamedTuple
from entrypoint.noted.conditions import RANK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from entrypoint.failover.member import Member, Peer
    from entrypoint.finding import Finding
    from entrypoint.noted.conditions import Condition, Found
    from entrypoint.settings.failing_over import Failover

    Judge = Callable[[Member, float, float], Sequence[Finding]]
    """Judges what a node says, given the ttl and the time."""

_PATIENCE = 15.0
"""Seconds for all neighbors together."""


class Neighbors(NamedTuple):
    """The nodes that report before this one, asked when it matters."""

    node: Failover
    member: Member
    judges: Mapping[str, Judge]
    """The checks of what all nodes see, by their names."""

    def settle(self, fresh: Sequence[Found], conditions: Sequence[Condition]) -> tuple[Found, ...]:
        """Return the results of checks, marked if another node reports the same.

        `conditions` are those that are known.
        """
        known = {each.check: each for each in conditions}
        open_ = [
            each for each in fresh if each.check in self.judges and _is_open(each, known.get(each.check))
        ]
        if not open_:
            return tuple(fresh)
        seen: set[str] = set()
        for found in self._asked():
            seen |= {each.check for each in open_ if found.answers and _is_news(each, known.get(each.check))}
            seen |= {each.check for each in open_ if self._sees(each.check, found)}
        return tuple(each._replace(elsewhere=each in open_ and each.check in seen) for each in fresh)

    def _sees(self, check: str, found: Member) -> bool:
        from entrypoint.failover import rest

        findings = self.judges[check](found, rest.ttl(self.node), time.time()) if found.answers else ()
        return any(each.level != OK for each in findings)

    def _asked(self) -> Iterator[Member]:
        """Yield what the nodes before this one say."""
        from entrypoint.failover import rest

        end = time.monotonic() + _PATIENCE
        for peer in before(self.member):
            if time.monotonic() < end:
                yield rest.look_at(self.node, peer)


def before(member: Member) -> list[Peer]:
    """Return the nodes that report before this one, in this order."""

    def order(name: str) -> tuple[bool, str]:
        return name != member.leader, name

    return sorted(
        (each for each in member.peers if order(each.name) < order(member.name)),
        key=lambda each: order(each.name),
    )


def _is_open(found: Found, known: Condition | None) -> bool:
    """Return whether it is still to be decided who reports it."""
    return found.level != OK and (_is_news(found, known) or (known is not None and bool(known.elsewhere)))


def _is_news(found: Found, known: Condition | None) -> bool:
    """Return whether nothing as serious was known at the last look."""
    return known is None or RANK[found.level] > RANK[known.level]
