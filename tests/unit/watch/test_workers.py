"""Copies of the watch that do what takes long: they answer, or they are ended."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable

import pytest

from entrypoint.system.children import Children
from entrypoint.watch.workers import Workers


def _answer(children: Children, work: Callable[[], bytes], seconds: float) -> tuple[bytes, int]:
    """Let a copy work, as the loop of the watch does; return its answer and its pid."""
    taken: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        workers = Workers(children, selector)
        workers.start("look", work, taken.append, seconds)
        pid = workers.running["look"].pid
        until = time.monotonic() + 20
        while not taken and time.monotonic() < until:
            for key, _ in selector.select(0.05):
                key.data(None)
            workers.collect()
        assert {} == workers.running
    (answer,) = taken
    return answer, pid


def test_an_answer(children: Children) -> None:
    """It may be longer than a pipe holds."""
    answer, _ = _answer(children, lambda: b"x" * 300_000, 20)
    assert 300_000 == len(answer)


def test_a_copy_that_hangs_is_ended(children: Children, capfd: pytest.CaptureFixture[str]) -> None:
    """Also if it is stopped and cannot end by itself; it has no answer then, and leaves no process."""

    def work() -> bytes:
        os.kill(os.getpid(), signal.SIGSTOP)
        return b"never"

    answer, pid = _answer(children, work, 0.2)
    assert b"" == answer
    assert "the look of the watch took too long and was ended" in capfd.readouterr().err
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        children.reap()
    assert not os.path.exists(f"/proc/{pid}")


def test_a_copy_that_fails(children: Children, capfd: pytest.CaptureFixture[str]) -> None:
    """It has no answer, and says why."""

    def work() -> bytes:
        raise ValueError("a surprise")

    assert b"" == _answer(children, work, 20)[0]
    assert "ValueError: a surprise" in capfd.readouterr().err
