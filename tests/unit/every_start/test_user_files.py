"""The messages about init files and start files that fail."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from entrypoint import exits
from entrypoint.errors import Failure, Problem
from entrypoint.every_start import user_files
from entrypoint.server.context import Context
from entrypoint.system.children import Children
from unit import made
from unit.made import POSTGRES


class Shell:
    """A stand-in for the shell of all files: it reports the files that started, and its variables."""

    def __init__(self, code: int, *handed_over: str) -> None:
        self._code = code
        self._text = "".join(f"{each}\0" for each in handed_over)

    def run(self, _: Sequence[str], __: Mapping[str, str], *, descriptors: Mapping[int, int]) -> int:
        """Print the prepared output and end."""
        (done,) = descriptors.values()
        os.write(done, self._text.encode())
        return self._code


def _run(shell: Shell) -> dict[str, str]:
    context = Context(made.settings(), cast("Children", shell), POSTGRES, "/run/entrypoint", {})
    return user_files.run(context, "/files")


def _refused(shell: Shell) -> Problem:
    with pytest.raises(Failure) as raised:
        _run(shell)
    (problem,) = raised.value.problems
    return problem


def test_variables_are_passed_on() -> None:
    """Later files and the server get the variables that a file exports, except the shell's own."""
    shell = Shell(0, "file /files/1.sh", "MINE=a\nb", "PWD=/", "OLDPWD=/", "SHLVL=1", "_=/bin/env", "EMPTY=")
    assert {"MINE": "a\nb", "EMPTY": ""} == _run(shell)


def test_a_file_that_fails_is_named() -> None:
    """It is the last file that started; the exit code is the shell's."""
    problem = _refused(Shell(7, "file /files/1.sh", "file /files/2.sql"))
    expected = ("/files/2.sql failed with exit code 7", "correct the file", 7)
    assert expected == (problem.what, problem.hint, problem.code)


def test_a_file_that_ends_the_shell() -> None:
    """The files after it did not run, so this is a failure."""
    problem = _refused(Shell(0, "file /files/1.sh"))
    assert "/files/1.sh called `exit 0`, which ended the shell that runs all these files" == problem.what
    assert exits.FAILURE == problem.code


@pytest.mark.parametrize(
    ("content", "code", "expected"),
    [
        (b"#!/bin/sh\r\n", exits.NOT_FOUND, "its lines end with CRLF"),
        (b"#!/no/such/shell\n", exits.NOT_FOUND, "its interpreter /no/such/shell is not in the image"),
        (b"#!/etc/passwd\n", exits.NOT_EXECUTABLE, "no permission to execute its interpreter /etc/passwd"),
        (b"#!/bin/sh\n", exits.NOT_FOUND, "correct the file"),
        (b"\xff\xfe", exits.NOT_EXECUTABLE, "correct the file"),
        (b"#!/bin/sh\r\n", 1, "correct the file"),
        (None, exits.NOT_EXECUTABLE, "is a folder: put the files directly into"),
    ],
)
def test_the_reason_why_a_file_cannot_be_executed(
    tmp_path: Path, content: bytes | None, code: int, expected: str
) -> None:
    """The usual reasons are checked if the shell could not execute a file."""
    path = tmp_path / "1.sh"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert expected in (_refused(Shell(code, f"file {path}")).hint or "")
