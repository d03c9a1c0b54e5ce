"""Imports only go down: nobody has to know the whole program to change a room."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from contracts.house import FLOORS, MODULES, PACKAGE, floor_of, lines_of, own_imports, room_of
from repository import REPOSITORY

LONG = {
    "archivers.pgbackrest": "an adapter: everything that is known of one tool",
    "archivers.walg": "an adapter: everything that is known of one tool",
}
"""Modules that may have more lines than others, and why."""

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60


def test_every_room_has_its_floor() -> None:
    """No module is missing in the order, and no floor names a room that does not exist."""
    assert sorted({room_of(module) for module in MODULES if module}) == sorted(sum(FLOORS, ()))


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_only(module: str) -> None:
    """A module imports from the floors below it and from its own room; this includes imports in functions."""
    wrong = [
        target
        for target in sorted(own_imports(module))
        if floor_of(target) >= floor_of(module) and room_of(target) != room_of(module)
    ]
    assert [] == wrong


def test_no_circles() -> None:
    """If a module imports another one, the other one never imports it, directly or indirectly."""
    left = {module: own_imports(module) for module in MODULES}
    while left:
        ready = {module for module, targets in left.items() if not targets & set(left)}
        assert ready, f"a circle among {sorted(left)}"
        left = {module: targets for module, targets in left.items() if module not in ready}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_other_names(module: str) -> None:
    """Our own modules have one name, wherever they are used."""
    renamed = [
        f"{node.module}.{alias.name} as {alias.asname}"
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.ImportFrom) and node.module and room_of(node.module) == PACKAGE
        for alias in node.names
        if alias.asname and f"{node.module}.{alias.name}".removeprefix(f"{PACKAGE}.") in MODULES
    ]
    assert [] == renamed


def test_names_of_modules() -> None:
    """No two modules have the same name, except for a command or a check of that topic."""
    names = Counter(
        module.rpartition(".")[2] for module in MODULES if room_of(module) not in ("cli", "doctor")
    )
    assert [] == [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_can_be_read(module: str) -> None:
    """A module can be read in one go, and a function can be seen at a glance."""
    assert module in LONG or lines_of(module) <= MOST_LINES
    long = [
        node.name
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    ]
    assert [] == long


def test_long_modules_are_long() -> None:
    """An exception that is no longer needed must be removed."""
    assert [] == [module for module in LONG if lines_of(module) <= MOST_LINES]


def test_the_modules_are_found() -> None:
    """Without this, the tests above would prove nothing."""
    assert {"settings.loading", "pid1.supervisor", "archivers.walg", "cli.doctor"} <= set(MODULES)
    assert (REPOSITORY / PACKAGE / "__main__.py").exists()


@pytest.mark.parametrize("room", sorted({room for floor in FLOORS for room in floor}))
def test_the_page_for_contributors_names_every_room(room: str) -> None:
    """The page repeats the first line of the room's own docstring."""
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    first_line = (ast.get_docstring(MODULES.get(room, ast.parse(""))) or "").partition("\n")[0]
    if any(module.startswith(f"{room}.") for module in MODULES):
        assert f"| `{room}` | {first_line} |" in page
    else:
        assert f"`{room}`" in page


NO_MODULE = {
    "shims/test_shims.py": "all that is in that folder",
    "test_main.py": "the door, `__main__`",
    "doctor/test_judge_cluster.py": "what doctor judges of a running cluster",
    "doctor/test_judge_disk.py": "what doctor judges of full filesystems",
    "doctor/test_judge_nodes.py": "what doctor judges of a node under Patroni",
}
"""Unit tests that have no module with their name."""


def _units() -> list[str]:
    root = REPOSITORY / "tests" / "unit"
    return sorted(str(path.relative_to(root)) for path in root.rglob("test_*.py"))


@pytest.mark.parametrize("path", _units())
def test_unit_tests_are_in_the_room_of_their_module(path: str) -> None:
    """The tests of `room/module.py` are `room/test_module.py`; the tests of a script are in the same place as the script."""
    tested = path.replace("test_", "")
    module = tested.removesuffix(".py").replace("/", ".")
    assert module in MODULES or (REPOSITORY / tested).exists() or path in NO_MODULE
