"""The log: one line per event on stderr, and never a reason for the program to end."""

from __future__ import annotations

import errno
import os
import socket
import tty
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint import log
from entrypoint.errors import Problem
from entrypoint.shown import inline, printable


def test_levels(capfd: pytest.CaptureFixture[str]) -> None:
    """Each line names the program and the level."""
    log.info("it happens")
    log.warning("it will break")
    assert "entrypoint: info: it happens\nentrypoint: warning: it will break\n" == capfd.readouterr().err


def test_a_hint_and_a_page_follow_on_their_own_lines(capfd: pytest.CaptureFixture[str]) -> None:
    """A problem is followed by its fix, and by the page that explains the fix if there is one."""
    log.problem(Problem("it is wrong", "do this", docs="fix-it"))
    log.problem(Problem("it is wrong", "do this"))
    log.warning("it will break", "do that", "fix-it")
    expected = (
        "entrypoint: error: it is wrong\n  hint: do this\n  docs: fix-it (entrypoint help fix-it)\n"
        "entrypoint: error: it is wrong\n  hint: do this\n"
        "entrypoint: warning: it will break\n  hint: do that\n  docs: fix-it (entrypoint help fix-it)\n"
    )
    assert expected == capfd.readouterr().err


def test_debug_lines_are_for_the_debug_level(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only STATUS_LOG_LEVEL=debug shows them."""
    log.debug("unseen")
    monkeypatch.setattr(log, "debugging", True)
    log.debug("seen")
    assert "entrypoint: debug: seen\n" == capfd.readouterr().err


def test_a_helpers_line_has_its_role(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A helper's output is passed on with the role before it, and cannot fake a line or a colour."""
    log.relay("daemon", b"\xff said\tc\xc3\xa4 \x1b[2J\xe2\x80\xa8entrypoint: info: all is well\r")
    expected = b"daemon: \\xff said\tc\xc3\xa4 \\x1b[2J\\u2028entrypoint: info: all is well\n"
    assert expected == capfdbinary.readouterr().err


def test_lines_say_whose_they_are_to_the_process_that_makes_objects(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is such a process, a message is one line with a mark, and so is what we pass on."""
    log.now_from("initdb")
    monkeypatch.setattr(log, "give_back", lambda: None)
    log.warning("it will break", "do that")
    log.relay("daemon", b"entrypoint: info: \x1e")
    log.say("\nready\n\n")
    log.now_from("initdb")
    found = capfd.readouterr()
    expected = (
        "\x1eentrypoint: entrypoint: warning: it will break\x1f  hint: do that\n"
        "\x1edaemon: entrypoint: info: \\x1e\n\x1e\x1einitdb\n"
    )
    assert (expected, "\x1eentrypoint: ready\n\x1e\x1einitdb\n") == (found.err, found.out)


def test_further_lines_are_indented(capfd: pytest.CaptureFixture[str]) -> None:
    """A message of several lines cannot look like several messages, whatever ends its lines."""
    log.info("one\nentrypoint: error: forged\x85\rtwo\n\n")
    assert "entrypoint: info: one\n  entrypoint: error: forged\\x85\\rtwo\n" == capfd.readouterr().err


def test_bytes_that_are_not_text_are_escaped(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A file name of any bytes can be logged."""
    log.info(os.fsdecode(b"\xff\xfe"))
    assert b"entrypoint: info: \\xff\\xfe\n" == capfdbinary.readouterr().err


def test_short_writes_are_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost if a pipe takes a few bytes at a time."""
    written: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        written.append(data[:3])
        return len(data[:3])

    monkeypatch.setattr(os, "write", write)
    log.info("a long message")
    assert b"entrypoint: info: a long message\n" == b"".join(written)


def test_a_log_without_a_reader_does_not_end_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken pipe on stderr is ignored."""
    calls: list[int] = []

    def write(descriptor: int, data: bytes) -> int:
        calls.append(descriptor)
        raise OSError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(os, "write", write)
    log.info("nobody reads this")
    assert [2] == calls


@contextmanager
def _unread(monkeypatch: pytest.MonkeyPatch, kind: str) -> Iterator[tuple[log.Stream, int]]:
    """A log that nobody reads yet, and the descriptor for reading it."""
    if kind == "socket":
        ours, theirs = (end.detach() for end in socket.socketpair())
    else:
        theirs, ours = os.openpty() if kind == "terminal" else os.pipe()
    if kind == "terminal":
        tty.setraw(ours)
    stream = log.Stream(ours)
    stream.never_wait()
    monkeypatch.setattr(log, "ERR", stream)
    try:
        yield stream, theirs
    finally:
        for descriptor in {ours, theirs, ours if stream.own is None else stream.own}:
            os.close(descriptor)


def _read(descriptor: int, until: bytes, stream: log.Stream) -> bytes:
    """Read until there is this much, while the log is flushed as PID 1 does it."""
    found = b""
    while until not in found:
        found += os.read(descriptor, 65536)
        stream.flush()
    return found


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket"])
def test_no_reader_is_waited_for(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Lines wait in memory, in order and complete; when it is full, they are counted, and the count is logged."""
    with _unread(monkeypatch, kind) as (stream, reader):
        for number in range(30000):
            log.info(f"line {number}")
        assert os.get_blocking(stream.standard), "the server writes there too, and would lose lines"
        assert stream.size <= 256 * 1024
        stream.flush()
        found = _read(reader, b"were lost", stream).decode()
        whole = [line for line in found.splitlines() if ": line " in line]
        assert [f"entrypoint: info: line {number}" for number in range(len(whole))] == whole
        lost = f"entrypoint: warning: {30000 - len(whole)} lines of the log were lost while nobody read it\n"
        assert found.endswith(lost)
        log.info("again")
        assert b"entrypoint: info: again\n" == _read(reader, b"again\n", stream)


def test_the_queue_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second half of PID 1 continues where the first half stopped."""
    with _unread(monkeypatch, "pipe") as (stream, reader):
        while not stream.size:
            log.info("x" * 4000)
        handed = log.hand_over()
        second = log.Stream(stream.standard)
        monkeypatch.setattr(log, "ERR", second)
        log.never_wait(handed)
        log.info("the second half")
        assert b"entrypoint: info: the second half\n" in _read(reader, b"second half\n", second)


def test_a_slow_reader_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Helpers wait while the queue is long and somebody reads; without a reader they continue, and nothing is lost sooner."""
    with _unread(monkeypatch, "pipe") as (stream, _):
        while stream.size <= 129 * 1024:
            log.info("x" * 4000)
        assert log.is_behind()
        stream.since -= 10
        assert not log.is_behind()


def test_the_end_of_the_process_waits_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the process ends, a reader gets the queue; a reader that takes nothing is not waited for."""
    with _unread(monkeypatch, "pipe") as (stream, _):
        while not stream.size:
            log.info("x" * 4000)
        stream.since -= 10
        stream.drain(5)
        assert stream.size


@given(st.text())
def test_nothing_printable_is_changed(text: str) -> None:
    """Escaping happens once, adds no line, and leaves nothing that controls a terminal."""
    shown = printable(text)
    assert shown == printable(shown)
    assert text.count("\n") == shown.count("\n")
    assert "\n" not in inline(text)
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not {each for each in shown if unicodedata.category(each) in bad} - {"\n", "\t"}
