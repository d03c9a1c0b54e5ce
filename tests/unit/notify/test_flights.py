"""A running sender: heard line by line, and ended if it takes too long."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from entrypoint.notify import flights
from entrypoint.notify.flights import Flight, Result
from entrypoint.server.context import Context
from entrypoint.system.children import Children
from entrypoint.system.signals import Signals
from unit import made

TASK = {"url": "json://me:pa55word@example.com", "messages": [{"number": 1}, {"number": 2}]}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    wanted = made.settings({"HTTPS_PROXY": "http://proxy:3128", "AWS_SECRET_ACCESS_KEY": "abcd"})
    return Context(wanted, Children(Signals()), made.POSTGRES, str(tmp_path), {})


def _fly(context: Context, monkeypatch: pytest.MonkeyPatch, script: str, seconds: float = 20.0) -> Flight:
    program = Path(context.runtime_folder) / "sender"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(flights, "OUR_PROGRAM", str(program))
    monkeypatch.setattr(flights, "SECONDS", seconds)
    return Flight(context, TASK)


def _until_done(flight: Flight) -> list[Result]:
    found, deadline = [], time.monotonic() + 20
    while time.monotonic() < deadline:
        results, is_done = flight.poll()
        found += results
        if is_done:
            return found
        time.sleep(0.01)
    raise AssertionError("it never ended")


def test_results(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is a result, whatever else is printed; a message without a result was not taken."""
    script = """cat >/dev/null; echo noise; echo '{"number": 1, "words": ""}'; echo '{"number": 9, "words": ""}'; echo '['; exit 3"""
    found = _until_done(_fly(context, monkeypatch, script))
    assert [Result(1, ""), Result(2, "the sender ended with 3")] == found


def test_a_target_that_hangs(context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sender and all that it started are ended, and what was reported before counts."""
    script = f"""echo '{{"number": 1, "words": ""}}'; sleep 1000 & echo $! >{tmp_path}/pid; wait"""
    found = _until_done(_fly(context, monkeypatch, script, seconds=0.5))
    assert [Result(1, ""), Result(2, "no answer within 0 s")] == found
    left = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{left}") and "Z" not in Path(f"/proc/{left}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.01)


def test_the_end_of_the_watch(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that runs is ended at once, and its last results count."""
    flight = _fly(context, monkeypatch, """echo '{"number": 1, "words": ""}'; sleep 1000""")
    found: list[Result] = []
    deadline = time.monotonic() + 20
    while not found and time.monotonic() < deadline:
        found += flight.poll()[0]
    found += flight.end()
    assert [Result(1, "")] == found


def test_what_a_sender_sees(context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It gets the task on stdin and the proxies, and neither a secret in its arguments nor those of the archive."""
    script = (
        f"cat >{tmp_path}/task; env >{tmp_path}/env; tr '\\0' ' ' </proc/$$/cmdline >{tmp_path}/arguments"
    )
    _until_done(_fly(context, monkeypatch, script))
    environment = (tmp_path / "env").read_text()
    assert "HTTPS_PROXY=http://proxy:3128\n" in environment
    assert [] == [
        each for each in ("pa55word", "abcd") if each in environment + (tmp_path / "arguments").read_text()
    ]
    assert "pa55word" in (tmp_path / "task").read_text()
