"""Who may see more than the probes: whoever has the token; pure."""

from __future__ import annotations

import hmac
from base64 import b64decode

from entrypoint.web.exchange import refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.web.exchange import Response


def is_allowed(token: str, authorization: str) -> bool:
    """Return whether the header Authorization contains the token; an empty token allows everybody.

    It is a Bearer token, or the password of any user. The comparison takes as long for a wrong token of the
    same length as for the right one.

    >>> is_allowed("secret", "Bearer secret"), is_allowed("secret", "Basic bWU6c2VjcmV0")
    (True, True)
    >>> is_allowed("secret", "Bearer Secret"), is_allowed("secret", ""), is_allowed("", "")
    (False, False, True)
    """
    return not token or hmac.compare_digest(_bytes(token), _given(authorization))


def _given(authorization: str) -> bytes:
    """Return the token in a header; empty: there is none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return _bytes(rest.strip())
    if scheme.lower() != "basic":
        return b""
    try:
        return b64decode(_bytes(rest.strip()), validate=True).partition(b":")[2]
    except ValueError:
        return b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def unauthorized() -> Response:
    """Return the answer to a request without the token; a browser asks for it as a password."""
    return refusal(
        401,
        "give the value of STATUS_TOKEN as a Bearer token, or as the password of any user",
        ("WWW-Authenticate", 'Basic realm="entrypoint", charset="UTF-8"'),
        ("WWW-Authenticate", 'Bearer realm="entrypoint"'),
    )
