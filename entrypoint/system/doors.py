"""Our doors that others may have replaced: shims/by-hand and docker-entrypoint.sh.

`by-hand` is our door to the archivers and stands on PATH under their names, for people. A
docker-entrypoint.sh that is not ours any more is what runs, as it would in the official image: images of
others mount or copy a script of their own over it, patch a hook into it, or replace its last line so that it
makes a database while their image is built.
"""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.system.children import replace_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DOOR = os.path.join(os.path.dirname(os.path.dirname(__file__)), "shims", "by-hand")
"""Stands on PATH under the names of the archivers, for people."""
DOOR_FOLDER = "/usr/local/sbin"
"""The first folder of PATH, which is root's."""
SCRIPT = "/usr/local/bin/docker-entrypoint.sh"
"""Also what the log lines of init files begin with."""
ORIGINAL_SCRIPT = os.path.join(os.path.dirname(os.path.dirname(__file__)), "shims", "docker-entrypoint.sh")
"""As the image brings it: the functions that init files may call."""
RAN = "ENTRYPOINT_SCRIPT"
"""Set by the script when it calls us, so that it is not run twice."""


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


def run_script_if_changed(arguments: Sequence[str]) -> None:
    """Become the script with these arguments, where it was changed and did not call us; raises Failure."""
    if os.environ.pop(RAN, "") or not is_changed(SCRIPT, ORIGINAL_SCRIPT):
        return
    log.info(f"{SCRIPT} is not the image's own any more: it runs, and decides what is started")
    replace_process(SCRIPT, [SCRIPT, *arguments], {**os.environ, RAN: "called"})


def is_changed(path: str, original: str) -> bool:
    """Tell whether there is a file at this path that does not hold the same as the original."""
    try:
        here = os.stat(path)
        if os.path.samestat(here, os.stat(original)):
            return False  # a link, as in the Nix image
        with open(path, "rb") as one, open(original, "rb") as other:
            return one.read(65536) != other.read(65536)
    except FileNotFoundError:
        return False
