"""What the README says about variables and exit codes is what the program does."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from contracts.tables import REPOSITORY, exit_codes, rows_between, variable_rows
from entrypoint.cli import group


def test_every_variable_is_in_the_readme() -> None:
    """The README's table of variables is the program's: every name, with its default and its meaning.

    When this fails, `python tests/contracts/tables.py` writes the rows that belong there.
    """
    assert variable_rows() == rows_between("variables")


def _commands(group: click.Group, name: str) -> Iterator[str]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}"


def test_every_command_is_in_the_readme() -> None:
    """Each command for people has its row, and no row is of one that is gone."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(entrypoint [a-z -]+?)(?: [A-Z]+)?` \|", text)
    ours = {each for each in _commands(group, "entrypoint") if not each.startswith("entrypoint internal")}
    assert sorted({*ours, "entrypoint ready"}) == sorted(rows)


def test_every_exit_code_is_in_the_readme() -> None:
    """Each exit code has a row, and no code that looks like one of ours is there without being one."""
    told = {int(code) for row in rows_between("exit codes") for code in re.findall(r"^\| `(\d+)`", row)}
    ours = set(exit_codes().values())
    assert set() == ours - told
    assert {code for code in ours if 10 <= code < 100} == {code for code in told if 10 <= code < 100}


def test_exit_codes_are_found() -> None:
    """The program has exit codes at all, or the test above would say nothing."""
    assert {"FAILURE", "UNFINISHED_FIRST_START", "VOLUME_IN_USE", "SIGNAL_BASE"} <= set(exit_codes())
