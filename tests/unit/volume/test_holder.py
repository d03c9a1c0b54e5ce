"""The lock on the data folder."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoint import exits
from entrypoint.errors import Failure
from entrypoint.volume import holder

ROOT = Path(holder.__file__).parents[2]

HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from entrypoint.volume import holder
holder.lock_folder(sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


def test_one_folder_one_server(tmp_path: Path) -> None:
    """While another process holds the lock, a start is refused at once; the lock ends with its holder."""
    argv = [sys.executable, "-c", HOLD, str(ROOT), str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert "locked\n" == other.stdout.readline()
        with pytest.raises(Failure) as refused:
            holder.lock_folder(str(tmp_path))
        other.kill()
        other.wait()
        assert exits.VOLUME_IN_USE == refused.value.code
        assert str(tmp_path) in refused.value.problems[0].what
        os.close(holder.lock_folder(str(tmp_path)))


def test_the_lock_writes_nothing(tmp_path: Path) -> None:
    """A lock on a folder leaves nothing in it, and children do not inherit it."""
    descriptor = holder.lock_folder(str(tmp_path))
    inheritable = os.get_inheritable(descriptor)
    os.close(descriptor)
    assert ([], False) == (os.listdir(tmp_path), inheritable)


def _refuse_folders(monkeypatch: pytest.MonkeyPatch, number: int, *, also_files: bool = False) -> None:
    """Make locks on folders fail, as on a network filesystem."""
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if also_files or os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_filesystem_that_locks_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then PG_VERSION is locked, and a second server is still refused."""
    (tmp_path / "PG_VERSION").write_text("15\n")
    _refuse_folders(monkeypatch, errno.EBADF)
    descriptor = holder.lock_folder(str(tmp_path))
    with pytest.raises(Failure) as refused:
        holder.lock_folder(str(tmp_path))
    os.close(descriptor)
    assert exits.VOLUME_IN_USE == refused.value.code


def test_a_filesystem_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Then there is a warning, and the start continues."""
    (tmp_path / "PG_VERSION").write_text("15\n")
    _refuse_folders(monkeypatch, errno.ENOLCK, also_files=True)
    os.close(holder.lock_folder(str(tmp_path)))
    assert "entrypoint: warning: the filesystem of" in capfd.readouterr().err


def test_another_error_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not about locks does not mean a filesystem without locks."""
    _refuse_folders(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        holder.lock_folder(str(tmp_path))
