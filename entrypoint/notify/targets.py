"""The targets of messages and pings, as people may see them: their addresses are secrets; pure."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from entrypoint.light import re
from entrypoint.settings.hiding import HIDDEN, hide_within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HOSTED = frozenset(
    """
    apprise apprises form forms gotify gotifys growl hassio hassios http https json jsons mailto mailtos
    matrix matrixs mmost mmosts mqtt mqtts ncloud nclouds nctalk nctalks ntfy ntfys rocket rockets rsyslog
    signal signals synology synologys xml xmls
    """.split()
)
"""Schemes whose URLs name a host; in those of others, a token may be in its place."""
_MOST = 300
"""Characters of a target's answer that are kept."""


def name(url: str) -> str:
    """Return what people are shown of a URL.

    >>> name("ntfy://ntfy.sh/topic"), name("mailtos://me:secret@example.com?to=you"), name("tgram://token/chat")
    ('ntfy://ntfy.sh', 'mailtos://example.com', 'tgram://***')
    """
    scheme = url.partition(":")[0].lower()
    return f"{scheme}://{_host(url) or HIDDEN}"


def names(urls: Sequence[str]) -> tuple[str, ...]:
    """Return a different name for each target.

    >>> names(["tgram://a/1", "tgram://b/2"])
    ('tgram://***', 'tgram://*** (2)')
    """
    found: list[str] = []
    for url in urls:
        plain, number = name(url), 1
        unique = plain
        while unique in found:
            number += 1
            unique = f"{plain} ({number})"
        found.append(unique)
    return tuple(found)


def scrub(text: str, url: str) -> str:
    r"""Return what a target or a library said about a URL, on one line and without any part of the URL.

    >>> scrub("cannot send to /topic1: refused\n", "ntfy://ntfy.sh/topic1")
    'cannot send to /***: refused'
    """
    host = _host(url)
    parts = {part for part in re.split(r"[/:@?&=#,\s]+", url.partition("://")[2]) if part != host}
    parts |= {unquote(part) for part in parts}
    return hide_within(" ".join(text.split()), parts)[:_MOST]


def _host(url: str) -> str:
    if url.partition(":")[0].lower() not in _HOSTED:
        return ""
    try:
        found = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return found if re.fullmatch(r"[\w.:-]{1,253}", found) else ""
