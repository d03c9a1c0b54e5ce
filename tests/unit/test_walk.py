"""How root gets to what others can write near, and gives a tree away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint.effects import walk

NOBODY = 65_534


class Killed(BaseException):
    """Ends a walk as a stop does."""


def _tree(top: Path) -> list[str]:
    """Make a folder like a cluster's, with a link out of it, and return the paths of all that is in it."""
    for name in ("base/1/1259", "base/5/1259", "base/5/pg_internal.init", "global/pg_control", "PG_VERSION"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    (top / "pg_wal").symlink_to(top.parent)
    return [
        str(top),
        *(str(path) for path in top.rglob("*") if not path.is_relative_to(top / "pg_wal" / top.name)),
    ]


def _chowned(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    uid: int = NOBODY,
    look_up: Callable[[], None] = lambda: None,
) -> list[str]:
    """Return the paths that would be given to another user, in this order."""
    paths: list[str] = []

    def chown(name: str, uid: int, gid: int, *, dir_fd: int, follow_symlinks: bool) -> None:
        assert (-1, False) == (gid, follow_symlinks)
        paths.append(f"{_path(dir_fd)}/{name}")

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        assert -1 == gid
        paths.append(_path(descriptor))

    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(os, "fchown", fchown)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        assert walk.own_tree(descriptor, str(folder), uid, look_up) == len(paths)
    finally:
        os.close(descriptor)
    return paths


def _path(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def test_everything_gets_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file and folder once, links themselves and not what they lead to; groups stay."""
    top = tmp_path / "data"
    assert sorted(_tree(top)) == sorted(_chowned(monkeypatch, top))


def test_nothing_is_done_where_all_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder of the right owner is left alone, and only its top is looked at."""
    top = tmp_path / "data"
    _tree(top)
    shutil.copytree(top / "base", top / "base" / "7" / "deep")
    seen: list[str] = []
    real = os.scandir

    def scandir(descriptor: int) -> object:
        seen.append(os.path.relpath(_path(descriptor), top))
        return real(descriptor)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [] == _chowned(monkeypatch, top, uid=os.getuid())
    assert {".", "base", "global"} == set(seen)


def test_an_interrupted_walk_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the walk is stopped, the next start sees it.

    It looks at the folder and two levels below: these must not all be right before everything is.
    """
    top = tmp_path / "data"
    everything = set(_tree(top))
    looked_at = {path for path in everything if len(Path(path).relative_to(top).parts) <= 2}
    order = _chowned(monkeypatch, top)
    assert everything == set(order)
    unseen = [order[:end] for end in range(len(order)) if looked_at <= set(order[:end])]
    assert [] == unseen


def test_a_long_walk_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a thousand files somebody looks whether a stop was asked for."""
    top = tmp_path / "data"
    top.mkdir()
    for number in range(1000):
        (top / str(number)).touch()

    def stop() -> None:
        raise Killed

    with pytest.raises(Killed):
        _chowned(monkeypatch, top, look_up=stop)
