"""What PID 1 decides while the server runs: (state, event) -> (state, actions); pure.

A stop climbs a ladder: smart -> fast -> immediate -> kill. Each step has its own time, a second stop
request climbs at once, and no step goes back. The names of the steps are PostgreSQL's shutdown modes.
"""

from __future__ import annotations

import signal

from entrypoint import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LADDER = ("smart", "fast", "immediate", "kill")
SIGNAL_OF = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}
STEP_OF = {signal.SIGTERM: "smart", signal.SIGINT: "fast", signal.SIGQUIT: "immediate"}


class State:
    """Where we are; never changed, only replaced."""

    __slots__ = ("deadline", "step", "timeouts")

    def __init__(
        self, timeouts: Sequence[float], step: str | None = None, deadline: float | None = None
    ) -> None:
        self.timeouts = tuple(timeouts)
        """Seconds for smart, fast and immediate."""
        self.step = step
        """The step of the shutdown, or None while the server is to run."""
        self.deadline = deadline
        """When the next step is due, in the seconds of the clock that `now` is read from."""


def on_signal(state: State, number: int, now: float) -> tuple[State, int, str]:
    """Decide what a signal to PID 1 means: the new state, a signal for postgres or 0, and why."""
    if number == signal.SIGHUP:
        return state, signal.SIGHUP, ""
    asked = STEP_OF.get(signal.Signals(number))
    if asked is None:
        return state, 0, ""
    name = signal.Signals(number).name
    if state.step is None:
        return _enter(state, asked, now, f"{name}: {asked} shutdown")
    # Whoever asks again has no patience left: at least one step further.
    further = LADDER[min(LADDER.index(state.step) + 1, len(LADDER) - 1)]
    step = max(asked, further, key=LADDER.index)
    if step == state.step:
        return state, 0, ""
    return _enter(state, step, now, f"{name} again: {step} shutdown")


def on_time(state: State, now: float) -> tuple[State, int, str]:
    """Decide what is due: the new state, a signal for postgres or 0, and why."""
    if state.step is None or state.deadline is None or now < state.deadline:
        return state, 0, ""
    step = LADDER[LADDER.index(state.step) + 1]
    reason = f"the {state.step} shutdown did not end within its time: {step} shutdown"
    return _enter(state, step, now, reason)


def on_server_end(state: State, code: int) -> tuple[int, str]:
    """Decide what the end of the server means for the container: the exit code, and why."""
    if state.step is None and code == 0:
        # A container that nobody asked to stop must not look like a success to its restart policy.
        return exits.FAILURE, "the server ended although nobody asked this container to stop"
    return code, ""


def _enter(state: State, step: str, now: float, why: str) -> tuple[State, int, str]:
    index = LADDER.index(step)
    deadline = now + state.timeouts[index] if index < len(state.timeouts) else None
    return State(state.timeouts, step, deadline), SIGNAL_OF[step], why
