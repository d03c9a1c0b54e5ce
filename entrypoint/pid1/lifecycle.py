"""What PID 1 decides while the server runs: (state, event) -> (state, actions); pure.

A stop climbs a ladder: smart -> fast -> immediate -> kill, which are PostgreSQL's shutdown modes and SIGKILL.
Each step has a time of its own, a second stop request climbs at once, and no step goes back.

Helpers (an archiver's daemon, a backup) never decide about the server: a helper that ends is started again
after a growing pause. There are two exceptions: the helper that must succeed before the server counts as
ready, and the helper that has seen another server take over. Helpers that need the server end before it;
helpers that the server needs end after it.

PID 1 keeps this module in memory for good.
"""

from __future__ import annotations

from entrypoint import exits
from entrypoint.light import NamedTuple, signal, signal_name
from entrypoint.volume import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final, Literal

    from entrypoint.volume.room import Level

    Step = Literal["smart", "fast", "immediate", "kill"]
    """A step of a shutdown."""
    Phase = Literal["serving", "stopping", "sweeping", "ended"]
    HelperState = Literal["running", "waiting", "ended"]

LADDER: tuple[Step, ...] = ("smart", "fast", "immediate", "kill")
SIGNAL_OF: Mapping[Step, int] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}
STEP_OF: Mapping[int, Step] = {signal.SIGTERM: "smart", signal.SIGINT: "fast", signal.SIGQUIT: "immediate"}

SERVING: Final = "serving"
STOPPING: Final = "stopping"
SWEEPING: Final = "sweeping"
"""The server has ended; the remaining processes of the container are asked to end."""
ENDED: Final = "ended"

CHECKPOINT = "checkpoint"
"""The helper that requests a checkpoint when a smart shutdown begins, so that the shutdown's own is short."""
STARTDB = "startdb"
"""The helper that does the work of every start; the server does not count as ready before it has ended."""
RELOAD = "reload"
"""The helper that SIGHUP starts: it checks what has changed, and then makes the server reload."""
LOOK = "look"
"""The helper that checks whether another server was promoted; if so, the server takes no more writes."""
PASSWORD = "password"  # noqa: S105 - a name
"""The helper that compares the superuser's password with the configured one; nothing waits for it."""
BACKUPS = "backups"
"""The helper that takes the backups that a schedule or a restore requires."""
DRILLS = "drills"
"""The helper that rehearses a restore."""
WATCH = "watch"
"""The helper that runs the checks, and serves and sends what they find; it is started before the server."""
FULL_DISK = "full-disk"
"""The helper that does what needs sessions while a disk is about to be full."""
UPGRADED = "upgraded"
"""The helper that does what remains after an upgrade: extensions and statistics."""
ON_DEMAND = (CHECKPOINT, RELOAD)
"""Helpers that do not start at a set time."""
CHECKPOINT_LEAD = 1.0
"""Seconds for the checkpoint helper to connect and end, before the server refuses new sessions."""
HELPER_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a helper."""
SWEEP_GRACE = 2.0
"""Seconds between SIGTERM for all remaining processes and the end of the container."""
PROGRESS_EVERY = 5.0
"""Seconds between two lines about the progress of a shutdown."""
NUDGE_MAX = 256.0
"""Seconds; by then the checkpointer has woken up by itself."""
BACKOFF_MAX = 60.0
STEADY = 60.0
"""A helper that ran for this many seconds counts as healthy: its next pause is the shortest again."""


class Helper(NamedTuple):
    """The state of one helper."""

    role: str
    after_server: bool = False
    """Stop it after the server, which needs it until its own end."""
    keep: bool = True
    """Start it again when it ends."""
    due: float | None = 0.0
    """When to start it, in seconds of the clock of `now`; None: at no set time."""
    running: bool = False
    started: float = 0.0
    failures: int = 0
    """How many times in a row it has ended by itself."""
    last_code: int | None = None


class KnownHelper(NamedTuple):
    """What PID 1 reports about a helper that has work left, or has failed."""

    role: str
    state: HelperState
    """`waiting`: for its time."""
    pid: int
    """0: it is not running."""
    failures: int
    """How many times in a row it has ended by itself."""
    last_code: int | None
    """None: it has not ended yet."""


class State(NamedTuple):
    """The supervisor's state; never changed, only replaced."""

    timeouts: tuple[float, ...]
    """Seconds for a smart, a fast and an immediate shutdown."""
    helpers: Mapping[str, Helper]
    """By their roles."""
    nudge: float | None
    """When to wake the checkpointer next; None: it knows that the server takes writes.

    While the server is still starting, the checkpointer goes to sleep for a whole checkpoint_timeout, and it
    looks at archive_timeout only when it is awake.
    """
    nudge_pause: float = 1.0
    phase: Phase = SERVING
    step: Step | None = None
    """The step of the ladder that was reached; None: no shutdown was requested."""
    asked: bool = False
    """The signal of this step was sent to the server; until then, the shutdown waits for helpers."""
    server: bool = True
    """The server is running."""
    code: int = 0
    """The container's exit code once the server has ended; before that, the code of what makes it end."""
    deadline: float | None = None
    """When the current step is over, in seconds of the clock of `now`."""
    progress: float | None = None
    """When the next line about the shutdown's progress is due."""
    level: Level = room.NORMAL
    """How near a disk of the server is to being full."""
    level_since: int = 0
    """When this level began, in seconds since 1970."""
    hurry: float | None = None
    """From when on a fast shutdown no longer waits if only the archiver is left."""

    def with_helper(self, helper: Helper) -> State:
        """Return a copy in which this helper replaces the helper of the same role."""
        return self._replace(helpers={**self.helpers, helper.role: helper})


if TYPE_CHECKING:
    Action = (
        tuple[Literal["send", "sweep", "exit"], int]
        | tuple[Literal["start", "end", "kill", "say"], str]
        | tuple[Literal["nudge", "report", "hurry"], None]
    )
    """`send` a signal to the server; `start`, `end` or `kill` a helper; `say` a text in the log;
    `nudge` the checkpointer; `report` progress; `hurry` the archiver; `sweep` with a signal; `exit` with a
    code."""
    Decision = tuple[State, list[Action]]


def begin(timeouts: Sequence[float], helpers: Sequence[Helper] = (), *, archives: bool = False) -> State:
    """Return the state of a server that was just started, with helpers that are not started yet."""
    known = {
        helper.role: helper._replace(due=None) if helper.role in ON_DEMAND else helper for helper in helpers
    }
    return State(tuple(timeouts), known, nudge=0.0 if archives else None)


def daemon_role(tool: str) -> str:
    """Return the role of an archiver's daemon."""
    return f"{tool}-daemon"


def wake_at(state: State) -> float | None:
    """Return when `on_time` has work to do next; None: never."""
    times = [time for time in (state.deadline, state.progress) if time is not None]
    if state.phase == SERVING:
        times += [] if state.nudge is None else [state.nudge]
        times += [
            helper.due for helper in state.helpers.values() if not helper.running and helper.due is not None
        ]
        times += [helper.started + STEADY for helper in state.helpers.values() if _is_on_probation(helper)]
    return min(times, default=None)


def on_signal(state: State, number: int, now: float) -> Decision:
    """Decide what to do about a signal to PID 1."""
    if number == signal.SIGUSR1:
        if state.phase == SERVING and LOOK in state.helpers:
            state = state.with_helper(state.helpers[LOOK]._replace(due=now))
        backups = state.helpers.get(BACKUPS)
        if state.phase == SERVING and backups is not None and not backups.running:
            state = state.with_helper(backups._replace(due=now))  # archiving works again, after a gap
        return state, [("report", None)]
    if number == signal.SIGHUP:
        if state.phase == SERVING and RELOAD in state.helpers:
            # If one is already running, another one follows it: files may have changed since it looked.
            return state.with_helper(state.helpers[RELOAD]._replace(due=now)), []
        return state, [("send", signal.SIGHUP)] if state.phase == SERVING else []
    if number == signal.SIGCONT:
        return state, [("send", signal.SIGCONT)]
    asked = STEP_OF.get(number)
    if asked is None or state.phase not in (SERVING, STOPPING):
        return state, []
    name = signal_name(number)
    if state.step is None:
        return _enter(state, asked, now, f"{name}: {asked} shutdown")
    # A second request means that the first was too slow: climb at least one step.
    further = LADDER[min(LADDER.index(state.step) + 1, len(LADDER) - 1)]
    step = max(asked, further, key=LADDER.index)
    return _enter(state, step, now, f"{name} again: {step} shutdown")


def on_level(state: State, level: Level, now: float, at: int) -> Decision:
    """React when a disk has come nearer to being full, or is no longer; `at` is in seconds since 1970.

    The server reads the settings of the level at once; what else there is to do, the helper does.
    """
    state = state._replace(level=level, level_since=at)
    if state.phase != SERVING:
        return state, []
    if level != room.NORMAL and FULL_DISK in state.helpers:
        state = state.with_helper(state.helpers[FULL_DISK]._replace(due=now))
    return state, [("send", signal.SIGHUP)]


def on_time(state: State, now: float) -> Decision:
    """Do what is due."""
    actions: list[Action] = []
    if state.phase == SERVING:
        return _serve(state, now)
    if state.deadline is None or now < state.deadline:
        if state.progress is not None and now >= state.progress:
            impatient = state.hurry is not None and now >= state.hurry
            actions += [("report", None), ("hurry", None)] if impatient else [("report", None)]
            return state._replace(progress=now + PROGRESS_EVERY), actions
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
        gone = {role: helper._replace(running=False) for role, helper in state.helpers.items()}
        state, more = _sweep(state._replace(helpers=gone), now, more)
    else:
        state, more = _end(state, [("sweep", signal.SIGKILL)])
    return state, actions + more


def _serve(state: State, now: float) -> Decision:
    """Do what is due while the server runs."""
    actions: list[Action] = []
    if state.nudge is not None and now >= state.nudge:
        pause = state.nudge_pause
        later = now + pause if pause <= NUDGE_MAX else None
        state = state._replace(nudge=later, nudge_pause=pause * 2)
        actions.append(("nudge", None))
    for helper in state.helpers.values():
        if not helper.running and helper.due is not None and now >= helper.due:
            state = state.with_helper(helper._replace(running=True, started=now, due=None))
            actions.append(("start", helper.role))
        elif _is_on_probation(helper) and now >= helper.started + STEADY:
            state = state.with_helper(helper._replace(failures=0))
    return state, actions


def _is_on_probation(helper: Helper) -> bool:
    """Return whether a helper runs again after it has failed."""
    return helper.running and helper.failures > 0


def on_nudged(state: State) -> State:
    """Return the state after waking the checkpointer of a server that takes writes."""
    return state._replace(nudge=None)


def on_server_end(state: State, code: int, now: float, *, clean: bool) -> Decision:
    """React to the end of the server: the container ends, helpers first.

    `clean`: pg_control says that the server was shut down.
    """
    actions: list[Action] = []
    if state.step is None and code == 0 and clean:
        # Exit code 0, as in the official image: a job that ends itself, or an orchestrator's hook, succeeded.
        text = "the server was shut down by something other than the entrypoint, such as pg_ctl stop"
        actions.append(("say", text))
    elif state.step is None and code == 0:
        # Perhaps its lock file is gone. An unrequested end must not look like a success to a restart policy.
        code = exits.FAILURE
        actions.append(("say", "the server ended although nothing requested a shutdown"))
    code = state.code or code
    state = state._replace(
        server=False, code=code, phase=SWEEPING, deadline=now + HELPER_GRACE, progress=None
    )
    running = [helper for helper in state.helpers.values() if helper.running]
    actions += [("end", helper.role) for helper in running]
    if running:
        return state, actions
    return _sweep(state, now, actions)


def on_helper_end(state: State, role: str, code: int, now: float, pause: float | None = None) -> Decision:
    """React to the end of a helper: start it again after a pause, or stop waiting for it.

    `pause` is requested by a helper that has done its work for now and ended with code 0.
    """
    helper = state.helpers[role]
    if state.phase == SERVING and role == STARTDB and code:
        state = state.with_helper(helper._replace(running=False, last_code=code, due=None))._replace(
            code=code
        )
        return _enter(state, "fast", now, f"{role} failed with code {code}: fast shutdown")
    if state.phase == SERVING and role == LOOK and code == exits.SUPERSEDED:
        state = state.with_helper(helper._replace(running=False, last_code=code, due=None))._replace(
            code=code
        )
        return _enter(state, "fast", now, "another server has taken over: fast shutdown")
    if state.phase == SERVING and code == 0 and pause is not None:
        helper = helper._replace(running=False, failures=0, last_code=code, due=now + pause)
        return state.with_helper(helper), []
    if state.phase == SERVING and role == FULL_DISK and code == 0:
        # It has seen a calm disk; perhaps that is over already.
        due = None if state.level == room.NORMAL else now
        return state.with_helper(helper._replace(running=False, failures=0, last_code=0, due=due)), []
    if state.phase == SERVING and helper.keep:
        failures = 1 if now - helper.started >= STEADY else helper.failures + 1
        pause = min(BACKOFF_MAX, 2.0 ** min(failures - 1, 6))
        helper = helper._replace(running=False, failures=failures, last_code=code, due=now + pause)
        text = f"{role} ended with code {code}; starting it again in {pause:.0f} s"
        return state.with_helper(helper), [("say", text)]
    state = state.with_helper(helper._replace(running=False, last_code=code))
    if state.phase == STOPPING and not state.asked and not _waited_for(state):
        return _ask(state, now, [])
    if state.phase == SWEEPING and helper.running and not _any_running(state):
        return _sweep(state, now, [])
    return state, []


def on_alone(state: State) -> Decision:
    """React when no other process is left."""
    return _end(state, []) if state.phase == SWEEPING and not state.server else (state, [])


def _any_running(state: State) -> bool:
    return any(helper.running for helper in state.helpers.values())


def _waited_for(state: State) -> list[Helper]:
    """Return the helpers that must end before the server's shutdown begins."""
    return [helper for helper in state.helpers.values() if helper.running and not helper.after_server]


def _enter(state: State, step: Step, now: float, why: str) -> Decision:
    """Climb to a step: first end the helpers that need the server, then the server itself."""
    actions: list[Action] = [("say", why)]
    first = state.phase == SERVING
    state = state._replace(phase=STOPPING, step=step)
    if first:
        state = state._replace(progress=now + PROGRESS_EVERY)
        actions += [("end", helper.role) for helper in _waited_for(state)]
        grace = HELPER_GRACE if _waited_for(state) else CHECKPOINT_LEAD
        state = state._replace(deadline=now + grace)
        if step == "smart" and CHECKPOINT in state.helpers:
            helper = state.helpers[CHECKPOINT]._replace(running=True, started=now)
            state = state.with_helper(helper)
            actions.append(("start", CHECKPOINT))
    if not state.asked and _waited_for(state) and step in ("smart", "fast"):
        return state, actions
    return _ask(state, now, actions)


def _ask(state: State, now: float, actions: list[Action]) -> Decision:
    """Send the server the signal of the current step."""
    step = state.step or "fast"
    actions.append(("send", SIGNAL_OF[step]))
    index = LADDER.index(step)
    deadline = now + state.timeouts[index] if index < len(state.timeouts) else None
    hurry = now + state.timeouts[index] / 3 if step == "fast" else None
    return state._replace(asked=True, deadline=deadline, hurry=hurry), actions


def _sweep(state: State, now: float, actions: list[Action]) -> Decision:
    return state._replace(deadline=now + SWEEP_GRACE), [*actions, ("sweep", signal.SIGTERM)]


def _end(state: State, actions: list[Action]) -> Decision:
    return state._replace(phase=ENDED, deadline=None), [*actions, ("exit", state.code)]
