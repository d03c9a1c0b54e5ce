"""A copy of the leader that was interrupted: pg_basebackup was killed together with its container.

Patroni removes such a copy if only pg_basebackup fails. If the container was killed, it finds a folder that
is neither empty nor a database, and waits for a person.
"""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.system import files
from entrypoint.volume.unfinished import Unfinished


def is_there(data: str) -> bool:
    """Return whether a data folder holds the begin of a base backup, and nothing that a server ran on.

    The server sends backup_label first and pg_control last. It starts on no folder without pg_control, and
    removes or renames backup_label once it has started. So this is a copy only, and the leader has the data.
    """
    if os.path.lexists(f"{data}/global/pg_control"):
        return False
    return all(os.path.isfile(f"{data}/{name}") for name in ("backup_label", "PG_VERSION"))


def remove(data: str) -> None:
    """Remove the begin of a base backup, if there is one, so that Patroni begins again."""
    if not is_there(data):
        return
    log.warning(
        f"{data} holds a copy of the leader that was interrupted: removing it, so that it is made again"
    )
    # pg_basebackup only writes to an empty folder, so all of it is the copy.
    discard(data)


def discard(data: str) -> None:
    """Empty a data folder that holds only a copy, even if that is interrupted."""
    names = [name for name in os.listdir(data) if name != "lost+found"]
    unfinished = Unfinished(data)
    unfinished.begin()
    files.write_atomically(unfinished.names, "\0".join(["", *names]))
    unfinished.discard()
