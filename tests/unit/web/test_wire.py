"""HTTP/1.1 as bytes: what is a request, what is refused, and how an answer begins."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrypoint.web import wire
from entrypoint.web.exchange import Request, Response, as_json

GET = b"GET /ready HTTP/1.1\r\nHost: db:9187\r\n"


@given(st.binary(max_size=2 * wire.MOST))
@example(b"GET / HTTP/1.1\r\n:\r\n\r\n")
@example(b"\r\n" * wire.MOST)
def test_anything_is_answered(data: bytes) -> None:
    """No bytes raise an error, and more than the limit never means that the end is missing."""
    found = wire.parse(data)
    assert (len(data) <= wire.MOST) >= (found is None)


@given(st.binary(max_size=200).map(lambda data: GET + data + b"\r\n\r\n"), st.integers(0, 300))
@example(b"GET /%%00%ff%/..//?a&b=%&=;=#x HTTP/1.1\nHost:\n\n", 0)
def test_a_request_does_not_depend_on_how_it_arrives(data: bytes, cut: int) -> None:
    """The beginning of a request gives no answer, or the same as the whole."""
    assert wire.parse(data[:cut]) in (None, wire.parse(data))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GET + b"\r\n", Request("/ready", {})),
        (b"\r\n" + GET + b"\r\n", Request("/ready", {})),
        (b"GET /ready HTTP/1.0\n\n", Request("/ready", {})),
        (b"HEAD /ready?lag=1&lag=2 HTTP/1.1\r\n\r\n", Request("/ready", {"lag": "2"})),
        (b"GET /?lag= HTTP/1.1\r\n\r\n", Request("/", {"lag": ""})),
        (b"GET http://db:9187/live HTTP/1.1\r\n\r\n", Request("/live", {})),
        (b"GET http://db:9187 HTTP/1.1\r\n\r\n", Request("/", {})),
        (b"GET /a%20b%2e#x HTTP/1.1\r\n\r\n", Request("/a b.", {})),
        (b"GET /../%00//etc HTTP/1.1\r\n\r\n", Request("/../\0//etc", {})),
        (
            b"GET / HTTP/1.1\r\nAUTHORIZATION:Bearer \xc3\xa9 \r\nAccept: a\r\nAccept: b\r\n\r\n",
            Request("/", {}, "Bearer é", "a, b"),
        ),
        (GET + b"Content-Length: 0\r\n\r\nGET /junk", Request("/ready", {})),
    ],
)
def test_requests(data: bytes, expected: Request) -> None:
    """What browsers, probes, proxies and people with netcat send is understood."""
    assert expected == wire.parse(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET /live\r\n", 400),
        (b"GET  /live HTTP/1.1\r\n", 400),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n", 400),
        (b"GET * HTTP/1.1\r\n", 400),
        (b"GET live HTTP/1.1\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\n", 400),
        (b"PRI * HTTP/2.0\r\n", 505),
        (b"POST /live HTTP/1.1\r\n", 405),
        (b"get /live HTTP/1.1\r\n", 405),
        (GET + b"Broken\r\n\r\n", 400),
        (GET + b"Na me: x\r\n\r\n", 400),
        (GET + b"Name : x\r\n\r\n", 400),
        (GET + b"Name: x\r\n folded\r\n\r\n", 400),
        (GET + b"Name: \0\r\n\r\n", 400),
        (GET + b"Host: other\r\n\r\n", 400),
        (GET + b"Content-Length: -1\r\n\r\n", 400),
        (GET + b"Content-Length: 1\r\n\r\n", 413),
        (GET + b"Transfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /?" + b"a&" * 101 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * wire.MOST, 414),
        (b"\r" * (wire.MOST + 1), 414),
        (GET + b"A: " + b"a" * wire.MOST, 431),
        (GET + b"A: " + b"a" * wire.MOST + b"\r\n\r\n", 431),
    ],
)
def test_refusals(data: bytes, code: int) -> None:
    """Each refusal has the code that clients know; nothing that changes something is accepted."""
    found = wire.parse(data)
    assert isinstance(found, Response)
    assert code == found.code


def test_the_method_that_is_refused_names_those_that_are_not() -> None:
    """405 requires Allow."""
    found = wire.parse(b"DELETE / HTTP/1.1\r\n")
    assert isinstance(found, Response)
    assert (("Allow", "GET, HEAD"),) == found.headers


def test_the_beginning_of_an_answer() -> None:
    """Headers that the answer sets replace the defaults; nothing is cached, and no content is guessed."""
    lines = wire.head(as_json(503, {}, ("cache-control", "no-cache")), 0).decode().split("\r\n")
    assert [
        "HTTP/1.1 503 Service Unavailable",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "Content-Type: application/json",
        "Content-Length: 3",
        "Connection: close",
        "cache-control: no-cache",
        "X-Content-Type-Options: nosniff",
        "",
        "",
    ] == lines
