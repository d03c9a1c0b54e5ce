"""Patroni on this node, asked without waiting: one thread answers everybody.

Who asks the same at the same time waits for the same answer. It counts for a second, except for the leader
key, which is asked for each time. A Patroni that hangs is given up after two seconds.
"""

from __future__ import annotations

import time

from entrypoint.failover import question, rest
from entrypoint.failover.question import Answer, Asking
from entrypoint.light import NamedTuple
from entrypoint.web.live import FRESH

TYPE_CHECKING = False
if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable

    from entrypoint.failover.member import Member
    from entrypoint.settings.failing_over import Failover

    Take = Callable[[Answer | None], None]

_MOST = 8
"""Different questions at a time: the lag in a request is anybody's."""


class _Kept(NamedTuple):
    """An answer that still counts."""

    answer: Answer | None
    until: float


class Companion:
    """Asks Patroni; the loop calls `on_time` at `due`."""

    def __init__(self, selector: selectors.BaseSelector, node: Failover) -> None:
        self._selector = selector
        self._node = node
        self._asked: dict[str, tuple[list[Take], list[Asking]]] = {}
        """Who waits for the answer to a question, by its path."""
        self._kept: dict[str, _Kept] = {}

    def member(self, then: Callable[[Member], None]) -> None:
        """Call `then` with what Patroni says about this node."""
        self._fetch(rest.STATUS, lambda answer: then(rest.read(self._node, answer)))

    def is_primary(self, then: Callable[[str], None]) -> None:
        """Call `then` with why this node is not the one that takes writes; empty: it has the leader key."""

        def judge(answer: Answer | None) -> None:
            if answer is None:
                then("Patroni does not answer")
            else:
                then("" if answer.status == 200 else "it does not have the leader key, as Patroni says")

        self._fetch("/primary", judge, fresh=0.0)

    def is_near(self, most: int, then: Callable[[bool], None]) -> None:
        """Call `then` with whether this standby lags by at most this many bytes, as Patroni knows it.

        Patroni knows the leader's position from the DCS, so while the DCS is away it does not know it.
        """

        def judge(answer: Answer | None) -> None:
            found = rest.read(self._node, answer)
            knows = found.has_dcs(rest.ttl(self._node), time.time()) and not found.unlocked
            then(answer is not None and answer.status == 200 and knows)

        self._fetch(f"/replica?lag={most}", judge)

    def metrics(self, then: Callable[[bytes | None], None]) -> None:
        """Call `then` with Patroni's metrics; None: there are none."""
        self._fetch(
            "/metrics",
            lambda answer: then(answer.body if answer is not None and answer.status == 200 else None),
        )

    def due(self) -> float | None:
        """Return when to call `on_time`, by the monotonic clock; None: at no time."""
        return min((each.deadline for _, asked in self._asked.values() for each in asked), default=None)

    def on_time(self, now: float) -> None:
        """Give up on questions that have no answer."""
        for each in [each for _, asked in self._asked.values() for each in asked]:
            each.on_time(now)

    def _fetch(self, path: str, then: Take, fresh: float = FRESH) -> None:
        now = time.monotonic()
        self._kept = {name: kept for name, kept in self._kept.items() if now < kept.until}
        if path in self._kept:
            then(self._kept[path].answer)
        elif path in self._asked:
            self._asked[path][0].append(then)
        elif len(self._asked) >= _MOST:
            then(None)
        else:
            asked: list[Asking] = []
            self._asked[path] = [then], asked
            place = question.own(self._node)
            asked.append(
                Asking(
                    self._selector, place, path, lambda answer: self._take(path, answer, fresh), rest.SECONDS
                )
            )

    def _take(self, path: str, answer: Answer | None, fresh: float) -> None:
        self._kept[path] = _Kept(answer, time.monotonic() + fresh)
        waiting, _ = self._asked.pop(path)
        for then in waiting:
            then(answer)
