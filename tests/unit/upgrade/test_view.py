"""The old cluster as pg_upgrade sees it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.upgrade import view


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the entries that matter."""
    data = tmp_path / "data"
    for name in ("base", "global", "pg_commit_ts", "pg_xact", "pg_wal", own.UPGRADE, own.KEPT):
        (data / name).mkdir(parents=True)
    data.chmod(0o750)
    for name in (
        "global/pg_control",
        "global/pg_internal.init",
        "pg_xact/0000",
        "PG_VERSION",
        "postgresql.conf",
    ):
        (data / name).write_text(name)
    for name in ("pg_hba.conf", "postmaster.pid", own.STOPS):
        (data / name).write_text("theirs")
    return data


def test_what_the_server_writes_reaches_the_cluster_but_a_renamed_control_file_does_not(data: Path) -> None:
    """pg_upgrade --link renames pg_control away: the old cluster keeps it."""
    seen = data / own.UPGRADE / "old"
    view.make(str(data), str(seen), {})
    view.close(str(data), str(seen))
    with open(seen / "global/pg_control", "r+") as file:
        file.write("new")
    assert "newbal/pg_control" == (data / "global/pg_control").read_text()
    os.rename(seen / "global/pg_control", seen / "global/pg_control.old")
    assert (data / "global/pg_control").exists()
    (seen / "pg_wal/segment").write_text("")
    assert stat.S_IMODE(os.stat(data).st_mode) == stat.S_IMODE(os.stat(seen).st_mode)
    assert (data / "pg_wal/segment").exists()


def test_settings_and_access_are_ours(data: Path) -> None:
    """Neither the cluster's files nor our notes are shared, and a pid file of another server is not seen."""
    seen = data / own.UPGRADE / "old"
    view.make(str(data), str(seen), {"archive_command": "", "a": "it's"})
    assert "archive_command = ''\na = 'it''s'\n" == (seen / "postgresql.conf").read_text()
    assert "local all all trust\n" == (seen / "pg_hba.conf").read_text()
    assert "theirs" == (data / "pg_hba.conf").read_text()
    expected = {
        "PG_VERSION",
        "base",
        "global",
        "pg_commit_ts",
        "pg_hba.conf",
        "pg_ident.conf",
        "pg_wal",
        "pg_xact",
    }
    assert expected | {"postgresql.auto.conf", "postgresql.conf"} == set(os.listdir(seen))


def test_what_a_replay_makes_is_the_clusters_own(data: Path) -> None:
    """A replay may rename a new map of the shared catalogs into place: the old cluster must have it, too."""
    seen = data / own.UPGRADE / "old"
    view.make(str(data), str(seen), {})
    (seen / "global/pg_filenode.map.tmp").write_text("new map")
    os.rename(seen / "global/pg_filenode.map.tmp", seen / "global/pg_filenode.map")
    assert "new map" == (data / "global/pg_filenode.map").read_text()
    view.close(str(data), str(seen))
    assert ["pg_control", "pg_filenode.map"] == sorted(os.listdir(seen / "global"))
    assert "new map" == (seen / "global/pg_filenode.map").read_text()


def test_pg_xact_is_a_real_folder_for_pg_upgrade(data: Path) -> None:
    """`cp -R` of a link would make the new cluster share its transactions with the old one."""
    seen = data / own.UPGRADE / "old"
    view.make(str(data), str(seen), {})
    assert (seen / "pg_xact").is_symlink()
    view.close(str(data), str(seen))
    assert not (seen / "pg_xact").is_symlink()
    assert "pg_xact/0000" == (seen / "pg_xact/0000").read_text()
    assert ["PG_VERSION", "base"] == view.shared(str(seen))
