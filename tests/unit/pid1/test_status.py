"""What PID 1 reports about itself, and how it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrypoint.pid1 import lifecycle, status
from entrypoint.pid1.lifecycle import Helper, KnownHelper
from entrypoint.pid1.status import Known


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Return a runtime folder that is ours."""
    tmp_path.chmod(0o711)
    return str(tmp_path)


def test_a_published_status_is_read_back(folder: str) -> None:
    """It contains the server and its helpers, except those that have done their work or start on demand."""
    helpers = [
        Helper("daemon", running=True, failures=2, last_code=1),
        Helper(lifecycle.BACKUPS),
        Helper(lifecycle.STARTDB, due=None, last_code=0),
        Helper(lifecycle.RELOAD),
    ]
    state = lifecycle.begin((5, 60, 10), helpers)
    status.publish(folder, state, 42, {7: "daemon"}, 1795364442)
    expected = {
        "daemon": KnownHelper("daemon", "running", 7, 2, 1),
        lifecycle.BACKUPS: KnownHelper(lifecycle.BACKUPS, "waiting", 0, 0, None),
    }
    assert Known(lifecycle.SERVING, 1795364442, None, 42, expected) == status.read([folder])
    assert {"daemon": 2} == status.failing([folder])


def test_a_stop_has_a_step(folder: str) -> None:
    """A server that has ended is no longer listed."""
    state = lifecycle.begin((5, 60, 10))._replace(phase=lifecycle.SWEEPING, step="fast", server=False)
    status.publish(folder, state, 42, {}, 1795364442)
    assert Known(lifecycle.STOPPING, 1795364442, "fast", None, {}) == status.read([folder])


def test_a_phase_of_the_start(folder: str) -> None:
    """Before the server runs, there is nothing else to report."""
    status.enter(folder, status.RECOVERY)
    found = status.read([f"{folder}/none", folder])
    assert found is not None
    assert (status.RECOVERY, None, None, {}) == (found.phase, found.detail, found.server, found.helpers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "phase\n",
        "phase serving x -\n",
        "server -1\n",
        "helper backups running x 0 0\n",
        "helper backups sleeping 7 0 0\n",
        "other 1\n",
    ],
)
def test_lines_that_pid_1_does_not_write_are_ignored(folder: str, text: str) -> None:
    """The server's user can write to the file; no reader fails because of that."""
    Path(folder, "status").write_text(text)
    assert status.read([folder]) is None


def test_a_pause_is_read_once(folder: str) -> None:
    """A helper requests its next start within an hour at most, and has to request each one again."""
    path = status.pause_path(folder, lifecycle.BACKUPS)
    Path(path).write_text("86400")
    assert 3600.0 == status.asked_pause(folder, lifecycle.BACKUPS)
    assert (None, False) == (status.asked_pause(folder, lifecycle.BACKUPS), os.path.exists(path))


def test_the_runtime_folder_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder on a full disk may still exist: the one with the status counts, and without any the first."""
    folders = tuple(str(tmp_path / name) for name in ("run", "sockets", "tmp"))
    monkeypatch.setattr(status, "RUNTIME_FOLDERS", folders)
    me = os.geteuid()
    assert status.own_folder(me) is None
    for path in folders[:2]:
        os.mkdir(path, 0o711)
    assert folders[0] == status.own_folder(me)
    status.enter(folders[1], status.BOOT)
    assert folders[1] == status.own_folder(me)
