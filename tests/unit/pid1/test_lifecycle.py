"""The decisions of PID 1 while the server runs."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrypoint import exits
from entrypoint.pid1.lifecycle import (
    BACKOFF_MAX,
    CHECKPOINT,
    CHECKPOINT_LEAD,
    ENDED,
    FULL_DISK,
    HELPER_GRACE,
    LADDER,
    LOOK,
    RELOAD,
    SERVING,
    SIGNAL_OF,
    STARTDB,
    STEADY,
    STEP_OF,
    STOPPING,
    SWEEP_GRACE,
    SWEEPING,
    Helper,
    State,
    begin,
    on_alone,
    on_helper_end,
    on_level,
    on_nudged,
    on_server_end,
    on_signal,
    on_time,
    wake_at,
)
from entrypoint.system.signals import HANDLED
from entrypoint.volume import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.pid1.lifecycle import Step

TIMES = (5, 60, 10)
NOW = 1000.0
BACKUP, DAEMON = Helper("backup", keep=False), Helper("daemon", after_server=True)
CHECKPOINTER = Helper(CHECKPOINT, keep=False)


def _of(actions: Sequence[tuple[str, object]], kind: str) -> list[Any]:
    """Return the values of the actions of one kind."""
    return [value for name, value in actions if name == kind]


def _at(step: str | None, helpers: tuple[Helper, ...] = ()) -> State:
    """Return the state of a server that was asked to stop at NOW, at this step."""
    state = on_time(begin(TIMES, helpers), NOW)[0]
    if step == "kill":
        return on_signal(_at("immediate", helpers), signal.SIGTERM, NOW)[0]
    if step is not None:
        number = next(number for number, name in STEP_OF.items() if name == step)
        state, _ = on_signal(state, number, NOW)
    return state


@pytest.mark.parametrize(
    ("number", "step", "seconds"),
    [(signal.SIGTERM, "smart", 5), (signal.SIGINT, "fast", 60), (signal.SIGQUIT, "immediate", 10)],
)
def test_the_first_request(number: int, step: str, seconds: float) -> None:
    """Each stop signal means one of PostgreSQL's shutdown modes, and starts the time of that mode."""
    state, actions = on_signal(begin(TIMES), number, NOW)
    assert (STOPPING, step, NOW + seconds) == (state.phase, state.step, state.deadline)
    assert [number] == _of(actions, "send")
    assert [f"{signal.Signals(number).name}: {step} shutdown"] == _of(actions, "say")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("smart", "SIGTERM", "fast"),
        ("smart", "SIGINT", "fast"),
        ("smart", "SIGQUIT", "immediate"),
        ("fast", "SIGTERM", "immediate"),
        ("fast", "SIGINT", "immediate"),
        ("fast", "SIGQUIT", "immediate"),
        ("immediate", "SIGTERM", "kill"),
        ("immediate", "SIGINT", "kill"),
        ("immediate", "SIGQUIT", "kill"),
        ("kill", "SIGTERM", "kill"),
    ],
)
def test_a_second_request_climbs(first: str, second: str, expected: Step) -> None:
    """It climbs by at least one step, and never goes back."""
    state, actions = on_signal(_at(first), signal.Signals[second], NOW + 1)
    assert (expected, [SIGNAL_OF[expected]]) == (state.step, _of(actions, "send"))


def test_a_step_that_takes_too_long_is_followed_by_the_next_one() -> None:
    """smart, fast, immediate, kill: each step has its own time, and after kill there is nothing left to do."""
    state = _at("smart")
    seen = []
    for now in (NOW + 4.9, NOW + 5, NOW + 64.9, NOW + 65, NOW + 74.9, NOW + 75, NOW + 10_000):
        state, actions = on_time(state, now)
        seen.append((_of(actions, "send"), state.step, state.deadline))
    expected = [
        ([], "smart", NOW + 5),
        ([signal.SIGINT], "fast", NOW + 65),
        ([], "fast", NOW + 65),
        ([signal.SIGQUIT], "immediate", NOW + 75),
        ([], "immediate", NOW + 75),
        ([signal.SIGKILL], "kill", None),
        ([], "kill", None),
    ]
    assert expected == seen


def test_the_log_names_the_step_that_took_too_long() -> None:
    """It says which shutdown did not end within its time."""
    actions = on_time(_at("smart"), NOW + 5)[1]
    assert ["the smart shutdown did not end within its time: fast shutdown"] == _of(actions, "say")


def test_a_smart_shutdown_begins_with_a_checkpoint() -> None:
    """Pages written while sessions still work need not be written by the shutdown, which has little time."""
    started = {}
    for number, step in STEP_OF.items():
        _, actions = on_signal(_at(None, (CHECKPOINTER,)), number, NOW)
        started[step] = (_of(actions, "start"), _of(actions, "send"))
    expected = {
        "smart": ([CHECKPOINT], []),
        "fast": ([], [signal.SIGINT]),
        "immediate": ([], [signal.SIGQUIT]),
    }
    assert expected == started


def test_the_checkpoint_does_not_delay_a_smart_shutdown() -> None:
    """It gets time to connect; the server gets its signal when it has ended or takes longer."""
    state = _at("smart", (CHECKPOINTER,))
    assert NOW + CHECKPOINT_LEAD == wake_at(state)
    assert [signal.SIGTERM] == _of(on_helper_end(state, CHECKPOINT, 0, NOW + 0.1)[1], "send")
    _, actions = on_time(state, NOW + CHECKPOINT_LEAD)
    assert ([signal.SIGTERM], []) == (_of(actions, "send"), _of(actions, "kill"))


def test_nothing_is_due_while_the_server_runs() -> None:
    """Without a request and without helpers, time changes nothing, and nobody has to wake up."""
    state = begin(TIMES)
    assert (state, []) == on_time(state, NOW)
    assert wake_at(state) is None


def test_a_reload_is_passed_on_while_the_server_serves() -> None:
    """SIGHUP goes to the server; a server that is stopping has nothing to reload."""
    state = begin(TIMES)
    assert (state, [("send", signal.SIGHUP)]) == on_signal(state, signal.SIGHUP, NOW)
    assert [] == on_signal(_at("fast"), signal.SIGHUP, NOW)[1]


def test_a_reload_is_checked_first() -> None:
    """If settings are rendered, a helper checks them; a SIGHUP that comes meanwhile is handled after it."""
    state = begin(TIMES, [Helper(RELOAD, keep=False)])
    assert wake_at(state) is None
    state, actions = on_signal(state, signal.SIGHUP, NOW)
    assert [] == actions
    state, actions = on_time(state, NOW)
    assert [("start", RELOAD)] == actions
    assert wake_at(state) is None
    again, _ = on_signal(state, signal.SIGHUP, NOW + 1)
    assert [] == on_time(again, NOW + 1)[1]
    for code in (0, 1):
        assert wake_at(on_helper_end(state, RELOAD, code, NOW + 2)[0]) is None
        ended, actions = on_helper_end(again, RELOAD, code, NOW + 2)
        assert [] == actions
        assert [("start", RELOAD)] == on_time(ended, NOW + 2)[1]
    assert [] == on_signal(_at("fast"), signal.SIGHUP, NOW)[1]


def test_the_checkpointer_is_woken_until_it_knows() -> None:
    """With an archive: at once, then after growing pauses, and never again after the first success."""
    assert wake_at(begin(TIMES)) is None
    state, now, times = begin(TIMES, archives=True), NOW, []
    while state.nudge is not None:
        state, actions = on_time(state, now)
        assert [("nudge", None)] == actions
        times.append(now - NOW)
        now = wake_at(state) or now
    assert [0, 1, 3, 7, 15, 31, 63, 127, 255, 511] == times
    assert wake_at(on_nudged(begin(TIMES, archives=True))) is None


def test_a_helper_can_request_its_next_start() -> None:
    """If it ends with code 0 and requests a pause, nothing is logged, no failure is counted, and the clock decides."""
    state, _ = on_time(begin(TIMES, [Helper("backups")._replace(failures=3)]), NOW)
    done, actions = on_helper_end(state, "backups", 0, NOW + 5, 600.0)
    assert ([], 0, NOW + 605) == (actions, done.helpers["backups"].failures, wake_at(done))
    failed, actions = on_helper_end(state, "backups", 1, NOW + 5, 600.0)
    assert (4, ["say"]) == (failed.helpers["backups"].failures, [name for name, _ in actions])
    assert NOW + 605 > (wake_at(failed) or 0)


def test_a_fast_shutdown_does_not_wait_for_the_archiver_forever() -> None:
    """After a third of its time, every look asks the archiver's current call to end."""
    state, _ = on_signal(begin(TIMES), signal.SIGINT, NOW)
    third = TIMES[1] / 3
    seen = []
    while (now := state.progress) is not None and now < NOW + TIMES[1]:
        state, actions = on_time(state, now)
        seen.append((now - NOW >= third, "hurry" in [name for name, _ in actions]))
    assert {(False, False), (True, True)} == set(seen)


@pytest.mark.parametrize("step", [None, "fast"])
def test_cont_is_passed_on(step: str | None) -> None:
    """SIGCONT goes to the server in every phase, because a suspended server cannot even stop."""
    assert [("send", signal.SIGCONT)] == on_signal(_at(step), signal.SIGCONT, NOW)[1]


@pytest.mark.parametrize("step", [None, "fast"])
def test_usr1_asks_for_a_report(step: str | None) -> None:
    """SIGUSR1 requests a line about the state and changes nothing."""
    state = _at(step)
    assert (state, [("report", None)]) == on_signal(state, signal.SIGUSR1, NOW)


@pytest.mark.parametrize("number", [signal.SIGCHLD, signal.SIGUSR2, 35, 63])
def test_other_signals_do_nothing(number: int) -> None:
    """Signals that are not for the server are not passed on: SIGUSR2 has a meaning inside PostgreSQL."""
    state = begin(TIMES)
    assert (state, []) == on_signal(state, number, NOW)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 137, 255])
@pytest.mark.parametrize("step", LADDER)
def test_the_end_after_a_request(step: str, code: int) -> None:
    """After a request to stop, the server's exit code is the container's."""
    state, actions = on_server_end(_at(step), code, NOW, clean=True)
    assert (SWEEPING, code) == (state.phase, state.code)
    assert [signal.SIGTERM] == _of(actions, "sweep")
    state, actions = on_alone(state)
    assert (ENDED, [code]) == (state.phase, _of(actions, "exit"))


@pytest.mark.parametrize(("clean", "code"), [(True, 0), (False, exits.FAILURE)])
def test_an_end_without_a_request(*, clean: bool, code: int) -> None:
    """A shutdown is somebody else's request; any other end with 0 is an error for a restart policy."""
    state, actions = on_server_end(begin(TIMES), 0, NOW, clean=clean)
    assert (code, 1) == (state.code, len(_of(actions, "say")))


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_crash(code: int) -> None:
    """The code of a crash is passed on."""
    assert code == on_server_end(begin(TIMES), code, NOW, clean=True)[0].code


def test_leftover_processes_are_killed() -> None:
    """Processes left after the server get a little time, then the container ends."""
    state, _ = on_server_end(_at("fast"), 0, NOW, clean=True)
    assert [] == on_time(state, NOW + SWEEP_GRACE - 0.1)[1]
    state, actions = on_time(state, NOW + SWEEP_GRACE)
    assert [("sweep", signal.SIGKILL), ("exit", 0)] == actions
    assert ENDED == state.phase


def test_a_running_server_is_never_abandoned() -> None:
    """That no other process is left means the end only after the server has ended."""
    state = _at("fast")
    assert (state, []) == on_alone(state)


def test_helpers_start_with_the_server() -> None:
    """A helper is due at once, and starts once."""
    state, actions = on_time(begin(TIMES, [Helper("daemon")]), NOW)
    assert ["daemon"] == _of(actions, "start")
    assert [] == on_time(state, NOW)[1]
    assert wake_at(state) is None


def test_a_failing_helper_is_started_again_after_growing_pauses() -> None:
    """1, 2, 4 … seconds, up to a minute; the server does not notice, however often the helper fails."""
    state = begin(TIMES, [Helper("daemon")])
    now, pauses = NOW, []
    for _ in range(2000):
        state, _ = on_time(state, now)
        state, actions = on_helper_end(state, "daemon", 1, now)
        assert ["say"] == [name for name, _ in actions]
        due = wake_at(state)
        assert due is not None
        pauses.append(due - now)
        now = due
    assert [1, 2, 4, 8, 16, 32] == pauses[:6]
    assert {BACKOFF_MAX} == set(pauses[6:])
    assert SERVING == state.phase


def test_a_helper_that_ran_well_is_started_again_soon() -> None:
    """After a minute without a failure, the pause is the shortest again."""
    state = begin(TIMES, [Helper("daemon")])
    for now, ran in ((NOW, 0.0), (NOW + 100, 0.0), (NOW + 200, STEADY)):
        state, _ = on_time(state, now)
        state, _ = on_helper_end(state, "daemon", 1, now + ran)
    assert (1, NOW + 200 + STEADY + 1) == (state.helpers["daemon"].failures, wake_at(state))


def test_a_helper_that_runs_well_no_longer_counts_as_failing() -> None:
    """Doctor must not report for ever that it kept ending once."""
    state, _ = on_time(begin(TIMES, [Helper("daemon")]), NOW)
    state, _ = on_helper_end(state, "daemon", 1, NOW + 1)
    state, _ = on_time(state, NOW + 2)
    assert NOW + 2 + STEADY == wake_at(state)
    assert 1 == on_time(state, NOW + 1 + STEADY)[0].helpers["daemon"].failures
    state, actions = on_time(state, NOW + 2 + STEADY)
    assert (0, [], None) == (state.helpers["daemon"].failures, actions, wake_at(state))


def test_a_helper_that_is_not_kept_stays_away() -> None:
    """It is not started again after its end."""
    state, _ = on_time(begin(TIMES, [Helper("backup", keep=False)]), NOW)
    state, actions = on_helper_end(state, "backup", 0, NOW)
    assert ([], []) == (actions, on_time(state, NOW + 1000)[1])


STARTER = Helper(STARTDB, keep=False)


def test_a_failed_startdb_ends_the_container_with_its_code() -> None:
    """The server is stopped in fast mode; the exit code is the helper's, not the server's 0."""
    state, _ = on_time(begin(TIMES, [STARTER]), NOW)
    state, actions = on_helper_end(state, STARTDB, 3, NOW)
    assert ["startdb failed with code 3: fast shutdown"] == _of(actions, "say")
    assert [signal.SIGINT] == _of(actions, "send")
    state, _ = on_server_end(state, 0, NOW, clean=True)
    assert 3 == state.code


def test_a_successful_startdb_changes_nothing() -> None:
    """It has done its work for good, and the server keeps running."""
    state, _ = on_time(begin(TIMES, [STARTER]), NOW)
    state, actions = on_helper_end(state, STARTDB, 0, NOW)
    assert ([], SERVING, None) == (actions, state.phase, wake_at(state))


def test_a_stopped_startdb_is_no_failure() -> None:
    """A stop request ends the helper; the container ends with the server's code."""
    state, actions = on_signal(_at(None, (STARTER,)), signal.SIGINT, NOW)
    assert ([STARTDB], []) == (_of(actions, "end"), _of(actions, "send"))
    state, actions = on_helper_end(state, STARTDB, 143, NOW)
    assert [signal.SIGINT] == _of(actions, "send")
    assert 0 == on_server_end(state, 0, NOW, clean=True)[0].code


def test_a_server_that_another_one_has_superseded() -> None:
    """It is stopped in fast mode with the code for that. Any other end of the look changes nothing, and the look stays."""
    state, _ = on_time(begin(TIMES, [Helper(LOOK)]), NOW)
    seen, actions = on_helper_end(state, LOOK, exits.SUPERSEDED, NOW)
    assert ["another server has taken over: fast shutdown"] == _of(actions, "say")
    assert [signal.SIGINT] == _of(actions, "send")
    assert exits.SUPERSEDED == on_server_end(seen, 0, NOW, clean=True)[0].code
    for code in (1, 12, 126, 137):
        failed, actions = on_helper_end(state, LOOK, code, NOW)
        assert (SERVING, [], True) == (failed.phase, _of(actions, "send"), wake_at(failed) is not None)
    other, actions = on_helper_end(_at(None, (Helper("backups"),)), "backups", exits.SUPERSEDED, NOW)
    assert (SERVING, []) == (other.phase, _of(actions, "send"))


def test_the_first_look_comes_later_or_on_request() -> None:
    """It is due some time after the start; SIGUSR1 brings the next one forward."""
    state = begin(TIMES, [Helper(LOOK, due=NOW + 10)])
    assert (NOW + 10, []) == (wake_at(state), on_time(state, NOW)[1])
    state, actions = on_signal(state, signal.SIGUSR1, NOW)
    assert ([("report", None)], [LOOK]) == (actions, _of(on_time(state, NOW)[1], "start"))


def test_a_stop_first_ends_the_helpers_that_need_the_server() -> None:
    """The backup ends before the server; the daemon that archives the last segments ends after it."""
    state, actions = on_signal(_at(None, (BACKUP, DAEMON)), signal.SIGTERM, NOW)
    assert (["backup"], []) == (_of(actions, "end"), _of(actions, "send"))
    assert NOW + HELPER_GRACE == state.deadline
    state, actions = on_helper_end(state, "backup", 143, NOW + 1)
    assert [signal.SIGTERM] == _of(actions, "send")
    assert NOW + 1 + 5 == state.deadline
    state, actions = on_server_end(state, 0, NOW + 2, clean=True)
    assert (["daemon"], []) == (_of(actions, "end"), _of(actions, "sweep"))
    state, actions = on_helper_end(state, "daemon", 0, NOW + 3)
    assert [signal.SIGTERM] == _of(actions, "sweep")


def test_a_helper_that_ignores_signals_is_killed() -> None:
    """A helper can prevent neither the server's stop nor the container's end."""
    state = _at("fast", (BACKUP, DAEMON))
    state, actions = on_time(state, NOW + HELPER_GRACE)
    assert (["backup"], [signal.SIGINT]) == (_of(actions, "kill"), _of(actions, "send"))
    state, _ = on_helper_end(state, "backup", 137, NOW + HELPER_GRACE)
    state, _ = on_server_end(state, 0, NOW + 20, clean=True)
    state, actions = on_time(state, NOW + 20 + HELPER_GRACE)
    assert ["daemon"] == _of(actions, "kill")


@pytest.mark.parametrize(
    ("first", "second", "sent"),
    [
        ("smart", signal.SIGTERM, []),
        ("smart", signal.SIGQUIT, [signal.SIGQUIT]),
        ("fast", signal.SIGINT, [signal.SIGQUIT]),
    ],
)
def test_an_immediate_shutdown_does_not_wait(first: str, second: int, sent: list[int]) -> None:
    """Smart and fast shutdowns wait for helpers a little; an immediate one does not."""
    assert sent == _of(on_signal(_at(first, (BACKUP,)), second, NOW + 1)[1], "send")


SECONDS = st.floats(0, 1000, allow_nan=False)
EVENTS = st.lists(
    st.sampled_from([int(number) for number in HANDLED])
    | SECONDS
    | st.sampled_from(["server ends", "alone", "next"])
    | st.sampled_from(["backup", "daemon", "other", CHECKPOINT]).map(lambda role: f"{role} ends"),
    max_size=40,
)
TIMEOUTS = st.tuples(SECONDS, SECONDS, SECONDS)


class Run:
    """A container that follows the decisions, and checks that they obey the rules."""

    def __init__(self, times: tuple[float, float, float]) -> None:
        self.state = begin(times, [BACKUP, DAEMON, Helper("other"), CHECKPOINTER])
        self.now = NOW
        self.running: set[str] = set()
        self.server = True
        self.sent: list[str] = []
        self.exits: list[int] = []
        self._follow(on_time(self.state, self.now))

    def happen(self, event: float | str) -> None:
        """Let one thing happen, if it is possible."""
        state = self.state
        if self.exits:
            return
        if event == "next":
            due = wake_at(state)
            self.now = self.now if due is None else max(self.now, due)
            self._follow(on_time(state, self.now))
        elif event == "alone":
            if not self.server and not self.running:
                self._follow(on_alone(state))
        elif event == "server ends":
            if self.server:
                self.server = False
                self._follow(on_server_end(state, 0, self.now, clean=True))
        elif isinstance(event, str):
            role = event.removesuffix(" ends")
            if role in self.running:
                self.running.discard(role)
                self._follow(on_helper_end(state, role, 1, self.now))
        elif isinstance(event, float):
            self.now += event
            self._follow(on_time(state, self.now))
        else:
            self._follow(on_signal(state, event, self.now))

    def _follow(self, decision: tuple[State, Sequence[tuple[str, Any]]]) -> None:
        before, (state, actions) = self.state, decision
        self.state = state
        waited_for = {"backup", "other"} & self.running
        for name, value in actions:
            if name == "start":
                assert state.phase == (STOPPING if value == CHECKPOINT else SERVING)
                assert value not in self.running
                self.running.add(value)
            elif name in ("end", "kill"):
                assert before.phase != SERVING or state.phase != SERVING
                assert value in self.running
                assert value != "daemon" or not self.server
                if name == "kill":
                    waited_for.discard(value)
            elif name == "send" and value not in (signal.SIGHUP, signal.SIGCONT):
                assert self.server
                self.sent.append(next(step for step, number in SIGNAL_OF.items() if number == value))
                if self.sent[-1] in ("smart", "fast") and len(self.sent) == 1:
                    assert not waited_for
            elif name == "exit":
                self.exits.append(value)
        self._look(before, state)

    def _look(self, before: State, state: State) -> None:
        phases = [SERVING, STOPPING, SWEEPING, ENDED]
        assert phases.index(before.phase) <= phases.index(state.phase)
        assert _firmness(before.step) <= _firmness(state.step)
        assert [_firmness(step) for step in self.sent] == sorted(_firmness(step) for step in self.sent)
        if (state.phase == STOPPING and state.step != "kill") or state.phase == SWEEPING:
            assert state.deadline is not None
        if state.phase == STOPPING and state.asked:
            assert state.step == self.sent[-1]
        assert (state.phase == ENDED) == (len(self.exits) == 1)


def _firmness(step: str | None) -> int:
    return -1 if step is None else LADDER.index(step)


@given(times=TIMEOUTS, events=EVENTS)
@example(times=(0.0, 0.0, 0.0), events=[int(signal.SIGTERM), 0.0, 0.0, 0.0, 0.0, 0.0])
def test_any_sequence_of_events(times: tuple[float, float, float], events: list[float | str]) -> None:
    """Signals, time and ends in any order: steps only climb, and there is always a deadline until kill.

    An event is a signal, a number of seconds, an end, or the next time that something is due.
    """
    run = Run(times)
    for event in events:
        run.happen(event)


@given(times=TIMEOUTS, events=EVENTS, number=st.sampled_from(sorted(STEP_OF)))
def test_every_stop_ends(times: tuple[float, float, float], events: list[float | str], number: int) -> None:
    """After any beginning, one request leads to SIGKILL within the sum of the times, without a second request."""
    run = Run(times)
    for event in events:
        if event != "server ends":
            run.happen(event)
    if run.state.phase == SERVING:
        run.happen(int(number))
    began = run.now
    while run.state.step != "kill":
        before = run.now
        run.happen("next")
        assert wake_at(run.state) is not None or LADDER[-1] == run.state.step
        assert run.now - began <= sum(times) + HELPER_GRACE + 1e-6
        assert run.now > before or before <= began + sum(times) + HELPER_GRACE + 1e-6
    assert "kill" == run.sent[-1]


@given(times=TIMEOUTS, events=EVENTS)
def test_after_the_server_the_container_ends(
    times: tuple[float, float, float], events: list[float | str]
) -> None:
    """Once the server has ended, the container ends within the grace periods, even if no helper obeys."""
    run = Run(times)
    for event in events:
        run.happen(event)
    run.happen("server ends")
    began = run.now
    for _ in range(4):
        run.happen("next")
    assert 1 == len(run.exits)
    assert run.now - began <= HELPER_GRACE + SWEEP_GRACE + 1e-6


@given(times=TIMEOUTS, events=EVENTS)
def test_nobody_is_woken_without_a_reason(
    times: tuple[float, float, float], events: list[float | str]
) -> None:
    """Doing what is due moves the next time into the future, within a few steps."""
    run = Run(times)
    for event in events:
        run.happen(event)
    for _ in range(10):
        due = wake_at(run.state)
        if due is None or due > run.now:
            return
        run.happen(0.0)
    assert run.exits


def test_states_are_never_changed() -> None:
    """A decision returns a new state; the old one stays unchanged."""
    state = begin(TIMES, [DAEMON])
    on_signal(on_time(state, NOW)[0], signal.SIGINT, NOW)
    assert (SERVING, None, None, False) == (
        state.phase,
        state.step,
        state.deadline,
        state.helpers["daemon"].running,
    )


def test_a_disk_that_fills_up() -> None:
    """The server reloads at each level; the helper runs until the level is normal, and is then not started again."""
    state = begin(TIMES, [Helper(FULL_DISK, due=None)])
    state, actions = on_level(state, room.TIGHT, NOW, 17)
    assert [("send", signal.SIGHUP)] == actions
    assert (room.TIGHT, 17) == (state.level, state.level_since)
    state, actions = on_time(state, NOW)
    assert [("start", FULL_DISK)] == actions
    state, actions = on_level(state, room.FULL, NOW + 1, 18)
    assert [("send", signal.SIGHUP)] == actions
    state, actions = on_helper_end(state, FULL_DISK, 1, NOW + 2)
    assert ["full-disk ended with code 1; starting it again in 1 s"] == _of(actions, "say")
    state, actions = on_time(state, NOW + 3)
    assert [("start", FULL_DISK)] == actions
    state, actions = on_helper_end(state, FULL_DISK, 0, NOW + 3)
    assert [] == actions
    state, actions = on_time(state, NOW + 3)
    assert [("start", FULL_DISK)] == actions
    state, actions = on_level(state, room.NORMAL, NOW + 4, 19)
    assert [("send", signal.SIGHUP)] == actions
    state, actions = on_helper_end(state, FULL_DISK, 0, NOW + 9)
    assert [] == actions
    assert [] == on_time(state, NOW + 99)[1]


def test_a_disk_that_fills_up_during_a_stop() -> None:
    """A server that is stopping gets no other signal."""
    state, actions = on_level(_at("smart"), room.FULL, NOW, 17)
    assert (room.FULL, []) == (state.level, actions)
