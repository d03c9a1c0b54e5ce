"""Fixtures that the unit tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import hypothesis
import pytest

from entrypoint.system.children import Children
from entrypoint.system.signals import HANDLED, Signals

# No time limit for one example, because other tests keep the machine busy, and no database between runs.
hypothesis.settings.register_profile("unit", deadline=None, database=None)
hypothesis.settings.load_profile("unit")


@pytest.fixture
def children() -> Iterator[Children]:
    """Children of this process, with its signals as events; afterwards the signals are as before."""
    handlers = {number: signal.getsignal(number) for number in HANDLED}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    descriptor = signal.set_wakeup_fd(-1)
    made = Children(Signals())
    yield made
    signal.set_wakeup_fd(descriptor)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
