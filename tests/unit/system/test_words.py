"""The output of a running tool."""

from __future__ import annotations

import os
import signal

import pytest

from entrypoint.system import words as module
from entrypoint.system.children import Children
from entrypoint.system.words import Words

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def _say(children: Children, script: str, role: str = "") -> tuple[int, str]:
    """Return the exit code of a shell, and the part of its output that is kept."""
    words = Words(role)
    pid = children.spawn(["sh", "-c", script], ENVIRONMENT, descriptors={1: words.writing, 2: words.writing})
    words.begin()
    code = children.wait(pid, seconds=60, words=words)
    return code, words.end()


def test_both_streams_are_read(children: Children) -> None:
    """All output is there, even from right before the end, and the last line needs no line feed."""
    assert (3, "one\ntwo\nthree") == _say(children, "echo one; echo two >&2; printf three; exit 3")


def test_only_the_last_output_is_kept(children: Children) -> None:
    """However much a tool prints, it never waits for us, and memory does not fill up."""
    code, text = _say(children, "head -c 20000000 /dev/zero | tr '\\0' x; printf '\\nlast'")
    assert code == 0
    assert len(text) == module.KEPT
    assert text.endswith("x\nlast")


def test_nothing_controls_a_terminal(children: Children, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines are passed on escaped, with a limited length, and each with its role."""
    script = r"printf 'a\033]0;x\007b\r\n\n\342\200\250\377c\n'; head -c 200000 /dev/zero | tr '\0' y"
    _say(children, script, "tool")
    lines = capfd.readouterr().err.split("\n")
    assert [r"tool: a\x1b]0;x\x07b", r"tool: \u2028\xffc"] == lines[:2]
    assert {"tool: y"} == {line[:7] for line in lines[2:] if line}
    assert 200000 == sum(line.count("y") for line in lines[2:])
    assert max(map(len, lines)) < 200000


def test_a_tool_that_closes_its_streams(children: Children) -> None:
    """We still wait for its end, but not for processes that it left behind."""
    assert (0, "x") == _say(children, "printf x; exec >/dev/null 2>&1; sleep 0.2")
    code, text = _say(children, "sleep 60 & echo $!")
    os.kill(int(text), signal.SIGKILL)
    assert code == 0


def test_a_tool_that_never_stops_printing_is_ended(children: Children) -> None:
    """Its deadline applies, and the wait for its end succeeds."""
    words = Words()
    pid = children.spawn(["yes"], ENVIRONMENT, descriptors={1: words.writing})
    words.begin()
    with pytest.raises(TimeoutError):
        children.wait(pid, seconds=0.2, words=words)
    children.end_group(pid, words=words)
    assert words.end().startswith(("y\n", "\ny"))
