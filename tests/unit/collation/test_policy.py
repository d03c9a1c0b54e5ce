"""What a start does if text may no longer sort as it did when it was indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrypoint import exits, own
from entrypoint.backup import history
from entrypoint.backup.runs import Run
from entrypoint.collation import policy, rebuild, remembered
from entrypoint.collation.asking import Session
from entrypoint.collation.dependents import Change, Dependent, Finding, Report
from entrypoint.collation.rebuild import Outcome
from entrypoint.collation.remembered import CHANGED, MATCHED, Memory
from entrypoint.errors import Failure, Problem
from entrypoint.server.context import Context
from entrypoint.volume import past
from entrypoint.volume.past import Past
from unit import made
from unit.made import NO_CHILDREN, POSTGRES

MARK = "glibc 2.41; cluster 1, catalog 2, timeline 3; /bin/postgres 4 5"
THERE = MARK.replace("2.41", "2.36")
INDEX = Dependent(
    kind="index", database="app", name="i", table="t", collations=("default",), bytes=8192, stored=8192
)
LIGHT = Report((Change("app", "mine", "1", "2.41"),), (INDEX._replace(collations=("mine",)),))
"""A report that any role can cause with its own objects."""
HEAVY = Report((Change("app", "default", "2.36", "2.41", trusted=True),), (INDEX,))
Gate = Callable[..., Memory]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return a function that calls the gate with these findings, and returns the memory afterwards."""
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
            assert outcome is not None, "nothing may be rebuilt here"
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
def test_a_match_is_remembered(gate: Gate, wanted: str) -> None:
    """The next start then needs no queries."""
    assert Memory(MATCHED, MARK) == gate(wanted, Report())


@pytest.mark.parametrize(("wanted", "found"), [("warn", HEAVY), ("warn", LIGHT), ("refuse", LIGHT)])
def test_the_server_starts_with_a_warning(
    gate: Gate, capfd: pytest.CaptureFixture[str], wanted: str, found: Report
) -> None:
    """The warning names the command, and the memory says that versions did not match."""
    assert Memory(CHANGED, MARK) == gate(wanted, found)
    assert "entrypoint collation fix" in capfd.readouterr().err


def test_a_real_change_is_refused(gate: Gate) -> None:
    """The refusal has its exit code, a hint and a page."""
    with pytest.raises(Failure) as raised:
        gate("refuse", HEAVY)
    (problem,) = raised.value.problems
    assert exits.COLLATION_CHANGED == problem.code
    assert "COLLATION_POLICY=reindex" in problem.hint
    assert "fix-collations" == problem.docs


def test_a_change_with_the_same_libraries_is_not_refused(gate: Gate) -> None:
    """Another postgres program does not change the order, so a version that does not match was made up."""
    before = Memory(MATCHED, MARK.replace("postgres 4", "postgres 6"))
    assert Memory(CHANGED, MARK) == gate("refuse", HEAVY, before=before)


def test_other_libraries_stay_remembered(gate: Gate) -> None:
    """Serving the cluster again does not repair what they wrote; indexes rebuilt with them no longer count."""
    before = Memory(CHANGED, THERE, frozenset({("app", 1, 2)}))
    assert Memory(CHANGED, THERE) == gate("warn", HEAVY._replace(mixed="glibc 2.36"), before=before)


def test_nothing_is_rebuilt_without_a_backup(gate: Gate) -> None:
    """A real change needs a recent backup; a change that a role made up does not keep the server down."""
    with pytest.raises(Failure) as raised:
        gate("reindex", HEAVY, backup=False)
    assert [exits.COLLATION_CHANGED] == [each.code for each in raised.value.problems]
    gate("reindex", LIGHT, Outcome((), (), ()), backup=False)


@pytest.mark.parametrize(
    ("change", "began", "rebuilds"),
    [
        ({}, "2026-11-30T03:00:00+00:00", True),
        ({}, "2026-11-20T03:00:00+00:00", False),
        ({"undone": True}, "2026-11-30T03:00:00+00:00", False),
        ({"kept": ""}, "2026-11-30T03:00:00+00:00", False),
    ],
)
def test_the_backup_from_before_an_upgrade_counts(
    gate: Gate, tmp_path: Path, change: dict[str, object], began: str, rebuilds: bool
) -> None:
    """The first one of the new cluster is taken while it serves, so the rebuild cannot wait for it."""
    data, kept = tmp_path / "data", tmp_path / "data/pgsql_tmp/old-15"
    made.cluster(kept)
    history.RUNS.write(str(kept), [Run("full", began, "command", "ok", 60)])
    known = Past("15", "17", "7", "copy", "2026-11-30T20:05:00+00:00", str(kept))._asdict()
    (data / own.UPGRADED).write_text(past.text(Past(**{**known, **change})))
    if rebuilds:
        gate("reindex", HEAVY, Outcome((), (), ()), backup=False)
        return
    with pytest.raises(Failure, match="no base backup"):
        gate("reindex", HEAVY, backup=False)


def test_a_failed_rebuild_does_not_keep_the_server_down(
    gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log names only some of the failures."""
    left = [Finding("app", "index", f"i{number}", f"index i{number}", "see") for number in range(20)]
    gate("reindex", HEAVY, Outcome((), (), tuple(left)))
    said = capfd.readouterr().err
    assert "index i14: see" in said
    assert "and 5 more: entrypoint collation check" in said


@pytest.mark.parametrize("wanted", ["refuse", "reindex"])
def test_only_warn_starts_if_nothing_is_known(gate: Gate, wanted: str) -> None:
    """If the private server does not start, only COLLATION_POLICY=warn continues."""
    unknown = Failure(Problem("it did not come up", "look"))
    assert Memory() == gate("warn", unknown)
    with pytest.raises(Failure) as raised:
        gate(wanted, unknown)
    assert [exits.COLLATION_CHANGED] == [each.code for each in raised.value.problems]
