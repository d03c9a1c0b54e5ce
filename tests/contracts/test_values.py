"""One rule for values and expressions, so that nobody must know which modules a normal start loads: see light.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from contracts.house import MODULES, foreign_imports, own_imports

FOR_TYPE_CHECKERS = {"typing", "dataclasses", "enum", "re"}
"""Modules that no module loads at import or later: `light` provides what is needed of them."""


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Return all nodes of a tree that Python itself executes."""
    yield node
    children = node.orelse if _is_for_type_checkers(node) else ast.iter_child_nodes(node)  # type: ignore[attr-defined]
    for child in children:
        yield from _at_run_time(child)


def _loads(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def _classes(module: str) -> list[ast.ClassDef]:
    return [node for node in _at_run_time(MODULES[module]) if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("module", sorted({*MODULES} - {"light"}))
def test_values_and_expressions_are_light(module: str) -> None:
    """In every module, `typing`, `re`, `dataclasses` and `enum` are only for type checkers and for `light`."""
    assert set() == FOR_TYPE_CHECKERS & {*_loads(_at_run_time(MODULES[module]))}


@pytest.mark.parametrize("module", sorted({*MODULES} - {"light"}))
def test_a_value_is_a_named_tuple(module: str) -> None:
    """No class defines slots: a value with fields that does not change is a NamedTuple."""
    by_hand = [
        each.name
        for each in _classes(module)
        for line in each.body
        if isinstance(line, ast.Assign) and "__slots__" in {ast.unparse(target) for target in line.targets}
    ]
    assert [] == by_hand


@pytest.mark.parametrize("module", sorted(MODULES))
def test_light_tuples_find_their_annotations(module: str) -> None:
    """From Python 3.14 on, only postponed annotations are in a class's body, where `light.NamedTuple` looks for them."""
    assert "light" not in own_imports(module) or "__future__" in foreign_imports(module)


def test_violations_are_found() -> None:
    """Without this, the tests above would prove nothing."""
    tree = ast.parse(
        "import re\nif TYPE_CHECKING:\n import enum\nelse:\n import typing\ndef f():\n import dataclasses"
    )
    assert FOR_TYPE_CHECKERS - {"enum"} == {*_loads(_at_run_time(tree))}
    assert {"Problem"} <= {each.name for each in _classes("errors")}
