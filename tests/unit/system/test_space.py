"""What is free on a filesystem."""

from __future__ import annotations

import os

import pytest

from entrypoint.system import space


def test_what_root_has_kept_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size and the free space are those that df shows."""
    answer = os.statvfs_result((4096, 4096, 1000, 300, 250, 64, 10, 8, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: answer)
    found = space.look("/data")
    assert (950 * 4096, 250 * 4096, 64, 8) == found
    assert (True, False) == (found.has_files(8), found.has_files(9))


def test_a_filesystem_without_a_number_of_inodes() -> None:
    """A btrfs has as many as there is space for."""
    assert space.Space(10**9, 10**8, 0, 0).has_files(10**6)


def test_an_open_folder() -> None:
    """It is asked by its descriptor as well."""
    folder = os.open("/", os.O_RDONLY)
    try:
        assert space.look(folder).size == space.look("/").size
    finally:
        os.close(folder)
