"""What the first half of PID 1 hands to the second half, and the step from one to the other.

The program replaces itself with execve. Only this removes the secrets from /proc/1/environ for good; changing
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
"""The variable with the descriptor from which the second half reads what the first half has prepared."""


UNDER_PATRONI = " patroni"
"""Follows the descriptor if Patroni starts the server."""


class HelperSpec(NamedTuple):
    """An auxiliary process that PID 1 runs next to the server."""

    role: str
    argv: list[str]
    environment: dict[str, str]
    after_server: bool = False
    """Stop it after the server, which needs it until its own end."""
    keep: bool = False
    """Start it again when it ends."""
    delay: float = 0.0
    """Seconds from the server's start to its own first start; negative: it starts at no set time."""
    stdin: int | None = None
    """A descriptor with secrets; if it is not kept, the process writes to our own standard streams."""
    pid: int = 0
    """Its pid if it runs already."""
    output: int | None = None
    """The descriptor to read its output from, if it runs already."""


class ServerSpec(NamedTuple):
    """The server that PID 1 keeps up, as the start has prepared it."""

    argv: list[str]
    environment: dict[str, str]
    timeouts: list[float]
    """Seconds for a smart, a fast and an immediate shutdown."""
    helpers: list[HelperSpec]
    runtime_folder: str
    data_folder: str
    cluster: str
    """The system identifier of the cluster in the data folder; empty: it is not known."""
    archive_status: str
    """The folder that lists the segments to be archived; empty: nothing is archived."""
    disks: list[str]
    """A folder on each filesystem that must not become full: that of the WAL, and that of the data."""
    segment: int
    """Bytes of one WAL segment."""
    debug: bool = False
    patroni: bool = False
    """`argv` is Patroni, which starts the server."""


class Handoff(NamedTuple):
    """The server, and the state of this process that the second half needs."""

    server: ServerSpec
    pid: int
    """The server's pid."""
    since: float
    """When the server was started, in seconds since 1970."""
    mask: list[int]
    """The signals that were blocked when the first half was started."""
    ignored: list[int]
    """The signals that were ignored then."""
    log: tuple[int, list[bytes], int]
    """What `log.hand_over` returned."""
    kept: tuple[list[str], list[int]]
    """What `Children.kept` handed over: the process that writes the log in JSON; empty: there is none."""

    def pack(self) -> bytes:
        """Return the value as bytes for `unpack`."""
        helpers = [tuple(helper) for helper in self.server.helpers]
        before, after = self.server[:3], self.server[4:]
        values: Any = ((*before, helpers, *after), *self[1:])
        return marshal.dumps(values)

    @classmethod
    def unpack(cls, data: bytes) -> Handoff:
        """Return the packed value; raises ValueError, EOFError or TypeError if it is not whole."""
        values = marshal.loads(data)  # noqa: S302 - we wrote it ourselves, and its types are checked
        if not _fits(values, _SHAPE):
            raise ValueError(data[:16])
        server, *rest = values
        helpers = [HelperSpec(*each) for each in server[3]]
        return cls(ServerSpec(*server)._replace(helpers=helpers), *rest)


_SECONDS = int | float
_TEXTS, _VARIABLES = [str], {str: str}
_HELPER = (str, _TEXTS, _VARIABLES, bool, bool, _SECONDS, int | None, int, int | None)
_SERVER = (_TEXTS, _VARIABLES, [_SECONDS], [_HELPER], str, str, str, str, _TEXTS, int, bool, bool)
_SHAPE = (_SERVER, int, float, [int], [int], (int, [bytes], int), (_TEXTS, [int]))
"""The types of the packed values: in a list or dict the type of every element, in a tuple one for each."""


def _fits(value: object, shape: object) -> bool:
    if isinstance(shape, tuple):
        return isinstance(value, tuple) and len(value) == len(shape) and all(map(_fits, value, shape))
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, one) for each in value for one in shape)
    if isinstance(shape, dict):
        return isinstance(value, dict) and _fits([*value.items()], [*shape.items()])
    return isinstance(value, shape)  # type: ignore[arg-type]


def hand_over(
    signals: Signals, server: ServerSpec, held: Sequence[int], kept: tuple[list[str], list[int]] = ([], [])
) -> NoReturn:
    """Start the server, and replace this process with one that only keeps the server up.

    The server is a child of this process before and after; it starts up while the new program loads. `held`
    are descriptors of locks, `kept` is what `Children.kept` hands over. Raises Failure if the server cannot
    be started.
    Signals stay blocked in between, so that none is lost: they are pending until the new program has its
    handlers.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    for number in signals.take():
        if number in STOPS:
            os.kill(os.getpid(), number)
    descriptor = unnamed_file()  # before the server starts, since this can fail
    log.now_from("postgres")
    logging = log.hand_over()
    since = time.time()  # before the server records its own start: an older record counts as stale
    pid = Children(signals).spawn(server.argv, server.environment)
    mask = [int(number) for number in signals.original_mask]
    ignored = [int(number) for number in signals.original_ignored]
    data = Handoff(server, pid, since, mask, ignored, logging, kept).pack()
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    # Only after the server was started, which must inherit none of them.
    passed_on = [
        each for helper in server.helpers for each in (helper.stdin, helper.output) if each is not None
    ]
    for handed_on in (descriptor, *held, logging[0], *kept[1][1:], *passed_on):
        os.set_inheritable(handed_on, True)  # noqa: FBT003 - the name says what is true
    kind = UNDER_PATRONI if server.patroni else ""
    environment = {**server.environment, HANDOFF: f"{descriptor}{kind}"}
    os.execve(sys.executable, sys.orig_argv, environment)


def receive(descriptor_text: str) -> Handoff:
    """Return what the first half wrote.

    Raises OSError, ValueError, EOFError or TypeError for anything that is not the first half's descriptor.
    """
    descriptor = int(descriptor_text)
    if not 2 < descriptor < 2**31:  # the standard streams are needed for the error message
        raise ValueError(descriptor_text)
    with os.fdopen(descriptor, "rb") as stream:
        return Handoff.unpack(stream.read())
