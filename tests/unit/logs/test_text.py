"""Lines of text become objects: whose they are, how bad, and which lines are one message."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.logs.text import LONGEST, PATIENCE, Text
from entrypoint.shown import BREAK, MARK

NOW = 1795366842.5
SPOKEN = "2026-11-22T17:00:42.500Z"


def _objects(data: bytes) -> list[dict[str, Any]]:
    """The objects in these lines, which have the four fields first."""
    assert data.endswith(b"\n") or not data
    found = [json.loads(line) for line in data.split(b"\n")[:-1]]
    assert [["ts", "level", "source", "msg"]] * len(found) == [[*each][:4] for each in found]
    return found


def _read(text: str, source: str = "init") -> list[dict[str, Any]]:
    reader = Text(source)
    data = text.encode("utf-8", "surrogateescape")
    return _objects(reader.feed(data, NOW) + reader.flush(NOW, all_=True))


def _said(level: str, source: str, message: str, **fields: object) -> dict[str, Any]:
    return {"ts": SPOKEN, "level": level, "source": source, "msg": message, **fields}


def test_a_line_of_an_unknown_program_is_whole() -> None:
    """Its source is that of the stream, and its text is not changed; empty lines say nothing."""
    assert [_said("info", "init", ' a: "b" '), _said("info", "init", "c")] == _read(' a: "b" \r\n\n \nc')


def test_a_message_of_the_entrypoint_is_one_object() -> None:
    """Its level, its hint and its page are fields, and what is indented belongs to it."""
    text = (
        "entrypoint: warning: it fails\n  since noon\n  hint: do this\n  docs: fix-it (entrypoint help fix-it)\n"
        "entrypoint: archiving works again\nnext\n"
    )
    expected = [
        _said("warning", "entrypoint", "it fails\nsince noon", hint="do this", docs="fix-it"),
        _said("info", "entrypoint", "archiving works again"),
        _said("info", "init", "next"),
    ]
    assert expected == _read(text)


def test_a_mark_says_whose_line_it_is() -> None:
    """PID 1 passes on the lines of helpers with a mark, and names whose the lines without one are."""
    text = (
        f"{MARK}backups: entrypoint: error: it fails\n{MARK}wal-g: INFO: sent\n{MARK}backups:   hint: try again\n"
        f"{MARK}{MARK}initdb\nrunning bootstrap script ... ok\n"
        f"{MARK}entrypoint: entrypoint: info: one{BREAK}  two\n{MARK}entrypoint: ready for start up.\n"
    )
    expected = [
        _said("error", "backups", "it fails", hint="try again"),
        _said("info", "wal-g", "INFO: sent"),
        _said("info", "initdb", "running bootstrap script ... ok"),
        _said("info", "entrypoint", "one\ntwo"),
        _said("info", "entrypoint", "ready for start up."),
    ]
    assert expected == _read(text)


def test_a_message_of_the_server_is_one_object() -> None:
    """With PostgreSQL's usual prefix, a message with all its parts and lines is one object, as in its own JSON."""
    head = "2026-11-22 18:00:42.250 CET [7]"
    text = (
        f"{head} postgres@app ERROR:  bad\n\tthing\n{head} postgres@app DETAIL:  because\n"
        f"{head} postgres@app STATEMENT:  SELECT\n\t\t1/0\n"
        "2026-11-22 18:00:43.000 CET [8] FATAL:  other\n"
    )
    expected = [
        {
            "ts": "2026-11-22T18:00:42.250+01:00",
            "level": "error",
            "source": "postgres",
            "msg": "bad\nthing",
            "pid": 7,
            "error_severity": "ERROR",
            "prefix": "postgres@app",
            "detail": "because",
            "statement": "SELECT\n\t1/0",
        },
        {
            "ts": "2026-11-22T18:00:43.000+01:00",
            "level": "error",
            "source": "postgres",
            "msg": "other",
            "pid": 8,
            "error_severity": "FATAL",
        },
    ]
    assert expected == _read(text, "postgres")


def test_a_message_with_another_prefix_keeps_it() -> None:
    """A prefix that is not the usual one stays in the text."""
    text = "app: LOG:  statement: SELECT\n\t1\napp: HINT:  none\n"
    expected = [_said("info", "postgres", "app: LOG:  statement: SELECT\n1", hint="none")]
    assert expected == _read(text, "postgres")


def test_a_message_of_a_client_is_one_object() -> None:
    """What psql and initdb say on several lines belongs together."""
    text = (
        "psql:/x.sql:3: ERROR:  syntax error\nLINE 1: FOO\n        ^\n"
        "initdb: error: it fails\ninitdb: hint: do this\npg_ctl: done\n"
    )
    expected = [
        _said("error", "psql", "psql:/x.sql:3: ERROR:  syntax error\nLINE 1: FOO\n        ^"),
        _said("error", "initdb", "initdb: error: it fails", hint="do this"),
        _said("info", "pg_ctl", "pg_ctl: done"),
    ]
    assert expected == _read(text)


def test_a_traceback_is_one_object() -> None:
    """It ends with the line that names the exception."""
    text = 'Traceback (most recent call last):\n  File "x", line 1\nValueError: y\nnext\n'
    assert ["error", "info"] == [each["level"] for each in _read(text)]
    assert text.removesuffix("\nnext\n") == _read(text)[0]["msg"]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("INFO: 2026/11/22 10:00:00.000000 Finished", "info"),
        ("ERROR: 2026/11/22 10:00:00.000000 no", "error"),
        ("P00   WARN: slow", "warning"),
        ("2026-11-22 10:00:00.000 P00  ERROR: [055]: no", "error"),
    ],
)
def test_the_levels_of_archivers(line: str, level: str) -> None:
    """wal-g's and pgBackRest's lines have a level."""
    assert [_said(level, "init", line)] == _read(line)


def test_a_message_waits_for_its_lines() -> None:
    """Further lines may arrive for a moment; then the message leaves, before all that came later."""
    reader = Text("init")
    assert b"" == reader.feed(b"entrypoint: warning: it fails\n", NOW)
    assert b"" == reader.feed(b"  hint: do this\n", NOW + PATIENCE / 2)
    assert reader.waits
    assert b"" == reader.flush(NOW + PATIENCE, all_=False)
    found = reader.flush(NOW + 2 * PATIENCE, all_=False)
    assert [_said("warning", "entrypoint", "it fails", hint="do this")] == _objects(found)
    assert not reader.waits


def test_a_line_without_an_end_stays_bounded() -> None:
    """It comes in pieces, of which nothing is lost."""
    reader = Text("init")
    found = _objects(reader.feed(b"x" * (2 * LONGEST + 1), NOW))
    assert [LONGEST, LONGEST] == [len(each["msg"]) for each in found]
    assert ["x"] == [each["msg"] for each in _objects(reader.flush(NOW, all_=True))]


LINES = st.one_of(
    st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from(
        [
            b"entrypoint: error: a",
            b"  hint: b",
            b"  c",
            b"\td",
            b"2026-11-22 17:00:42.250 UTC [7] ERROR:  e",
            b"2026-11-22 17:00:42.250 UTC [7] DETAIL:  f",
            b"psql:g: ERROR:  h",
            b"LINE 1: i",
            b"HINT:  j",
            b"initdb: hint: k",
            b"Traceback (most recent call last):",
            b" l",
            b"\x1ebackups: entrypoint: info: m",
            b"\x1ebackups:   n",
            b"\x1e",
            b"\x1e\x1e",
        ]
    ),
)


@given(st.lists(LINES), st.lists(st.integers(0, 200)))
def test_any_bytes_become_the_same_objects_however_they_arrive(lines: list[bytes], cuts: list[int]) -> None:
    """Every line of the result is an object, whatever is read, and where one read ends does not matter."""
    data = b"\n".join(lines)
    whole, parts = Text("init"), Text("init")
    expected = whole.feed(data, NOW) + whole.flush(NOW, all_=True)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found = b"".join(
        parts.feed(data[begin:end], NOW) for begin, end in itertools.pairwise(edges)
    ) + parts.flush(NOW, all_=True)
    assert expected == found
    _objects(expected)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\x1e\x1f"), min_size=1, max_size=20))
)
def test_no_text_is_lost(texts: list[str]) -> None:
    """The words of all lines are in the objects, in their order."""
    lines = [f"entrypoint: info: {text}" if number % 3 == 0 else text for number, text in enumerate(texts)]
    found = "\n".join(each["msg"] for each in _read("\n".join(lines)))
    place = 0
    for text in texts:
        for word in text.split():
            place = found.index(word, place)
