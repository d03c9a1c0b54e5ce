"""Which command a wrong word probably means."""

from __future__ import annotations

import pytest

from entrypoint.topics import nearest


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stauts"], ["status"]),
        (["stauts", "--json"], ["status"]),
        (["bakup", "push"], ["backup push"]),
        (["bakup"], ["backup"]),
        (["backup", "lst"], ["backup list"]),
        (["push"], ["backup push"]),
        (["drill"], ["backup drill"]),
        (["verfy"], ["backup verify"]),
        (["show"], ["config show", "backup show", "collation show"]),
        (["psql"], []),
        (["postgres"], []),
        (["reindexdb", "--all"], []),
        (["/usr/bin/psql"], []),
        ([], []),
    ],
)
def test_nearest(words: list[str], expected: list[str]) -> None:
    """A misspelled command, or the last word of its path, leads to the command; a program leads nowhere."""
    assert expected == nearest(words)
