"""The process that writes the log, with real pipes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from entrypoint.logs import jsonlines, places

ROOT = Path(jsonlines.__file__).parents[2]
MAIN = "import sys; sys.path.insert(0, sys.argv[1]); from entrypoint.logs import jsonlines; jsonlines.main('init')"
RECORD = b'{"timestamp":"2026-11-22 17:00:42.250 UTC","message":"up"}\n'


class Process(NamedTuple):
    """The process, and our ends of its pipes."""

    process: subprocess.Popen[bytes]
    pipes: list[int]

    def lines(self, stream: str) -> list[dict[str, Any]]:
        """What it has written until its end."""
        written = getattr(self.process, stream).read()
        return [json.loads(line) for line in written.split(b"\n")[:-1]]


@pytest.fixture
def writing() -> Iterator[Process]:
    """The process, whose pipes nobody else holds."""
    reads, writes = zip(*(os.pipe() for _ in places.PIPES), strict=True)
    high = [fcntl.fcntl(read, fcntl.F_DUPFD_CLOEXEC, 50) for read in reads]
    for read in high:
        os.set_blocking(read, False)

    def place() -> None:
        for target, source in zip(places.PIPES, high, strict=True):
            os.dup2(source, target)

    with subprocess.Popen(
        [sys.executable, "-IS", "-c", MAIN, str(ROOT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        close_fds=False,
        preexec_fn=place,  # noqa: PLW1509 - this process has no threads
    ) as process:
        for descriptor in (*reads, *high):
            os.close(descriptor)
        found = Process(process, [*writes])
        yield found
        process.kill()
        for descriptor in found.pipes:
            os.close(descriptor)


def test_each_stream_is_written_to_its_own(writing: Process) -> None:
    """Standard output stays standard output; the server's messages are on standard error, as without JSON."""
    for pipe, data in zip(writing.pipes, (b"out\n", b"err\n", RECORD, b"printed\n"), strict=True):
        os.write(pipe, data)
    writing.process.stdout.readline()  # type: ignore[union-attr]
    writing.process.send_signal(signal.SIGTERM)
    assert {"err", "up", "printed"} == {each["msg"] for each in writing.lines("stderr")}
    assert 0 == writing.process.wait()


def test_sigterm_writes_everything_first(writing: Process) -> None:
    """Also an unfinished line, and a message that waits for more; others may still hold the pipes."""
    os.write(writing.pipes[0], b"begun\n")
    writing.process.stdout.readline()  # type: ignore[union-attr]
    size = 1024**2
    assert size == fcntl.fcntl(writing.pipes[0], fcntl.F_SETPIPE_SZ, size)
    data = b"entrypoint: error: waits\nunfinished"
    lines = (size - len(data)) // 6
    os.write(writing.pipes[0], b"whole\n" * lines + data)
    writing.process.send_signal(signal.SIGTERM)
    expected = ["whole"] * lines + ["waits", "unfinished"]
    assert expected == [each["msg"] for each in writing.lines("stdout")]


def test_it_ends_when_nobody_can_write(writing: Process) -> None:
    """It does not outlive those whose log it writes; the signals of a terminal do not end it."""
    os.write(writing.pipes[1], b"last\n")
    writing.process.stderr.readline()  # type: ignore[union-attr]
    writing.process.send_signal(signal.SIGINT)
    while writing.pipes:
        os.close(writing.pipes.pop())
    assert 0 == writing.process.wait(20)


def test_a_reader_that_is_gone_does_not_end_it(writing: Process) -> None:
    """The other stream is still written."""
    writing.process.stdout.close()  # type: ignore[union-attr]
    os.write(writing.pipes[0], b"nobody reads this\n")
    os.write(writing.pipes[1], b"read\n")
    assert b"read" in writing.process.stderr.readline()  # type: ignore[union-attr]
