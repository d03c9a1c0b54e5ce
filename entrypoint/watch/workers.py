"""Copies of the watch that do what takes long, one at a time for each purpose."""

from __future__ import annotations

import os
import selectors
import time

from entrypoint import log
from entrypoint.light import NamedTuple, signal
from entrypoint.system import copies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.system.children import Children

_MOST = 32 * 1024**2
"""Bytes of an answer."""


_END = 1.0
"""Seconds between the end of an answer and the end of the copy."""


class Worker(NamedTuple):
    """A running copy."""

    pid: int
    descriptor: int
    answer: bytearray
    take: Callable[[bytes], None]
    deadline: float


class Workers:
    """The running copies, by purpose."""

    def __init__(self, children: Children, selector: selectors.BaseSelector) -> None:
        self._children = children
        self._selector = selector
        self.running: dict[str, Worker] = {}

    def start(
        self, purpose: str, work: Callable[[], bytes], take: Callable[[bytes], None], seconds: float
    ) -> None:
        """Let a copy do the work; `take` gets its answer, which is empty if it failed or took too long."""
        try:
            pid, descriptor = copies.branch(self._children, work)
        except OSError as error:
            log.warning(f"the {purpose} of the watch cannot be made: {error.strerror}")
            take(b"")
            return
        os.set_blocking(descriptor, False)
        worker = Worker(pid, descriptor, bytearray(), take, time.monotonic() + seconds)
        self.running[purpose] = worker
        self._selector.register(descriptor, selectors.EVENT_READ, lambda _: self._read(purpose))

    def _read(self, purpose: str) -> None:
        worker = self.running[purpose]
        try:
            data = os.read(worker.descriptor, 1 << 20)
        except BlockingIOError:
            return
        worker.answer.extend(data)
        if not data or len(worker.answer) > _MOST:
            self._close(purpose)

    def collect(self) -> None:
        """End the copies that take too long, and reap those that have ended."""
        now = time.monotonic()
        for purpose, worker in list(self.running.items()):
            if now > worker.deadline:
                log.warning(f"the {purpose} of the watch took too long and was ended")
                worker.answer.clear()
                self._close(purpose)
        self._children.reap()

    def _close(self, purpose: str) -> None:
        worker = self.running.pop(purpose)
        self._selector.unregister(worker.descriptor)
        os.close(worker.descriptor)
        try:
            code = self._children.wait(worker.pid, seconds=_END if worker.answer else 0, stoppable=False)
        except TimeoutError:
            code = None
        try:
            os.killpg(worker.pid, signal.SIGKILL)  # the copy, or what it has left behind
        except ProcessLookupError:
            pass
        worker.take(bytes(worker.answer) if code == 0 else b"")
