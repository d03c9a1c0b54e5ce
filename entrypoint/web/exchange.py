"""What comes and goes over HTTP; pure."""

from __future__ import annotations

import json

from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Reply = Callable[["Response"], None]
    """Answers a request: at once, or later."""


class Request(NamedTuple):
    """A request for a resource; only GET and HEAD get this far."""

    path: str
    """Without the query, percent-decoded."""
    query: Mapping[str, str]
    """The last value of each parameter."""
    authorization: str = ""
    """The header of this name."""
    accept: str = ""
    """The header of this name."""


class Response(NamedTuple):
    """An answer."""

    code: int
    kind: str
    """The content type."""
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def as_json(code: int, value: object, *headers: tuple[str, str]) -> Response:
    """Return an answer with a JSON text."""
    return Response(code, "application/json", json.dumps(value, indent=2).encode() + b"\n", headers)


def refusal(code: int, why: str, *headers: tuple[str, str]) -> Response:
    """Return an answer that says why there is no other."""
    return as_json(code, {"error": why}, *headers)
