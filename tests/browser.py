"""
A real browser without a window: Debian's chromium, controlled by the DevTools protocol.

Commands and events go through a pair of pipes, so that neither a port nor a package for WebSockets is needed.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

__all__ = ["PROGRAM", "Browser", "opened"]

PROGRAM = next(filter(None, (shutil.which(name) for name in ("chromium-headless-shell", "chromium"))), None)
"""The browser of this machine; None: it has none."""

_SECONDS = 30
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")


class Browser:
    """A browser with one page."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._rest = b""
        self._number = 0
        self._session = ""
        self.complaints: list[str] = []
        """What the browser has said about the page: violations of its policy, errors, failed requests."""
        self.requests: list[str] = []
        """The addresses that the page has asked for."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def look_like(self, width: int, scheme: Literal["light", "dark"] = "light", height: int = 800) -> None:
        """Set the width of the screen and the colours that the user prefers."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._ask("Emulation.setEmulatedMedia", features=[feature])

    def go(self, url: str) -> None:
        """Open a page, and wait until it is there."""
        self._loading(lambda: self._ask("Page.navigate", url=url))

    def submit(self, script: str) -> None:
        """Run a script that opens another page, and wait until it is there."""
        self._loading(lambda: self.value(script))

    def value(self, script: str) -> Any:
        """Return the value of a script, which the policy of the page does not hinder."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def names(self) -> list[tuple[str, str]]:
        """Return what a screen reader finds: roles and names."""
        nodes = self._ask("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def picture(self, *, whole: bool = True) -> bytes:
        """Return the page as a PNG."""
        found = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])

    def _loading(self, begin: Callable[[], object]) -> None:
        loaded = False

        def watch(event: Mapping[str, Any]) -> None:
            nonlocal loaded
            loaded |= event["method"] == "Page.loadEventFired"

        self._watch = watch
        begin()
        while not loaded:
            self._read()
        self._watch = lambda _event: None

    _watch: Callable[[Mapping[str, Any]], None] = staticmethod(lambda _event: None)

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found

    def _read(self) -> dict[str, Any]:
        """Return the next message, and note what it complains about."""
        deadline = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            self._rest += os.read(self._answers, 1 << 20)
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._note(message["method"], message["params"])
            self._watch(message)
        return message

    def _note(self, method: str, event: Mapping[str, Any]) -> None:
        if method == "Log.entryAdded":
            self.complaints.append(event["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(event["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(event["args"]))
        elif method == "Network.requestWillBeSent" and not event["request"]["url"].startswith("data:"):
            self.requests.append(event["request"]["url"])
        elif method == "Network.loadingFailed":
            self.complaints.append(event["errorText"])


@contextmanager
def opened() -> Iterator[Browser]:
    """Start a browser, and end it."""
    assert PROGRAM is not None
    reading, commands = os.pipe()
    answers, writing = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        argv: Sequence[str] = (PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank")
        started = ("bash", "-c", f'exec "$@" 3<&{reading} 4>&{writing}', "bash", *argv)
        program = subprocess.Popen(
            started, pass_fds=(reading, writing), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(reading)
        os.close(writing)
        try:
            yield Browser(commands, answers)
        finally:
            os.close(commands)
            os.close(answers)
            program.terminate()
            program.wait(20)
