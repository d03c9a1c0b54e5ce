"""The probes: is the server up, may clients come, and what is its role? 200 means yes, and 503 no.

`/live` does not ask the server: it is 200 as long as anything answers here, so that no recovery, restore or
upgrade is ended for being slow. `/ready` is `entrypoint ready`. `/startupz` is the same, but stays 200 once
it was: Kubernetes asks it until the start is over. `/primary` and `/standby` are for load balancers. None of
them needs the token, and none of them shows more than the phase, the role and the lag.

Under Patroni, `/primary` is 200 only while Patroni says that this node has the leader key. Whether a standby
lags is asked of Patroni first, and of the server only if Patroni does not know it.

While writes are refused because the disk is about to be full, `/ready` and `/primary` stay 200 and say so:
reads are answered, no other server takes writes, and a standby that took over would have no more space.
"""

from __future__ import annotations

import time

from entrypoint.light import re
from entrypoint.shown import BYTES, inline
from entrypoint.web.exchange import as_json, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from entrypoint.noted.seen import Seen
    from entrypoint.web.companion import Companion
    from entrypoint.web.exchange import Reply, Request
    from entrypoint.web.live import Live, State

    Probe = Literal["live", "ready", "started", "primary", "standby"]
    AskLag = Callable[[Callable[[int | None], None]], None]
    """Calls a function with a standby's lag in bytes, at once or later; None: it is not known."""

PROBES: Mapping[str, Probe] = {
    "/live": "live",
    "/ready": "ready",
    "/primary": "primary",
    "/standby": "standby",
    "/livez": "live",
    "/readyz": "ready",
    "/healthz": "live",
    "/startupz": "started",
}
"""By their paths. `/healthz` is a liveness probe for Kubernetes and those who imitate it."""
_LAG = re.compile(r"([0-9]{1,12})(B|kB|MB|GB|TB)?")
_RECENT = 10.0
"""Seconds for which the lag that a look has seen counts."""
_PATIENCE = 5.0
"""Seconds within which somebody has to know the lag."""


def parse_lag(text: str) -> int | None:
    """Return a number of bytes; None: it is not one.

    >>> parse_lag("16MB"), parse_lag("0"), parse_lag("10s"), parse_lag("16mb")
    (16777216, 0, None, None)
    """
    found = _LAG.fullmatch(text)
    return int(found[1]) * BYTES[found[2] or ""] if found else None


def recently_seen(seen: Callable[[], Seen | None]) -> AskLag:
    """Return a way to ask for the lag that only knows what the last look has seen, if that is recent."""

    def ask(then: Callable[[int | None], None]) -> None:
        last = seen()
        recent = last is not None and 0 <= time.time() - last.at <= _RECENT
        then(last.server.lag_bytes if recent and last and last.server else None)

    return ask


class Probes:
    """Answers the requests for the paths in PROBES."""

    def __init__(self, live: Live, ask_lag: AskLag, companion: Companion | None = None) -> None:
        self._live = live
        self._ask_lag = ask_lag
        self._companion = companion
        """Patroni, if this server is under it."""
        self._asked_at = 0.0
        self._waiting: list[Callable[[int | None], None]] = []
        """Who waits for the lag that was asked for."""
        self._started = False
        """It was ready once."""

    def answer(self, request: Request, reply: Reply) -> None:
        """Answer a request for one of the probes' paths."""
        probe = PROBES[request.path]
        if probe == "live":
            reply(as_json(200, {"live": True, "phase": self._live.phase() or None}))
            return
        text = request.query.get("lag")
        most = None if text is None else parse_lag(text)
        if text is not None and most is None:
            reply(
                refusal(
                    400,
                    f"lag={inline(text[:40])} is not a number of bytes: give one with kB, MB, GB or TB, for "
                    f"example {request.path}?lag=16MB",
                )
            )
            return
        self._live.ask(lambda state: self._judge(probe, state, most, reply))

    def _judge(self, probe: Probe, found: State, most: int | None, reply: Reply) -> None:
        if probe == "started":
            self._started = self._started or found.ready
            _say(found, "" if self._started else found.reason, reply)
        elif not found.ready:
            _say(found, found.reason, reply)
        elif probe in ("primary", "standby") and found.role != probe:
            _say(found, f"it is a {found.role}" if found.role else "its role is not known", reply)
        elif found.role == "primary" and (probe == "primary" or most is not None):
            more = {} if most is None else {"lag_bytes": 0}
            self._primary(lambda reason: _say(found, reason, reply, **({} if reason else more)))
        elif most is not None:
            self._near(most, found, reply)
        else:
            _say(found, "", reply)

    def _primary(self, then: Callable[[str], None]) -> None:
        """Call `then` with why a server that takes writes is not the primary; empty: it is."""
        if self._companion is None:
            then("")
        else:
            self._companion.is_primary(then)

    def _near(self, most: int, found: State, reply: Reply) -> None:
        """Answer whether a standby lags by at most this many bytes."""

        def ask_server() -> None:
            self._lag(lambda lag: _say(found, _too_far(lag, most), reply, lag_bytes=lag))

        if self._companion is None:
            ask_server()
        else:
            self._companion.is_near(most, lambda near: _say(found, "", reply) if near else ask_server())

    def _lag(self, then: Callable[[int | None], None]) -> None:
        """Ask for the lag, once for all who want to know it at this moment."""
        now = time.monotonic()
        if now > self._asked_at + _PATIENCE:
            self._on_lag(None)
        self._waiting.append(then)
        if len(self._waiting) == 1:
            self._asked_at = now
            self._ask_lag(self._on_lag)

    def _on_lag(self, lag: int | None) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(lag)


def _too_far(lag: int | None, most: int) -> str:
    """Return what is wrong with a lag; empty: nothing."""
    if lag is None:
        return "the lag is not known: it does not stream from another server, or has not reported it yet"
    return f"it lags by {lag} bytes, more than {most}" if lag > most else ""


def _say(found: State, reason: str, reply: Reply, **more: int | None) -> None:
    shown = {"phase": found.phase or None, "role": found.role, "ready": found.ready, **more}
    if found.ready:
        shown["read_only"] = found.read_only
    reply(as_json(503 if reason else 200, {**shown, "reason": reason} if reason else shown))
