"""The warnings to a person who types an archiver's command."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint import log
from entrypoint.archive import by_hand, fork
from entrypoint.archivers.known import adapter
from entrypoint.errors import Problem
from entrypoint.pid1 import status

WRITES = "this server must not write to its archive: it is a copy"
STANDBY = "this is a standby, and its primary archives: two servers that archive may take each other's segment names"
NOTHING_LEFT = "after this, nothing can be restored until there is a new backup"
STOPS = "archiving fails until you run pgbackrest start; until then, WAL stays in pg_wal"


def _said(
    monkeypatch: pytest.MonkeyPatch, tool: str, words: str, *, refused: bool = False, standby: bool = False
) -> list[str]:
    """Return the warnings before this command."""
    found: list[str] = []
    problem = Problem("it is a copy", "look") if refused else None
    monkeypatch.setattr(log, "warning", lambda what, *_, **__: found.append(what))
    monkeypatch.setattr(fork, "objection", lambda _: problem)
    monkeypatch.setattr(status, "in_recovery", lambda _: standby)
    context: Any = SimpleNamespace(settings=SimpleNamespace(data_folder="/data"))
    by_hand._say_what_follows(context, adapter(tool, {}), words.split())
    return found


@pytest.mark.parametrize(
    ("tool", "words", "refused", "standby"),
    [
        ("wal-g", "wal-push pg_wal/1", [WRITES], [STANDBY]),
        ("wal-g", "backup-push /data", [WRITES], []),
        ("wal-g", "st ls backup", [], []),
        ("wal-g", "delete everything", [], []),
        ("wal-g", "delete everything --confirm", [NOTHING_LEFT], [NOTHING_LEFT]),
        ("pgbackrest", "archive-push pg_wal/1", [WRITES], [STANDBY]),
        ("pgbackrest", "--stanza=main backup", [WRITES], []),
        ("pgbackrest", "info backup", [], []),
        ("pgbackrest", "stanza-delete", [NOTHING_LEFT], [NOTHING_LEFT]),
        ("pgbackrest", "stop", [STOPS], [STOPS]),
    ],
)
def test_a_command_that_breaks_something_gets_a_warning(
    monkeypatch: pytest.MonkeyPatch, tool: str, words: str, refused: list[str], standby: list[str]
) -> None:
    """A copy that must not write and a standby get more warnings than other servers."""
    assert refused == _said(monkeypatch, tool, words, refused=True)
    assert standby == _said(monkeypatch, tool, words, standby=True)
    assert [each for each in standby if each != STANDBY] == _said(monkeypatch, tool, words)
