"""What fills a filesystem, in a data folder without a server."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from entrypoint.full_disk import disks, filling
from entrypoint.full_disk.parts import Part
from entrypoint.server.context import Context
from entrypoint.system import space
from unit import made

MIB = 1024**2


def _put(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


@pytest.fixture(name="context")
def _context(tmp_path: Path) -> Context:
    """The context of a data folder that has something of everything."""
    data, archive, drill = tmp_path / "data", tmp_path / "archive", tmp_path / "drill"
    for number in range(1, 7):
        _put(data / f"pg_wal/00000001000000000000000{number}", MIB)
    for number in (1, 2):
        _put(data / f"pg_wal/archive_status/00000001000000000000000{number}.ready", 0)
    _put(data / "pg_wal/entrypoint.reserve/1", 2 * MIB)
    head = struct.pack("<IIII64sIIIIQ", 0x1051CA1, 0, 2, 200, b"idle", 0, 0, 0, 0, 2 * MIB + 40)
    (data / "pg_replslot/idle").mkdir(parents=True)
    (data / "pg_replslot/idle/state").write_bytes(head + b"\0" * 100)
    _put(data / "base/1/1247", 8192)
    _put(data / "base/16384/2600", 3 * MIB)
    _put(data / "base/pgsql_tmp/pgsql_tmp77.0", 65 * MIB)
    _put(data / "base/pgsql_tmp/pgsql_tmp78.0.sharedfileset/0.0", MIB)
    _put(data / "log/postgresql.log", 4 * MIB)
    _put(data / "core.123", 5 * MIB)
    _put(data / "pg_xact/0000", 8192)
    _put(tmp_path / "fast/PG_15_202209061/16384/2601", 6 * MIB)
    (data / "pg_tblspc").mkdir()
    (data / "pg_tblspc/16400").symlink_to(tmp_path / "fast")
    _put(archive / "x/base", 7 * MIB)
    _put(drill / "entrypoint.drill/cluster/base", 9 * MIB)
    values = {"PGDATA": str(data), "ARCHIVE_URL": f"file://{archive}", "DRILL_FOLDER": str(drill)}
    settings = made.settings(values)
    return Context(settings, made.NO_CHILDREN, made.POSTGRES, str(tmp_path), {})


def _by_kind(found: tuple[Part, ...]) -> dict[tuple[str, str], int]:
    return {(each.kind, os.path.basename(each.name)): round(each.bytes / MIB) for each in found}


def test_everything_has_its_part(context: Context) -> None:
    """A segment that waits and that a slot holds is in both parts; everything else is there once."""
    found = _by_kind(filling.look(context))
    assert found.pop(("other", "")) > 0
    assert found == {
        ("temporary", "77"): 65,
        ("drill", "entrypoint.drill"): 9,
        ("archive", "archive"): 7,
        ("tablespace", "with OID 16400"): 6,
        ("core", "data"): 5,
        ("slot", "idle"): 5,
        ("log", "log"): 4,
        ("database", "with OID 16384"): 3,
        ("unarchived", ""): 2,
        ("reserve", "entrypoint.reserve"): 2,
        ("temporary", ""): 1,
        ("database", "with OID 1"): 0,
        ("data", "data"): 0,
    }


def test_a_slot_that_nobody_knows_holds_nothing(context: Context) -> None:
    """Without the slot, the rest of the WAL is only kept; a damaged file is passed over."""
    state = Path(context.settings.data_folder) / "pg_replslot/idle/state"
    state.write_bytes(b"nothing")
    assert 4 == _by_kind(filling.look(context))["wal", ""]
    state.unlink()
    state.symlink_to("/dev/zero")
    assert 4 == _by_kind(filling.look(context))["wal", ""]


def test_the_log_is_where_the_server_writes_it(context: Context) -> None:
    """The server says so in a file; the folder may be anywhere."""
    data = Path(context.settings.data_folder)
    assert f"{data}/log" == filling.log_folder(str(data))
    _put(data / "logs/a.log", 1)
    (data / "current_logfiles").write_text("stderr logs/a.log\njsonlog logs/a.json\n")
    assert f"{data}/logs" == filling.log_folder(str(data))
    _put(data.parent / "elsewhere/a.log", 1)
    (data / "current_logfiles").write_text(f"stderr {data.parent}/elsewhere/a.log\n")
    assert f"{data.parent}/elsewhere" == filling.log_folder(str(data))
    os.mkfifo(data.parent / "pipe")
    (data / "current_logfiles").write_text(f"stderr {data.parent}/pipe\n")
    assert f"{data}/log" == filling.log_folder(str(data))


def test_a_look_ends_and_says_what_it_has_not_counted(context: Context) -> None:
    """The WAL is always counted, a huge database is not."""
    for number in range(600):
        (Path(context.settings.data_folder) / f"base/16384/{number}").touch()
    found = {each.kind: each for each in filling.look(context, seconds=0)}
    assert 5 == round(found["slot"].bytes / MIB)
    assert "what was not counted" in found["other"].what


def test_without_a_data_folder_there_are_no_parts(context: Context) -> None:
    """The volume may be gone."""
    settings = context.settings._replace(data_folder="/none")
    assert () == filling.look(context._replace(settings=settings))


def test_each_filesystem_is_listed_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its first name; a project of its own is a disk of its own, and one without inodes has none."""
    (only,) = disks.volumes(context.settings, {context.settings.data_folder: 77})
    assert ("data", 77) == (only.name, only.full_seconds)
    identities = {"data": (1, 0), "pg_wal": (1, 7), "fast": (2, 0), "archive": (1, 7)}
    monkeypatch.setattr(space, "identity", lambda folder: identities.get(os.path.basename(folder), (1, 0)))
    real = os.statvfs

    def without_inodes(folder: str) -> Any:
        found = real(folder)
        return os.statvfs_result((*found[:5], 0, 0, 0, *found[8:10]))

    monkeypatch.setattr(os, "statvfs", without_inodes)
    found = disks.volumes(context.settings, {})
    assert ["data", "wal", "tablespace 16400"] == [each.name for each in found]
    assert [None] * 3 == [each.files for each in found]
    assert [0.0] * 3 == [each.files_percent for each in found]


def test_a_folder_that_a_drill_will_make(context: Context) -> None:
    """The disk of the nearest folder that exists is the one that will be used."""
    assert "/" == disks._existing("/none/of/them")
    settings = context.settings
    drill = settings.drill._replace(schedule="@daily", folder=f"{settings.data_folder}/../not/yet")
    assert [] != disks.volumes(settings._replace(drill=drill), {})
    assert settings.data_folder == disks._existing(settings.data_folder)
