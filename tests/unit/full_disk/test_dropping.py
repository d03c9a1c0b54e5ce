"""When WAL may be given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.archive import calls, gap
from entrypoint.full_disk.dropping import Dropping
from entrypoint.server.context import Context
from entrypoint.system.identity import current
from entrypoint.volume import room
from unit import made

ARCHIVE = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was begun and ended."""
    found: list[str] = []
    monkeypatch.setattr(gap, "begin", lambda _: found.append("begin"))
    monkeypatch.setattr(gap, "end", lambda _: found.append("end"))
    return found


def _dropping(folder: Path, waiting: int, *, fails: bool = True, when: str = "drop") -> Dropping:
    status = folder / "pg_wal" / "archive_status"
    status.mkdir(parents=True)
    for number in range(waiting):
        (status / f"0000000100000000000000{number:02}.ready").touch()
    if fails:
        (folder / calls.FAILING).write_text("unreachable\n1795364442\n")
    settings = made.settings({"PGDATA": str(folder), **ARCHIVE, "ARCHIVE_WHEN_FULL": when})
    return Dropping(Context(settings, made.NO_CHILDREN, current(), str(folder), {"PATH": "/usr/bin"}))


def test_it_begins_once_and_ends(tmp_path: Path, done: list[str]) -> None:
    """From the level `tight` on, until the level is normal."""
    dropping = _dropping(tmp_path, 4)
    for level in (room.NORMAL, room.TIGHT, room.FULL, room.TIGHT, room.NORMAL, room.NORMAL):
        dropping.step(level)
    assert ["begin", "end"] == done


@pytest.mark.parametrize(
    ("waiting", "fails", "when"),
    [(3, True, "drop"), (9, False, "drop"), (9, True, "readonly"), (9, True, "wait")],
)
def test_it_does_not_begin(tmp_path: Path, done: list[str], waiting: int, when: str, *, fails: bool) -> None:
    """Not without a backlog, not while archiving works, and never without being asked for."""
    dropping = _dropping(tmp_path, waiting, fails=fails, when=when)
    for level in room.LEVELS:
        dropping.step(level)
    assert [] == done


def test_what_an_earlier_helper_began(tmp_path: Path, done: list[str]) -> None:
    """It is ended even if nothing is to be given up any longer."""
    (tmp_path / calls.DROP).touch()
    _dropping(tmp_path, 0, fails=False).step(room.NORMAL)
    assert ["end"] == done
