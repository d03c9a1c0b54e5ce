"""People see which target is meant, and never its secrets."""

from __future__ import annotations

import pytest

from entrypoint.notify import targets


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ntfys://user:pa55@ntfy.example.com:8443/topic", "ntfys://ntfy.example.com"),
        ("mailtos://me%40example.org:pa55@example.org?to=you@example.org", "mailtos://example.org"),
        ("https://discord.com/api/webhooks/123/token", "https://discord.com"),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "discord://***"),
        ("pbul://o.gn5kj6nfhv736I7jC3cj3QLRiyhgl98b", "pbul://***"),
        ("json://[::1]:99999999/x", "json://::1"),
        ("json://[", "json://***"),
    ],
)
def test_names(url: str, expected: str) -> None:
    """Only a host is shown, and only where the URL's service has one: a token may contain dots as well."""
    assert expected == targets.name(url)


def test_scrubbing() -> None:
    """No part of a URL survives in what a library says about it, not even decoded; its host does."""
    url = "jsons://me:pa%2555@example.com/hook-1?token=abcd1234"
    said = "me:pa%2555 or pa%55: POST https://example.com/hook-1?token=abcd1234 failed\nfor abcd1234"
    found = targets.scrub(said, url)
    assert [] == [part for part in ("pa%2555", "pa%55", "hook-1", "abcd1234") if part in found]
    assert "example.com" in found
    assert "\n" not in found
