"""When a WAL segment may get its name from somebody else than the server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrypoint.system import processes
from entrypoint.volume import installing

_SLEEP_IN_POLL = "import select; print(flush=True); select.epoll().poll()"
_WAIT_FOR_A_LOCK = (
    "import threading; lock = threading.Lock(); lock.acquire(); print(flush=True); lock.acquire()"
)
_WORK = "print(flush=True)\nwhile True: pass"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder; the last checkpoint was a minute ago, and its small file was written before pg_control."""
    for name, ago in (("pg_logical/replorigin_checkpoint", 61), ("global/pg_control", 60)):
        _write(tmp_path / name, ago)
    (tmp_path / "pg_wal").mkdir()
    return tmp_path


def _write(path: Path, ago: float) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch()
    at = time.time() - ago
    os.utime(path, (at, at))


@contextmanager
def _checkpointer(monkeypatch: pytest.MonkeyPatch, program: str) -> Iterator[int]:
    """A process that does this, in the place of the checkpointer."""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        monkeypatch.setattr(processes, "child_of", lambda *_: process.pid)
        try:
            yield process.pid
        finally:
            process.kill()


def _is_quiet(data: Path) -> bool:
    folder = os.open(data / "pg_wal", os.O_RDONLY)
    try:
        return installing.is_quiet(str(data), folder, 1)
    finally:
        os.close(folder)


def _is_seen(pid: int) -> bool:
    return Path(f"/proc/{pid}/wchan").read_text() not in ("", "0")


@pytest.mark.parametrize(
    ("program", "expected"), [(_SLEEP_IN_POLL, True), (_WAIT_FOR_A_LOCK, False), (_WORK, False)]
)
def test_what_the_checkpointer_does(
    data: Path, monkeypatch: pytest.MonkeyPatch, program: str, expected: bool
) -> None:
    """Only one that waits to be woken gives no segment another name, and writes no small file."""
    with _checkpointer(monkeypatch, program) as pid:
        deadline = time.monotonic() + 5
        while not _is_seen(pid) and program != _WORK and time.monotonic() < deadline:
            time.sleep(0.01)  # it goes to sleep after its line
        if not _is_seen(pid) and program != _WORK:
            pytest.skip("this kernel does not say why a process sleeps")
        assert expected == installing.is_between(str(data), 1)
        _write(data / "global/pg_control", 0.1)
        assert expected == installing.is_between(str(data), 1)


@pytest.mark.parametrize("program", [_WAIT_FOR_A_LOCK, _WORK])
def test_a_checkpoint_that_still_has_to_end(
    data: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """Its small file is written, and pg_control is not: whatever it does, it is neither of the two."""
    with _checkpointer(monkeypatch, program):
        _write(data / "pg_logical/replorigin_checkpoint", 59)
        assert installing.is_between(str(data), 1)


@pytest.mark.parametrize("exists", [True, False])
def test_nobody_says_why_it_sleeps(data: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    """Then a second from the last checkpoint on is enough for the names; a server without slots has no small file."""
    monkeypatch.setattr(installing, "_sleeps_for", lambda _: None)
    if not exists:
        (data / "pg_logical/replorigin_checkpoint").unlink()
    assert installing.is_between(str(data), 1) is None
    assert _is_quiet(data)
    _write(data / "global/pg_control", 0.5)
    assert not _is_quiet(data)


def test_a_segment_that_the_server_makes(data: Path) -> None:
    """It is about to get its name; ours is not the server's."""
    (data / "pg_wal" / installing.MADE).touch()
    assert _is_quiet(data)
    (data / "pg_wal/xlogtemp.77").touch()
    assert not _is_quiet(data)


def test_no_cluster(tmp_path: Path) -> None:
    """There is nothing to look at."""
    with pytest.raises(FileNotFoundError):
        installing.is_between(str(tmp_path), 1)
