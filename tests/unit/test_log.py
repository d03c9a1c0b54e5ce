"""The log: one line per event on stderr, and never a reason to end."""

from __future__ import annotations

import errno
import os

import pytest

from entrypoint import log
from entrypoint.errors import Problem


def test_levels(capfd: pytest.CaptureFixture[str]) -> None:
    """Each line says who speaks and how bad it is."""
    log.info("it happens")
    log.warning("it will hurt")
    assert "entrypoint: info: it happens\nentrypoint: warning: it will hurt\n" == capfd.readouterr().err


def test_a_mend_stands_below(capfd: pytest.CaptureFixture[str]) -> None:
    """What is wrong is followed by the way out, on a line of its own."""
    log.problem(Problem("it is wrong", "do this"))
    log.warning("it will hurt", "do that")
    expected = (
        "entrypoint: error: it is wrong\n  mend: do this\n"
        "entrypoint: warning: it will hurt\n  mend: do that\n"
    )
    assert expected == capfd.readouterr().err


def test_details_are_for_those_who_ask(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only STATUS_LOG_LEVEL=debug shows them."""
    log.debug("unseen")
    monkeypatch.setattr(log, "debugging", True)
    log.debug("seen")
    assert "entrypoint: debug: seen\n" == capfd.readouterr().err


def test_a_helpers_line_has_its_role(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """What a helper says is passed on byte by byte, with its role before it."""
    log.relay("daemon", b"\xff said")
    assert b"daemon: \xff said\n" == capfdbinary.readouterr().err


def test_further_lines_are_indented(capfd: pytest.CaptureFixture[str]) -> None:
    """A message of several lines cannot pass for several messages."""
    log.info("one\nentrypoint: error: forged\n\n")
    assert "entrypoint: info: one\n  entrypoint: error: forged\n" == capfd.readouterr().err


def test_bytes_that_are_no_text_survive(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A file name of any bytes can be named."""
    log.info(os.fsdecode(b"\xff\xfe"))
    assert b"entrypoint: info: \xff\xfe\n" == capfdbinary.readouterr().err


def test_short_writes_are_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that takes a few bytes at a time loses nothing."""
    written: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        written.append(data[:3])
        return len(data[:3])

    monkeypatch.setattr(os, "write", write)
    log.info("a long message")
    assert b"entrypoint: info: a long message\n" == b"".join(written)


def test_a_log_that_nobody_reads_is_no_reason_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken pipe on stderr is ignored."""
    calls: list[int] = []

    def write(descriptor: int, data: bytes) -> int:
        calls.append(descriptor)
        raise OSError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(os, "write", write)
    log.info("nobody reads this")
    assert [2] == calls
