"""The parser for PostgreSQL's configuration files; `acceptance/configuration` compares it with the real server."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.postgres import configfile
from entrypoint.postgres.sql import conf_value


def _value(line: str) -> tuple[str, str] | None:
    entries, errors = configfile.parse(line, "f")
    assert len(entries) + len(errors) == 1
    return (entries[0].name, entries[0].value) if entries else None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Work_Mem = 64MB", ("work_mem", "64MB")),
        ("work_mem 64MB # half", ("work_mem", "64MB")),
        ("work_mem'64MB'", ("work_mem", "64MB")),
        (" a.b\t=\t'it''s \\'x\\' \\101\\n'", ("a.b", "it's 'x' A\n")),
        ("x = ''", ("x", "")),
        ("x = -1.5e3\r", ("x", "-1.5e3")),
        ("x = 0x1F", ("x", "0x1F")),
        ("x = on#", ("x", "on")),
        ("search = a.b-c/d:e", ("search", "a.b-c/d:e")),
        ("x = 1.5GB", None),
        ("x = 1 2", None),
        ("x = 'open", None),
        ("x == 1", None),
        ("x", None),
        ("x = b.c", None),
        ("x = b.c.d", ("x", "b.c.d")),
        ("work_mem", None),
        ("a.b.c = 1", None),
        ("a-b = 1", None),
        ("1x = 1", None),
        ("x = $1", None),
    ],
)
def test_a_line(line: str, expected: tuple[str, str] | None) -> None:
    """A line sets a parameter, or is no setting at all."""
    assert expected == _value(line)


@given(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])))
def test_a_quoted_value_is_read_back(text: str) -> None:
    """The parser and the writer agree."""
    assert ("x", text) == _value(f"x = {conf_value(text)} # it's")


def _read(files: Mapping[str, str], path: str = "/a.conf") -> tuple[list[str], list[str]]:
    def read_text(name: str) -> str:
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory", name)
        return files[name]

    def list_folder(name: str) -> list[str]:
        found = [each.rpartition("/")[2] for each in files if each.rpartition("/")[0] == name]
        if not found:
            raise FileNotFoundError(2, "No such file or directory", name)
        return found

    entries, errors = configfile.read(path, read_text, list_folder)
    return [f"{entry.where} {entry.name}={entry.value}" for entry in entries], errors


def test_includes_take_effect_where_they_are_written() -> None:
    """Paths are relative to the including file; a folder's files come in order, without those of another suffix."""
    files = {
        "/a.conf": "x=1\ninclude 'd/b.conf'\ny=1\ninclude_dir 'd'\ninclude_if_exists = 'none'",
        "/d/b.conf": "x=2",
        "/d/a.conf": "\nx=3",
        "/d/.c.conf": "x=4",
        "/d/c.txt": "x=5",
    }
    expected = ["/a.conf:1 x=1", "/d/b.conf:1 x=2", "/a.conf:3 y=1", "/d/a.conf:2 x=3", "/d/b.conf:1 x=2"]
    assert (expected, []) == _read(files)


def test_errors_of_includes_have_their_place() -> None:
    """What the server would not start with is an error, and everything else is read."""
    files = {"/a.conf": "x 1 2\ninclude 'b'\ninclude_dir 'c'\ny=1", "/d/z.conf": ""}
    expected = ["/a.conf:1: syntax error", "/b: No such file or directory"]
    entries, errors = _read(files)
    assert (["/a.conf:4 y=1"], expected) == (entries, errors[:2])
    assert "/a.conf:3: /c: No such file or directory" == errors[2]


def test_a_file_that_includes_itself_has_an_end() -> None:
    """The includes are followed as deep as the server does, and no deeper."""
    entries, errors = _read({"/a.conf": "x=1\ninclude '/a.conf'"})
    assert (configfile.DEEPEST + 1, ["/a.conf:2: included too deeply"]) == (len(entries), errors)
