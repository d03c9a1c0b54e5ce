"""The structure of the program: its floors, and the syntax tree of every module with its imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from repository import REPOSITORY

__all__ = [
    "FLOORS",
    "MODULES",
    "PACKAGE",
    "floor_of",
    "foreign_imports",
    "lines_of",
    "own_imports",
    "room_of",
]

PACKAGE = "entrypoint"

FLOORS = (
    ("exits", "light", "own", "shown", "topics"),
    ("errors",),
    ("finding", "log"),
    ("system",),
    ("logs",),
    ("postgres",),
    ("templates",),
    ("archivers",),
    ("settings",),
    ("volume",),
    ("pid1",),
    ("server",),
    ("archive", "every_start"),
    ("backup", "config"),
    ("collation", "restore", "standby"),
    ("drill", "first_start"),
    ("upgrade",),
    ("failover", "full_disk"),
    ("start",),
    ("noted",),
    ("notify", "web"),
    ("doctor",),
    ("watch",),
    ("cli",),
    ("__main__",),
    ("gosu",),
)
"""From the lowest floor up. A name is that of a room, which is a folder, or of a module next to the rooms."""


def _modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its name below the package; the package itself is ``."""
    found = {}
    for path in sorted((REPOSITORY / PACKAGE).rglob("*.py")):
        parts = path.relative_to(REPOSITORY / PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


MODULES = _modules()


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
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
    """Return the name below the package; None: the module is not ours."""
    if name == PACKAGE:
        return ""
    return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else None


def own_imports(module: str) -> set[str]:
    """Return our own modules that a module imports, including imports in functions and for type checkers."""
    targets = {_own(name) for name in _imports(ast.walk(MODULES[module]))}
    return {target for target in targets if target is not None and target != module}


def foreign_imports(module: str) -> set[str]:
    """Return other people's modules that a module imports, including those in functions and for type checkers."""
    return {name for name in _imports(ast.walk(MODULES[module])) if _own(name) is None}


def room_of(module: str) -> str:
    """Return the room of a module; a module next to the rooms is a room of its own."""
    return module.partition(".")[0]


def floor_of(module: str) -> int:
    """Return the number of a module's floor; the package itself contains only the version."""
    if not module:
        return -1
    return next(number for number, floor in enumerate(FLOORS) if room_of(module) in floor)


def lines_of(module: str) -> int:
    """Return the number of lines of a module."""
    folder = REPOSITORY / PACKAGE / module.replace(".", "/")
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    return len(path.read_text(encoding="utf-8").splitlines())
