"""Whether an archive is still the one that a cluster was given."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint import exits, log, own
from entrypoint.archive import mark
from entrypoint.volume import notes
from unit import made


def _archive(folder: Path | None, url: str = "file:///archive") -> Any:
    storage = SimpleNamespace(url=url, folder=None if folder is None else str(folder))
    return SimpleNamespace(storage=storage, tool=SimpleNamespace(sign="wal_005/sign"))


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> str:
    return str(made.cluster(tmp_path / "data"))


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "archive/wal_005").mkdir(parents=True)
    (tmp_path / "archive/wal_005/sign").touch()
    return tmp_path / "archive"


def test_an_archive_without_its_mark_is_lost_if_it_was_noted(data: str, folder: Path) -> None:
    """An archive without a note is only a new one."""
    archive = _archive(folder)
    (folder / "wal_005/sign").unlink()
    assert not mark.is_lost(data, archive)
    mark.note(data, archive, new=False)
    assert mark.was_ours(data, archive)
    assert mark.is_lost(data, archive)
    assert mark.unmounted(data, archive) is None
    (folder / "wal_005/sign").touch()
    assert not mark.is_lost(data, archive)
    assert not mark.is_lost(data, _archive(None))
    assert not mark.is_lost(data, _archive(folder, "file:///other"))


def test_a_missing_mount_is_reported(data: str, folder: Path) -> None:
    """The folder below it is on another filesystem; the hint names the file to remove."""
    archive = _archive(folder)
    mark.note(data, archive, new=False)
    known = mark.read(data)
    assert os.stat(folder).st_dev == known.device
    text = notes.read_text(data, own.ARCHIVE).replace(f'"device": {known.device}', '"device": 1')
    notes.write(data, own.ARCHIVE, text)
    problem = mark.unmounted(data, archive)
    assert problem is not None
    assert exits.ARCHIVE_REFUSED == problem.code
    assert f"{data}/{own.ARCHIVE}" in problem.hint


def test_the_first_time_is_kept(data: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is replaced when the archive starts from scratch; a note that cannot be parsed counts as missing."""
    archive = _archive(folder)
    clock = iter((100.0, 200.0))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    mark.note(data, archive, new=False)
    mark.note(data, archive, new=False)
    assert 100.0 == mark.read(data).since
    mark.note(data, archive, new=True)
    assert 200.0 == mark.read(data).since
    notes.write(data, own.ARCHIVE, "[")
    assert mark.Mark() == mark.read(data)


def test_a_full_disk_is_reported(data: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archiving continues without the note."""
    warnings: list[str] = []

    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(notes, "write", write)
    monkeypatch.setattr(log, "warning", lambda what, *_: warnings.append(what))
    mark.note(data, _archive(folder), new=False)
    assert [f"cannot write the note about the archive in {data}: No space left on device"] == warnings
