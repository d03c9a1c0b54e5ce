"""Time limits for users' expressions in queries about collations."""

from __future__ import annotations

import time

import pytest

from entrypoint.collation import asking
from entrypoint.collation.asking import LEAST, Session, Turns
from entrypoint.collation.dependents import Dependent
from entrypoint.errors import Failure, Problem
from entrypoint.server.context import Context
from unit import made
from unit.made import NO_CHILDREN, POSTGRES

SESSION = Session(Context(made.settings(), NO_CHILDREN, POSTGRES, "/run/entrypoint", {}))
INDEX = Dependent("index", "app", "i", "t", ("default",), bytes=2**21, stored=2**20, owner="mallory")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Return the time limit of each query; every query uses all of its time, and fails."""
    found: list[float | None] = []
    clock = [0.0]

    def ask(*_: object, seconds: float | None, **__: object) -> str:
        found.append(seconds)
        clock[0] += 5.0 if seconds is None else seconds
        raise Failure(Problem("it took too long", "wait"))

    monkeypatch.setattr(asking, "ask", ask)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return found


def test_a_slow_owner_is_skipped(given: list[float | None]) -> None:
    """After three slow objects, an owner's other objects are skipped; those of other owners are not."""
    turns = Turns(SESSION)
    for _ in range(5):
        with pytest.raises(Failure):
            turns.ask(INDEX, "SELECT 1")
    assert [LEAST + 3] * 3 == given
    with pytest.raises(Failure) as raised:
        turns.ask(INDEX, "SELECT 1")
    assert "3 other objects of mallory took too long" in str(raised.value)
    with pytest.raises(Failure):
        turns.ask(INDEX._replace(owner="alice"), "SELECT 1")
    assert 4 == len(given)


def test_queries_that_run_no_user_code_have_no_limit(given: list[float | None]) -> None:
    """Reading a large index may take any time."""
    for _ in range(4):
        with pytest.raises(Failure):
            Turns(SESSION).ask(INDEX, "SELECT 1", limited=False)
    assert [None] * 4 == given
