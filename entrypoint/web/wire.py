"""HTTP/1.1 as bytes: what clients send, and the answers; pure."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

from entrypoint.light import re
from entrypoint.web.exchange import Request, Response, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 8192
"""Bytes that a request has at most, its request line and headers together."""
_REASONS: Mapping[int, str] = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
_DEFAULTS: Mapping[str, str] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""The headers of each answer that has none of the same name."""
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\.[0-9]\r?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0-\x08\n-\x1f\x7f]*)")
_END = re.compile(rb"\n\r?\n")
_PLACE = re.compile(rb"(?i)https?://[^/?#]*")
"""What precedes the path in a request to a proxy, which every server must accept."""


def is_head(data: bytes) -> bool:
    """Return whether a request asks for the headers only."""
    return data.lstrip(b"\r\n").startswith(b"HEAD ")


def parse(data: bytes) -> Request | Response | None:
    r"""Return a request, or the answer that refuses it; None: its end is missing.

    Whatever follows the request is ignored: each connection has one request. A line may end without `\r`.

    >>> parse(b"GET /ready?lag=16MB HTTP/1.1\r\nHost: db\r\n\r\n")
    Request(path='/ready', query={'lag': '16MB'}, authorization='', accept='')
    >>> parse(b"GET /live HTTP/1.0\r\n")
    """
    text = data.lstrip(b"\r\n")
    line, found, rest = text.partition(b"\n")
    if not found:
        return refusal(414, f"the request line has more than {MOST} bytes") if len(data) > MOST else None
    refused = _refuse_line(line)
    if refused is not None:
        return refused
    end = _END.search(text)
    if end is None or end.start() > MOST:
        large = end is not None or len(data) > MOST
        return refusal(431, f"the headers have more than {MOST} bytes") if large else None
    headers = _headers(rest[: max(end.start() - len(line) - 1, 0)])
    if headers is None:
        return refusal(400, "a header is not of the form Name: value, or its name is there twice")
    refused = _refuse_body(headers)
    return _request(line, headers) if refused is None else refused


def _refuse_line(line: bytes) -> Response | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return refusal(400, "the request line is not of the form GET /path HTTP/1.1")
    if found[3] != b"1":
        return refusal(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if found[1] not in (b"GET", b"HEAD"):
        return refusal(405, "nothing is changed over HTTP: use GET or HEAD", ("Allow", "GET, HEAD"))
    if not _target(found[2]).startswith(b"/"):
        return refusal(400, "the request has no path")
    return None


def _target(word: bytes) -> bytes:
    """Return the path and the query."""
    place = _PLACE.match(word)
    rest = (word if place is None else word[place.end() :]).partition(b"#")[0]
    return rest if place is None or rest.startswith(b"/") else b"/" + rest


def _headers(text: bytes) -> dict[bytes, bytes] | None:
    """Return the headers by their names in lower case; None: they are broken."""
    headers: dict[bytes, bytes] = {}
    for line in text.split(b"\n") if text else ():
        found = _HEADER.fullmatch(line.removesuffix(b"\r"))
        if found is None:
            return None
        name, value = found[1].lower(), found[2].strip(b" \t")
        if name in headers and name in (b"authorization", b"content-length", b"host"):
            return None
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _refuse_body(headers: Mapping[bytes, bytes]) -> Response | None:
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        return refusal(400, "Content-Length is not a number")
    if length.strip(b"0") or b"transfer-encoding" in headers:
        return refusal(413, "a request has no body here")
    return None


def _request(line: bytes, headers: Mapping[bytes, bytes]) -> Request | Response:
    path, _, query = _target(line.split(b" ")[1]).decode("ascii").partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return refusal(400, "the query has more than 100 parameters")
    authorization, accept = (
        headers.get(name, b"").decode("utf-8", "surrogateescape") for name in (b"authorization", b"accept")
    )
    return Request(unquote(path), dict(pairs), authorization, accept)


def head(response: Response, now: float) -> bytes:
    """Return the status line and the headers of an answer; `now` is in seconds since 1970."""
    given = {name.lower() for name, _ in response.headers}
    lines = [
        f"HTTP/1.1 {response.code} {_REASONS.get(response.code, 'Status')}",
        f"Date: {datetime.fromtimestamp(now, UTC):%a, %d %b %Y %H:%M:%S GMT}",
        f"Content-Type: {response.kind}",
        f"Content-Length: {len(response.body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in response.headers),
        *(f"{name}: {value}" for name, value in _DEFAULTS.items() if name.lower() not in given),
    ]
    return "\r\n".join((*lines, "", "")).encode()
