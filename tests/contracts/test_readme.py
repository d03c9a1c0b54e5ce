"""What the README says about variables and exit codes is what the program does."""

from __future__ import annotations

import re

from contracts.tables import exit_codes, rows_between, variable_rows


def test_every_variable_is_in_the_readme() -> None:
    """The README's table of variables is the program's: every name, with its default and its meaning.

    When this fails, `python tests/contracts/tables.py` prints the rows that belong there.
    """
    expected = variable_rows()
    assert expected == rows_between("variables"), "put these rows into README.md:\n" + "\n".join(expected)


def test_every_exit_code_is_in_the_readme() -> None:
    """Each exit code has a row, and no code that looks like one of ours is there without being one."""
    told = {int(code) for row in rows_between("exit codes") for code in re.findall(r"^\| `(\d+)`", row)}
    ours = set(exit_codes().values())
    assert set() == ours - told
    assert {code for code in ours if 10 <= code < 100} == {code for code in told if 10 <= code < 100}


def test_exit_codes_are_found() -> None:
    """The program has exit codes at all, or the test above would say nothing."""
    assert {"FAILURE", "UNFINISHED_FIRST_START", "VOLUME_IN_USE", "SIGNAL_BASE"} <= set(exit_codes())
