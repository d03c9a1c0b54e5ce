"""An upgrade that is killed at every change of the filesystem: the old cluster, or the new one, and nothing between."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.errors import Failure
from entrypoint.system import files, locks
from entrypoint.upgrade import hurdles, moves, settle, underway
from entrypoint.upgrade.moves import Coming, Leaving, Wal
from entrypoint.upgrade.underway import Record
from unit.kills import Killed, killed_at

NAMES = ("base", "global", "pg_wal", "pg_xact", "postgresql.conf")
CHANGES = ("mkdir", "open", "fsync", "replace", "rename", "rmdir", "unlink", "symlink")


def _cluster(folder: Path, major: str, wal: Path | None = None) -> None:
    """Make a folder that looks like a cluster, and says in every file of which major it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        if name == "pg_wal" and wal is not None:
            wal.mkdir(parents=True, exist_ok=True)
            (wal / "000000010000000000000001").write_text(major)
            (folder / name).symlink_to(wal)
        elif name.endswith(".conf"):
            (folder / name).write_text(major)
        else:
            (folder / name).mkdir()
            (folder / name / "file").write_text(major)
    (folder / "PG_VERSION").write_text(f"{major}\n")


def _majors(folder: Path) -> set[str]:
    """Return the majors of all files that belong to a cluster."""
    found = {(folder / "PG_VERSION").read_text().strip()}
    for name in NAMES:
        path = folder / name
        files = [path] if path.is_file() else [each for each in path.iterdir() if each.is_file()]
        found |= {each.read_text() for each in files}
    return found


def _begin(data: Path, outside: Path | None = None) -> Record:
    """Build a new cluster in the record of an upgrade, ready for the commit."""
    work = Path(underway.work(str(data)))
    made = Record("15", "17", (str(outside / own.UPGRADE),) if outside else (), data=str(data))
    underway.begin(str(data), made)
    underway.make_work(str(data))
    (work / "old").mkdir()
    for name in NAMES:
        (work / "old" / name).symlink_to(data / name)
    source = outside / own.UPGRADE if outside else None
    _cluster(work / "cluster", "17", source)
    aside = f"{data}/{own.KEPT}/old-15"
    wal = None
    if outside:
        names = (*(each.name for each in outside.iterdir() if each.name != own.UPGRADE),)
        wal = Wal(str(outside), f"{outside}/old-15", str(source), names, tuple(os.listdir(str(source))))
    out = Leaving(aside, "15", moves.leaving(os.listdir(data)))
    into = Coming(str(work / "cluster"), tuple(sorted(os.listdir(work / "cluster"))))
    steps = moves.steps(str(data), out, into, wal)
    ready = made._replace(steps=steps, note="note\n")
    underway.write(str(data), ready)
    return ready


@pytest.mark.parametrize("noted", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("outside", [False, True], ids=["inside", "wal outside"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_cluster(
    tmp_path: Path, outside: bool, noted: bool
) -> None:
    """Until the commit the old cluster is whole; from it on, the next start finishes the new one.

    So it is at the second upgrade of a cluster, and when an upgrade is undone: there is a note already.
    """
    seen = set()
    for step in itertools.count():
        home = tmp_path / str(step)
        data, wal = home / "data", home / "wal" if outside else None
        _cluster(data, "15", wal)
        if noted:
            (data / own.UPGRADED).write_text("of the first upgrade\n")
        finished = False
        try:
            with killed_at(step, CHANGES):
                ready = _begin(data, wal)
                underway.commit(str(data), ready)
                settle.forward(str(data), ready)
                finished = True
        except Killed:
            pass
        version = (data / "PG_VERSION").read_text().strip()
        if version == "15":
            assert {"15"} == _majors(data), step
        again = 0
        while underway.exists(str(data)):
            try:
                with killed_at(again, CHANGES):
                    settle.settle(str(data))
            except Killed:
                assert version == (data / "PG_VERSION").read_text().strip()
            again += 5
        assert {version} == _majors(data), step
        assert not underway.exists(str(data))
        assert not Path(underway.work(str(data))).exists()
        note = data / own.UPGRADED
        assert (version == "17") == (note.exists() and note.read_text() == "note\n")
        assert note.exists() == (noted or version == "17")
        if version == "17":
            assert {"15"} == _majors(data / own.KEPT / "old-15"), step
        elif wal is not None:
            assert ["000000010000000000000001"] == os.listdir(wal)
        seen.add(version)
        shutil.rmtree(home)
        if finished:
            break
    assert {"15", "17"} == seen


def test_a_record_about_another_cluster_is_refused(tmp_path: Path) -> None:
    """Somebody has put a cluster of a third major there: nothing is moved or removed."""
    data = tmp_path / "data"
    _cluster(data, "15")
    _begin(data)
    (data / "PG_VERSION").write_text("16\n")
    before = sorted(os.walk(data))
    with pytest.raises(Failure, match=r"but .* holds a cluster of 16"):
        settle.settle(str(data))
    assert before == sorted(os.walk(data))


@pytest.mark.parametrize("text", ["{}", "[" * 200000, '{"steps": [[{}, 1, 2]]}'])
def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    """The message says when the folder may be removed."""
    data = tmp_path / "data"
    _cluster(data, "15")
    _begin(data)
    Path(underway.folder(str(data)), "state").write_text(text)
    with pytest.raises(Failure, match="cannot read") as raised:
        settle.settle(str(data))
    assert "or remove" in raised.value.problems[0].hint
    assert {"15"} == _majors(data)


def test_both_names_of_a_move_are_refused(tmp_path: Path) -> None:
    """If somebody restored a part of the old cluster after the commit, nothing is overwritten."""
    data = tmp_path / "data"
    _cluster(data, "15")
    ready = _begin(data)
    underway.commit(str(data), ready)
    (data / own.KEPT / "old-15").mkdir(parents=True)
    (data / own.KEPT / "old-15" / "base").mkdir()
    with pytest.raises(Failure, match=r"both .* exist"):
        settle.settle(str(data))
    assert "15" == (data / "base" / "file").read_text()


def test_another_place_of_the_data_is_refused(tmp_path: Path) -> None:
    """After the commit, the volume is mounted elsewhere: the steps are about other folders, so none is done."""
    data = tmp_path / "data"
    _cluster(data, "15")
    underway.commit(str(data), _begin(data))
    moved = tmp_path / "moved"
    data.rename(moved)
    data.mkdir()
    with pytest.raises(Failure, match="now it is"):
        settle.settle(str(moved))
    assert underway.exists(str(moved))
    data.rmdir()
    moved.rename(data)
    settle.settle(str(data))
    assert {"17"} == _majors(data)


def test_a_copy_removes_nothing_of_its_original(tmp_path: Path) -> None:
    """A base backup contains the record of a killed upgrade, and what it made elsewhere may be in use by now."""
    data, wal = tmp_path / "data", tmp_path / "wal"
    _cluster(data, "15", wal)
    _begin(data, wal)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy, symlinks=True, ignore=shutil.ignore_patterns(own.KEPT))
    settle.settle(str(copy))
    assert not underway.exists(str(copy))
    assert (wal / own.UPGRADE).is_dir()
    settle.settle(str(data))
    assert not (wal / own.UPGRADE).exists()


def test_a_missing_part_is_refused(tmp_path: Path) -> None:
    """What is in neither place is lost or not mounted: nothing is removed."""
    data = tmp_path / "data"
    _cluster(data, "15")
    underway.commit(str(data), _begin(data))
    shutil.rmtree(data / "pg_xact")
    with pytest.raises(Failure, match="neither"):
        settle.settle(str(data))
    assert underway.exists(str(data))


def test_what_the_steps_would_meet_is_found_before_the_commit(tmp_path: Path) -> None:
    """A place that is taken, and a folder that cannot be moved."""
    data = tmp_path / "data"
    _cluster(data, "15")
    ready = _begin(data)
    assert [] == settle.obstacles(str(data), ready)
    (data / own.KEPT / "old-15" / "base").mkdir(parents=True)
    assert [f"{data}/{own.KEPT}/old-15/base exists already"] == settle.obstacles(str(data), ready)
    with pytest.MonkeyPatch.context() as patch:
        point = files.Mount(f"{data}/pg_xact/x", "/", "ext4", "rw")
        patch.setattr(files, "mounts", lambda: [point])
        found = settle.immovable(str(data), [f"{data}/pg_xact", f"{data}/base"])
    assert [f"{data}/pg_xact/x is a mount of its own below {data}"] == found


def test_two_do_not_do_the_same_steps(tmp_path: Path) -> None:
    """Where folders cannot be locked, a second start has the lock on the new PG_VERSION."""
    data = tmp_path / "data"
    _cluster(data, "15")
    ready = _begin(data)
    underway.commit(str(data), ready)
    with open(f"{underway.folder(str(data))}/state", "r+") as held:
        assert locks.take(held.fileno())
        with pytest.raises(Failure, match="another process"):
            settle.settle(str(data))
    settle.settle(str(data))
    assert {"17"} == _majors(data)


def test_a_link_to_another_filesystem_is_found_before_the_commit(tmp_path: Path) -> None:
    """A rename cannot leave a filesystem, and after the commit there is no way back."""
    data, elsewhere = tmp_path / "data", Path("/dev/shm")
    _cluster(data, "15")
    ready = _begin(data)
    assert [] == settle.crossing(ready.steps)
    shutil.rmtree(data / own.KEPT)
    (data / own.KEPT).symlink_to(elsewhere)
    found = settle.crossing(ready.steps)
    assert f"{data}/{own.KEPT} is a link" == found[0]
    assert f"{data}/base and {data}/{own.KEPT} are on different filesystems" in found
    assert ["error"] == [each.level for each in hurdles.room(str(data))]


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    """Somebody's files under the name of the record are not removed."""
    data = tmp_path / "data"
    _cluster(data, "15")
    Path(underway.folder(str(data)), "theirs").mkdir(parents=True)
    with pytest.raises(Failure, match="holds no record"):
        settle.settle(str(data))
    assert Path(underway.folder(str(data)), "theirs").exists()
