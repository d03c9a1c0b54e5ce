"""Our doors that others may have replaced: shims/by-hand and docker-entrypoint.sh.

`by-hand` is our door to the archivers; it is on PATH under their names, for people. If docker-entrypoint.sh
is no longer ours, it runs, as it would in the official image. Derived images mount or copy their own script
over it, patch a hook into it, or replace its last line so that it creates a database while the image is
built.
"""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.system.children import replace_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DOOR = os.path.join(os.path.dirname(os.path.dirname(__file__)), "shims", "by-hand")
"""The file that is on PATH under the names of the archivers, for people."""
DOOR_FOLDER = "/usr/local/sbin"
"""The first folder of PATH; it belongs to root."""
SCRIPT = "/usr/local/bin/docker-entrypoint.sh"
"""The script's path; the log lines of init files begin with it too."""
ORIGINAL_SCRIPT = os.path.join(os.path.dirname(os.path.dirname(__file__)), "shims", "docker-entrypoint.sh")
"""The script as the image contains it: the functions that init files may call."""
RAN = "ENTRYPOINT_SCRIPT"
"""Set by the script when it calls us, so that it does not run twice."""


def path_without(names: Sequence[str], path: str) -> tuple[list[str], list[str]]:
    """Return the folders of a PATH that contain none of our doors with these names, and those that do.

    When people call an archiver, PATH finds shims/by-hand first; our own calls are for the program itself.
    """
    folders = (path or os.defpath).split(":")
    doors = [each for each in folders if any(is_door(os.path.join(each or ".", name)) for name in names)]
    return [each for each in folders if each not in doors], doors


def is_door(path: str) -> bool:
    """Return whether this file is our shims/by-hand, and not somebody's replacement."""
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
    """Become the script with these arguments if it was changed and did not call us; raises Failure."""
    if os.environ.pop(RAN, "") or not is_changed(SCRIPT, ORIGINAL_SCRIPT):
        return
    log.info(f"{SCRIPT} was changed: running it, and it decides what to start")
    replace_process(SCRIPT, [SCRIPT, *arguments], {**os.environ, RAN: "called"})


def is_changed(path: str, original: str) -> bool:
    """Return whether there is a file at this path whose content differs from the original's."""
    try:
        here = os.stat(path)
        if os.path.samestat(here, os.stat(original)):
            return False  # a link, as in the Nix image
        with open(path, "rb") as one, open(original, "rb") as other:
            return one.read(65536) != other.read(65536)
    except FileNotFoundError:
        return False
