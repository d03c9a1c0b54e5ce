"""Retention removes what is too old only after a dry run has named nothing else."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint import log
from entrypoint.archive import fork
from entrypoint.archivers.terms import Answer, Backup, Removal
from entrypoint.backup import expire as expiring
from entrypoint.backup import history
from entrypoint.backup.retention import Decision
from entrypoint.errors import Failure
from entrypoint.pid1 import status
from entrypoint.settings.values import Backups
from unit import made

NEW, OLD = (
    Backup(name, "full", at, at, 1, lsn, lsn, permanent=False, system_identifier="1")
    for name, at, lsn in (
        ("new", "2026-11-22T03:00:00+00:00", "0/9000028"),
        ("old", "2026-11-01T03:00:00+00:00", "0/2000028"),
    )
)


class Tool:
    """An archiver whose dry run names given objects, and that records what it removes."""

    name = "wal-g"

    def __init__(self, backups: Sequence[str], wal: Sequence[str]) -> None:
        self.backups, self.wal = backups, wal
        self.done: list[str] = []

    def _command(self, word: str, *, dry_run: bool) -> str:
        if not dry_run:
            self.done.append(word)
        return word

    def expire(self, _: object, name: str, *, dry_run: bool) -> str:
        """Remove a backup."""
        return self._command(name, dry_run=dry_run)

    def expire_wal(self, _: object, root: Backup, __: object, *, dry_run: bool) -> str:
        """Remove WAL."""
        return self._command(f"wal before {root.name}", dry_run=dry_run)

    def parse_removal(self, text: str, major: int = 0) -> Removal:
        """Return the given objects; a backup of another cluster is named alone."""
        assert major == 0
        if text.startswith("base"):
            return Removal(frozenset([text.strip()]), ())
        of_wal = text.startswith("wal")
        return Removal(frozenset(() if of_wal else self.backups), tuple(self.wal if of_wal else ()))


def _opened(
    monkeypatch: pytest.MonkeyPatch,
    tool: Tool,
    decision: Decision,
    folder: Path | None = None,
    others: Sequence[Backup] = (),
) -> Any:
    monkeypatch.setattr(expiring, "own_of", lambda _, found: [each for each in found if each.major == 0])
    monkeypatch.setattr(expiring, "known_broken", lambda _: {})
    monkeypatch.setattr(expiring, "decide", lambda *_: decision)
    monkeypatch.setattr(status, "in_recovery", lambda _: False)
    monkeypatch.setattr(fork, "objection", lambda _: None)
    monkeypatch.setattr(expiring, "coverage", lambda _, backups: [each.name for each in backups])
    monkeypatch.setattr(history, "write_coverage", lambda _, kept: tool.done.append(f"note {kept}"))
    can = SimpleNamespace(torn=re.compile(r".*\.tmp"), leaving=None, dividing=None, upgrading=object())
    return SimpleNamespace(
        tool=tool,
        can=can,
        server=made.SERVER,
        context=None,
        data_folder="/data",
        folder=None if folder is None else str(folder),
        settings=SimpleNamespace(backup=Backups(retain_full=1)),
        list_backups=lambda: [*others, OLD, NEW],
        ask=lambda command, **_: Answer(0, command, ""),
    )


DECISION = Decision(remove=(OLD,), keep=((NEW, "the newest"),), root=NEW)


def test_what_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup is removed first, then the WAL that only it needed; a dry run removes neither.

    What stays is noted before, so that the note never promises what is gone.
    """
    tool = Tool(["old"], ["000000010000000000000002"])
    opened = _opened(monkeypatch, tool, DECISION)
    found = expiring.expire(opened, dry_run=True)
    assert (("000000010000000000000002",), []) == (found.segments, tool.done)
    assert found == expiring.expire(opened, dry_run=False)
    assert ["note ['new']", "old", "wal before new"] == tool.done


@pytest.mark.parametrize("named", [["old", "new"], ["new"], []])
def test_a_dry_run_that_names_another_backup(monkeypatch: pytest.MonkeyPatch, named: list[str]) -> None:
    """Nothing is removed if the dry run names a backup that was not chosen."""
    tool = Tool(named, [])
    with pytest.raises(Failure) as failure:
        expiring.expire(_opened(monkeypatch, tool, DECISION), dry_run=False)
    assert "nothing more is removed" in failure.value.problems[0].what
    assert ["note ['new']"] == tool.done


def test_a_dry_run_that_names_needed_wal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No WAL is removed if the dry run names a segment that a backup needs."""
    tool = Tool(["old"], ["000000010000000000000009"])
    with pytest.raises(Failure):
        expiring.expire(_opened(monkeypatch, tool, DECISION), dry_run=False)
    assert ["note ['new']", "old"] == tool.done


def test_a_clock_that_was_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a backup is dated in the future, no WAL is removed, and a warning names the backup."""
    told: list[str] = []
    tool = Tool(["old"], [])
    monkeypatch.setattr(log, "warning", lambda what, *_: told.append(what))
    opened = _opened(monkeypatch, tool, DECISION._replace(ahead=(NEW,)))
    assert () == expiring.expire(opened, dry_run=False).segments
    assert (["note ['new']", "old"], ["no WAL is removed, because backups are dated in the future: new"]) == (
        tool.done,
        told,
    )


def test_a_standby_removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a dry run is allowed on a standby."""
    tool = Tool(["old"], [])
    opened = _opened(monkeypatch, tool, DECISION)
    monkeypatch.setattr(status, "in_recovery", lambda _: True)
    with pytest.raises(Failure):
        expiring.expire(opened, dry_run=False)
    assert DECISION == expiring.expire(opened, dry_run=True).decision
    assert [] == tool.done


def test_incomplete_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An incomplete file is removed once nobody has written to it for a day."""
    old, young, whole = (tmp_path / name for name in ("a.tmp", "b.tmp", "c"))
    for each in (old, young, whole):
        each.touch()
    for each in (old, whole):
        os.utime(each, (time.time() - 90000,) * 2)
    expiring.expire(_opened(monkeypatch, Tool(["old"], []), DECISION, tmp_path), dry_run=False)
    assert [False, True, True] == [each.exists() for each in (old, young, whole)]


@pytest.mark.parametrize(
    ("segment", "needed"),
    [
        ("000000010000000000000009", True),
        ("00000001000000000000000A", True),
        ("00000002000000000000000A", True),
        ("000000010000000000000008", False),
        ("000000010000000000000002", True),
        ("000000020000000000000002", False),
        ("00000002.history", False),
    ],
)
def test_which_wal_is_needed(segment: str, *, needed: bool) -> None:
    """All WAL since the oldest backup of the window is needed, and each older kept backup's own WAL."""
    decision = Decision(remove=(), keep=((OLD, "permanent"), (NEW, "the newest")), root=NEW)
    assert needed == expiring._is_needed(segment, decision, 16 * 1024**2)


def test_other_clusters_in_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade, their backups go as well, but for each one's newest; the WAL goes last, and once."""
    others = [
        OLD._replace(name=f"base_{major}_{day}", finished=f"2026-10-0{day}T03:00:00+00:00")._replace(
            major=major, system_identifier=f"{major}"
        )
        for major in (14, 15)
        for day in (1, 2)
    ]
    tool = Tool(["old"], [])
    found = expiring.expire(_opened(monkeypatch, tool, DECISION, others=others), dry_run=False)
    assert ["note ['new']", "old", "base_14_1", "base_15_1", "wal before new"] == tool.done
    assert {"base_14_2", "base_15_2", "new"} == {each.name for each, _ in found.decision.keep}


def test_backups_of_another_major_version_count_with_those_since() -> None:
    """The newest one stays in any case; names may be the same on both sides."""
    old = [
        OLD._replace(name=f"base_{day}", finished=f"2026-11-{day:02}T03:00:00+00:00", major=15)
        for day in (1, 2, 3, 4)
    ]
    since = [
        each._replace(finished=f"2026-11-1{number}T03:00:00+00:00") for number, each in enumerate(old[:2])
    ]
    now = datetime.fromisoformat("2026-11-22T03:00:00+00:00")
    for wanted, backups, left in (
        (Backups(retain_full=3), since, ["base_4"]),
        (Backups(retain_full=5), since, ["base_2", "base_3", "base_4"]),
        (Backups(retain_full=1), since, ["base_4"]),
        (Backups(retain_days=7), since, ["base_4"]),
        (Backups(retain_days=19), since, ["base_3", "base_4"]),
        (Backups(), since, ["base_1", "base_2", "base_3", "base_4"]),
    ):
        decided = expiring.of_others(wanted, old, backups, now)
        assert left == [each.name for each, _ in decided.keep], wanted
