"""Our doors to the archivers: shims/by-hand, which stands on PATH under their names, for people."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DOOR = os.path.join(os.path.dirname(os.path.dirname(__file__)), "shims", "by-hand")
"""Stands on PATH under the names of the archivers, for people."""
DOOR_FOLDER = "/usr/local/sbin"
"""The first folder of PATH, which is root's."""


def path_without(names: Sequence[str], path: str) -> tuple[list[str], list[str]]:
    """Return the folders of a PATH without our doors of these names, and those that hold one.

    An archiver that people call by hand is first on PATH as shims/by-hand; our own calls are for the program.
    """
    folders = (path or os.defpath).split(":")
    doors = [each for each in folders if any(is_door(os.path.join(each or ".", name)) for name in names)]
    return [each for each in folders if each not in doors], doors


def is_door(path: str) -> bool:
    """Tell whether this file is our shims/by-hand, and not what somebody has put in its place."""
    try:
        here = os.stat(path)
        if os.path.samestat(here, os.stat(DOOR)):
            return True
        if here.st_size != os.stat(DOOR).st_size:
            return False
        with open(path, "rb") as one, open(DOOR, "rb") as other:
            return one.read() == other.read()
    except OSError:
        return False
