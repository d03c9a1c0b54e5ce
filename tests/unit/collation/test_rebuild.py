"""How indexes are rebuilt one after the other, and what remains to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from entrypoint.collation import rebuild, remembered
from entrypoint.collation.asking import Session
from entrypoint.collation.dependents import Change, Dependent, Report
from entrypoint.collation.rebuild import fix
from entrypoint.collation.remembered import CHANGED, MATCHED, Memory
from entrypoint.errors import Failure, Problem
from entrypoint.server.context import Context
from entrypoint.system.children import Children
from unit import made
from unit.made import POSTGRES

MARK = "glibc 2.41; cluster 1, catalog 2, timeline 3; /bin/postgres 4 5"
CHANGES = (Change("app", "default", "2.36", "2.41", trusted=True),)


def _index(number: int, *, unsafe: bool = False) -> Dependent:
    name = f"i{number}"
    return Dependent("index", "app", name, "t", ("default",), oid=number, filenode=number, unsafe=unsafe)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Return a session that sends no queries."""
    children = cast("Children", SimpleNamespace(tied=False))
    settings = made.settings({"PGDATA": str(made.cluster(tmp_path))})
    return Session(Context(settings, children, POSTGRES, str(tmp_path), {}))


class World:
    """The existing indexes; rebuilding one gives it another file, and the `broken` ones fail."""

    def __init__(self, *indexes: Dependent, broken: frozenset[str] = frozenset()) -> None:
        self.indexes = {each.name: each for each in indexes}
        self.broken = broken
        self.built: list[str] = []

    def rebuild(self, _: object, __: object, index: Dependent, *___: object) -> tuple[str, int, int]:
        """Rebuild an index."""
        self.built.append(index.name)
        if index.name in self.broken:
            raise Failure(Problem("ERROR: could not create unique index", "look"))
        self.indexes[index.name] = index._replace(filenode=index.filenode + 100)
        return index.database, index.oid, index.filenode + 100

    def look(self, *_: object, **__: object) -> Report:
        """Return a report with all indexes."""
        return Report(CHANGES, tuple(self.indexes.values()))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world with three indexes: one cannot be rebuilt, and one must not be."""
    world = World(_index(1), _index(2), _index(3, unsafe=True), broken=frozenset({"i2"}))
    monkeypatch.setattr(rebuild, "_rebuild", world.rebuild)
    monkeypatch.setattr(rebuild, "look", world.look)
    monkeypatch.setattr(rebuild, "_refresh", lambda *_: (("app",), []))
    return world


def test_a_failed_rebuild_does_not_stop_the_others(world: World, session: Session) -> None:
    """The remaining indexes are reported, and the rebuilt ones are remembered for these libraries."""
    outcome = fix(session, world.look(), Memory(), MARK)
    assert ["i1", "i2"] == world.built
    assert ["i1"] == [each.name for each in outcome.rebuilt]
    assert {"i2": True, "i3": False} == {each.name: each.broken for each in outcome.findings}
    expected = Memory(CHANGED, MARK, frozenset({("app", 1, 101)}))
    assert expected == remembered.read(session.context.settings.data_folder)


def test_a_killed_fix_resumes(world: World, session: Session) -> None:
    """Indexes that were rebuilt with these libraries are not rebuilt again, but others are."""
    world.indexes = {"i1": _index(1), "i4": _index(4)}
    rebuilt = frozenset({("app", 1, 1)})
    outcome = fix(session, world.look(), Memory(CHANGED, MARK, rebuilt), MARK)
    assert ["i4"] == world.built
    assert () == outcome.findings
    assert Memory(MATCHED, MARK) == remembered.read(session.context.settings.data_folder)
    fix(session, world.look(), Memory(CHANGED, MARK.replace("2.41", "2.36"), rebuilt), MARK)
    assert ["i4", "i1", "i4"] == world.built


def test_new_indexes_keep_appearing(world: World, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """New indexes are rebuilt too, but not forever."""

    def look(*_: object, **__: object) -> Report:
        number = len(world.indexes) + 1
        world.indexes[f"i{number}"] = _index(number)
        return world.look()

    world.indexes, world.broken = {"i1": _index(1)}, frozenset()
    monkeypatch.setattr(rebuild, "look", look)
    fix(session, world.look(), Memory(), MARK)
    assert [f"i{number}" for number in range(1, 6)] == world.built
