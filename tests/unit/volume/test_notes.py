"""Notes in the data folder, and never in another cluster's folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.archive import fork, mark
from entrypoint.archive.fork import Fork
from entrypoint.backup import history
from entrypoint.first_start import init_files
from entrypoint.pid1 import stops
from entrypoint.volume import notes
from unit import made


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster for which this process has already written a note."""
    monkeypatch.setattr(notes, "_known", {})
    made.cluster(tmp_path / "data")
    notes.write(str(tmp_path / "data"), own.INIT, "first")
    return tmp_path / "data"


def _empty(data: Path) -> None:
    for path in data.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _empty_but_for_folders(data: Path) -> None:
    _empty(data)
    (data / "global").mkdir()


def _replace(data: Path) -> None:
    _empty(data)
    made.cluster(data, identifier=8)


def _make_anew(data: Path) -> None:
    shutil.rmtree(data)
    made.cluster(data, identifier=8)


def _remove(data: Path) -> None:
    shutil.rmtree(data)


@pytest.mark.parametrize("happens", [_empty, _empty_but_for_folders, _replace, _make_anew, _remove])
def test_nothing_is_written_if_the_cluster_is_gone(data: Path, happens: Callable[[Path], None]) -> None:
    """In an emptied, removed or replaced folder, no note is written; a note that must not be lost raises."""
    happens(data)
    before = sorted(data.rglob("*"))
    stops.note(str(data), 1.5, "fast")
    init_files.note(str(data), "/nowhere")
    history.RUNS.write(str(data), [])
    with pytest.raises(OSError, match=r"another database|no longer|No such file"):
        fork.write(str(data), Fork())
    assert before == sorted(data.rglob("*"))


def test_the_same_cluster_is_written_to(data: Path) -> None:
    """A note is written even after a checkpoint has written the control file again."""
    control = data / "global" / "pg_control"
    control.write_bytes(control.read_bytes()[:8] + b"\1" * 200)
    stops.note(str(data), 1.5, "fast")
    assert stops.read(str(data)).endswith(" 1.5 fast\n")
    assert "first" == notes.read_text(str(data), own.INIT)


def test_a_helper_knows_its_servers_cluster(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper may start after the cluster was replaced."""
    monkeypatch.setattr(notes, "_known", {})
    monkeypatch.setenv(notes.CLUSTER, notes.cluster(str(data)))
    _replace(data)
    with pytest.raises(OSError, match="another database"):
        notes.write(str(data), own.FORK, "")
    assert not (data / own.FORK).exists()


def test_former_names_are_read_and_renamed(data: Path) -> None:
    """If a fork or an archive were no longer known, two servers would write to it."""
    (data / own.INIT).unlink()
    texts = {
        name: f"{number}"
        for number, name in enumerate(own._ALL)
        if name not in (own.UNFINISHED, own.FINISHED)
    }
    for name, text in texts.items():
        (data / own.former(name)).write_text(text)
        os.utime(data / own.former(name), (1000, 1000))
        assert text == notes.read_text(str(data), name)
    (data / ".entrypoint").mkdir()
    (data / ".entrypoint" / "state").write_text("recovery x\n")
    (data / ".entrypoint.done").mkdir()
    (data / ".unfinished-20261122T180000Z").mkdir()
    (data / ".entrypoint.fork.new").touch()
    (data / ".mine").touch()
    notes.migrate(str(data))
    expected = {".mine", "PG_VERSION", "global", "unfinished-20261122T180000Z", *own._ALL}
    assert expected == set(os.listdir(data))
    assert texts == {name: (data / name).read_text() for name in texts}
    assert {1000} == {int((data / name).stat().st_mtime) for name in texts}
    assert "recovery x\n" == (data / own.UNFINISHED / "state").read_text()
    notes.migrate(str(data))
    assert expected == set(os.listdir(data))


@pytest.mark.parametrize(("before", "expected"), [(100, "now"), (900, "before")])
def test_of_two_notes_the_newer_one_stays(data: Path, before: int, expected: str) -> None:
    """An earlier version may have served the volume in between."""
    for name, text, when in ((own.FORK, "now", 500), (own.former(own.FORK), "before", before)):
        (data / name).write_text(text)
        os.utime(data / name, (when, when))
    notes.migrate(str(data))
    assert expected == notes.read_text(str(data), own.FORK)
    assert not (data / own.former(own.FORK)).exists()


def test_folders_that_were_moved_aside_stay(data: Path) -> None:
    """They contain databases, which only their owner removes: neither a migration nor a first start does."""
    for name in ("unfinished-20261122T180000Z", ".unfinished-20261122T180000Z"):
        (data / name).mkdir()
        (data / name / name).touch()
    notes.migrate(str(data))
    notes.clear(str(data))
    aside = sorted(path.name for path in data.iterdir() if path.name.startswith("unfinished"))
    assert ["unfinished-20261122T180000Z", "unfinished-20261122T180000Z+"] == aside
    assert [".unfinished-20261122T180000Z"] == os.listdir(data / "unfinished-20261122T180000Z+")


def test_only_our_files_are_cleared(data: Path) -> None:
    """All other files stay, whatever their names."""
    for name in (*own._ALL, *map(own.former, own._ALL), f"{own.FORK}.new"):
        (data / name).unlink(missing_ok=True)
        (data / name).touch()
    others = {"entrypoint.txt", "entrypoint", ".entrypoint.mine", "my.conf"}
    for name in others:
        (data / name).touch()
    notes.clear(str(data))
    assert {*others, "PG_VERSION", "global"} == set(os.listdir(data))


def test_none_of_our_names_is_hidden() -> None:
    """`rm -rf data/*` removes only names that do not begin with a dot."""
    assert [] == [name for name in (*own._ALL, own.ASIDE_PREFIX, own.WAL_CHECK) if name.startswith(".")]


def test_a_mark_of_an_earlier_version_is_known(data: Path) -> None:
    """A command that only reads finds it too, before any start of this version."""
    (data / ".entrypoint.archive").write_text('{"url": "file:///archive", "device": 1, "since": 1.0}')
    (data / ".entrypoint.fork").write_text('{"state": "refused", "what": "a", "mend": "b"}')
    assert "file:///archive" == mark.read(str(data)).url
    refused = fork.refusal(str(data))
    assert refused is not None
    assert ("a", "b") == (refused.what, refused.hint)
    fork.forget(str(data))
    assert fork.read(str(data)) is None


def test_a_full_disk_does_not_prevent_a_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes are read under their former names until another start renames them."""
    data = made.cluster(tmp_path)
    (data / ".entrypoint.backups").write_text("kept")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        notes.migrate(str(data))
    assert b"kept" == notes.read(str(data), own.BACKUPS)
    notes.migrate(str(data))
    assert b"kept" == (data / own.BACKUPS).read_bytes()
