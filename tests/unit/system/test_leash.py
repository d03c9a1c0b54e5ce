"""What our children start is found and ended after we were killed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from entrypoint.errors import Failure
from entrypoint.system import leash
from entrypoint.system.children import Children


def _orphan(path: str, children: Children) -> subprocess.Popen[bytes]:
    """Start a process whose own child ignores SIGINT and stays, as one of a killed command does."""
    leash.hold(children, path)
    words = "(trap '' INT; sleep 600) & wait"
    made = subprocess.Popen(("sh", "-c", words), pass_fds=tuple(children.leashes.values()))
    leash.drop(children, path)
    return made


def test_what_still_runs_is_ended(tmp_path: Path, children: Children) -> None:
    """Also the child of a child; afterwards nobody holds the lock."""
    path = str(tmp_path / "leash")
    with _orphan(path, children) as made:
        with pytest.raises(Failure, match="still use"):
            leash.hold(children, path)
        assert {} == children.leashes
        leash.end_all(path)
        made.wait(10)
    leash.hold(children, path)
    leash.drop(children, path)


def test_what_is_not_seen_is_waited_for(
    tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process in another container has no number here."""
    path = str(tmp_path / "leash")
    with _orphan(path, children) as made:
        with monkeypatch.context() as patched:
            patched.setattr(leash, "_GRACE", 0.1)
            patched.setattr(leash, "holders", lambda _: [])
            with pytest.raises(Failure, match="in another container"):
                leash.end_all(path)
        assert made.poll() is None
        leash.end_all(path)


def test_without_the_file_nothing_happens(tmp_path: Path) -> None:
    """An upgrade that was interrupted before anything was started."""
    leash.end_all(str(tmp_path / "leash"))
    assert [] == os.listdir(tmp_path)


def test_tied_children_inherit_it(tmp_path: Path, children: Children) -> None:
    """Others do not: they may outlive us on purpose."""
    path = str(tmp_path / "leash")
    leash.hold(children, path)
    look = ["sh", "-c", f"readlink /proc/self/fd/* | grep -c {path}"]
    found = []
    for children.tied in (False, True):
        found.append(children.output(look, {"PATH": os.environ["PATH"]})[1].strip())
    leash.drop(children, path)
    assert ["0", "1"] == found
