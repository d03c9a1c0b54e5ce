"""What PID 1 decides while Patroni starts and stops the server: (state, event) -> (state, actions); pure.

Patroni is a helper of PID 1 that starts the server, ends it, and starts it again. So the server's end does
not end the container, and Patroni's end does not end the server: the next Patroni takes the running server
over. A stop goes through Patroni, which hands the leader's place to another node. If Patroni cannot do it (it
is paused, dead, or hangs), PID 1 stops the server itself, with the ladder of `lifecycle`.
"""

from __future__ import annotations

from entrypoint import exits
from entrypoint.light import signal
from entrypoint.pid1 import lifecycle
from entrypoint.pid1.lifecycle import SERVING, STOPPING, Helper, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.pid1.lifecycle import Action, Decision

PATRONI = "patroni"
"""The role of Patroni."""
_AGAIN_MAX = 4.0
"""Seconds to the next start of Patroni: without one, the leader's lock ends after its ttl, 20 s or more."""
STOPPED = 5.0
"""Seconds for which Patroni may be stopped by a signal. The other nodes take a leader whose Patroni says
nothing for lost, and one of them takes over, but its server would still take writes."""
_GIVE_UP = 5
"""How many times in a row Patroni may end by itself while there is no server, before the container ends."""


def begin(state: State, now: float) -> State:
    """Return the state of a Patroni that was just started, which has not started the server yet."""
    patroni = Helper(PATRONI, due=None, running=True, started=now)
    return state.with_helper(patroni)._replace(server=False, nudge=None)


def on_signal(state: State, number: int, now: float) -> Decision:
    """Decide what to do about a signal to PID 1, except for SIGHUP, which is Patroni's.

    SIGTERM is a fast shutdown as well: the other nodes wait for this one to give way.
    """
    number = signal.SIGINT if number == signal.SIGTERM else number
    return _through_patroni(state, lifecycle.on_signal(state, number, now), now)


def on_time(state: State, now: float) -> Decision:
    """Do what is due."""
    return _through_patroni(state, lifecycle.on_time(state, now), now)


def on_helper_end(state: State, role: str, code: int, now: float, pause: float | None = None) -> Decision:
    """React to the end of a helper that is not Patroni.

    If another node has taken over, Patroni hangs or is cut off: the server must not wait for it.
    """
    if role == lifecycle.LOOK and code == exits.SUPERSEDED and state.phase == SERVING:
        state, actions = lifecycle.on_helper_end(state, role, code, now, pause)
        return state, [("kill", PATRONI) if each == ("end", PATRONI) else each for each in actions]
    return _through_patroni(state, lifecycle.on_helper_end(state, role, code, now, pause), now)


def on_server_start(state: State, now: float, *, archives: bool) -> State:
    """Return the state after Patroni has started the server; `archives`: it does if it takes writes."""
    return state._replace(server=True, nudge=now if archives else None, nudge_pause=1.0)


def on_server_end(state: State, code: int, now: float, *, clean: bool) -> Decision:
    """React to the server's end: while Patroni runs, it is Patroni's business."""
    if state.phase == SERVING or (state.phase == STOPPING and not state.asked):
        return state._replace(server=False), []
    return lifecycle.on_server_end(state, code, now, clean=clean)


def on_patroni_end(state: State, code: int, now: float, *, failed: int | None) -> Decision:
    """React to Patroni's end; `failed` is the code of a first start that has begun and did not finish.

    What such a first start has left must not be served: the next start of the container judges it.
    """
    helper = state.helpers[PATRONI]
    if state.phase != SERVING:
        return on_helper_end(state, PATRONI, code, now)
    failures = 1 if now - helper.started >= lifecycle.STEADY else helper.failures + 1
    ended = helper._replace(running=False, failures=failures, last_code=code, due=None)
    if failed is not None or (failures >= _GIVE_UP and not state.server):
        why = "the first start failed" if failed is not None else "there is no server"
        state = state.with_helper(ended)._replace(code=failed or code or exits.FAILURE)
        begun, actions = lifecycle.on_signal(state, signal.SIGINT, now)
        said: list[Action] = [("say", f"Patroni ended with code {code}, and {why}: the container ends")]
        return _through_patroni(state, (begun, said + actions[1:]), now)
    pause = min(_AGAIN_MAX, 2.0 ** (failures - 1)) if failures > 1 else 0.0
    serves = "the server runs on" if state.server else "there is no server"
    text = f"Patroni ended with code {code}, {serves}; starting it again in {pause:.0f} s"
    return state.with_helper(ended._replace(due=now + pause)), [("say", text)]


def _through_patroni(before: State, decision: Decision, now: float) -> Decision:
    """Give Patroni the time to stop the server, and let nothing of it remain when PID 1 stops the server."""
    state, actions = decision
    patroni = state.helpers[PATRONI]
    if state.phase != STOPPING:
        return state, actions
    if before.phase == SERVING and not state.asked and patroni.running:
        return state._replace(deadline=now + state.timeouts[1]), actions
    if state.asked and not before.asked:
        if patroni.running:
            actions = [("kill", PATRONI), *(each for each in actions if each != ("kill", PATRONI))]
        if not state.server:
            state, more = lifecycle.on_server_end(state, 0, now, clean=True)
            actions = [*(each for each in actions if each[0] != "send"), *more]
    return state, actions
