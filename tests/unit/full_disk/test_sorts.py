"""Queries with large temporary files."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from entrypoint.full_disk import sorts
from entrypoint.server.context import Context
from entrypoint.system import processes
from entrypoint.system.identity import current
from unit import made

MB = 1024**2


def _write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def test_only_large_ones_are_canceled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a process count, also of parallel workers and in tablespaces; holes and others' pids do not."""
    base = tmp_path / "base" / "pgsql_tmp"
    _write(base / "pgsql_tmp41.0", 10 * MB)
    _write(tmp_path / "pg_tblspc" / "16384" / "PG_17_202406281" / "pgsql_tmp" / "pgsql_tmp41.1", 10 * MB)
    _write(base / "pgsql_tmp42.0", 10 * MB)
    os.truncate(base / "pgsql_tmp42.0", 99 * MB)
    _write(base / "pgsql_tmp43.0.fileset" / "i1of2.p0.0", 20 * MB)
    _write(base / "pgsql_tmp1.0", 99 * MB)
    _write(base / "pgsql_tmpx.0", 99 * MB)
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(sorts, "live_postmaster", lambda _: SimpleNamespace(pid=7))
    monkeypatch.setattr(processes, "parent_of", lambda pid: 7 if pid > 1 else 0)
    settings = made.settings({"PGDATA": str(tmp_path)})
    made_sorts = sorts.Sorts(
        Context(settings, made.NO_CHILDREN, current(), str(tmp_path), {"PATH": "/usr/bin"}), 16 * MB
    )
    made_sorts.cancel()
    assert {(41, signal.SIGINT), (43, signal.SIGINT)} == set(sent)
    made_sorts.cancel()
    assert len(sent) == 2
