"""What a lost leader has not archived, seen from the standby that takes its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from entrypoint.archive import fetching, unarchived
from entrypoint.errors import Failure, Problem
from entrypoint.server import control_file

SIZE = 16 * 1024**2
HISTORY = f"1\t0/{3 * SIZE + 40:X}\treason\n"


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An archive, and a standby on timeline 2, which left timeline 1 in the segment 3."""
    (tmp_path / "pg_wal/archive_status").mkdir(parents=True)
    for name in ("1:1", "1:2", "1:3", "2:3", "2:4", "2:5", "2:6"):
        timeline, number = map(int, name.split(":"))
        (tmp_path / f"pg_wal/{timeline:08X}{number:016X}").touch()
    (tmp_path / "pg_wal/archive_status" / _name(1, 2)).with_suffix(".done").touch()
    (tmp_path / "pg_wal/archive_status" / _name(2, 3)).with_suffix(".ready").touch()
    monkeypatch.setattr(control_file, "segment_bytes", lambda _: SIZE)
    monkeypatch.setattr(control_file, "history", lambda *_: HISTORY)

    class Opened:
        data_folder = str(tmp_path)
        context = None

    return Opened()


def _name(timeline: int, number: int) -> str:
    return f"{timeline:08X}{number:016X}"


def _find(opened: Any, monkeypatch: pytest.MonkeyPatch, stored: set[str]) -> list[str]:
    monkeypatch.setattr(fetching, "stored_around", lambda *_: stored)
    return unarchived.find(opened, 2, 5 * SIZE + 100, 10)


def test_what_the_archive_lacks(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Complete segments of our own history that do not wait already; what retention has removed stays removed."""
    assert [_name(1, 2), _name(2, 4)] == _find(opened, monkeypatch, {_name(1, 1)})
    assert [_name(2, 4)] == _find(opened, monkeypatch, {_name(1, 2)})
    assert [] == _find(opened, monkeypatch, {_name(1, 2), _name(2, 4)})
    assert [_name(1, 1), _name(1, 2), _name(2, 4)] == _find(opened, monkeypatch, set())


def test_an_archive_that_does_not_answer(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lack all of them."""

    def fail(*_: object) -> set[str]:
        raise Failure(Problem("away", "wait"))

    monkeypatch.setattr(fetching, "stored_around", fail)
    assert [_name(1, 1), _name(1, 2), _name(2, 4)] == unarchived.find(opened, 2, 5 * SIZE + 100, 10)


def test_the_server_archives_them(opened: Any) -> None:
    """PostgreSQL archives what has a file that says so."""
    folder = Path(opened.data_folder) / "pg_wal/archive_status"
    unarchived.archive(opened.data_folder, [_name(1, 2), _name(2, 4)])
    assert [f"{_name(1, 2)}.ready", f"{_name(2, 3)}.ready", f"{_name(2, 4)}.ready"] == sorted(
        each.name for each in folder.iterdir()
    )
