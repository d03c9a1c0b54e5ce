"""What a start does where it is not known that text still sorts as it was indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrypoint import exits
from entrypoint.collation import policy, rebuild, remembered
from entrypoint.collation.asking import Session
from entrypoint.collation.dependents import Change, Dependent, Finding, Report
from entrypoint.collation.rebuild import Outcome
from entrypoint.collation.remembered import CHANGED, MATCHED, Memory
from entrypoint.errors import Failure, Problem
from entrypoint.server.context import Context
from unit import made
from unit.made import NO_CHILDREN, POSTGRES

MARK = "glibc 2.41; cluster 1, catalog 2, timeline 3; /bin/postgres 4 5"
THERE = MARK.replace("2.41", "2.36")
INDEX = Dependent(
    kind="index", database="app", name="i", table="t", collations=("default",), bytes=8192, stored=8192
)
LIGHT = Report((Change("app", "mine", "1", "2.41"),), (INDEX._replace(collations=("mine",)),))
"""What a role can make up for objects of its own."""
HEAVY = Report((Change("app", "default", "2.36", "2.41", trusted=True),), (INDEX,))
Gate = Callable[..., Memory]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return what calls the gate of a cluster whose server finds this, and returns what is remembered then."""
    data = str(made.cluster(tmp_path / "data"))

    def run(
        wanted: str, found: Report | Failure, outcome: Outcome | None = None, **how: Memory | bool
    ) -> Memory:
        settings = made.settings({"PGDATA": data, "COLLATION_POLICY": wanted})
        context = Context(settings, NO_CHILDREN, POSTGRES, str(tmp_path), {})
        if isinstance(before := how.get("before"), Memory):
            remembered.write(data, before)

        @contextmanager
        def server(*_: object) -> Iterator[Session]:
            yield Session(context, "/nowhere", serving=False)

        def look(*_: object) -> Report:
            if isinstance(found, Failure):
                raise found
            return found

        def fix(*_: object) -> Outcome:
            assert outcome is not None, "nothing is mended here"
            return outcome

        monkeypatch.setattr(policy, "private_server", server)
        monkeypatch.setattr(policy, "look", look)
        monkeypatch.setattr(policy, "has_recent_backup", lambda _: how.get("backup", True))
        monkeypatch.setattr(rebuild, "fix", fix)
        monkeypatch.setattr(remembered, "fingerprint", lambda _: MARK)
        policy.gate(context, [])
        return remembered.read(data)

    return run


@pytest.mark.parametrize("wanted", ["warn", "refuse", "reindex"])
def test_what_matches_is_remembered(gate: Gate, wanted: str) -> None:
    """The next start then asks nobody."""
    assert Memory(MATCHED, MARK) == gate(wanted, Report())


@pytest.mark.parametrize(("wanted", "found"), [("warn", HEAVY), ("warn", LIGHT), ("refuse", LIGHT)])
def test_it_is_served_as_it_is(
    gate: Gate, capfd: pytest.CaptureFixture[str], wanted: str, found: Report
) -> None:
    """It is said, and remembered that others may have been served by another order."""
    assert Memory(CHANGED, MARK) == gate(wanted, found)
    assert "entrypoint collation fix" in capfd.readouterr().err


def test_what_weighs_is_refused(gate: Gate) -> None:
    """With its exit code, and the ways out."""
    with pytest.raises(Failure) as raised:
        gate("refuse", HEAVY)
    (problem,) = raised.value.problems
    assert exits.COLLATION_CHANGED == problem.code
    assert "COLLATION_POLICY=reindex" in (problem.hint or "")


def test_what_the_same_libraries_had_matched_is_not_refused(gate: Gate) -> None:
    """Another program of the server changes no order: what does not match then was made up."""
    before = Memory(MATCHED, MARK.replace("postgres 4", "postgres 6"))
    assert Memory(CHANGED, MARK) == gate("refuse", HEAVY, before=before)


def test_other_libraries_stay_remembered(gate: Gate) -> None:
    """What was written under them does not become well by serving it again; what was rebuilt counts no more."""
    before = Memory(CHANGED, THERE, frozenset({("app", 1, 2)}))
    assert Memory(CHANGED, THERE) == gate("warn", HEAVY._replace(mixed="glibc 2.36"), before=before)


def test_nothing_is_rebuilt_without_a_backup(gate: Gate) -> None:
    """Where it weighs; what a role made up keeps no server down."""
    with pytest.raises(Failure) as raised:
        gate("reindex", HEAVY, backup=False)
    assert [exits.COLLATION_CHANGED] == [each.code for each in raised.value.problems]
    gate("reindex", LIGHT, Outcome((), (), ()), backup=False)


def test_what_could_not_be_rebuilt_does_not_keep_it_down(
    gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only so many are named in the log."""
    left = [Finding("app", "index", f"i{number}", f"index i{number}", "see") for number in range(20)]
    gate("reindex", HEAVY, Outcome((), (), tuple(left)))
    said = capfd.readouterr().err
    assert "index i14: see" in said
    assert "and 5 more: entrypoint collation check" in said


@pytest.mark.parametrize("wanted", ["refuse", "reindex"])
def test_only_warn_starts_where_nothing_is_known(gate: Gate, wanted: str) -> None:
    """The server could not be asked."""
    unknown = Failure(Problem("it did not come up", "look"))
    assert Memory() == gate("warn", unknown)
    with pytest.raises(Failure) as raised:
        gate(wanted, unknown)
    assert [exits.COLLATION_CHANGED] == [each.code for each in raised.value.problems]
