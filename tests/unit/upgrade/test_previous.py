"""The cluster that is kept after an upgrade."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.archive import fork
from entrypoint.archive.fork import Fork
from entrypoint.errors import Failure
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.upgrade import previous
from entrypoint.volume import past
from entrypoint.volume.past import Past
from unit import made


def _context(data: Path, env: dict[str, str]) -> Context:
    wanted = made.settings({"PGDATA": str(data), **env})
    return Context(wanted, made.NO_CHILDREN, made.POSTGRES, "/run", {})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data folder of a cluster of 17 that was upgraded from 15."""
    made.cluster(tmp_path)
    (tmp_path / "PG_VERSION").write_text("17\n")
    kept = tmp_path / own.KEPT / "old-15"
    made.cluster(kept)
    note = Past("15", "17", "7", "copy", "2026-11-30T20:05:00+00:00", str(kept), backup=False)
    (tmp_path / own.UPGRADED).write_text(past.text(note))
    (tmp_path / "pg_wal/archive_status").mkdir(parents=True)
    return tmp_path


def test_the_old_cluster_stays_until_the_new_one_has_a_backup(data: Path) -> None:
    """Without an archive, nobody waits for one."""
    context = _context(data, {"ARCHIVE_URL": "file:///archive"})
    with pytest.raises(Failure, match="no full backup of the upgraded cluster yet"):
        previous.finish(context)
    assert (data / own.KEPT / "old-15").is_dir()
    previous.finish(_context(data, {}))
    assert not (data / own.KEPT).exists()


def test_no_undoing_makes_a_second_primary(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby of the new cluster was promoted: the old one would take writes as well."""
    monkeypatch.setattr(control_file, "read_control", lambda _: {})
    fork.write(str(data), Fork(fork.SUPERSEDED, what="another server was promoted", hint="STANDBY=on"))
    with pytest.raises(Failure, match="another server was promoted"):
        previous.undo(_context(data, {}))


def test_the_last_segment_is_none_of_the_recycled_ones(data: Path) -> None:
    """Whoever archives more than it for the new cluster is another server."""
    control = {"Latest checkpoint's REDO WAL file": "000000010000000000000004"}
    for number in (4, 5, 9):
        (data / f"pg_wal/00000001000000000000000{number}").write_text("")
    assert "000000010000000000000004" == previous.newest(str(data), control)
    (data / "pg_wal/archive_status/000000010000000000000005.done").write_text("")
    assert "000000010000000000000005" == previous.newest(str(data), control)
