"""The decisions of PID 1 while Patroni starts and stops the server."""

from __future__ import annotations

import signal

import pytest

from entrypoint import exits
from entrypoint.pid1 import guidance, lifecycle
from entrypoint.pid1.guidance import PATRONI
from entrypoint.pid1.lifecycle import ENDED, SERVING, STOPPING, SWEEPING, Helper, State

NOW = 1000.0
TIMES = (5, 60, 10)
BACKUP = Helper("backup", keep=False, due=None, running=True)


def _serving(*, server: bool = True, helpers: tuple[Helper, ...] = ()) -> State:
    state = guidance.begin(lifecycle.begin(TIMES, helpers), NOW)
    return guidance.on_server_start(state, NOW, archives=False) if server else state


def test_a_stop_goes_through_patroni() -> None:
    """SIGTERM and SIGINT end Patroni, which gets the time of a fast shutdown; the server gets no signal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        state, actions = guidance.on_signal(_serving(), number, NOW)
        assert [("say", "SIGINT: fast shutdown"), ("end", PATRONI)] == actions
        assert (STOPPING, NOW + 60) == (state.phase, state.deadline)


def test_patroni_has_stopped_the_server() -> None:
    """The container ends with code 0 once Patroni has ended after the server."""
    state, _ = guidance.on_signal(_serving(), signal.SIGTERM, NOW)
    state, actions = guidance.on_server_end(state, 0, NOW + 1, clean=True)
    assert (STOPPING, []) == (state.phase, actions)
    state, actions = guidance.on_patroni_end(state, 0, NOW + 2, failed=None)
    assert (SWEEPING, [("sweep", signal.SIGTERM)]) == (state.phase, actions)
    state, actions = lifecycle.on_alone(state)
    assert (ENDED, [("exit", 0)]) == (state.phase, actions)


def test_patroni_leaves_the_server() -> None:
    """If Patroni ends without the server, because it is paused or was killed, PID 1 stops the server."""
    state, _ = guidance.on_signal(_serving(), signal.SIGTERM, NOW)
    state, actions = guidance.on_patroni_end(state, 137, NOW + 1, failed=None)
    assert [("send", signal.SIGINT)] == actions
    assert NOW + 61 == state.deadline
    state, _ = guidance.on_server_end(state, 0, NOW + 2, clean=True)
    assert SWEEPING == state.phase


def test_patroni_hangs() -> None:
    """After the time of a fast shutdown, Patroni is killed, and PID 1 climbs its own ladder."""
    state, _ = guidance.on_signal(_serving(), signal.SIGTERM, NOW)
    state, actions = guidance.on_time(state, NOW + 60)
    assert [("kill", PATRONI), ("send", signal.SIGINT)] == actions
    state, actions = guidance.on_time(state, NOW + 120)
    assert [("send", signal.SIGQUIT)] == [each for each in actions if each[0] == "send"]


def test_patroni_hangs_without_a_server() -> None:
    """Then nothing is left to stop."""
    state, _ = guidance.on_signal(_serving(server=False), signal.SIGTERM, NOW)
    state, actions = guidance.on_time(state, NOW + 60)
    assert [] == [each for each in actions if each[0] == "send"]
    assert ("kill", PATRONI) == actions[0]
    state, actions = guidance.on_patroni_end(state, 137, NOW + 60.1, failed=None)
    assert (SWEEPING, [("sweep", signal.SIGTERM)]) == (state.phase, actions)


def test_an_immediate_shutdown_kills_patroni_first() -> None:
    """Patroni would start the server again."""
    _, actions = guidance.on_signal(_serving(), signal.SIGQUIT, NOW)
    assert actions.index(("kill", PATRONI)) < actions.index(("send", signal.SIGQUIT))
    state, _ = guidance.on_signal(_serving(), signal.SIGTERM, NOW)
    _, actions = guidance.on_signal(state, signal.SIGTERM, NOW + 1)
    assert actions.index(("kill", PATRONI)) < actions.index(("send", signal.SIGQUIT))


def test_the_server_ends_while_patroni_runs() -> None:
    """A restart, a demotion or a crash is Patroni's business: the container stays."""
    state, actions = guidance.on_server_end(_serving(), 1, NOW, clean=False)
    assert (SERVING, False, []) == (state.phase, state.server, actions)


@pytest.mark.parametrize("code", [0, 1, 137])
def test_patroni_is_started_again_at_once(code: int) -> None:
    """The leader's lock lasts for its ttl only, so the first restart has no pause; the server runs on."""
    state, actions = guidance.on_patroni_end(_serving(), code, NOW + 1, failed=None)
    assert ["say"] == [each[0] for each in actions]
    assert (SERVING, True) == (state.phase, state.server)
    state, actions = guidance.on_time(state, NOW + 1)
    assert [("start", PATRONI)] == actions


def test_pauses_stay_short() -> None:
    """A Patroni that keeps ending is started again every few seconds, as long as there is a server."""
    state, now, pauses = _serving(), NOW, []
    for _ in range(9):
        state, _ = guidance.on_patroni_end(state, 1, now, failed=None)
        due = state.helpers[PATRONI].due
        assert due is not None
        pauses.append(due - now)
        now = due
        state, _ = guidance.on_time(state, now)
    assert [0, 2, 4, 4, 4, 4, 4, 4, 4] == pauses


def test_without_a_server_patroni_is_given_up() -> None:
    """The container ends with Patroni's code, so that its manager sees that something is wrong."""
    state, now = _serving(server=False), NOW
    for _ in range(4):
        state, _ = guidance.on_patroni_end(state, 3, now, failed=None)
        now += 5
        state, _ = guidance.on_time(state, now)
    state, actions = guidance.on_patroni_end(state, 3, now, failed=None)
    assert (SWEEPING, 3) == (state.phase, state.code)
    assert "there is no server: the container ends" in str(actions[0][1])


def test_a_patroni_that_ran_for_long_begins_to_count_again() -> None:
    """Five ends in a year are no reason to give up."""
    state, now = _serving(server=False), NOW
    for _ in range(9):
        now += lifecycle.STEADY
        state, _ = guidance.on_patroni_end(state, 3, now, failed=None)
        state, _ = guidance.on_time(state, now)
    assert (SERVING, 1) == (state.phase, state.helpers[PATRONI].failures)


@pytest.mark.parametrize(("failed", "code"), [(exits.UNFINISHED_FIRST_START, 10), (3, 3)])
def test_a_failed_first_start_ends_the_container(failed: int, code: int) -> None:
    """Another Patroni would serve what it has left. The container ends with the code of the first start."""
    state, actions = guidance.on_patroni_end(_serving(server=False), 1, NOW, failed=failed)
    assert (SWEEPING, code) == (state.phase, state.code)
    assert [] == [each for each in actions if each[0] in ("start", "send")]


def test_a_failed_first_start_that_left_a_server() -> None:
    """A temporary server that lost its first start is stopped before the container ends."""
    state, actions = guidance.on_patroni_end(_serving(), 137, NOW, failed=1)
    assert ("send", signal.SIGINT) in actions
    state, _ = guidance.on_server_end(state, 0, NOW + 1, clean=True)
    assert (SWEEPING, 1) == (state.phase, state.code)


def test_other_helpers_are_waited_for() -> None:
    """The server is only stopped once both Patroni and a backup have ended, in any order."""
    for first, last in (("backup", PATRONI), (PATRONI, "backup")):
        state, _ = guidance.on_signal(_serving(helpers=(BACKUP,)), signal.SIGTERM, NOW)
        for role in (first, last):
            assert not state.asked
            if role == PATRONI:
                state, actions = guidance.on_patroni_end(state, 137, NOW + 1, failed=None)
            else:
                state, actions = guidance.on_helper_end(state, role, 0, NOW + 1)
        assert [("send", signal.SIGINT)] == actions


def test_a_server_that_archives_is_woken_up() -> None:
    """Only once Patroni has started it: until then there is no checkpointer."""
    state = guidance.begin(lifecycle.begin(TIMES, archives=True), NOW)
    assert state.nudge is None
    assert NOW + 5 == guidance.on_server_start(state, NOW + 5, archives=True).nudge


def test_another_node_has_taken_over() -> None:
    """Patroni has not noticed, so it is killed, and the server is stopped at once."""
    look = Helper(lifecycle.LOOK, due=None, running=True)
    state, actions = guidance.on_helper_end(_serving(helpers=(look,)), lifecycle.LOOK, exits.SUPERSEDED, NOW)
    assert ("kill", PATRONI) in actions
    state, actions = guidance.on_patroni_end(state, 137, NOW, failed=None)
    assert [("send", signal.SIGINT)] == actions
    assert exits.SUPERSEDED == state.code
