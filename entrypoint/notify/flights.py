"""One running sender: started, listened to without waiting, and ended if it takes too long."""

from __future__ import annotations

import json
import os
import time

from entrypoint.light import NamedTuple, signal
from entrypoint.server.context import OUR_PROGRAM
from entrypoint.settings.watching import NETWORK
from entrypoint.system.children import memory_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from entrypoint.server.context import Context
    from entrypoint.system.children import Children

SECONDS = 60.0
"""After this time a sender is ended: the target does not answer."""
_MOST = 64 * 1024


class Result(NamedTuple):
    """What became of a message, or of a ping, which is number 0."""

    number: int
    words: str
    """Why it was not taken; empty: it was."""


class Flight:
    """A sender that runs."""

    def __init__(self, context: Context, task: Mapping[str, Any]) -> None:
        self._children: Children = context.children
        self._rest = b""
        self._left = [each["number"] for each in task.get("messages", ({"number": 0},))]
        self._deadline = time.monotonic() + SECONDS
        self._is_late = False
        given = memory_file(json.dumps(task))
        self._read, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        try:
            self._pid = self._children.spawn(
                [OUR_PROGRAM, "internal", "notify"],
                environment(context),
                descriptors={0: given, 1: writing},
            )
        except BaseException:
            os.close(self._read)
            raise
        finally:
            os.close(given)
            os.close(writing)

    def poll(self) -> tuple[list[Result], bool]:
        """Return the new results, and whether the sender has ended; then each message has a result."""
        code = self._children.poll(self._pid)
        found = self._results()
        if code is None:
            if time.monotonic() > self._deadline and not self._is_late:
                self._is_late = True
                self._kill()
            return found, False
        self._kill()  # what it left behind
        os.close(self._read)
        words = f"no answer within {SECONDS:.0f} s" if self._is_late else f"the sender ended with {code}"
        return [*found, *(Result(number, words) for number in self._left)], True

    def end(self) -> list[Result]:
        """End the sender; return its last results."""
        found = self._results()
        self._kill()
        try:
            self._children.wait(self._pid, seconds=1, stoppable=False)
        except TimeoutError:
            pass
        found += self._results()
        os.close(self._read)
        return found

    def _results(self) -> list[Result]:
        try:
            while data := os.read(self._read, _MOST):
                self._rest += data
        except BlockingIOError:
            pass
        *lines, self._rest = self._rest[-_MOST:].split(b"\n")
        found = []
        for line in lines:
            try:
                row = json.loads(line)
                result = Result(int(row["number"]), str(row["words"]))
            except (ValueError, LookupError, TypeError):
                continue  # a library has printed something
            if result.number in self._left:
                self._left.remove(result.number)
                found.append(result)
        return found

    def _kill(self) -> None:
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def environment(context: Context) -> dict[str, str]:
    """Return the environment of a sender: how to reach the network, and no secret of the archive."""
    known = {**context.settings.values, **os.environ}
    made = {name: value for name, value in known.items() if name.lower() in NETWORK and value}
    return made | {"PATH": os.defpath, "LC_ALL": "C", "HOME": context.runtime_folder}
