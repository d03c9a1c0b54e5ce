"""The server's own log in JSON, with the fields that every object has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.logs.objects import LONGEST_RECORD, Records

NOW = 1795366842.5
RECORD = {
    "timestamp": "2026-11-22 17:00:42.250 UTC",
    "pid": 7,
    "error_severity": "ERROR",
    "state_code": "22012",
    "message": "division\nby zero",
    "statement": "SELECT 1/0",
}


def _read(*lines: bytes) -> list[dict[str, Any]]:
    reader = Records()
    data = reader.feed(b"".join(line + b"\n" for line in lines), NOW) + reader.flush(NOW, all_=True)
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def test_a_record_keeps_the_names_of_postgresql() -> None:
    """Only the time and the message have the names that they have in every object."""
    expected = {
        "ts": "2026-11-22T17:00:42.250Z",
        "level": "error",
        "source": "postgres",
        "msg": "division\nby zero",
        "pid": 7,
        "error_severity": "ERROR",
        "state_code": "22012",
        "statement": "SELECT 1/0",
    }
    (found,) = _read(json.dumps(RECORD).encode())
    assert expected == found
    assert ["ts", "level", "source", "msg"] == [*found][:4]


@pytest.mark.parametrize(
    ("severity", "code", "level"),
    [
        ("DEBUG2", "00000", "debug"),
        ("LOG", "00000", "info"),
        ("NOTICE", "00000", "info"),
        ("WARNING", "01000", "warning"),
        ("PANIC", "XX000", "error"),
        ("FEHLER", "22012", "error"),
        ("HINWEIS", "00000", "info"),
        ("WARNUNG", "01000", "warning"),
    ],
)
def test_levels(severity: str, code: str, level: str) -> None:
    """A severity that lc_messages has translated is judged by its SQLSTATE."""
    record = {**RECORD, "error_severity": severity, "state_code": code}
    assert [level] == [each["level"] for each in _read(json.dumps(record).encode())]


@pytest.mark.parametrize("line", [b"{", b"[]", b"1", b'{"timestamp": 1}', b'{"message": "x"}', b"[" * 9999])
def test_what_is_no_record_is_passed_on_as_text(line: bytes) -> None:
    """For example the end of a record whose beginning was lost."""
    assert [("info", line.decode())] == [(each["level"], each["msg"]) for each in _read(line)]


def test_a_record_without_an_end_stays_bounded() -> None:
    """It comes in pieces, of which nothing is lost."""
    reader = Records()
    found = reader.feed(b"x" * (LONGEST_RECORD + 1), NOW) + reader.flush(NOW, all_=True)
    assert LONGEST_RECORD + 1 == sum(len(json.loads(line)["msg"]) for line in found.splitlines())


@given(st.lists(st.binary(max_size=40)), st.text(), st.binary(max_size=9))
def test_any_bytes_become_objects(lines: list[bytes], message: str, more: bytes) -> None:
    """Every line of the result is an object, and a record is found among anything else."""
    record = json.dumps({**RECORD, "message": message}).encode()
    found = _read(*(line.replace(b"\n", b"") for line in lines), record, more)
    assert message in [each["msg"] for each in found]
