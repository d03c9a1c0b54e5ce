"""How the value of a variable is parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from entrypoint.errors import Problem
from entrypoint.settings import fields
from entrypoint.settings.fields import Variable

if TYPE_CHECKING:
    from collections.abc import Mapping

FORK = Variable("FORK", "refuse", "")
KEEP = Variable("KEEP", "", "")
TIMEOUT = Variable("TIMEOUT", "60", "")
SECRET = Variable("SECRET", "a", "", secret=True)


@pytest.mark.parametrize(
    ("values", "expected"), [({}, "refuse"), ({"FORK": ""}, "refuse"), ({"FORK": "confirm"}, "confirm")]
)
def test_a_choice(values: Mapping[str, str], expected: str) -> None:
    """A variable that is not set, or is empty, has its default."""
    problems: list[Problem] = []
    assert expected == fields.choice(values, FORK, ("refuse", "confirm"), problems)
    assert [] == problems


def test_an_unknown_choice() -> None:
    """The problem shows the value unless it is a secret, and the default is used."""
    problems: list[Problem] = []
    assert "refuse" == fields.choice({"FORK": "maybe"}, FORK, ("confirm", "refuse"), problems)
    assert "a" == fields.choice({"SECRET": "geheim"}, SECRET, ("b", "a"), problems)
    assert [
        Problem("FORK=maybe is not a valid value", "set FORK to confirm or refuse"),
        Problem("SECRET is not a valid value", "set SECRET to b or a"),
    ] == problems


@pytest.mark.parametrize("text", ["-1", "1.5", "1 h", "12345678", "\u0661"])
def test_no_seconds(text: str) -> None:
    """The default is used, and the hint gives an example."""
    problems: list[Problem] = []
    assert 60 == fields.seconds({"TIMEOUT": text}, TIMEOUT, problems)
    hint = "give TIMEOUT as seconds, for example TIMEOUT=60"
    assert [Problem(f"TIMEOUT={text} is not a whole number of seconds", hint)] == problems
    assert 60 == fields.seconds({"TIMEOUT": ""}, TIMEOUT, [])


def test_a_count() -> None:
    """A count has at least its least value, or is not set at all."""
    problems: list[Problem] = []
    assert fields.count({}, KEEP, problems, least=1) is None
    assert 3 == fields.count({"KEEP": "3"}, KEEP, problems, least=1)
    assert [] == problems
    assert fields.count({"KEEP": "0"}, KEEP, problems, least=1) is None
    hint = "give KEEP as a number, or remove it"
    assert [Problem("KEEP=0 is not a whole number of at least 1", hint)] == problems
