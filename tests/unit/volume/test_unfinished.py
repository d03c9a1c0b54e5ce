"""The record of an unfinished first start or restore, with a kill at every step."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.volume import probe
from entrypoint.volume.facts import DataFolder
from entrypoint.volume.unfinished import Unfinished
from unit.kills import Killed, killed_at
from unit.made import INITDB_MAKES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.volume.unfinished import Stage

FOLDERS = {
    "base",
    "global",
    "log",
    *(name for name in INITDB_MAKES if name.startswith("pg_") and "." not in name),
}
RESTORED = [
    *INITDB_MAKES,
    "backup_label",
    "tablespace_map",
    "recovery.signal",
    "log",
    "server.crt",
    "my.conf",
]
"""The files of a base backup: everything from the data folder, including files that people put there."""
TEMPORARY = ["postmaster.pid", "postmaster.opts", "log", "current_logfiles"]
"""The files that the temporary server of a first start creates, with logging_collector=on."""
FOREIGN = ["notes.txt", "pg_dump.sql"]
"""Files that somebody puts into the data folder while nothing runs."""
STEPS = ("mkdir", "open", "fsync", "replace", "rename", "rmdir", "unlink")


def _every_kill(make: Callable[[], Unfinished], act: Callable[[Unfinished], None]) -> Iterator[Unfinished]:
    """Act on a new data folder once for each step, killed at that step; the last run is not killed."""
    for step in range(1000):
        unfinished = make()
        try:
            with killed_at(step, STEPS):
                act(unfinished)
        except Killed:
            yield unfinished
        else:
            assert step > 2
            yield unfinished
            return
    raise AssertionError("it never ends")


def _look(unfinished: Unfinished) -> DataFolder:
    return probe.data_folder(unfinished.data_folder, [])


def _stage(folder: DataFolder) -> str | None:
    return folder.unfinished.stage if folder.unfinished else None


def _fill(folder: str, names: Sequence[str]) -> None:
    for name in names:
        path = f"{folder}/{name}"
        if name in FOLDERS:
            os.makedirs(path, exist_ok=True)
            Path(path, "pg_control").write_bytes(bytes(range(8)))
        else:
            Path(path).write_text(
                'postgres "-c" "listen_addresses="\n' if name == "postmaster.opts" else "15\n"
            )


def _names(unfinished: Unfinished) -> list[str]:
    return sorted(os.listdir(unfinished.data_folder))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip syncs, since no power is cut in these tests."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def new(tmp_path: Path) -> Callable[[], Unfinished]:
    """Return an empty data folder at each call."""
    numbers = itertools.count()

    def make() -> Unfinished:
        path = tmp_path / str(next(numbers))
        path.mkdir()
        return Unfinished(str(path))

    return make


Maker = Callable[[], Unfinished]


def _begun(new: Maker, names: Sequence[str]) -> Unfinished:
    """Return a data folder with a finished cluster in its work folder."""
    unfinished = new()
    unfinished.begin()
    _fill(unfinished.cluster, names)
    return unfinished


def _moved(new: Maker, names: Sequence[str] = INITDB_MAKES, stage: Stage = "building") -> Unfinished:
    """Return a data folder whose cluster is in place, in this stage."""
    unfinished = _begun(new, names)
    unfinished.move_into_place()
    unfinished.enter(stage)
    return unfinished


def _first_start(unfinished: Unfinished) -> None:
    """Do the steps of a first start in the folder, whatever an earlier one left behind."""
    if _stage(_look(unfinished)) == "building":
        unfinished.discard()
    unfinished.begin()
    _fill(unfinished.cluster, INITDB_MAKES)
    unfinished.move_into_place()
    _fill(unfinished.data_folder, ["postmaster.pid", "postmaster.opts"])
    unfinished.enter("files")
    unfinished.finish()


def test_begin_killed_anywhere(new: Maker) -> None:
    """Nothing is taken for a cluster or for foreign, and the next start succeeds."""
    for unfinished in _every_kill(new, Unfinished.begin):
        found = _look(unfinished)
        assert _stage(found) in (None, "building")
        assert (False, ()) == (found.has_cluster, found.foreign)
        _first_start(unfinished)
        assert (None, True) == (_stage(_look(unfinished)), _look(unfinished).has_cluster)


@pytest.mark.parametrize("names", [INITDB_MAKES, RESTORED], ids=["initdb", "restore"])
def test_the_move_killed_anywhere(new: Maker, names: Sequence[str]) -> None:
    """The cluster is still our own work, and none of it is taken for foreign."""
    for unfinished in _every_kill(lambda: _begun(new, names), Unfinished.move_into_place):
        found = _look(unfinished)
        assert ("building", ()) == (_stage(found), found.foreign)
        unfinished.discard()
        assert [] == _names(unfinished)


def test_the_version_comes_last(new: Maker) -> None:
    """Before everything else is in place, nobody sees a cluster, not even the official image."""
    for unfinished in _every_kill(lambda: _begun(new, INITDB_MAKES), Unfinished.move_into_place):
        if _look(unfinished).has_cluster:
            assert sorted([*INITDB_MAKES, own.UNFINISHED]) == _names(unfinished)


def test_the_files_of_the_temporary_server_are_ours(new: Maker) -> None:
    """A first start killed before the init files starts from scratch, even with logging_collector=on."""
    unfinished = _moved(new)
    _fill(unfinished.data_folder, TEMPORARY)
    assert ("building", ()) == (_stage(_look(unfinished)), _look(unfinished).foreign)
    unfinished.discard()
    assert [] == _names(unfinished)


def test_a_stage_killed_anywhere(new: Maker) -> None:
    """The record has either the old stage or the new one."""
    stages = [
        _stage(_look(unfinished))
        for unfinished in _every_kill(lambda: _moved(new), lambda unfinished: unfinished.enter("files"))
    ]
    assert ["building", "files"] == [stage for stage, _ in itertools.groupby(stages)]


def test_the_end_killed_anywhere(new: Maker) -> None:
    """The start is unfinished up to one step; after it, the cluster is an ordinary one."""
    seen = []
    for unfinished in _every_kill(lambda: _moved(new, stage="files"), Unfinished.finish):
        found = _look(unfinished)
        assert (True, ()) == (found.has_cluster, found.foreign)
        seen.append(_stage(found))
        assert {*INITDB_MAKES, own.UNFINISHED, own.FINISHED} >= set(_names(unfinished))
    assert ["files", None] == [stage for stage, _ in itertools.groupby(seen)]
    assert sorted(INITDB_MAKES) == _names(unfinished)


def test_an_old_end_does_not_disturb_a_new_one(new: Maker) -> None:
    """A folder left by a killed end does not make a later first start fail at its end."""
    unfinished = new()
    done = Path(unfinished.data_folder, own.FINISHED)
    done.mkdir()
    (done / "state").touch()
    _first_start(unfinished)
    assert (None, True) == (_stage(_look(unfinished)), _look(unfinished).has_cluster)


def _half_way(new: Maker) -> Unfinished:
    """Return a cluster that is half in place, next to files of somebody else."""
    unfinished = _begun(new, INITDB_MAKES)
    for name in sorted(INITDB_MAKES)[1::2]:  # the version comes last
        os.rename(f"{unfinished.cluster}/{name}", f"{unfinished.data_folder}/{name}")
    _fill(unfinished.data_folder, FOREIGN)
    return unfinished


@pytest.mark.parametrize("make", [_half_way, _moved], ids=["half in place", "in place"])
def test_the_discard_killed_anywhere(new: Maker, make: Callable[[Maker], Unfinished]) -> None:
    """A killed discard leaves our unfinished work or nothing, never a cluster; a second one completes it."""
    for unfinished in _every_kill(lambda: make(new), Unfinished.discard):
        found = _look(unfinished)
        if found.unfinished is None:
            assert not found.has_cluster
        else:
            assert "building" == _stage(found)
            unfinished.discard()
        assert [] == [name for name in _names(unfinished) if name not in FOREIGN]


def test_the_discard_removes_the_version_first(new: Maker) -> None:
    """A half-removed cluster is none, even for the official image, which does not know our record."""
    for unfinished in _every_kill(lambda: _moved(new), Unfinished.discard):
        if _look(unfinished).has_cluster:
            assert sorted([*INITDB_MAKES, own.UNFINISHED]) == _names(unfinished)


def test_the_discard_deletes_nothing_foreign(new: Maker) -> None:
    """Everything that somebody has put into the data folder is still there, even after a kill."""
    for unfinished in _every_kill(lambda: _half_way(new), Unfinished.discard):
        assert [] == [name for name in FOREIGN if name not in _names(unfinished)]


def test_the_discard_empties_a_wal_folder_elsewhere(new: Maker, tmp_path: Path) -> None:
    """Only WAL is removed from POSTGRES_INITDB_WALDIR, even after a kill; the folder itself stays."""
    wal = tmp_path / "wal"

    def make() -> Unfinished:
        unfinished = _begun(new, [name for name in INITDB_MAKES if name != "pg_wal"])
        (wal / "archive_status").mkdir(parents=True, exist_ok=True)
        for name in ("000000010000000000000001", "00000002.history", "notes.txt"):
            (wal / name).touch()
        (wal / "lost+found").mkdir(exist_ok=True)
        os.symlink(wal, f"{unfinished.cluster}/pg_wal")
        return unfinished

    for unfinished in _every_kill(make, Unfinished.discard):
        if _look(unfinished).unfinished:
            unfinished.discard()
        assert ["lost+found", "notes.txt"] == sorted(os.listdir(wal))
        assert [] == _names(unfinished)


def _with_files_of_init_files(new: Maker) -> Unfinished:
    unfinished = _moved(new, stage="files")
    _fill(unfinished.data_folder, ["server.crt", "log"])
    return unfinished


def test_moving_aside_killed_anywhere(new: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partly moved cluster is refused or moved again, never served; at the end nothing is missing."""
    numbers = itertools.count()
    monkeypatch.setattr(time, "strftime", lambda *_: f"20261122T18{next(numbers):04}Z")
    for unfinished in _every_kill(lambda: _with_files_of_init_files(new), Unfinished.move_aside):
        found = _look(unfinished)
        if _stage(found) == "building":
            unfinished.discard()  # everything except the record has already been moved
        elif found.unfinished is not None:
            assert "files" == _stage(found)
            unfinished.move_aside()
        found = _look(unfinished)
        assert (None, False, ()) == (found.unfinished, found.has_cluster, found.foreign)
        moved = [
            name for aside in _names(unfinished) for name in os.listdir(f"{unfinished.data_folder}/{aside}")
        ]
        assert sorted([*INITDB_MAKES, "server.crt", "log"]) == sorted({*moved} - {own.UNFINISHED})


def test_moving_aside_twice_in_a_second(new: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that is killed and at once started again finds another name."""
    monkeypatch.setattr(time, "strftime", lambda *_: "20261122T180000Z")
    unfinished = _with_files_of_init_files(new)
    with pytest.raises(Killed), killed_at(5, STEPS):
        unfinished.move_aside()
    unfinished.move_aside()
    assert _look(unfinished).unfinished is None


def test_a_first_start_killed_anywhere(new: Maker) -> None:
    """A cluster without a record is complete; one with a record is never served.

    In each case the next start knows what to do.
    """
    seen = set()
    for unfinished in _every_kill(new, _first_start):
        found = _look(unfinished)
        seen.add((found.has_cluster, _stage(found)))
        assert () == found.foreign
        if found.has_cluster and found.unfinished is None:
            whole = {*INITDB_MAKES, "postmaster.pid", "postmaster.opts"}
            assert whole == set(_names(unfinished)) - {own.FINISHED}
    expected = {(False, None), (False, "building"), (True, "building"), (True, "files"), (True, None)}
    assert expected == seen


def test_a_second_first_start_killed_anywhere(new: Maker) -> None:
    """The same holds after an earlier unfinished start."""
    for unfinished in _every_kill(lambda: _moved(new), _first_start):
        found = _look(unfinished)
        assert () == found.foreign
        assert _stage(found) in ("building", "files", None)
        if found.has_cluster and found.unfinished is None:
            assert {"base", "global", "PG_VERSION", "postmaster.opts"} <= set(_names(unfinished))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("building \n", ("building", "")),
        ('recovery {"backup": "base_1 2"}\n', ("recovery", '{"backup": "base_1 2"}')),
        ("files \nfile 10-a b.sql\nother x\n", ("files", "10-a b.sql")),
        ("other x\n", (None, "")),
    ],
)
def test_the_note_is_read(tmp_path: Path, text: str, expected: tuple[str | None, str]) -> None:
    """The stage and its detail are read, which earlier versions wrote on a line of its own."""
    record = Unfinished(str(tmp_path))
    assert (None, "") == record.noted()
    record.begin()
    Path(record.state).write_text(text, encoding="utf-8")
    assert expected == record.noted()
