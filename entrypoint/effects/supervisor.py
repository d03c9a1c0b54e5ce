"""PID 1 while the server runs. It holds nothing of the start: the program has replaced itself.

That also is what removes the secrets from /proc/1/environ; changing os.environ does not.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import signal
import sys
import time

from entrypoint import exits, lifecycle, log
from entrypoint.effects.children import Children
from entrypoint.effects.signals import HANDLED, STOPS, Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

HANDOFF = "ENTRYPOINT_HANDOFF"
"""Names the descriptor from which the second half of the program reads what the first one found out."""

_GRACE = 2.0
"""Seconds that whatever is left in the container gets between SIGTERM and the end."""


def hand_over(
    signals: Signals,
    argv: Sequence[str],
    environment: Mapping[str, str],
    timeouts: Sequence[int],
    lock: int,
) -> NoReturn:
    """Replace this process by one that starts the server and does nothing else.

    Signals stay blocked on the way, so that none is lost between the two programs; they are pending
    until the new one has its handlers.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    stops = [number for number in signals.take() if number in STOPS]
    for number in stops:
        os.kill(os.getpid(), number)
    descriptor = os.memfd_create("entrypoint-handoff", 0)
    data = marshal.dumps(
        {
            "argv": list(argv),
            "environment": dict(environment),
            "timeouts": list(timeouts),
            "lock": lock,
            "mask": [int(number) for number in signals.original_mask],
        }
    )
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(lock, True)  # noqa: FBT003 - the name says what is true
    sys.stdout.flush()
    os.execve(sys.executable, sys.orig_argv, {**environment, HANDOFF: str(descriptor)})


def main(descriptor_text: str) -> int:
    """Run the server that the handed over values describe, and return the exit code."""
    try:
        with os.fdopen(int(descriptor_text), "rb") as stream:
            given = marshal.loads(stream.read())  # noqa: S302 - written by our own first half
        signals = Signals(given["mask"])
        fcntl.fcntl(given["lock"], fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    except (OSError, ValueError, EOFError, TypeError, KeyError):
        sys.stderr.write(f"entrypoint: error: {HANDOFF} is not for you to set\n  mend: unset it\n")
        return exits.FAILURE
    environment = given["environment"]
    children = Children(signals)
    pid = children.spawn(given["argv"], environment)
    try:
        return _serve(children, pid, lifecycle.State(given["timeouts"]))
    except BaseException:
        # Whatever is wrong with us, the server must end in an orderly way.
        log.warning("the supervisor failed; stopping the server")
        _last_stop(children, pid)
        raise


def _serve(children: Children, pid: int, state: lifecycle.State) -> int:
    while True:
        code = children.poll(pid)
        if code is not None:
            code, why = lifecycle.on_server_end(state, code)
            if why:
                log.warning(why)
            _sweep(children)
            return code
        left = None if state.deadline is None else state.deadline - time.monotonic()
        for number in children.signals.wait(left):
            if number != signal.SIGCHLD:
                state, send, why = lifecycle.on_signal(state, number, time.monotonic())
                _tell(pid, send, why)
        state, send, why = lifecycle.on_time(state, time.monotonic())
        _tell(pid, send, why)


def _tell(pid: int, number: int, why: str) -> None:
    """Signal the postmaster alone: it knows which of its processes must outlive the sessions."""
    if why:
        log.info(why)
    if number:
        os.kill(pid, number)


def _sweep(children: Children) -> None:
    """End what is left: sessions of `docker exec`, orphans, helpers."""
    if os.getpid() != 1:
        return
    for number, seconds in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, 1.0)):
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            children.reap()
            if not _others():
                return
            children.signals.wait(min(left, 0.05))


def _others() -> bool:
    """Tell whether any process besides PID 1 is left in this container."""
    return any(name.isdigit() and name != "1" for name in os.listdir("/proc"))


def _last_stop(children: Children, pid: int) -> None:
    for number, seconds in ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 5)):
        try:
            os.kill(pid, number)
            children.wait(pid, seconds=seconds, stoppable=False)
        except (ProcessLookupError, TimeoutError):
            continue
        return
