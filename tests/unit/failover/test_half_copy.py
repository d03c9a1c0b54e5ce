"""A copy of the leader that was interrupted is made again; nothing else is ever removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrypoint.failover import half_copy
from unit import made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder as a killed pg_basebackup leaves it."""
    folder = made.cluster(tmp_path / "data")
    (folder / "global" / "pg_control").unlink()
    (folder / "backup_label").write_text("START WAL LOCATION: 0/2000028\n")
    (folder / "pg_wal").mkdir()
    (folder / "base").mkdir()
    (folder / "base" / "1").write_text("x")
    return folder


def test_it_is_removed(data: Path) -> None:
    """Nothing remains, so that Patroni takes the folder for an empty one."""
    half_copy.remove(str(data))
    assert [] == os.listdir(data)


def test_all_of_it_is_the_copy(data: Path) -> None:
    """The leader's data folder holds files of Patroni, of the entrypoint and of other people, too."""
    (data / "patroni.dynamic.json").write_text("{}")
    (data / "entrypoint.collation").write_text("x")
    (data / "of others").mkdir()
    half_copy.remove(str(data))
    assert [] == os.listdir(data)


@pytest.mark.parametrize("name", ["backup_label", "PG_VERSION"])
def test_a_damaged_database_is_no_copy(data: Path, name: str) -> None:
    """Without the marks of a base backup, somebody may still want to repair what is there."""
    (data / name).unlink()
    before = sorted(os.listdir(data))
    half_copy.remove(str(data))
    assert before == sorted(os.listdir(data))


def test_a_complete_copy_stays(data: Path) -> None:
    """pg_control comes last: with it, the copy can be started."""
    (data / "global" / "pg_control").write_bytes(bytes(200))
    half_copy.remove(str(data))
    assert (data / "PG_VERSION").exists()
