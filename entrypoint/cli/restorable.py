"""Which moments can be restored, as `status`, `archive status` and `backup list` print it."""

from __future__ import annotations

import shutil
import time

from entrypoint.backup import window
from entrypoint.cli import picture
from entrypoint.cli.output import echo_rows, on_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.backup.window import Window


def echo(found: Window | str) -> None:
    """Print what can be restored; on a terminal also as a band."""
    if isinstance(found, str):
        echo_rows([("restorable", found)] if found else [])
        return
    now = time.time()
    first, *gaps = picture.describe(found, now)
    echo_rows([("restorable", first), *(("gap", each) for each in gaps)])
    band = picture.band(found, now, shutil.get_terminal_size().columns - 16) if on_terminal() else ""
    echo_rows([("window", band)] if band else [])


def as_json(found: Window | str) -> dict[str, object] | None:
    """Return what can be restored, for machines."""
    return None if isinstance(found, str) else window.as_json(found)
