"""Connection strings, parsed as libpq does it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.postgres import conninfo

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" host = a port=5432 ", [("host", "a"), ("port", "5432")]),
        ("host='' user=b\\ c", [("host", ""), ("user", "b c")]),
        ("password=", [("password", "")]),
        ("postgres://", [("host", "")]),
        ("postgresql://me@/app", [("user", "me"), ("host", ""), ("dbname", "app")]),
        ("postgres://[::1]:7,b", [("host", "[::1]"), ("host", "b"), ("port", "7")]),
        (
            "postgres://a?ssl=true&application_name=x%20y",
            [("host", "a"), ("sslmode", "require"), ("application_name", "x y")],
        ),
    ],
)
def test_valid_connection_strings(text: str, expected: list[tuple[str, str]]) -> None:
    """Both forms are read, with their quotes, escapes and percent codes."""
    assert expected == [(part.name, part.value) for part in conninfo.parse(text)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"host=a password='{SECRET}", "lacks a closing quote"),
        (f"password=a {SECRET}", "not name=value"),
        (f"{SECRET}=a", "a parameter that libpq does not know"),
        (f"host=a port={SECRET}", "its port is not a number"),
        (f"host=a connect_timeout={SECRET}", "its connect_timeout is not a number"),
        (f"host=a sslmode={SECRET}", "its sslmode is not one of"),
        (f"host='a {SECRET}'", "its host is not a host name"),
        (f"postgres://me:{SECRET}@x@host/app", "it is not a valid URI"),
        (f"postgres://me:%{SECRET}@host", "is not followed by two hexadecimal digits"),
        (f"postgres://host?{SECRET}", "after the ? is not name=value"),
        (f"postgres://a:b:{SECRET}", "a host is not NAME"),
    ],
)
def test_a_string_that_libpq_would_refuse(text: str, reason: str) -> None:
    """It is refused at once, for a reason that quotes nothing from it."""
    with pytest.raises(ValueError, match=re.escape(reason)) as raised:
        conninfo.parse(text)
    assert SECRET not in str(raised.value)


@given(
    st.text(alphabet="ab '\\=@:/?%&[]1\n", max_size=12),
    st.sampled_from(["", "host=", "password='", "postgres://a:"]),
)
def test_any_text(text: str, begin: str) -> None:
    """It is parsed or refused; each value is at its reported offset, so that it can be hidden."""
    try:
        parts = conninfo.parse(begin + text)
    except ValueError:
        return
    for part in parts:
        assert 0 <= part.begin <= part.end <= len(begin + text)
        assert len(part.value) <= max(len("require"), part.end - part.begin)
