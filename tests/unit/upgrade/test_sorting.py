"""What an upgrade says about text that may sort differently, and what the new cluster remembers of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.collation import examine, remembered
from entrypoint.collation.dependents import Change, Dependent, Report
from entrypoint.collation.remembered import CHANGED, MATCHED, Memory
from entrypoint.errors import Failure, Problem
from entrypoint.server.context import Context
from entrypoint.upgrade import sorting
from unit import made
from unit.made import NO_CHILDREN, POSTGRES

HERE = "glibc 2.41, libicui18n.so.76, libicui18n.so.76.1"
THERE = "glibc 2.36, libicui18n.so.72, libicui18n.so.72.1"
REST = "; cluster 1, catalog 2, timeline 3; /bin/postgres 4 5"
INDEX = Dependent(
    kind="index", database="app", name="i", table="t", collations=("default",), bytes=8192, stored=8192
)
HEAVY = Report((Change("app", "default", "2.36", "2.41", trusted=True),), (INDEX,))
LEVELS = {"warn": "warning", "refuse": "error", "reindex": "warning"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data folder, on a machine whose programs load other versions of ICU."""
    for folder, icu in (("old", "72"), ("new", "76")):
        program = tmp_path / folder / "postgres"
        program.parent.mkdir()
        program.write_bytes(b"\x7fELF\0libc.so.6\0libicui18n.so." + icu.encode() + b"\0libm.so.6\0")
        program.chmod(0o755)
    monkeypatch.setattr(remembered, "libraries", lambda: HERE)
    return str(made.cluster(tmp_path / "data"))


def _look(
    data: str,
    found: Report | Failure,
    monkeypatch: pytest.MonkeyPatch,
    policy: str = "warn",
    old: str = "new",
) -> tuple[sorting.Sorting, list[str]]:
    """Return how text sorts, and what was assumed to have sorted it."""
    assumed: list[str] = []

    def look(_: object, mixed: str) -> Report:
        assumed.append(mixed)
        if isinstance(found, Failure):
            raise found
        return found

    monkeypatch.setattr(examine, "look", look)
    settings = made.settings({"PGDATA": data, "COLLATION_POLICY": policy})
    folder = Path(data).parent
    new, before = (
        Context(settings, NO_CHILDREN, POSTGRES, data, {"PATH": f"{folder}/{name}", "PG_MAJOR": "17"})
        for name in ("new", old)
    )
    return sorting.look(new, before, "/nowhere", [], "15"), assumed


def test_the_same_libraries(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The versions decide then; if they match too, the new cluster remembers nothing."""
    remembered.write(data, Memory(MATCHED, HERE + REST))
    found, assumed = _look(data, Report(), monkeypatch)
    assert ([""], None) == (assumed, found.memory)
    assert ["ok"] == [each.level for each in found.findings]


@pytest.mark.parametrize("before", [Memory(), Memory(MATCHED, THERE + REST), Memory(CHANGED, THERE + REST)])
def test_other_libraries(data: str, monkeypatch: pytest.MonkeyPatch, before: Memory) -> None:
    """All collations count, and the new cluster remembers by what its text was sorted; no rebuilt index counts."""
    if before.state:
        remembered.write(data, before._replace(rebuilt=frozenset({("app", 1, 2)})))
    found, assumed = _look(data, HEAVY, monkeypatch, old="old")
    assert found.memory is not None
    assert assumed == [before.libraries or "other libraries"]
    assert (CHANGED, assumed[0], frozenset()) == (
        found.memory.state,
        found.memory.libraries,
        found.memory.rebuilt,
    )
    assert found.memory.mixed(HERE + REST)


def test_a_version_that_differs_although_the_libraries_do_not(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_upgrade drops the versions of PostgreSQL's own collations, so the new cluster must remember it."""
    remembered.write(data, Memory(CHANGED, HERE + REST))
    found, assumed = _look(data, HEAVY, monkeypatch)
    assert [""] == assumed
    assert found.memory is not None
    assert "other libraries" == found.memory.mixed(HERE + REST)


@pytest.mark.parametrize("policy", LEVELS)
def test_what_the_policy_will_do(data: str, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    """What would keep the new server from starting is an error before anything is changed."""
    found, _ = _look(data, HEAVY, monkeypatch, policy)
    (finding,) = found.findings
    assert LEVELS[policy] == finding.level
    assert "a library that sorts text has changed" in finding.found
    assert "COLLATION_POLICY=reindex" in finding.hint
    assert "fix-collations" == finding.docs


@pytest.mark.parametrize(("policy", "level"), [("warn", "warning"), ("reindex", "error")])
def test_what_cannot_be_looked_at(
    data: str, monkeypatch: pytest.MonkeyPatch, policy: str, level: str
) -> None:
    """The memory is kept; a policy that must know refuses."""
    remembered.write(data, Memory(CHANGED, THERE + REST))
    found, _ = _look(data, Failure(Problem("it does not answer", "look")), monkeypatch, policy)
    assert Memory(CHANGED, THERE + REST) == found.memory
    assert [level] == [each.level for each in found.findings]
