"""A third archiver must need nothing outside its own room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from entrypoint.archivers import interface, tool_variables
from entrypoint.archivers.interface import Capabilities
from entrypoint.archivers.known import TOOLS, WORK_FOLDERS, adapters
from entrypoint.archivers.tool_variables import COMMAND_WORDS, FAMILIES, GROUPS, PLACES, SOURCE_PREFIX
from repository import REPOSITORY

PACKAGE = REPOSITORY / "entrypoint"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "archivers"]
NAMES = re.compile(
    r"(?i)wal-?g\b|walg_|pgbackrest|wal-(?:push|fetch)|archive-(?:push|get)\b|basebackups_|stanza"
)
DESCRIBED = ("Variable", "Check")
"""Rows of the reference: their text is for people, who know the tools."""


def _literals(tree: ast.Module) -> list[str]:
    """Return the strings that a module uses: no docstrings, and no rows of the reference."""
    told = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            told.add(id(node.value))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DESCRIBED:
            told |= {id(each) for each in ast.walk(node)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_archivers_room_knows_a_tool(path: Path) -> None:
    """Outside that room, no string contains a tool, one of its variables or one of its commands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [] == [text for text in _literals(tree) if NAMES.search(text)]


def test_the_scan_finds_names() -> None:
    """Without this, the test above would prove nothing."""
    tree = ast.parse('"""Of wal-g."""\nVariable("A", "wal-g")\nx = f"a PGBACKREST_{x}"\ny = "WALG_"')
    assert {"a PGBACKREST_", "WALG_"} == {text for text in _literals(tree) if NAMES.search(text)}


@pytest.mark.parametrize("name", TOOLS)
def test_the_lists_agree_with_the_adapters(name: str) -> None:
    """The lists exist so that a start need not load the adapters; they contain what each adapter itself says."""
    tool = adapters({})[name]
    assert (name, tool.group) == (tool.name, GROUPS[name])
    assert all(tool.is_own_variable(each) for each in PLACES[name])
    assert not tool.work_folder or tool.work_folder in WORK_FOLDERS
    assert {name, *tool.segment_commands} <= set(COMMAND_WORDS)
    assert GROUPS[name].startswith(FAMILIES)


@pytest.mark.parametrize("name", TOOLS)
def test_the_variables_of_a_storage_are_known(name: str) -> None:
    """A variable that names a storage is no unknown variable, belongs to the tool, and is dropped for another storage."""
    for each in PLACES[name]:
        assert tool_variables.is_known(each)
        assert tool_variables.is_own(each, {})
        assert tool_variables.is_of_source(f"{SOURCE_PREFIX}{each}")
        assert tool_variables.is_of_storage(each)
        assert tool_variables.is_place(each)


@pytest.mark.parametrize("part", interface.Archiver.__bases__[:-1], ids=lambda part: part.__name__)
@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_has_every_required_part(name: str, part: type) -> None:
    """The type checker only reports that an adapter is none; this test names the missing part."""
    members = {each for each in {*vars(part), *part.__annotations__} if not each.startswith("_")}
    assert members
    assert set() == members - set(dir(adapters({})[name]))


@pytest.mark.parametrize("name", TOOLS)
def test_a_template_for_each_tool(name: str) -> None:
    """Its settings file is rendered from the template with its name."""
    assert (REPOSITORY / "conf_templates" / f"{adapters({})[name].config_name}.j2").exists()


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_has_the_capabilities_that_it_claims(name: str) -> None:
    """A part that exists is the tool's own, and a missing part has no methods that return nothing."""
    tool = adapters({})[name]
    parts = {
        "helping": "fetch_helper",
        "upgrading": "upgrade",
        "planning": "plan_tablespaces",
        "leaving": "expire_remains",
        "redirecting": "elsewhere",
    }
    assert set(parts) <= set(Capabilities._fields)
    for part, method in parts.items():
        assert (getattr(tool.capabilities, part) is tool) == hasattr(tool, method)
