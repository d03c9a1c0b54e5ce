"""A docker-entrypoint.sh that is not ours any more: it is what runs, as it would in the official image.

Images of others mount or copy a script of their own over it, patch a hook into it, or replace its last line
so that it makes a database while their image is built.
"""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.effects.children import replace_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = "/usr/local/bin/docker-entrypoint.sh"
"""Also what the log lines of init files begin with."""
ORIGINAL = os.path.join(os.path.dirname(os.path.dirname(__file__)), "shims", "docker-entrypoint.sh")
"""As the image brings it: the functions that init files may call."""
RAN = "ENTRYPOINT_SCRIPT"
"""Set by the script when it calls us, so that it is not run twice."""


def run_if_changed(arguments: Sequence[str]) -> None:
    """Become the script with these arguments, where it was changed and did not call us; raises Failure."""
    if os.environ.pop(RAN, "") or not is_changed(SCRIPT, ORIGINAL):
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
