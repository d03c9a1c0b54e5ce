"""How root reaches files near which others can write, and changes the owner of a tree."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from entrypoint.errors import Failure
from entrypoint.system import walk

NOBODY = 65_534


class Killed(BaseException):
    """Ends a walk, as a stop does."""


def _tree(top: Path) -> list[str]:
    """Create a folder like a cluster's, with a link to the outside, and return all paths in it."""
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
    read_only: Sequence[str] = (),
) -> list[str]:
    """Return the paths that would get another owner, in order; some are mounted read-only."""
    paths: list[str] = []

    def chown(name: str, uid: int, gid: int, *, dir_fd: int, follow_symlinks: bool) -> None:
        assert (-1, False) == (gid, follow_symlinks)
        give(f"{_path(dir_fd)}/{name}")

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        assert -1 == gid
        give(_path(descriptor))

    def give(path: str) -> None:
        if path in read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        paths.append(path)

    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(os, "fchown", fchown)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        left: list[str] = []
        assert walk.own_tree(descriptor, str(folder), uid, look_up, left) == len(paths)
        assert sorted(read_only) == sorted(left)
    finally:
        os.close(descriptor)
    return paths


def _path(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def test_everything_gets_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file and folder changes once, links themselves rather than their targets; groups stay."""
    top = tmp_path / "data"
    assert sorted(_tree(top)) == sorted(_chowned(monkeypatch, top))


def test_read_only_mounts_stay_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder whose owner nobody can change is reported, and does not stop the other changes."""
    top = tmp_path / "data"
    everything = _tree(top)
    mounted = [f"{top}/PG_VERSION", f"{top}/base/5", f"{top}/base/5/1259"]
    given = _chowned(monkeypatch, top, read_only=mounted)
    assert sorted(everything) == sorted([*given, *mounted])


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_mount_does_not_cause_a_whole_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only mount keeps another owner forever: the rest is in order all the same."""
    top = tmp_path / "data"
    _tree(top)
    mounted = [f"{top}/PG_VERSION", f"{top}/base/5"]
    for path in mounted:
        os.chown(path, NOBODY, -1)
    seen: list[str] = []
    descriptor = os.open(top, os.O_RDONLY)
    assert not walk.owns_top(descriptor, 0, seen)
    monkeypatch.setattr(walk, "_is_read_only", lambda folder, name: f"{_path(folder)}/{name}" in mounted)
    assert walk.owns_top(descriptor, 0, seen)
    os.close(descriptor)
    assert sorted(mounted) == sorted(seen)


def test_nothing_is_done_if_the_owner_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder with the right owner stays untouched, and only its top is examined."""
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


def test_an_interrupted_walk_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the walk stops, the next start notices.

    It checks the folder and two levels below: these must not all be right before everything is.
    """
    top = tmp_path / "data"
    everything = set(_tree(top))
    looked_at = {path for path in everything if len(Path(path).relative_to(top).parts) <= 2}
    order = _chowned(monkeypatch, top)
    assert everything == set(order)
    unseen = [order[:end] for end in range(len(order)) if looked_at <= set(order[:end])]
    assert [] == unseen


def test_a_long_walk_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least every thousand files, the walk checks for a stop."""
    top = tmp_path / "data"
    top.mkdir()
    for number in range(1000):
        (top / str(number)).touch()

    def stop() -> None:
        raise Killed

    with pytest.raises(Killed):
        _chowned(monkeypatch, top, look_up=stop)


def _contents(folder: Path, *, listed: bool = False) -> Iterator[str]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for _, entry, inner in walk.below(descriptor, str(folder), listed=listed):
            yield f"{entry.name}/" if inner >= 0 else entry.name
    finally:
        os.close(descriptor)


def test_a_folder_that_becomes_a_link_is_not_entered(tmp_path: Path) -> None:
    """An entry that was a folder when it was listed, and is a link when its turn comes, is skipped."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    for number in range(20):
        (tmp_path / "top" / str(number)).mkdir(parents=True)
    seen = _contents(tmp_path / "top")
    found = [next(seen)]
    for folder in (tmp_path / "top").iterdir():
        folder.rmdir()
        folder.symlink_to(tmp_path / "outside")
    found += seen
    assert "secret" not in found
    assert {str(number) for number in range(20)} == {name.rstrip("/") for name in found}


def test_a_folder_that_is_moved_stays_the_one_that_was_opened(tmp_path: Path) -> None:
    """A folder that is replaced by a link during the walk does not lead to the link's target."""
    (tmp_path / "outside" / "inner").mkdir(parents=True)
    (tmp_path / "outside" / "inner" / "secret").touch()
    (tmp_path / "top" / "a" / "inner").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "top" / "a" / "inner" / str(number)).touch()
    seen = _contents(tmp_path / "top")
    found = [next(seen)]
    (tmp_path / "top" / "a").rename(tmp_path / "moved")
    (tmp_path / "top" / "a").symlink_to(tmp_path / "outside")
    assert {"0", "1", "2", "inner/", "a/"} == {*found, *seen}


def test_nesting_has_a_limit(tmp_path: Path) -> None:
    """Beyond it there is an error, rather than a traceback or a process without free descriptors."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=here)
        inner = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    with pytest.raises(OSError, match="nested deeper than"):
        list(_contents(tmp_path))
    subprocess.run(("rm", "-r", tmp_path / "deep"), check=True)


def test_an_emptied_folder(tmp_path: Path) -> None:
    """Everything in it is removed; links are removed themselves, and their targets stay."""
    top = tmp_path / "data"
    _tree(top)
    (tmp_path / "kept").touch()
    descriptor = os.open(top, os.O_RDONLY)
    walk.empty(descriptor, str(top))
    os.close(descriptor)
    assert ([], True) == (os.listdir(top), (tmp_path / "kept").exists())


def test_an_emptied_folder_but_for_a_file(tmp_path: Path) -> None:
    """The file stays; a folder or a link with its name does not, nor does such a file further down."""
    for number, make in enumerate(("file", "folder", "link")):
        top = tmp_path / f"{number}"
        (top / "deep").mkdir(parents=True)
        (top / "deep" / "kept").touch()
        if make == "file":
            (top / "kept").write_text("text")
        elif make == "folder":
            (top / "kept" / "kept").mkdir(parents=True)
        else:
            (top / "kept").symlink_to("/etc/passwd")
        descriptor = os.open(top, os.O_RDONLY)
        walk.empty(descriptor, str(top), but="kept")
        os.close(descriptor)
        assert (["kept"] if make == "file" else []) == os.listdir(top)


@pytest.fixture
def as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend to be root; return a folder whose links belong to another user."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "target" / "inner").mkdir(parents=True)
    (tmp_path / "target" / "file").write_text("text")
    for name, target in (("absolute", f"{tmp_path}/target"), ("relative", "target"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
        if os.getuid() == 0:
            os.lchown(tmp_path / name, 1, 1)
    (tmp_path / "file").symlink_to("target/file")
    if os.getuid() == 0:
        os.lchown(tmp_path / "file", 1, 1)
    return tmp_path


@pytest.mark.parametrize("path", ["absolute", "relative", "absolute/inner", "relative/inner", "loop"])
def test_root_follows_no_link_of_others(as_root: Path, path: str) -> None:
    """Wherever the link is in the path, the refusal names it, and says how to fix it."""
    with pytest.raises(Failure) as refused:
        walk.open_folder(f"{as_root}/{path}")
    (problem,) = refused.value.problems
    link = f"{as_root}/{path.partition('/')[0]}"
    assert (
        f"{link} is a link made by uid {os.lstat(link).st_uid}, and root does not follow it" == problem.what
    )
    assert f"chown -h root {link}" in problem.hint


def test_root_follows_its_own_links(as_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This includes relative and absolute links, links through `..`, and missing targets, but has an end."""
    monkeypatch.setattr(walk, "_is_roots", lambda *_: True)
    (as_root / "new").symlink_to("../" + as_root.name + "/target/new")
    for path in ("absolute/inner", "relative/../relative/inner", "new"):
        descriptor = walk.open_folder(f"{as_root}/{path}", make=True)
        assert os.path.samestat(os.fstat(descriptor), os.stat(as_root / path))
        os.close(descriptor)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        walk.open_folder(f"{as_root}/loop")


@pytest.mark.parametrize(
    ("owner", "links", "folder_owner", "mode", "expected"),
    [
        (0, 1, 0, 0o755, True),
        (0, 2, 0, 0o755, True),
        (0, 1, 999, 0o700, True),
        (0, 1, 0, 0o1777, True),
        (0, 2, 0, 0o1777, False),
        (0, 2, 999, 0o700, False),
        (999, 1, 0, 0o755, False),
        (999, 1, 999, 0o755, False),
    ],
)
def test_links_that_root_has_made(
    owner: int, links: int, folder_owner: int, mode: int, *, expected: bool
) -> None:
    """A link is root's if root owns it, and it is not a hard link that others have made."""
    link = os.stat_result((0o120777, 1, 1, links, owner, 0, 1, 0, 0, 0))
    folder = os.stat_result((0o040000 | mode, 1, 1, 2, folder_owner, 0, 1, 0, 0, 0))
    assert expected == walk._is_roots(link, folder)


def test_files_that_variables_name(as_root: Path, tmp_path: Path) -> None:
    """A link of another user may lead to that user's own files, and to nothing else."""
    if os.getuid() == 0:
        with pytest.raises(Failure, match="root does not follow it"):
            walk.open_named(f"{as_root}/file")
        os.chown(as_root / "target" / "file", 1, 1)
    assert "text" == walk.read_named(walk.open_named(f"{as_root}/file"), "file")
    with pytest.raises(OSError, match="Is a directory"):
        walk.read_named(walk.open_named(f"{tmp_path}/target"), "target")


@pytest.mark.parametrize("protected", [True, False])
def test_hard_links_to_roots_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *, protected: bool
) -> None:
    """If everybody may create hard links, root's files may belong elsewhere: they stay root's, with a warning."""
    top = tmp_path / "data"
    top.mkdir()
    (tmp_path / "shadow").touch()
    os.link(tmp_path / "shadow", top / "linked")
    (top / "own").touch()
    monkeypatch.setattr(walk, "_is_elsewhere", lambda found: not protected and found.st_nlink > 1)
    given = {os.path.basename(path) for path in _chowned(monkeypatch, top)}
    assert ({"data", "own", "linked"} if protected else {"data", "own"}) == given
    assert protected != ("linked" in capfd.readouterr().err)
