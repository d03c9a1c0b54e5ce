"""Small regular files, and other files in their place."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint.system import small


def _link(path: str) -> None:
    os.symlink("/etc/hostname", path)


def _endless(path: str) -> None:
    os.symlink("/dev/zero", path)


def _socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


STRANGE = {
    "a FIFO": os.mkfifo,
    "a link": _link,
    "a link to zeros": _endless,
    "a socket": _socket,
    "a folder": os.mkdir,
}


def test_the_content_is_read(tmp_path: Path) -> None:
    """A file is read completely, up to the limit, even if its bytes are not UTF-8."""
    (tmp_path / "file").write_bytes(b"a\xff\n")
    assert b"a\xff\n" == small.read(f"{tmp_path}/file", most=3)
    assert "a\udcff\n" == small.read_text(f"{tmp_path}/file")


def test_relative_to_an_open_folder(tmp_path: Path) -> None:
    """Reading stays in the folder that was opened, wherever its name leads later."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").write_text("ours")
    folder = os.open(tmp_path / "here", os.O_RDONLY)
    try:
        (tmp_path / "here").rename(tmp_path / "there")
        assert b"ours" == small.read("file", dir_fd=folder)
    finally:
        os.close(folder)


def test_a_file_above_the_limit(tmp_path: Path) -> None:
    """It is refused, and no more of it is read."""
    (tmp_path / "file").write_bytes(b"1234")
    with pytest.raises(OSError, match="it has more than 3 bytes"):
        small.read(f"{tmp_path}/file", most=3)


@pytest.mark.parametrize("kind", STRANGE)
def test_files_that_are_not_regular(kind: str, tmp_path: Path) -> None:
    """A FIFO, a link, a socket and a folder are refused at once, and the message names their kind."""
    make: Callable[[str], None] = STRANGE[kind]
    make(f"{tmp_path}/file")
    with pytest.raises(OSError, match=f"it is {kind.removesuffix(' to zeros')}, where a regular file"):
        small.read(f"{tmp_path}/file")


@pytest.mark.parametrize("kind", ["a FIFO", "a link to zeros"])
def test_a_link_that_may_be_followed(kind: str, tmp_path: Path) -> None:
    """If links are allowed, they may lead to regular files only, and the limit applies."""
    STRANGE[kind](f"{tmp_path}/strange")
    os.symlink("strange", tmp_path / "link")
    (tmp_path / "file").write_text("text")
    os.symlink("file", tmp_path / "good")
    assert b"text" == small.read(f"{tmp_path}/good", follow=True)
    with pytest.raises(OSError, match="where a regular file is expected"):
        small.read(f"{tmp_path}/link", follow=True)


@pytest.mark.parametrize("kind", ["a FIFO", "a link", "a socket"])
def test_a_new_file_replaces_anything(kind: str, tmp_path: Path) -> None:
    """It replaces whatever is there, and the target of a link stays unchanged."""
    before = Path("/etc/hostname").read_bytes()
    STRANGE[kind](f"{tmp_path}/file")
    descriptor = small.make(f"{tmp_path}/file", 0o640)
    os.write(descriptor, b"new")
    os.close(descriptor)
    assert (b"new", 0o640) == ((tmp_path / "file").read_bytes(), (tmp_path / "file").lstat().st_mode & 0o7777)
    assert before == Path("/etc/hostname").read_bytes()
