"""What the first half of PID 1 hands on to the second one, and the step from one to the other.

The program replaces itself. That also is what removes the secrets from /proc/1/environ for good; changing
os.environ does not.
"""

from __future__ import annotations

import marshal
import os
import sys
import time

from entrypoint import log
from entrypoint.light import NamedTuple, signal
from entrypoint.system.children import Children, unnamed_file
from entrypoint.system.signals import HANDLED, STOPS, Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

HANDOFF = "ENTRYPOINT_HANDOFF"
"""Names the descriptor from which the second half of the program reads what the first one found out."""


class HelperSpec(NamedTuple):
    """An auxiliary process that PID 1 keeps beside the server."""

    role: str
    argv: list[str]
    environment: dict[str, str]
    after_server: bool = False
    """It is stopped after the server, because the server needs it to the last."""
    keep: bool = False
    """It is started again when it ends."""
    delay: float = 0.0
    """Seconds after the server's start until it is started first."""
    stdin: int | None = None
    """A descriptor with secrets, for a process that gets them and writes to our own streams."""


class ServerSpec(NamedTuple):
    """The server that PID 1 is to keep up, as the start has found it out."""

    argv: list[str]
    environment: dict[str, str]
    timeouts: list[float]
    """Seconds for a smart, a fast and an immediate shutdown."""
    helpers: list[HelperSpec]
    runtime_folder: str
    data_folder: str
    cluster: str
    """The system identifier of what is in the data folder; empty: it is not known."""
    archive_status: str
    """The folder of what waits to be archived; empty: nothing is archived."""
    debug: bool = False


class Handoff(NamedTuple):
    """The server, and the state of this process that goes with it."""

    server: ServerSpec
    pid: int
    """The server's."""
    since: float
    """When it was started, in seconds since 1970."""
    mask: list[int]
    """The signals that were blocked when this program was started first."""
    ignored: list[int]
    """The signals that were ignored then."""
    log: tuple[int, list[bytes], int]
    """What `log.hand_over` gave."""

    def pack(self) -> bytes:
        """Return it for `unpack`."""
        helpers = [tuple(helper) for helper in self.server.helpers]
        before, after = self.server[:3], self.server[4:]
        values: Any = ((*before, helpers, *after), *self[1:])
        return marshal.dumps(values)

    @classmethod
    def unpack(cls, data: bytes) -> Handoff:
        """Return what was packed; raises ValueError, EOFError or TypeError for anything else."""
        values = marshal.loads(data)  # noqa: S302 - written by ourselves, and looked at
        if not _fits(values, _SHAPE):
            raise ValueError(data[:16])
        server, *rest = values
        helpers = [HelperSpec(*each) for each in server[3]]
        return cls(ServerSpec(*server)._replace(helpers=helpers), *rest)


_SECONDS = int | float
_TEXTS, _VARIABLES = [str], {str: str}
_HELPER = (str, _TEXTS, _VARIABLES, bool, bool, _SECONDS, int | None)
_SERVER = (_TEXTS, _VARIABLES, [_SECONDS], [_HELPER], str, str, str, str, bool)
_SHAPE = (_SERVER, int, float, [int], [int], (int, [bytes], int))
"""The types of what is packed: those of each in a list or dict, and of one after another in a tuple."""


def _fits(value: object, shape: object) -> bool:
    if isinstance(shape, tuple):
        return isinstance(value, tuple) and len(value) == len(shape) and all(map(_fits, value, shape))
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, one) for each in value for one in shape)
    if isinstance(shape, dict):
        return isinstance(value, dict) and _fits([*value.items()], [*shape.items()])
    return isinstance(value, shape)  # type: ignore[arg-type]


def hand_over(signals: Signals, server: ServerSpec, held: Sequence[int]) -> NoReturn:
    """Start the server, and replace this process by one that does nothing but keep it up.

    The server, a child of this process before and after, starts up while the new program is loaded. `held`
    are descriptors of locks. Raises Failure where the server cannot be started.
    Signals stay blocked on the way, so that none is lost between the two programs; they are pending
    until the new one has its handlers.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    for number in signals.take():
        if number in STOPS:
            os.kill(os.getpid(), number)
    descriptor = unnamed_file()  # what can fail comes before the server
    logging = log.hand_over()
    since = time.time()  # before the server notes its own start, since an older note is taken for stale
    pid = Children(signals).spawn(server.argv, server.environment)
    mask = [int(number) for number in signals.original_mask]
    ignored = [int(number) for number in signals.original_ignored]
    data = Handoff(server, pid, since, mask, ignored, logging).pack()
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    # Not before the server was started, which none of them is for.
    stdins = [helper.stdin for helper in server.helpers if helper.stdin is not None]
    for handed_on in (descriptor, *held, logging[0], *stdins):
        os.set_inheritable(handed_on, True)  # noqa: FBT003 - the name says what is true
    environment = {**server.environment, HANDOFF: str(descriptor)}
    os.execve(sys.executable, sys.orig_argv, environment)


def receive(descriptor_text: str) -> Handoff:
    """Return what our first half wrote.

    Raises OSError, ValueError, EOFError or TypeError for what cannot be its descriptor, or was not written by
    it.
    """
    descriptor = int(descriptor_text)
    if not 2 < descriptor < 2**31:  # the standard streams are needed for the message about it
        raise ValueError(descriptor_text)
    with os.fdopen(descriptor, "rb") as stream:
        return Handoff.unpack(stream.read())
