"""Which path has which answer, and who may see it."""

from __future__ import annotations

import time

from entrypoint import log
from entrypoint.web import permission, status_json
from entrypoint.web.exchange import as_json, refusal
from entrypoint.web.probes import PROBES, Probes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from entrypoint.failover.member import Member
    from entrypoint.noted.seen import Seen
    from entrypoint.web.companion import Companion
    from entrypoint.web.exchange import Reply, Request
    from entrypoint.web.live import Live, State
    from entrypoint.web.probes import AskLag

    Face = Callable[[Request, State, Reply], None]
    """Answers a request, at once or later, given the state of this moment."""

STATUS = "/status.json"


class Answers:
    """Answers all requests; an object of it is the `answer` of a `Door`.

    `seen` returns what the watch saw at its last look. `faces` are the other paths for which the token is
    necessary: `/metrics` and `/`. `ask_lag` asks a standby for its lag. `companion` is Patroni, if the server
    is under it.
    """

    def __init__(
        self,
        token: str,
        live: Live,
        seen: Callable[[], Seen | None],
        ask_lag: AskLag,
        faces: Mapping[str, Face],
        *,
        companion: Companion | None = None,
    ) -> None:
        self._token = token
        self._live = live
        self._seen = seen
        self._companion = companion
        self._probes = Probes(live, ask_lag, companion)
        self._faces: Mapping[str, Face] = {STATUS: self._status, **faces}
        self._failed: set[str] = set()
        """The paths whose answers have failed."""

    def __call__(self, request: Request, reply: Reply) -> None:
        """Answer a request."""
        self._guard(lambda: self._route(request, reply), request, reply)

    def _route(self, request: Request, reply: Reply) -> None:
        face = self._faces.get(request.path)
        if request.path in PROBES:
            self._probes.answer(request, reply)
        elif face is None:
            paths = sorted((*PROBES, *self._faces))
            reply(as_json(404, {"error": "there is nothing at this path", "paths": paths}))
        elif permission.is_allowed(self._token, request.authorization):
            self._live.ask(lambda state: self._guard(lambda: face(request, state, reply), request, reply))
        else:
            reply(permission.unauthorized())

    def _guard(self, act: Callable[[], None], request: Request, reply: Reply) -> None:
        """Answer by this function, whose mistakes end nothing else and are logged once."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 - no mistake in one answer may end the process
            if request.path not in self._failed:
                self._failed.add(request.path)
                log.warning(
                    f"the answer to a request for {request.path} failed: {error!r}", docs="check-health"
                )
            reply(refusal(500, "the answer failed: see the log"))

    def _status(self, request: Request, state: State, reply: Reply) -> None:
        def show(member: Member | None) -> None:
            reply(as_json(200, status_json.show(self._seen(), state, time.time(), member)))

        if self._companion is None:
            show(None)
        else:
            self._companion.member(lambda member: self._guard(lambda: show(member), request, reply))
