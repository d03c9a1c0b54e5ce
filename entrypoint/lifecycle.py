"""What PID 1 decides while the server runs: (state, event) -> (state, actions); pure.

A stop climbs a ladder: smart -> fast -> immediate -> kill, PostgreSQL's shutdown modes and SIGKILL. Each
step has its own time, a second stop request climbs at once, and no step goes back.

Helpers (an archiver's daemon, a backup) never decide about the server: one that ends is started again after
a growing pause. The exceptions are what must succeed before the server counts as ready, and what has seen
another server take over. Those that need
the server end before it, those that the server needs end after it.

This module is loaded by PID 1 for good, so it does without typing and dataclasses.
"""

from __future__ import annotations

from entrypoint import exits
from entrypoint.signal_numbers import signal, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LADDER = ("smart", "fast", "immediate", "kill")
SIGNAL_OF = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}
STEP_OF: Mapping[int, str] = {signal.SIGTERM: "smart", signal.SIGINT: "fast", signal.SIGQUIT: "immediate"}

SERVING = "serving"
STOPPING = "stopping"
SWEEPING = "sweeping"
"""The server has ended; the rest of the container is asked to go."""
ENDED = "ended"

CHECKPOINT = "checkpoint"
"""The helper that asks for a checkpoint when a smart shutdown begins, so that the shutdown's own is short."""
STARTDB = "startdb"
"""The helper that does what is asked for at every start; until it has, the server is not called ready."""
RELOAD = "reload"
"""The helper that SIGHUP starts: it checks what has changed, and then lets the server reload."""
LOOK = "look"
"""The helper that looks whether another server was promoted; if one was, the server takes no more writes."""
ON_DEMAND = (CHECKPOINT, RELOAD)
"""Helpers that no clock starts."""
CHECKPOINT_LEAD = 1.0
"""Seconds that it gets to connect and to end, before the server takes no new sessions."""
HELPER_GRACE = 5.0
"""Seconds that a helper gets between SIGTERM and SIGKILL."""
SWEEP_GRACE = 2.0
"""Seconds that whatever else is left gets between SIGTERM and the end of the container."""
PROGRESS_EVERY = 5.0
"""Seconds between two lines about what a shutdown waits for."""
NUDGE_MAX = 256.0
"""Seconds; then the checkpointer has woken up by itself."""
BACKOFF_MAX = 60.0
STEADY = 60.0
"""A helper that ran so many seconds counts as healthy: its next pause is the shortest again."""


class Helper:
    """What is known of one auxiliary process."""

    __slots__ = ("after_server", "due", "failures", "keep", "last_code", "role", "running", "started")

    def __init__(self, role: str, *, after_server: bool = False, keep: bool = True, due: float = 0.0) -> None:
        self.role = role
        self.after_server = after_server
        """It is stopped after the server, because the server needs it to the last."""
        self.keep = keep
        """It is started again when it ends."""
        self.running = False
        self.started = 0.0
        self.failures = 0
        """How often in a row it ended by itself."""
        self.last_code: int | None = None
        self.due: float | None = None if role in ON_DEMAND else due
        """When it is to be started; None: not by the clock."""

    def but(self, **changes: object) -> Helper:
        """Return a copy with these changes."""
        return _copy(self, changes)


class State:
    """Where we are; never changed, only replaced."""

    __slots__ = (
        "asked", "code", "deadline", "helpers", "hurry", "nudge", "nudge_pause", "phase", "progress",
        "server", "step", "timeouts",
    )  # fmt: skip

    def __init__(
        self, timeouts: Sequence[float], helpers: Sequence[Helper] = (), *, archives: bool = False
    ) -> None:
        self.timeouts = tuple(timeouts)
        """Seconds for smart, fast and immediate."""
        self.helpers: Mapping[str, Helper] = {helper.role: helper for helper in helpers}
        self.phase = SERVING
        self.step: str | None = None
        """The step of the ladder that was reached, or None while the server is to run."""
        self.asked = False
        """The server has been sent the signal of this step; before that, helpers are waited for."""
        self.server = True
        """The server runs."""
        self.code = 0
        """The exit code of the container, once the server has ended; earlier, of what makes it end."""
        self.deadline: float | None = None
        """When the present step is over, in seconds of the clock of `now`."""
        self.progress: float | None = None
        """When the next line about the shutdown's progress is due."""
        self.hurry: float | None = None
        """From when on a fast shutdown waits no longer for the archiver alone."""
        self.nudge: float | None = 0.0 if archives else None
        """When the checkpointer is to be woken next, until it knows that the server takes writes.

        It goes to sleep for a whole checkpoint_timeout while the server is still starting, and looks at
        archive_timeout only when it is awake.
        """
        self.nudge_pause = 1.0

    def but(self, **changes: object) -> State:
        """Return a copy with these changes."""
        return _copy(self, changes)

    def with_helper(self, helper: Helper) -> State:
        """Return a copy with this helper in place of the one of its role."""
        return self.but(helpers={**self.helpers, helper.role: helper})


if TYPE_CHECKING:
    from typing import TypeVar

    Value = TypeVar("Value", State, Helper)
    Action = tuple[str, object]
    """`send` a signal to the server, `start`, `end` or `kill` a helper, `say` something,
    `nudge` the checkpointer, `report` progress, `hurry` the archiver, `sweep` with a signal, `exit` with a
    code."""
    Decision = tuple[State, list[Action]]


def _copy(value: Value, changes: Mapping[str, object]) -> Value:
    new = object.__new__(type(value))
    for name in value.__slots__:
        setattr(new, name, changes.get(name, getattr(value, name)))
    return new


def wake_at(state: State) -> float | None:
    """Return when `on_time` has something to do next; None: never."""
    times = [time for time in (state.deadline, state.progress) if time is not None]
    if state.phase == SERVING:
        times += [] if state.nudge is None else [state.nudge]
        times += [
            helper.due for helper in state.helpers.values() if not helper.running and helper.due is not None
        ]
    return min(times, default=None)


def on_signal(state: State, number: int, now: float) -> Decision:
    """Decide what a signal to PID 1 means."""
    if number == signal.SIGUSR1:
        if state.phase == SERVING and LOOK in state.helpers:
            state = state.with_helper(state.helpers[LOOK].but(due=now))
        return state, [("report", None)]
    if number == signal.SIGHUP:
        if state.phase == SERVING and RELOAD in state.helpers:
            # Where one is at work, the next one begins after it: files may have changed since it looked.
            return state.with_helper(state.helpers[RELOAD].but(due=now)), []
        return state, [("send", signal.SIGHUP)] if state.phase == SERVING else []
    if number == signal.SIGCONT:
        return state, [("send", signal.SIGCONT)]
    asked = STEP_OF.get(number)
    if asked is None or state.phase not in (SERVING, STOPPING):
        return state, []
    name = signal_name(number)
    if state.step is None:
        return _enter(state, asked, now, f"{name}: {asked} shutdown")
    # Whoever asks again has no patience left: at least one step further.
    further = LADDER[min(LADDER.index(state.step) + 1, len(LADDER) - 1)]
    step = max(asked, further, key=LADDER.index)
    return _enter(state, step, now, f"{name} again: {step} shutdown")


def on_time(state: State, now: float) -> Decision:
    """Decide what is due."""
    actions: list[Action] = []
    if state.phase == SERVING:
        if state.nudge is not None and now >= state.nudge:
            pause = state.nudge_pause
            later = now + pause if pause <= NUDGE_MAX else None
            state = state.but(nudge=later, nudge_pause=pause * 2)
            actions.append(("nudge", None))
        for helper in state.helpers.values():
            if not helper.running and helper.due is not None and now >= helper.due:
                state = state.with_helper(helper.but(running=True, started=now, due=None))
                actions.append(("start", helper.role))
        return state, actions
    if state.deadline is None or now < state.deadline:
        if state.progress is not None and now >= state.progress:
            impatient = state.hurry is not None and now >= state.hurry
            actions += [("report", None), *([("hurry", None)] if impatient else [])]
            return state.but(progress=now + PROGRESS_EVERY), actions
        return state, []
    if state.phase == STOPPING and not state.asked:
        late = [helper.role for helper in _waited_for(state) if helper.role != CHECKPOINT]
        state, more = _ask(state, now, [("kill", role) for role in late])
    elif state.phase == STOPPING and state.step is not None:
        step = LADDER[LADDER.index(state.step) + 1]
        reason = f"the {state.step} shutdown did not end within its time: {step} shutdown"
        state, more = _enter(state, step, now, reason)
    elif state.phase == SWEEPING and _any_running(state):
        more = [("kill", helper.role) for helper in state.helpers.values() if helper.running]
        gone = {role: helper.but(running=False) for role, helper in state.helpers.items()}
        state, more = _sweep(state.but(helpers=gone), now, more)
    else:
        state, more = _end(state, [("sweep", signal.SIGKILL)])
    return state, actions + more


def on_nudged(state: State) -> State:
    """Return the state after the checkpointer of a server that takes writes was woken."""
    return state.but(nudge=None)


def on_server_end(state: State, code: int, now: float, *, clean: bool) -> Decision:
    """Decide what the end of the server means: the container ends, helpers first.

    `clean`: pg_control says that the server was shut down.
    """
    actions: list[Action] = []
    if state.step is None and code == 0 and clean:
        # As in the official image: a job that ends itself, or a hook of the orchestrator, has done well.
        actions.append(("say", "the server was shut down, not by us: pg_ctl stop, or its own settings"))
    elif state.step is None and code == 0:
        # Its lock file is gone, say: what nobody asked for must not look like a success to a restart policy.
        code = exits.FAILURE
        actions.append(("say", "the server ended without a shutdown that anybody asked for"))
    code = state.code or code
    state = state.but(server=False, code=code, phase=SWEEPING, deadline=now + HELPER_GRACE, progress=None)
    running = [helper for helper in state.helpers.values() if helper.running]
    actions += [("end", helper.role) for helper in running]
    if running:
        return state, actions
    return _sweep(state, now, actions)


def on_helper_end(state: State, role: str, code: int, now: float, pause: float | None = None) -> Decision:
    """Decide what the end of a helper means: a restart after a pause, or one less to wait for.

    `pause` is what a helper that ended well has asked for: it has done its work for now.
    """
    helper = state.helpers[role]
    if state.phase == SERVING and role == STARTDB and code:
        state = state.with_helper(helper.but(running=False, last_code=code, due=None)).but(code=code)
        return _enter(state, "fast", now, f"{role} failed with code {code}: fast shutdown")
    if state.phase == SERVING and role == LOOK and code == exits.SUPERSEDED:
        state = state.with_helper(helper.but(running=False, last_code=code, due=None)).but(code=code)
        return _enter(state, "fast", now, "another server has taken over: fast shutdown")
    if state.phase == SERVING and code == 0 and pause is not None:
        helper = helper.but(running=False, failures=0, last_code=code, due=now + pause)
        return state.with_helper(helper), []
    if state.phase == SERVING and helper.keep:
        failures = 1 if now - helper.started >= STEADY else helper.failures + 1
        pause = min(BACKOFF_MAX, 2.0 ** min(failures - 1, 6))
        helper = helper.but(running=False, failures=failures, last_code=code, due=now + pause)
        text = f"{role} ended with code {code}; it is started again in {pause:.0f} s"
        return state.with_helper(helper), [("say", text)]
    state = state.with_helper(helper.but(running=False, last_code=code))
    if state.phase == STOPPING and not state.asked and not _waited_for(state):
        return _ask(state, now, [])
    if state.phase == SWEEPING and helper.running and not _any_running(state):
        return _sweep(state, now, [])
    return state, []


def on_alone(state: State) -> Decision:
    """Decide what it means that no other process is left."""
    return _end(state, []) if state.phase == SWEEPING and not state.server else (state, [])


def _any_running(state: State) -> bool:
    return any(helper.running for helper in state.helpers.values())


def _waited_for(state: State) -> list[Helper]:
    """Return the helpers that must end before the server is asked to."""
    return [helper for helper in state.helpers.values() if helper.running and not helper.after_server]


def _enter(state: State, step: str, now: float, why: str) -> Decision:
    """Climb to a step: first the helpers that need the server, then the server itself."""
    actions: list[Action] = [("say", why)]
    first = state.phase == SERVING
    state = state.but(phase=STOPPING, step=step)
    if first:
        state = state.but(progress=now + PROGRESS_EVERY)
        actions += [("end", helper.role) for helper in _waited_for(state)]
        grace = HELPER_GRACE if _waited_for(state) else CHECKPOINT_LEAD
        state = state.but(deadline=now + grace)
        if step == "smart" and CHECKPOINT in state.helpers:
            helper = state.helpers[CHECKPOINT].but(running=True, started=now)
            state = state.with_helper(helper)
            actions.append(("start", CHECKPOINT))
    if not state.asked and _waited_for(state) and step in ("smart", "fast"):
        return state, actions
    return _ask(state, now, actions)


def _ask(state: State, now: float, actions: list[Action]) -> Decision:
    """Send the server the signal of the present step."""
    step = state.step or "fast"
    actions.append(("send", SIGNAL_OF[step]))
    index = LADDER.index(step)
    deadline = now + state.timeouts[index] if index < len(state.timeouts) else None
    hurry = now + state.timeouts[index] / 3 if step == "fast" else None
    return state.but(asked=True, deadline=deadline, hurry=hurry), actions


def _sweep(state: State, now: float, actions: list[Action]) -> Decision:
    return state.but(deadline=now + SWEEP_GRACE), [*actions, ("sweep", signal.SIGTERM)]


def _end(state: State, actions: list[Action]) -> Decision:
    return state.but(phase=ENDED, deadline=None), [*actions, ("exit", state.code)]
