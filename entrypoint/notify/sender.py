"""The short-lived program that sends: `entrypoint internal notify`, with its task on stdin.

Only this program loads apprise. It sends messages to one target, or a ping to one address, and reports each
result at once, as a line of JSON. It reads no configuration file, and runs no other program.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from entrypoint import log
from entrypoint.light import re
from entrypoint.notify import targets
from entrypoint.settings.watching import LOCAL
from entrypoint.system import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_AROUND = r"HTTPS?Connection(?:Pool)?\([^)]*\): |Max retries exceeded with url: .* \(Caused by |'?<[^>]*>: "
_PATIENCE = 20.0
"""Seconds to wait for each answer to a ping."""


def main() -> int:
    """Do the task and return the exit code."""
    kernel.end_with(os.getppid(), signal.SIGKILL)
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # the database comes first
    task: Mapping[str, Any] = json.loads(sys.stdin.buffer.read())
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    # What libraries print could contain the address.
    os.dup2(nothing, 2)
    if "messages" in task:
        _send(task)
    else:
        _report(0, _ping(task["url"], task["body"]))
    log.drain()
    os._exit(0)


def _report(number: int, words: str) -> None:
    """Report the result of one message; no words: it was taken."""
    sys.stdout.write(json.dumps({"number": number, "words": words}) + "\n")
    sys.stdout.flush()


def _send(task: Mapping[str, Any]) -> None:
    """Send the messages to one target; apprise runs in this thread, so its log belongs to the message."""
    import apprise

    url = task["url"]
    asset = apprise.AppriseAsset(app_id="nix-postgres", app_desc="PostgreSQL", async_mode=False)
    capture: Any = apprise.LogCapture
    for each in task["messages"]:
        with capture(level=apprise.logging.DEBUG, fmt="%(levelname)s %(message)s") as said:
            try:
                taken = _notify(apprise, url, asset, each)
            except Exception as error:  # noqa: BLE001 - a plugin may fail in any way
                words = f"{type(error).__name__}: {error}"
            else:
                words = "" if taken else _gist(said.getvalue())
        _report(each["number"], targets.scrub(words, url))


def _notify(apprise: Any, url: str, asset: Any, message: Mapping[str, Any]) -> bool:
    plugin = None
    if url.partition(":")[0].lower() not in LOCAL:
        plugin = apprise.Apprise.instantiate(url, asset=asset)
    if plugin is None:
        return False
    if "overflow=" not in url:
        plugin.overflow_mode = apprise.OverflowMode.TRUNCATE  # one message, even if the service takes less
    sender = apprise.Apprise(asset=asset)
    sender.add(plugin)
    return bool(
        sender.notify(
            title=message["title"],
            body=message["body"],
            notify_type=getattr(apprise.NotifyType, message["tone"].upper()),
            body_format=apprise.NotifyFormat.TEXT,
        )
    )


def _gist(said: str) -> str:
    """Return what apprise's log says about a failure."""
    found = [line.partition(" ")[2] for line in said.splitlines() if line.startswith(("WARNING", "ERROR"))]
    found += [
        line.partition(" ")[2]
        for line in said.splitlines()
        if line.startswith("DEBUG") and ("Exception:" in line or "rror:" in line)
    ]
    # What requests and urllib3 say around the reason.
    found = [re.sub(_AROUND, "", each) for each in found]
    return "; ".join(dict.fromkeys(found)) or "apprise does not know this URL"


def _ping(url: str, body: str | None) -> str:
    """Request an address and return why that failed; empty: it was taken."""
    import http.client
    import urllib.error
    import urllib.request

    openers = (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPRedirectHandler(),
    )
    opener = urllib.request.OpenerDirector()  # it knows no other scheme, nor does a redirect: no file, no ftp
    for each in openers:
        opener.add_handler(each)
    try:
        request = urllib.request.Request(  # noqa: S310 - the opener knows http and https only
            url, None if body is None else body.encode(), {"User-Agent": "nix-postgres"}
        )
        if body is not None:
            request.add_header("Content-Type", "text/plain; charset=utf-8")
        with opener.open(request, timeout=_PATIENCE) as answer:
            return _judged(answer.read(1000))
    except urllib.error.HTTPError as error:
        return targets.scrub(f"HTTP {error.code} {error.reason}", url)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return targets.scrub(str(getattr(error, "reason", "") or error) or type(error).__name__, url)


def _judged(answer: bytes) -> str:
    """Return why an answer is a refusal: Uptime Kuma says so in a JSON object."""
    try:
        found = json.loads(answer)
    except ValueError:
        return ""
    if isinstance(found, dict) and found.get("ok") is False:
        return f"it answered: {str(found.get('msg'))[:100]}"
    return ""
