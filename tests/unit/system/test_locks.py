"""Locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrypoint.system import locks


class Impatient(Exception):
    """Raised when a test has waited long enough."""


def test_a_second_holder_waits(tmp_path: Path) -> None:
    """`wait` is called repeatedly, may give up, and leaves no descriptor open."""
    path = str(tmp_path / "lock")
    asked: list[int] = []

    def wait() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Impatient

    with locks.Alone(path, lambda: pytest.fail("nobody holds it")):
        before = os.listdir("/proc/self/fd")
        with pytest.raises(Impatient), locks.Alone(path, wait):
            pytest.fail("somebody else holds it")
        assert before == os.listdir("/proc/self/fd")
    with locks.Alone(path, wait) as descriptor:
        assert not os.get_inheritable(descriptor)
    assert 3 == len(asked)


def test_a_lock_lasts_as_long_as_its_descriptor(tmp_path: Path) -> None:
    """It can be taken once, and again after its holder has released it."""
    one, other = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    assert (True, False) == (locks.take(one), locks.take(other))
    os.close(one)
    assert locks.take(other)
    os.close(other)
