"""The record of an upgrade, or of its undoing, that is not finished: `$PGDATA/entrypoint.upgrade/`.

The folder holds a file `state`. The new cluster is built in a folder that base backups leave out, where the
old one is kept later. The commit is one rename: a PG_VERSION of the other major takes the place of the data
folder's. Before it the data folder is an ordinary cluster of the old major, which any image of that major
starts. After it the steps in `state` remain to be done, by whichever of our starts comes next; each of them
can be repeated.
"""

from __future__ import annotations

import os
import stat

from entrypoint import own
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.system import files, guest, small
from entrypoint.upgrade.moves import KINDS, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PAGE = "upgrade-to-a-newer-major"
ROOM = "room"
"""The file that keeps space for the steps after the commit."""
_NEEDED = 1024**2
"""Bytes for folders, notes and PG_VERSION."""
_MOST = 64 * 1024**2
"""Bytes; a data folder may have many names."""


class Record(NamedTuple):
    """What is known of an upgrade that is not finished."""

    before: str
    """The major version that the data folder has until the commit."""
    after: str
    """The major version that it has from the commit on."""
    made: tuple[str, ...] = ()
    """The folders outside the record that are made, which go if it is not committed."""
    steps: tuple[Step, ...] = ()
    """What remains after the commit; empty before everything is ready for it."""
    data: str = ""
    """The path of the data folder, which the steps and `made` are about."""
    note: str = ""
    """The text of the note `entrypoint.upgraded` after the last step; empty: there will be none."""


def folder(data: str) -> str:
    """Return the path of the record's folder."""
    return f"{data}/{own.UPGRADE}"


def work(data: str) -> str:
    """Return the folder of everything that is built; no base backup contains it."""
    return f"{data}/{own.KEPT}/upgrade"


def cluster(data: str) -> str:
    """Return the folder in which the new cluster is built."""
    return f"{work(data)}/cluster"


def view(data: str) -> str:
    """Return the folder in which pg_upgrade sees the old cluster."""
    return f"{work(data)}/old"


def leash(data: str) -> str:
    """Return the file whose lock everything holds that an upgrade starts."""
    return f"{folder(data)}/leash"


def exists(data: str) -> bool:
    """Return whether an upgrade is not finished."""
    return os.path.lexists(folder(data))


def begin(data: str, record: Record) -> None:
    """Make the record's folder; from now on, every start recognizes an upgrade that was interrupted."""
    os.mkdir(folder(data), 0o700)
    write(data, record)
    files.sync_folder(data)


def make_work(data: str) -> None:
    """Make the folder to build in, once the record is there; what an earlier record forgot there goes."""
    if os.path.lexists(work(data)):
        files.remove_tree(work(data))
    if not os.path.isdir(os.path.dirname(work(data))):
        os.mkdir(os.path.dirname(work(data)), 0o700)
    os.mkdir(work(data), 0o700)


def remove(data: str) -> None:
    """Remove what was built, and the record; its state goes last, so that a kill in between is repeated."""
    kept = os.path.dirname(work(data))
    if os.path.lexists(work(data)):
        files.remove_tree(work(data))
    if os.path.isdir(kept) and not os.listdir(kept):
        os.rmdir(kept)
    for name in sorted(os.listdir(folder(data)), key=lambda name: name == "state"):
        files.remove_tree(f"{folder(data)}/{name}")
    os.rmdir(folder(data))
    files.sync_folder(data)


def write(data: str, record: Record) -> None:
    """Write the record, durably."""
    import json

    files.write_atomically(f"{folder(data)}/state", json.dumps(record._asdict()))


def read(data: str) -> Record | None:
    """Return the record; None: the upgrade was interrupted before it was written, so nothing was done yet.

    Raises Failure if it cannot be understood.
    """
    path = f"{folder(data)}/state"
    try:
        text = small.read_text(path, most=_MOST)
        with guest.Reading("the record"):
            return _parsed(guest.parse_json(text))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Failure(
            Problem(
                f"cannot read {path}, the record of an upgrade that was interrupted: {error}",
                f"make it readable; if PG_VERSION in {data} is the old major's, the old cluster is "
                f"whole: use the old image, or remove {folder(data)}",
                docs=PAGE,
            )
        ) from error


def _parsed(noted: Mapping[str, Any]) -> Record:
    steps = tuple(Step(KINDS[kind], str(path), str(other)) for kind, path, other in noted["steps"])
    made = tuple(str(each) for each in noted["made"])
    where, note = str(noted["data"]), str(noted["note"])
    return Record(str(noted["before"]), str(noted["after"]), made, steps, where, note)


def commit(data: str, record: Record) -> None:
    """Let the other cluster count: one rename. Everything else must be on the disk already.

    A file keeps the space that the steps afterwards need, in case the disk is full then.
    """
    with open(f"{folder(data)}/{ROOM}", "wb") as room:
        room.write(os.urandom(_NEEDED))  # zeros take no room where the filesystem compresses
        room.flush()
        os.fsync(room.fileno())
    path = f"{folder(data)}/PG_VERSION"
    mode = stat.S_IMODE(os.stat(f"{data}/PG_VERSION").st_mode)
    files.write_atomically(path, f"{record.after}\n", mode)
    os.rename(path, f"{data}/PG_VERSION")
    files.sync_folder(data)
