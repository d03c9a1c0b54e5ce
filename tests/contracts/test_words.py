"""The words that CONTRIBUTING.md names are not used: not in messages, comments, names of tests, nor on pages."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository import REPOSITORY

TABLE = re.compile(r"(?m)^\| not \| but \|\n.*\n((?:\|.*\|\n?)+)")
ROWS = [
    [cell.strip() for cell in row.strip("|").split("|")]
    for row in TABLE.findall((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8"))[0].splitlines()
]
INSTEAD = {word.strip(): instead for words, instead in ROWS for word in words.split(",")}
PATTERN = re.compile(
    r"\b(?:" + "|".join(word.replace(" ", r"[\s#>]+") for word in INSTEAD) + r")\b", re.IGNORECASE
)
CODE = re.compile(r"(?s)```.*?```|`[^`\n]*`|\"mend\"|\{[^{}\s]*\}")
"""Not read: also the parts of a string that Python fills in, and a key in files of earlier versions."""
TEST = re.compile(r"(?m)^\s*(?:async )?def (test_\w+)")
UNREAD = {"CONTRIBUTING.md", "LICENSE", "flake.lock", "tests/contracts/test_words.py", "uv.lock"}
"""Two of them have the words themselves."""
QUOTED = {"tests/nixpkgs", "tests/unit/samples"}
"""Texts of others."""


def _files() -> list[str]:
    listed = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard"),
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    return [
        name
        for name in listed.stdout.splitlines()
        if name not in UNREAD and not any(name.startswith(f"{folder}/") for folder in QUOTED)
    ]


def _texts(path: Path) -> Iterator[str]:
    """Yield what a person reads in a file: of Python the strings, the comments and the names of tests."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix != ".py":
        yield CODE.sub("", text)
        return
    comments: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.append(token.string)
        elif token.type == tokenize.STRING:
            yield CODE.sub("", token.string)
        elif token.type != tokenize.NL:
            yield CODE.sub("", "\n".join(comments))
            comments.clear()
    yield from (name.replace("_", " ") for name in TEST.findall(text))


def found(path: Path) -> list[str]:
    """Return each such word, with what to write in its place."""
    hits = [re.sub(r"[\s#>]+", " ", hit).lower() for text in _texts(path) for hit in PATTERN.findall(text)]
    return [f"{hit}: {INSTEAD.get(hit, '')}" for hit in hits]


@pytest.mark.parametrize("name", _files())
def test_only_usual_words(name: str) -> None:
    """People read this at 3 a.m.; most of them did not grow up with the words in the list."""
    path = REPOSITORY / name
    assert path.is_symlink() or [] == found(path)


def test_each_place_is_read(tmp_path: Path) -> None:
    """A message, a docstring, a comment, a test and a page; also across the end of a line, but not in code."""
    module = tmp_path / "module.py"
    lines = (
        '"""It is made anew."""',
        "# so that it goes",
        "# on",
        'x = f"{x} is told"',
        "def test_it_hurts(): ...",
    )
    module.write_text("\n".join(lines) + "\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text("It goes\non, see `mend`.\n", encoding="utf-8")
    assert ["anew", "goes on", "told", "hurts"] == [each.partition(":")[0] for each in found(module)]
    assert ["goes on: continue, resume, happen"] == found(page)
