"""How the value of a variable is read."""

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
    """What is not set, or empty, is the default."""
    problems: list[Problem] = []
    assert expected == fields.choice(values, FORK, ("refuse", "confirm"), problems)
    assert [] == problems


def test_a_choice_that_is_none() -> None:
    """It is told, but for a secret; what goes on is the default, never what nobody knows."""
    problems: list[Problem] = []
    assert "refuse" == fields.choice({"FORK": "maybe"}, FORK, ("confirm", "refuse"), problems)
    assert "a" == fields.choice({"SECRET": "geheim"}, SECRET, ("b", "a"), problems)
    assert [
        Problem("FORK=maybe is not a valid value", "set FORK to confirm or refuse"),
        Problem("SECRET is not a valid value", "set SECRET to b or a"),
    ] == problems


@pytest.mark.parametrize("text", ["-1", "1.5", "1 h", "12345678", "\u0661"])
def test_no_seconds(text: str) -> None:
    """The default goes on, and an example is given."""
    problems: list[Problem] = []
    assert 60 == fields.seconds({"TIMEOUT": text}, TIMEOUT, problems)
    hint = "give TIMEOUT as seconds, for example TIMEOUT=60"
    assert [Problem(f"TIMEOUT={text} is not a whole number of seconds", hint)] == problems
    assert 60 == fields.seconds({"TIMEOUT": ""}, TIMEOUT, [])


def test_a_count() -> None:
    """It is from its least on, or not set at all."""
    problems: list[Problem] = []
    assert fields.count({}, KEEP, problems, least=1) is None
    assert 3 == fields.count({"KEEP": "3"}, KEEP, problems, least=1)
    assert [] == problems
    assert fields.count({"KEEP": "0"}, KEEP, problems, least=1) is None
    hint = "give KEEP as a number, or remove it"
    assert [Problem("KEEP=0 is not a whole number of at least 1", hint)] == problems
