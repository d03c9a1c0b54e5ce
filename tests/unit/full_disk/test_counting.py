"""How much space folders take."""

from __future__ import annotations

import os
from pathlib import Path

from entrypoint.full_disk import counting
from entrypoint.full_disk.counting import Counter, Size


def _file(path: Path, size: int) -> int:
    path.write_bytes(b"x" * size)
    return os.stat(path).st_blocks * 512


def test_files_and_folders_are_counted_as_du_does(tmp_path: Path) -> None:
    """Blocks, not lengths: a sparse file takes no space."""
    (tmp_path / "in").mkdir()
    used = _file(tmp_path / "a", 100_000) + _file(tmp_path / "in/b", 5000)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1024**3)
    used += sum(os.stat(tmp_path / name).st_blocks * 512 for name in ("in", "sparse"))
    assert Size(used, 4) == Counter(9).count(str(tmp_path))
    assert Size(used, 4) == Counter(9).count(str(tmp_path), skip=frozenset(("c",)))
    assert 3 == Counter(9).count(str(tmp_path), skip=frozenset(("a",))).files
    assert 2 == Counter(9).count(str(tmp_path), deep=False).files


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Neither out of the folder, nor in a circle."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/up").symlink_to(tmp_path)
    (tmp_path / "out").symlink_to("/usr")
    assert 3 == Counter(9).count(str(tmp_path)).files


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    """As in du, also across the folders that one counter looks at."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    used = _file(tmp_path / "one/a", 5000)
    os.link(tmp_path / "one/a", tmp_path / "one/b")
    os.link(tmp_path / "one/a", tmp_path / "two/c")
    counter = Counter(9)
    assert Size(used, 1) == counter.count(str(tmp_path / "one"))
    assert Size() == counter.count(str(tmp_path / "two"))
    assert Size(used, 1) == Counter(9).count(str(tmp_path / "two"))


def test_counting_ends(tmp_path: Path) -> None:
    """After its number of files or its time, and everything later is not counted either."""
    for number in range(20):
        (tmp_path / f"{number}").touch()
    counter = Counter(9, files=10)
    assert (10, False) == counter.count(str(tmp_path))[1:]
    assert (0, False) == counter.count(str(tmp_path))[1:]
    for number in range(600):
        (tmp_path / f"{number}").touch()
    assert not Counter(0).count(str(tmp_path)).counted


def test_what_is_not_there_has_no_size(tmp_path: Path) -> None:
    """It may have been removed meanwhile."""
    assert Size() == Counter(9).count(f"{tmp_path}/none")
    assert Size() == counting.of_file(f"{tmp_path}/none")
    assert Size(3, 2, counted=False) == Size(1, 1).plus(Size(2, 1, counted=False))
