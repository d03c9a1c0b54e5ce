"""Signals as events."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from entrypoint.system.children import Children
from entrypoint.system.signals import HANDLED, STOPS, Signals


def _arrive(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_every_signal_that_matters_is_recorded(children: Children) -> None:
    """Every signal is reported once, in order, and none ends the program."""
    _arrive(*HANDLED)
    assert sorted(HANDLED) == sorted(children.signals.take())
    assert [] == children.signals.take()
    _arrive(signal.SIGTERM)
    _arrive(signal.SIGHUP)
    assert [signal.SIGTERM, signal.SIGHUP] == children.signals.take()


def test_a_pending_signal_is_seen_at_once(children: Children) -> None:
    """A signal that arrived before the wait is not slept through."""
    _arrive(signal.SIGUSR1)
    assert [signal.SIGUSR1] == children.signals.wait(None)


def test_a_signal_ends_the_wait(children: Children) -> None:
    """A signal that arrives during the wait ends it."""
    timer = threading.Timer(0.05, _arrive, (signal.SIGHUP,))
    timer.start()
    assert [signal.SIGHUP] == children.signals.wait(30)
    timer.join()


def test_a_wait_ends_by_itself(children: Children) -> None:
    """Without a signal, the wait ends after its time; if the time is over, there is no wait."""
    assert [] == children.signals.wait(0.01)
    assert [] == children.signals.wait(-1)


def test_output_ends_the_wait(children: Children) -> None:
    """Output of a helper is read."""
    read, write = os.pipe()
    try:
        os.write(write, b"x")
        assert [] == children.signals.wait(None, [read])
    finally:
        os.close(read)
        os.close(write)


def test_blocked_signals_are_let_in(children: Children) -> None:
    """We receive signals that were blocked when we were started; children get the original mask."""
    del children
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    signal.raise_signal(
        signal.SIGTERM
    )  # for this thread; pytest-xdist has other threads, which block nothing
    signals = Signals()
    assert [signal.SIGTERM] == signals.wait(30)
    assert {signal.SIGTERM, signal.SIGUSR2} <= signals.original_mask
    assert set() == signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(HANDLED)


def test_a_handed_over_mask_is_kept(children: Children) -> None:
    """The second half of the program passes on the mask that the first half was started with."""
    del children
    assert {signal.SIGUSR2} == Signals([signal.SIGUSR2]).original_mask


@pytest.mark.parametrize("number", STOPS)
def test_stops_are_handled(number: int) -> None:
    """There is a handler for each stop signal."""
    assert number in HANDLED
