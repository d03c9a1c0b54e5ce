"""Nothing on the left knows anything on the right, and what is pure touches nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.tables import REPOSITORY

PACKAGE = "entrypoint"

ROWS = (
    ("errors", "exits", "finding", "guest", "signal_numbers", "light", "log", "own"),
    ("conninfo", "harmless", "journal", "segments", "sql", "units"),
    (
        "facts",
        "cluster",
        "postmaster",
        "argv",
        "known_extensions",
        "huge_pages",
        "dependents",
        "dependents_sql",
        "passwords",
        "configfile",
        "ruled",
        "image_cluster",
        "timelines",
    ),
    ("archivers",),
    ("hiding", "reading"),
    ("settings",),
    ("choose", "record", "schedule"),
    ("private_server", "shares", "sources", "templates"),
    (
        "complaints",
        "drills",
        "runs",
        "tune",
        "wal_commands",
        "plan",
        "lifecycle",
        "queries",
        "retention",
        "succession",
    ),
    ("precedence",),
    ("effects",),
    ("doctor",),
    ("commands",),
    ("__main__", "gosu"),
)
"""From left to right; a name stands for a module, or for a folder and all that is in it."""

WITHIN_A_ROW = {
    ("errors", "exits"): "a problem ends with an exit code",
    ("finding", "errors"): "a problem can be found",
    ("finding", "light"): "a finding is a named tuple",
    ("log", "errors"): "a problem can be logged",
    ("guest", "log"): "what is refused is named, and is escaped",
    ("guest", "light"): "names are known by expressions",
    ("errors", "light"): "a problem is a value",
    ("record", "choose"): "and what was chosen for it",
}
"""Imports between two modules of one row, which are otherwise for the modules of one folder only."""

PURE = tuple(name for row in ROWS[: ROWS.index(("effects",))] for name in row)

HARMLESS = set(
    """
    __future__ base64 collections collections.abc datetime difflib errno hashlib hmac json re shlex stringprep typing unicodedata
    urllib.parse zlib
    """.split()
)
"""Modules that only compute."""

IMPURE = {
    ("log", "os"): "writes to descriptors 1 and 2",
    ("log", "select"): "waits at an end for who reads them",
    ("log", "stat"): "looks what they are",
    ("log", "time"): "gives up who does not read",
    ("signal_numbers", "signal"): "the numbers and names of signals, for type checkers",
    ("signal_numbers", "_signal"): "the same without enumerations",
    ("light", "_operator"): "the getters of named tuples",
    ("templates", "jinja2"): "renders; its loader reads the program's own templates",
    ("schedule", "cronsim"): "computes with times that it is given",
    ("settings.cron", "cronsim"): "tells whether a schedule is one",
    ("settings.cron", "zoneinfo"): "reads the system's time zones",
    ("templates", "pathlib"): "knows where the program's own templates and shims are",
}
"""What else a pure module may import, and what for."""

Import = tuple[str, str]


def _modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its name below the package; the package itself is ``."""
    found = {}
    for path in sorted((REPOSITORY / PACKAGE).rglob("*.py")):
        parts = path.relative_to(REPOSITORY / PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


MODULES = _modules()


def _imports(nodes: Iterator[ast.AST] | list[ast.stmt]) -> Iterator[str]:
    """Return the full names of all modules that these nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where they lead"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield inner if inner.removeprefix(f"{PACKAGE}.") in MODULES else module


def _own(name: str) -> str | None:
    """Return the name below the package, or None for a module of somebody else."""
    if name == PACKAGE:
        return ""
    return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else None


def _room(module: str) -> str:
    return module.partition(".")[0]


def _row(module: str) -> int:
    if not module:
        return -1  # the package itself holds the version and nothing else
    return next(number for number, row in enumerate(ROWS) if _room(module) in row)


def _own_imports(module: str) -> set[str]:
    targets = (_own(name) for name in _imports(ast.walk(MODULES[module])))
    return {target for target in targets if target is not None}


def test_every_module_has_its_row() -> None:
    """No module is outside the order, and no row names a module that is gone."""
    assert {name for row in ROWS for name in row} == {_room(module) for module in MODULES if module}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_left_only(module: str) -> None:
    """A module imports from the rows on its left, and in its own row from its own folder only."""
    wrong = [
        target
        for target in sorted(_own_imports(module))
        if _row(target) > _row(module)
        or (
            _row(target) == _row(module)
            and _room(target) != _room(module)
            and (module, target) not in WITHIN_A_ROW
        )
    ]
    assert [] == wrong


def test_exceptions_within_a_row_are_used() -> None:
    """An exception that nobody needs any more is gone."""
    assert [] == [pair for pair in WITHIN_A_ROW if pair[1] not in _own_imports(pair[0])]


def _at_the_top(module: str) -> set[str]:
    """Return what a module imports while it is being loaded."""
    targets = (_own(name) for name in _imports(MODULES[module].body))
    return {target for target in targets if target is not None}


def test_no_circles() -> None:
    """Modules can be loaded one after another; only functions may import what is not loaded yet."""
    left = {module: _at_the_top(module) - {module} for module in MODULES}
    while left:
        ready = {module for module, targets in left.items() if not targets & set(left)}
        assert ready, f"a circle among {sorted(left)}"
        left = {module: targets for module, targets in left.items() if module not in ready}


PURE_MODULES = sorted(
    module for module in MODULES if _room(module) in PURE or module.startswith("doctor.judge")
)


@pytest.mark.parametrize("module", PURE_MODULES)
def test_pure_modules_only_compute(module: str) -> None:
    """No pure module imports what could touch the system, read a clock or start a program."""
    foreign = {name for name in _imports(ast.walk(MODULES[module])) if _own(name) is None}
    assert [] == sorted(name for name in foreign - HARMLESS if (module, name) not in IMPURE)


@pytest.mark.parametrize("module", PURE_MODULES)
def test_pure_modules_open_nothing(module: str) -> None:
    """Nor does it use what needs no import for that."""
    names = {node.id for node in ast.walk(MODULES[module]) if isinstance(node, ast.Name)}
    assert set() == names & {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}


def test_exceptions_of_purity_are_used() -> None:
    """An exception that nobody needs any more is gone."""
    unused = [(module, name) for module, name in IMPURE if name not in _imports(ast.walk(MODULES[module]))]
    assert [] == unused


def test_lifecycle_knows_signals_by_name_only() -> None:
    """It uses numbers and names of signals, and none of the functions that send or handle them."""
    used = {
        node.attr
        for node in ast.walk(MODULES["lifecycle"])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "signal"
    }
    assert "SIGTERM" in used
    assert [] == sorted(name for name in used if not name.startswith("SIG") and name != "Signals")


def test_only_the_log_writes() -> None:
    """Of os the log uses what writes, and what it takes to wait for no reader."""
    used = {
        node.attr
        for node in ast.walk(MODULES["log"])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert {"write", "fstat", "open", "set_blocking"} == {name for name in used if not name.startswith("O_")}


def test_the_package_is_where_it_is_looked_for() -> None:
    """The modules were found, or nothing above would say anything."""
    assert {"settings.loading", "effects.supervisor", "archivers.walg", "commands.doctor"} <= set(MODULES)
    assert (Path(REPOSITORY) / PACKAGE / "__main__.py").exists()
