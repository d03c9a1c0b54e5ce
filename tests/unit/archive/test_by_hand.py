"""What is said to somebody who types a command of an archiver."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint import log
from entrypoint.archive import by_hand, fork
from entrypoint.archivers.known import adapter
from entrypoint.errors import Problem
from entrypoint.pid1 import status

WRITES = "this server is not to write into its archive: it is a copy"
STANDBY = "this is a standby: its primary archives, and two that do may take each other's segments"
NOTHING_LEFT = "after this nothing can be restored until there is a new backup"
STOPS = "archiving fails until the next pgbackrest start; WAL stays in pg_wal meanwhile"


def _said(
    monkeypatch: pytest.MonkeyPatch, tool: str, words: str, *, refused: bool = False, standby: bool = False
) -> list[str]:
    """Return the warnings before such a command."""
    found: list[str] = []
    problem = Problem("it is a copy", "look") if refused else None
    monkeypatch.setattr(log, "warning", lambda what, *_: found.append(what))
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
def test_what_follows(
    monkeypatch: pytest.MonkeyPatch, tool: str, words: str, refused: list[str], standby: list[str]
) -> None:
    """On a copy that is not to write, and on a standby; elsewhere only what takes something away."""
    assert refused == _said(monkeypatch, tool, words, refused=True)
    assert standby == _said(monkeypatch, tool, words, standby=True)
    assert [each for each in standby if each != STANDBY] == _said(monkeypatch, tool, words)
