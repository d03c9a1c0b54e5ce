"""The page in a real browser: nothing is refused or loaded, it fits a phone, follows the colours, and its form works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import pytest

import browser
import watched
from browser import Browser
from entrypoint.web import page
from watched import NOW

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no chromium here")

_LONG = "x" * 3000
_SEEN = {
    "/": watched.well(),
    "/broken": watched.broken(),
    "/hostile": watched.broken()._replace(
        conditions=tuple(
            each._replace(check=_LONG, found=_LONG, hint=_LONG) for each in watched.broken().conditions
        ),
        backups=tuple(each._replace(name=_LONG) for each in watched.broken().backups or ()),
    ),
}


class _Handler(BaseHTTPRequestHandler):
    """Answers with the page."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        seen = _SEEN.get(parts.path)
        found = page.render(seen, "serving" if seen else "restore", NOW, dict(parse_qsl(parts.query)))
        self.send_response(found.code)
        for name, value in (("Content-Type", found.kind), *found.headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(found.body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of the page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def shown() -> Iterator[Browser]:
    """A browser."""
    with browser.opened() as found:
        yield found


@pytest.mark.parametrize("path", ["/", "/broken", "/hostile", "/unknown", "/?at=2026-11-27T14:03:00"])
def test_every_screen(address: str, shown: Browser, path: str) -> None:
    """Nobody scrolls sideways, in light and in dark, and the browser has no complaint."""
    backgrounds = set()
    for width, scheme in (("360", "light"), ("360", "dark"), ("1280", "light")):
        shown.look_like(int(width), "dark" if scheme == "dark" else "light")
        shown.go(address + path)
        assert int(width) == shown.value("document.documentElement.scrollWidth"), (path, width)
        backgrounds.add(shown.value("getComputedStyle(document.body).backgroundColor"))
    assert {"rgb(246, 246, 243)", "rgb(20, 23, 26)"} == backgrounds
    assert [] == shown.complaints
    assert [address + path] == [*dict.fromkeys(shown.requests[-3:])]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(address: str, shown: Browser, scheme: Literal["light", "dark"]) -> None:
    """Every text can be read on its background: WCAG's ratio is at least 4.5."""
    shown.look_like(900, scheme)
    for path in ("/", "/broken", "/unknown", "/?at=2026-11-27T14:03:00"):
        shown.go(address + path)
        assert [] == shown.value(_CONTRAST), path


def test_the_form(address: str, shown: Browser) -> None:
    """A moment is picked without a script, and the page shows its commands."""
    shown.look_like(900)
    shown.go(address)
    shown.submit(
        "document.querySelector('input').value = '2026-11-27T14:03:09'; document.querySelector('button').click()"
    )
    assert "?at=2026-11-27T14%3A03%3A09#window" == shown.value("location.search + location.hash")
    assert "--target-time 2026-11-27T14:03:09+00:00" in shown.value("document.querySelector('pre').innerText")
    assert [] == shown.complaints


def test_a_screen_reader(address: str, shown: Browser) -> None:
    """The landmarks, the headings and the parts of the page have names, also on a phone, and the band has words."""
    for width in (1280, 360):
        shown.look_like(width)
        shown.go(address + "/broken")
        names = shown.names()
        roles = [role for role, _ in names]
        assert {"banner", "main", "contentinfo", "table", "columnheader", "rowheader"} <= {*roles}, width
        assert ("heading", "Do not sleep yet: one thing is wrong") in names
        assert ("region", "What is wrong") in names
        band = "The moments that can be restored Moments from 2026-11-17 03:02 to 2026-11-29 08:24 can be restored"
        assert [f"{band}, from 13 backups, but for 1 gap."] == [
            name for role, name in names if role == "image"
        ]
        assert any(name == "A moment, in UTC" for _, name in names)
        assert [] == [
            role
            for role, name in names
            if role in ("link", "button", "heading", "region", "table") and not name
        ]


_CONTRAST = """
(() => {
  const numbers = color => color.match(/[0-9.]+/g).map(Number);
  const light = color => {
    const [r, g, b] = numbers(color).map(x => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = each => {
    for (; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (numbers(color).length === 3) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const bad = [];
  for (const each of document.querySelectorAll('body *:not(svg *)')) {
    if (![...each.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(each);
    const a = light(style.webkitTextFillColor), b = light(back(each));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push([each.className || each.tagName, each.textContent.slice(0, 40), ratio]);
  }
  return bad;
})()
"""
