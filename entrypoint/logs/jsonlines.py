"""The process that writes the container's log in JSON: it alone writes to the container's standard streams.

PID 1 keeps it up and holds the same pipes, so nothing that was written to them is lost if this process is
killed, and no writer gets an error. SIGTERM means: write what has arrived by now, then end.
"""

from __future__ import annotations

import os
import select
import time

from entrypoint.light import NamedTuple, signal
from entrypoint.logs.objects import Records
from entrypoint.logs.places import PIPES, SERVER, STREAMS
from entrypoint.logs.text import PATIENCE, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_AT_ONCE = 256 * 1024
_IGNORED = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)


class Input(NamedTuple):
    """A pipe, how its content is read, and the stream for its objects."""

    descriptor: int
    reader: Text | Records
    stream: int


def inputs(pipes: Sequence[int], source: str) -> list[Input]:
    """Return the inputs for the first of these pipes; `source` is whose lines have no mark."""
    readers: tuple[Text | Records, ...] = (Text(source), Text(source), Records(), Text(SERVER))
    return [
        Input(descriptor, reader, STREAMS[min(number, 1)])
        for number, (descriptor, reader) in enumerate(zip(pipes, readers, strict=False))
    ]


def take(each: Input, most: int = _AT_ONCE) -> bytes | None:
    """Read what has arrived, and return the objects that are complete; None: there was nothing to read."""
    try:
        data = os.read(each.descriptor, most)
    except BlockingIOError:
        return None
    return each.reader.feed(data, time.time()) if data else None


def main(source: str) -> int:
    """Write the log until SIGTERM, or until nobody can write to our pipes any more."""
    wake, ask = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(ask, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    every = inputs(PIPES, source)
    poll = select.poll()
    for descriptor in (wake, *(each.descriptor for each in every)):
        poll.register(descriptor, select.POLLIN)
    ended: set[int] = set()
    while wake not in ended and not ended >= set(PIPES[:2]):
        waits = any(each.reader.waits for each in every)
        for descriptor, event in poll.poll(PATIENCE * 1000 if waits else None):
            if descriptor == wake or not event & select.POLLIN:
                ended.add(descriptor)
                poll.unregister(descriptor)
        for each in every:
            _write(each.stream, (take(each) or b"") + each.reader.flush(time.time(), all_=False))
    while sum(_passes_on(each) for each in every):
        pass
    for each in every:
        _write(each.stream, each.reader.flush(time.time(), all_=True))
    return 0


def _passes_on(each: Input) -> bool:
    """Pass on what has arrived; return whether there was anything."""
    done = take(each)
    _write(each.stream, done or b"")
    return done is not None


def _write(stream: int, data: bytes) -> None:
    """Write all of it, and wait for the reader as the server itself does without this process."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(stream, rest) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(stream, select.POLLOUT)
            poll.poll()
        except OSError:
            return  # nobody reads the log any more; that must never stop the database
