"""The objects that are really broken, and those that only their owner may check."""

from __future__ import annotations

import json

import pytest

from entrypoint.collation import asking, examine
from entrypoint.collation.dependents import Dependent, Report
from unit.collation.test_asking import INDEX, SESSION

CHECKED = Dependent("check", "app", "in_order", "public.t", ("default",), test="NOT (a < b)", owner="alice")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the queries to the server; the answer is always that two rows, or two keys, are wrong."""
    found: list[str] = []

    def ask(_: object, __: object, text: str, **___: object) -> str:
        found.append(text)
        return json.dumps({"keys": 2, "example": "(a)"}) if "json_build_object" in text else "2"

    monkeypatch.setattr(asking, "ask", ask)
    return found


def _words(*dependents: Dependent, amcheck: bool = False) -> list[tuple[str, str, bool]]:
    found = examine.check(SESSION, Report(dependents=dependents), amcheck=amcheck)
    return [(each.words, each.hint, each.broken) for each in found]


def test_rows_are_counted(asked: list[str]) -> None:
    """The hint shows misplaced rows; they are read only if the table is unchanged since it was judged."""
    ((words, hint, broken),) = _words(CHECKED)
    assert "check in_order on public.t in app is violated: 2 rows against it" == words
    assert "correct them: SELECT * FROM ONLY public.t WHERE NOT (a < b)" == hint
    assert broken
    assert asked[0].startswith("PREPARE entrypoint AS SELECT FROM ONLY public.t; ")


def test_duplicate_keys(asked: list[str]) -> None:
    """The table of a unique index is read for duplicates, with which a rebuild would fail."""
    ((words, hint, broken),) = _words(INDEX._replace(unique=True, keys="name"))
    assert "has admitted duplicates: 2 keys more than once, for example (a)" in words
    assert (True, True) == (broken, "delete all but one row of each key" in hint)
    assert "SET enable_indexscan = off" in asked[0]


@pytest.mark.parametrize(
    ("dependent", "expected"),
    [
        (CHECKED._replace(foreign=True), "let alice run: SELECT * FROM ONLY public.t"),
        (
            CHECKED._replace(foreign=True, privileged=True),
            "let a role that may read it and has no other privileges run",
        ),
        (
            CHECKED._replace(test="", domain="d", column="c"),
            "look at the values of d in column c of public.t",
        ),
        (INDEX._replace(unique=True, keys="name", foreign=True), "let mallory run: SET enable_indexscan"),
    ],
)
def test_code_of_users_is_not_run(asked: list[str], dependent: Dependent, expected: str) -> None:
    """If a check could run users' code, there is no query, and the hint names the one for the owner."""
    ((_, hint, broken),) = _words(dependent)
    assert (False, True) == (broken, expected in hint), hint
    assert [] == asked


def test_an_index_that_lends_privileges_is_not_read(asked: list[str]) -> None:
    """Amcheck would switch to its owner, who is a superuser."""
    ((words, _, broken),) = _words(INDEX._replace(method="btree", unsafe=True), amcheck=True)
    assert "would run other users' code as the superuser" in words
    assert (False, []) == (broken, asked)


def test_a_materialized_view_is_not_checked(asked: list[str]) -> None:
    """Nothing shows whether its rows come from another order."""
    assert [] == _words(CHECKED._replace(kind="materialized view"))
    assert [] == asked
