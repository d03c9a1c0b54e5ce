"""The token: who has it, and that a wrong one takes as long as the right one."""

from __future__ import annotations

import hmac
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.web import permission

TOKEN = "gehéim:1"


def _basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bEARER   {TOKEN} ", True),
        (_basic(f"anybody:{TOKEN}"), True),
        (_basic(f":{TOKEN}"), True),
        ("", False),
        (TOKEN, False),
        ("Bearer", False),
        (f"Bearer {TOKEN}x", False),
        (f"Digest {TOKEN}", False),
        (_basic(TOKEN), False),
        ("Basic !!!", False),
        ("Basic ä", False),
        (_basic("anybody:"), False),
    ],
)
def test_the_token(given_: str, expected: bool) -> None:
    """A Bearer token, or the password of any user; the password may contain colons."""
    assert expected == permission.is_allowed(TOKEN, given_)


@given(st.text())
def test_no_header_raises_an_error(text: str) -> None:
    """Whatever the header contains, it is refused."""
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    assert not permission.is_allowed("a token that nobody guesses", text)


def test_the_comparison_takes_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is the one of the standard library for secrets, and it gets bytes."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(wanted: bytes, given_: bytes) -> bool:
        compared.append((wanted, given_))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    permission.is_allowed(TOKEN, "Bearer x")
    permission.is_allowed(TOKEN, "")
    assert [(TOKEN.encode(), b"x"), (TOKEN.encode(), b"")] == compared


def test_a_client_learns_what_to_send() -> None:
    """A browser shows its dialogue for a password because of Basic."""
    found = permission.unauthorized()
    assert 401 == found.code
    assert ["Basic", "Bearer"] == [
        value.split()[0] for name, value in found.headers if name == "WWW-Authenticate"
    ]
