"""A module that calls itself pure only computes, and a module that only computes calls itself pure."""

from __future__ import annotations

import ast

import pytest

from contracts.house import MODULES, foreign_imports, own_imports

HARMLESS = set(
    """
    __future__ base64 collections collections.abc datetime difflib errno hashlib hmac json re shlex stringprep typing unicodedata
    urllib.parse zlib
    """.split()
)
"""Modules of the standard library that only compute."""

ALLOWED = {
    ("light", "_operator"): "the getters of named tuples",
    ("settings.cron", "cronsim"): "reads expressions of a schedule",
    ("settings.cron", "zoneinfo"): "reads the system's time zones",
    ("backup.schedule", "cronsim"): "computes with times that it is given",
    ("light", "signal"): "the numbers and names of signals, for type checkers",
    ("light", "_signal"): "the same without enumerations",
    ("templates", "jinja2"): "renders; its loader reads the program's own templates",
    ("templates", "markupsafe"): "marks the style, which must not be escaped",
    ("templates", "pathlib"): "knows where the program's own templates and shims are",
}
"""Further modules that a pure module may import, each with its reason."""

WORLDLY = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}
"""Functions with side effects that need no import."""

EXEMPT = {module for module, tree in MODULES.items() if len(tree.body) <= 1} | {""}
"""Modules without code."""


def _says_so(module: str) -> bool:
    """Return whether the first sentence of a module's docstring ends in `pure.`."""
    docstring = " ".join((ast.get_docstring(MODULES[module]) or "").split())
    return f"{docstring} ".partition(". ")[0].endswith("pure")


def _only_computes() -> set[str]:
    """Return the modules that import only modules that compute."""
    found = {
        module
        for module, tree in MODULES.items()
        if not {name for name in foreign_imports(module) - HARMLESS if (module, name) not in ALLOWED}
        and not WORLDLY & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    }
    while wrong := {module for module in found if own_imports(module) - found}:
        found -= wrong
    return found


PURE = _only_computes()


@pytest.mark.parametrize("module", sorted(MODULES.keys() - EXEMPT))
def test_pure_modules_say_so(module: str) -> None:
    """Readers may rely on `pure.`, and on its absence."""
    assert (module in PURE) == _says_so(module)


def test_exceptions_are_used() -> None:
    """An exception that is no longer needed must be removed."""
    assert [] == [f"{module}: {name}" for module, name in ALLOWED if name not in foreign_imports(module)]


def test_lifecycle_knows_signals_by_name_only() -> None:
    """It uses the numbers and names of signals, and none of the functions that send or handle them."""
    used = {
        node.attr
        for node in ast.walk(MODULES["pid1.lifecycle"])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "signal"
    }
    assert "SIGTERM" in used
    assert [] == sorted(name for name in used if not name.startswith("SIG") and name != "Signals")


def test_only_the_log_writes() -> None:
    """The log uses only functions of os that write, or that are needed in order not to wait for a reader."""
    used = {
        node.attr
        for node in ast.walk(MODULES["log"])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert {"write", "fstat", "open", "set_blocking"} == {name for name in used if not name.startswith("O_")}
