"""What gives way when a disk is full, and what must not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.full_disk import spare
from entrypoint.server.context import Context
from entrypoint.system.children import Children
from entrypoint.system.identity import current
from unit import made

HOLD = """
import fcntl, os, signal, shutil, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(folder, fcntl.LOCK_EX)
def end(*_):
    shutil.rmtree(sys.argv[1])
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print("locked", flush=True)
while True:
    signal.pause()
"""
"""A drill: it removes its folder when it is asked to end."""


@pytest.fixture
def context(tmp_path: Path, children: Children) -> Context:
    """A server's context, with its data, its drill folder and its runtime folder on one filesystem."""
    for name in ("data/pg_wal", "drills", "run/pgbackrest/spool/archive/main/out"):
        (tmp_path / name).mkdir(parents=True)
    wanted = made.settings({"PGDATA": str(tmp_path / "data")})
    wanted = wanted._replace(drill=wanted.drill._replace(folder=str(tmp_path / "drills")))
    return Context(wanted, children, current(), str(tmp_path / "run"), {"PATH": os.defpath})


def _put(path: Path, size: int = 8192) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def _given(context: Context) -> dict[str, int]:
    return {os.path.basename(what): size for what, size in spare.give_up(context)}


def test_leftovers_give_way(context: Context, tmp_path: Path) -> None:
    """Killed checks, drills, recoveries and writers leave what nobody needs."""
    data = tmp_path / "data"
    _put(data / "pg_wal/.wal-g/prefetch/000000010000000000000003")
    _put(data / "pg_wal" / own.WAL_CHECK / "17-000000010000000000000002")
    _put(data / f"{own.BACKUPS}.new")
    _put(tmp_path / "drills" / own.DRILL_SCRATCH / "cluster/base/1/1234", 65536)
    given = _given(context)
    assert {".wal-g", "17-000000010000000000000002", f"{own.BACKUPS}.new", own.DRILL_SCRATCH} == given.keys()
    assert all(size >= 8192 for size in given.values())
    assert given[own.DRILL_SCRATCH] >= 65536
    assert [] == [path for path in (*data.rglob("*"), *(tmp_path / "drills").rglob("*")) if path.is_file()]
    assert {} == _given(context)


def test_what_must_stay(context: Context, tmp_path: Path) -> None:
    """The archiver's spool, what was moved aside, notes, and what is not ours are left alone."""
    kept = [
        _put(tmp_path / "run/pgbackrest/spool/archive/main/out/000000010000000000000003.ok", 0),
        _put(tmp_path / "data/unfinished-20261122T180000Z/PG_VERSION"),
        _put(tmp_path / "data" / own.BACKUPS),
        _put(tmp_path / "data" / own.UNFINISHED / "state"),
        _put(tmp_path / "data/theirs.new"),
        _put(tmp_path / "data/pg_wal/000000010000000000000003"),
        _put(tmp_path / "data/pg_wal" / own.RESERVE / "1"),
        _put(tmp_path / "drills/theirs"),
    ]
    assert {} == _given(context)
    assert all(path.exists() for path in kept)


def test_while_the_server_runs(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a running process may still use is left alone."""
    data = tmp_path / "data"
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1795364442\n5432\n/run\n*\n 1 2\nready\n")
    monkeypatch.setattr(spare, "is_postmaster_of", lambda *_: True)
    used = _put(data / "pg_wal" / own.WAL_CHECK / f"{os.getpid()}-000000010000000000000002")
    half = _put(data / f"{own.BACKUPS}.new")
    _put(data / "pg_wal" / own.WAL_CHECK / "999999999-000000010000000000000002")
    ahead = _put(data / "pg_wal/.wal-g/prefetch/000000010000000000000003")
    (data / "standby.signal").touch()
    assert {"999999999-000000010000000000000002"} == _given(context).keys()
    assert used.exists()
    assert half.exists()
    assert ahead.exists()
    (data / "standby.signal").unlink()
    assert {".wal-g"} == _given(context).keys()


def test_another_disk_is_no_matter(context: Context) -> None:
    """What is on a disk that is not the server's stays there."""
    folder = Path("/dev/shm", f"drills-{os.getpid()}")
    _put(folder / own.DRILL_SCRATCH / "cluster/1")
    try:
        wanted = context.settings
        elsewhere = wanted._replace(drill=wanted.drill._replace(folder=str(folder)))
        assert {} == _given(context._replace(settings=elsewhere))
        assert (folder / own.DRILL_SCRATCH).exists()
    finally:
        subprocess.run(("rm", "-r", folder), check=True)


def test_a_running_drill_is_ended(context: Context, tmp_path: Path) -> None:
    """The process that holds the lock of a drill's folder is asked to end, and nobody else."""
    folder = tmp_path / "drills" / own.DRILL_SCRATCH
    _put(folder / "cluster/1", 65536)
    looking = os.open(folder, os.O_RDONLY)
    argv = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as drill:
        assert drill.stdout is not None
        assert "locked\n" == drill.stdout.readline()
        assert [drill.pid] == spare.holders(str(folder))
        assert {} == _given(context)
        assert 0 == drill.wait(10)
        assert not folder.exists()
    os.close(looking)
