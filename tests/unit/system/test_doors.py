"""Our doors to the archivers."""

from __future__ import annotations

from pathlib import Path

from entrypoint.system.doors import DOOR, is_door, path_without


def test_our_door_is_recognized_by_its_content(tmp_path: Path) -> None:
    """A copy and a link are ours, whatever their names; somebody's replacement is not."""
    copy, link, other, folder = (tmp_path / name for name in ("copy", "link", "other", "folder"))
    text = Path(DOOR).read_bytes()
    copy.write_bytes(text)
    link.symlink_to(DOOR)
    other.write_bytes(text[:-1] + b"#")
    folder.mkdir()
    found = [is_door(str(path)) for path in (copy, link, other, folder, tmp_path / "none")]
    assert [True, True, False, False, False] == found


def test_a_path_without_doors(tmp_path: Path) -> None:
    """Only the folder that contains a door with that name is separated."""
    doors, plain = tmp_path / "doors", tmp_path / "plain"
    for each in (doors, plain):
        each.mkdir()
    (doors / "tool").symlink_to(DOOR)
    (plain / "tool").write_text("#!/bin/sh\n")
    path = f"{doors}:{plain}:"
    assert ([str(plain), ""], [str(doors)]) == path_without(["tool"], path)
    assert (path.split(":"), []) == path_without(["another"], path)
    assert (path.split(":"), []) == path_without([], path)
