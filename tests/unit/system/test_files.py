"""Files and folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint.system import files
from entrypoint.system.files import Mount

ROOT = Path(files.__file__).parents[2]
NOBODY = 4_000_000
"""A uid that owns nothing here."""


class Killed(BaseException):
    """What a kill looks like from inside: no code handles it."""


def test_any_bytes_survive(tmp_path: Path) -> None:
    """A file that is read and written again is the same, even if it is not UTF-8, and with its line ends."""
    path = tmp_path / "file"
    path.write_bytes(b"a\r\nb\rc\n\xff\xfe\0")
    files.write_atomically(str(tmp_path / "copy"), files.read_text(str(path)))
    assert path.read_bytes() == (tmp_path / "copy").read_bytes()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_written_file_has_its_mode(tmp_path: Path, mode: int) -> None:
    """The mode is right, whatever the umask and the old file's mode."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o777)
    before = os.umask(0o077)
    try:
        files.write_atomically(str(path), "new", mode)
    finally:
        os.umask(before)
    assert ("new", mode) == (path.read_text(), path.stat().st_mode & 0o7777)
    assert ["file"] == os.listdir(tmp_path)


@pytest.mark.parametrize("step", ["open", "fchmod", "fsync", "replace"])
def test_a_kill_leaves_the_old_or_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the rename the old file is complete, after it the new one; a second try always works."""
    path = tmp_path / "file"
    path.write_text("old")

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, step, kill)
        with pytest.raises(Killed):
            files.write_atomically(str(path), "new")
    assert "old" == path.read_text()
    files.write_atomically(str(path), "new")
    assert "new" == path.read_text()


def test_a_file_is_durable_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut never leaves a name with an empty file: sync, rename, sync the folder."""
    steps: list[str] = []
    for name in ("fsync", "replace"):
        real: Callable[..., None] = getattr(os, name)

        def call(
            *arguments: object, name: str = name, real: Callable[..., None] = real, **named: object
        ) -> None:
            steps.append(name)
            real(*arguments, **named)

        monkeypatch.setattr(os, name, call)
    files.write_atomically(str(tmp_path / "file"), "x")
    assert ["fsync", "replace", "fsync"] == steps


def test_a_tree_is_removed_without_following_links(tmp_path: Path) -> None:
    """A link, or a folder with links, is removed; the targets stay."""
    kept = tmp_path / "kept"
    (kept / "deep").mkdir(parents=True)
    (kept / "file").write_text("x")
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "link").symlink_to(kept)
    link = tmp_path / "link"
    link.symlink_to(kept)
    for path in (tree, link):
        files.remove_tree(str(path))
    assert ["kept"] == os.listdir(tmp_path)
    assert ["deep", "file"] == sorted(os.listdir(kept))


MOUNTS = """\
1 0 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/x
2 1 0:64 / /proc rw,nosuid shared:5 - proc proc rw
3 1 8:1 /var/lib/docker/volumes/name/_data /var/lib/postgresql/data rw,relatime master:1 - ext4 /dev/sda1 rw
4 1 8:1 /a\\040b\\011c\\012d\\134e\\134040 /with\\040space ro,noexec - xfs /dev/sda2 rw
5 1 0:70 / /var/lib/postgresql/data rw - tmpfs tmpfs rw
not a mount
6 1 8:1 / /short -
"""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> list[Mount]:
    """The mounts of a container, as the kernel writes them."""
    monkeypatch.setattr(files, "read_text", {"/proc/self/mountinfo": MOUNTS}.__getitem__)
    return files.mounts()


def test_mounts_are_read(table: list[Mount]) -> None:
    """Mount point, root, filesystem and options are read once each, with the kernel's escapes decoded."""
    expected = [
        Mount("/", "/", "overlay", "rw,relatime"),
        Mount("/proc", "/", "proc", "rw,nosuid"),
        Mount("/var/lib/postgresql/data", "/var/lib/docker/volumes/name/_data", "ext4", "rw,relatime"),
        Mount("/with space", "/a b\tc\nd\\e\\040", "xfs", "ro,noexec"),
        Mount("/var/lib/postgresql/data", "/", "tmpfs", "rw"),
    ]
    assert expected == table


def test_this_machine_has_mounts() -> None:
    """The kernel's real table can be parsed."""
    assert "/proc" in {mount.point for mount in files.mounts()}


def test_a_kernel_without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """If /proc cannot be read, no mount is known, which is no error."""

    def refuse(path: str) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(files, "read_text", refuse)
    assert [] == files.mounts()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", 0),
        ("/var/lib/postgresql", 0),
        ("/var/lib/postgresql/data", 4),
        ("/var/lib/postgresql/data/base", 4),
        ("/var/lib/postgresql/database", 0),
        ("/with space/x", 3),
    ],
)
def test_the_mount_of_a_path(table: list[Mount], path: str, expected: int) -> None:
    """The nearest mount above the path counts, and of two at one place the later one, which is on top."""
    assert table[expected] == files.mount_of(path, table)


def test_no_mount() -> None:
    """Without a table, the mount is not known."""
    assert files.mount_of("/", []) is None


@pytest.mark.parametrize("before", [None, 0o700, 0o3777])
def test_a_folder_is_created_with_its_mode(tmp_path: Path, before: int | None) -> None:
    """Afterwards the folder exists with all twelve bits of its mode, whatever it was before."""
    path = tmp_path / "a" / "b"
    if before is not None:
        path.mkdir(parents=True)
        path.chmod(before)
    files.ensure_folder(str(path), 0o3775)
    assert 0o3775 == path.stat().st_mode & 0o7777


def test_a_full_disk_keeps_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file stays, nothing new takes space, and the error names the file."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        files.write_atomically(str(path), "new")
    assert str(path) == caught.value.filename
    assert (["file"], "old") == (os.listdir(tmp_path), path.read_text())
