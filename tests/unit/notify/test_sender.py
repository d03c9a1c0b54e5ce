"""The program that sends: what it asks of apprise and of a service, and what it reports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import apprise
import apprise.plugins
import pytest

import sinks
from entrypoint.notify import sender
from entrypoint.settings.watching import LOCAL

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of apprise


REDIRECTS = {"/to-file": "file:///etc/passwd", "/to-ftp": "ftp://127.0.0.1/x", "/to-here": "/here"}


@pytest.fixture
def sink() -> Iterator[sinks.Web]:
    with sinks.web(redirects=REDIRECTS, refused=("/refuse",)) as server:
        yield server


def _message(number: int = 1) -> dict[str, object]:
    return {"number": number, "title": "ERROR archive: db", "body": "a < b\nc", "tone": "failure"}


def _sent(capsys: pytest.CaptureFixture[str], url: str, count: int = 1) -> list[tuple[int, str]]:
    sender._send({"url": url, "messages": [_message(number) for number in range(1, count + 1)]})
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(row["number"], row["words"]) for row in rows]


def test_a_webhook(sink: sinks.Web, capsys: pytest.CaptureFixture[str]) -> None:
    """The message arrives as it is, and its number is reported without a complaint."""
    assert [(1, "")] == _sent(capsys, f"json://127.0.0.1:{sink.server_port}/hook")
    ((_, path, body),) = sink.taken
    row = json.loads(body)
    assert ("/hook", "ERROR archive: db", "a < b\nc", "failure") == (
        path,
        row["title"],
        row["message"],
        row["type"],
    )


def test_a_refusal(sink: sinks.Web, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is reported, and nothing of the URL but its host."""
    found = _sent(capsys, f"json://me:pa55word@127.0.0.1:{sink.server_port}/refuse")
    assert [1] == [number for number, _ in found]
    assert "403" in found[0][1]
    assert [] == [part for part in ("pa55word", "/refuse") if part in found[0][1]]


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel's reason is reported."""
    ((_, words),) = _sent(capsys, "json://127.0.0.1:1/hook-1")
    assert "Connection refused" in words
    assert "hook-1" not in words


def test_what_apprise_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    """A URL that apprise cannot read is reported, and the secret in it is not."""
    for url in ("foo://topic-1", "discord://topic-1"):
        ((_, words),) = _sent(capsys, url)
        assert words
        assert "topic-1" not in words


def test_this_machine_is_no_target(capsys: pytest.CaptureFixture[str]) -> None:
    """Even if the settings did not refuse them, apprise does not see URLs for this machine."""
    assert [(1, "apprise does not know this URL")] == _sent(capsys, "syslog://")


def test_all_schemes_for_this_machine_are_refused() -> None:
    """Each other service of apprise needs a library for the network."""
    network = {"requests", "socket", "smtplib", "paho", "smpplib", "slixmpp", "websocket"}
    folder = Path(apprise.plugins.__file__ or "").parent
    local = set()
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.name in ("__init__.py", "base.py") or network & {
            *re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE)
        }:
            continue
        local |= {*re.findall(r'(?:secure_)?protocol = "(\w+)"', text)}
    assert {"gnome", "macosx", "windows", "syslog"} <= local
    assert {
        "growl",
        "guilded",
        "guildeds",
        "jellyfin",
        "jellyfins",
        "deltachat",
        "deltachats",
    } >= local - LOCAL


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("/fine", "OK", ""),
        ("/fine", '{"ok": true}', ""),
        ("/to-here", "", ""),
        ("/refuse", "", "HTTP 403 Forbidden"),
        ("/kuma", '{"ok": false, "msg": "no such monitor"}', "it answered: no such monitor"),
    ],
)
def test_pings(sink: sinks.Web, path: str, answer: str, words: str) -> None:
    """A ping is taken if the service says so."""
    sink.answer = answer.encode()
    assert words == sender._ping(f"http://127.0.0.1:{sink.server_port}{path}", "report")
    assert ("POST", path, "report") == sink.taken[0]


@pytest.mark.parametrize("path", ["/to-file", "/to-ftp"])
def test_redirects(sink: sinks.Web, path: str) -> None:
    """A service cannot make us read a file, or use another protocol than HTTP."""
    assert sender._ping(f"http://127.0.0.1:{sink.server_port}{path}", None)
    assert 1 == len(sink.taken)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://127.0.0.1:1/uuid-1"]
)
def test_what_is_no_web_address(url: str) -> None:
    """Nothing but HTTP is requested, and the reason does not contain the address."""
    words = sender._ping(url, None)
    assert words
    assert "uuid-1" not in words
