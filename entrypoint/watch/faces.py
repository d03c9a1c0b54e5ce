"""What the watch serves by HTTP: the door, and the answers that copies of the watch make."""

from __future__ import annotations

import os
import pickle
import time

from entrypoint.errors import Failure
from entrypoint.noted import figures
from entrypoint.server import sessions
from entrypoint.system.children import Children
from entrypoint.system.signals import Signals
from entrypoint.web.answers import Answers
from entrypoint.web.door import Door
from entrypoint.web.exchange import Response, refusal
from entrypoint.web.live import Live

TYPE_CHECKING = False
if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable

    from entrypoint.noted.seen import Seen
    from entrypoint.server.context import Context
    from entrypoint.settings.watching import Address, Watching
    from entrypoint.watch.workers import Workers
    from entrypoint.web.companion import Companion
    from entrypoint.web.exchange import Reply, Request
    from entrypoint.web.live import State

_SECONDS = 5.0
"""For a copy that makes an answer."""
_WAITING = 8
"""Pages that are made one after another."""


class Faces:
    """Probes, metrics, the page and the status, served at an address."""

    def __init__(
        self,
        context: Context,
        wanted: Watching,
        selector: selectors.BaseSelector,
        workers: Workers,
        *,
        address: Address,
        seen: Callable[[], Seen | None],
    ) -> None:
        self._context = context
        self._interval = wanted.interval
        self._workers = workers
        self._seen = seen
        self._pages: dict[str, tuple[State, list[Reply]]] = {}
        """Who waits for a page, by the moment that was picked; the first page is being made."""
        guarded = context.settings.serving.when_full != "wait"
        self._live = Live(selector, context.settings.data_folder, guarded=guarded)
        self._companion = _companion(context, selector)
        faces = {"/metrics": self._metrics, "/": self._page}
        answers = Answers(wanted.token, self._live, seen, self._ask_lag, faces, companion=self._companion)
        self._door = Door(selector, address, answers)

    def on_time(self, now: float) -> None:
        """Do what is due, by the monotonic clock."""
        for each in self._parts():
            due = each.due()
            if due is not None and now >= due:
                each.on_time(now)

    def due(self) -> float | None:
        """Return when to call `on_time`; None: at no time."""
        times = [each.due() for each in self._parts()]
        return min((each for each in times if each is not None), default=None)

    def _parts(self) -> tuple[Live | Door | Companion, ...]:
        """Return what has something to do at a time."""
        parts = (self._live, self._door)
        return parts if self._companion is None else (*parts, self._companion)

    def close(self) -> None:
        """Serve nothing any longer."""
        self._door.close()

    def _metrics(self, request: Request, state: State, reply: Reply) -> None:
        from entrypoint.web import metrics  # loaded at the first scrape

        if self._companion is None:
            reply(Response(200, *metrics.expose(self._seen(), state, request.accept)))
            return

        def show(text: bytes | None) -> None:
            passed = () if text is None else passing.read(text)
            reply(Response(200, *metrics.expose(self._seen(), state, request.accept, passed)))

        from entrypoint.web import passing

        self._companion.metrics(show)

    def _page(self, request: Request, state: State, reply: Reply) -> None:
        at = request.query.get("at", "")
        if at in self._pages:
            self._pages[at][1].append(reply)
        elif len(self._pages) == _WAITING:
            reply(refusal(503, "too many other pages are being made: try again in a second"))
        else:
            self._pages[at] = state, [reply]
            if len(self._pages) == 1:
                self._make_page()

    def _make_page(self) -> None:
        """Let a copy make the page that was requested first."""
        at, (state, replies) = next(iter(self._pages.items()))
        seen, interval = self._seen(), self._interval

        def work() -> bytes:
            from entrypoint.web import page  # loads jinja2, in a copy only

            host = os.uname().nodename
            made = page.render(seen, state.phase, time.time(), {"at": at}, interval=interval, host=host)
            return pickle.dumps(made)

        def take(data: bytes) -> None:
            del self._pages[at]
            for reply in replies:
                reply(pickle.loads(data) if data else refusal(500, "the page failed: see the log"))  # noqa: S301 - from our own copy
            if self._pages:
                self._make_page()

        self._workers.start("page", work, take, _SECONDS)

    def _ask_lag(self, then: Callable[[int | None], None]) -> None:
        """Ask a standby for its lag, in a copy: the answer may take long."""
        if "lag" in self._workers.running:
            then(None)
            return
        context = self._context

        def work() -> bytes:
            own = context._replace(children=Children(Signals()))
            try:
                return sessions.query(own, f"SELECT {figures.LAG}", seconds=2).encode() or b"-"
            except Failure:
                return b"-"

        self._workers.start(
            "lag", work, lambda data: then(int(data) if data.strip().isdigit() else None), _SECONDS
        )


def _companion(context: Context, selector: selectors.BaseSelector) -> Companion | None:
    """Return Patroni; None: the server is not under it."""
    node = context.settings.failover
    if node is None:
        return None
    from entrypoint.web.companion import Companion  # only under Patroni

    return Companion(selector, node)
