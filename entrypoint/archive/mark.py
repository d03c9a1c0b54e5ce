"""Whether the archive is still the one that this cluster was given: it may have been emptied, or unmounted.

A note in the data folder says where the cluster archives to, on which filesystem, and since when. From then
on the archive must contain the cluster's mark. If the mark is missing on the same filesystem, somebody has
emptied the archive: it starts from scratch. If the mark is missing on another filesystem, a mount is missing
and the folder is on the disk below: nothing is written there.
"""

from __future__ import annotations

import os
import time

from entrypoint import exits, log, own
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple
from entrypoint.settings.archiving import Archive
from entrypoint.system import guest
from entrypoint.volume import notes


class Mark(NamedTuple):
    """The note about the archive that this cluster was given."""

    url: str = ""
    device: int = 0
    """Device number of the filesystem, for an archive in a folder."""
    since: float = 0
    """Since when the archive has been this cluster's without a break, in seconds since 1970."""


def read(data_folder: str) -> Mark:
    """Return the note; an empty one if it cannot be parsed."""
    try:
        text = notes.read_text(data_folder, own.ARCHIVE)
        with guest.Reading(own.ARCHIVE):
            mark: Mark = guest.typed(Mark(**guest.parse_json(text)))
            return mark
    except (OSError, ValueError):
        return Mark()


def note(data_folder: str, archive: Archive, *, new: bool) -> None:
    """Note that the archive is this cluster's; if it is a new one, it is so from now on."""
    known = read(data_folder)
    device = _device(archive)
    if new or known.url != archive.storage.url:
        known = Mark(archive.storage.url, device, time.time())
    elif known.device == device:
        return
    import json

    try:
        notes.write(data_folder, own.ARCHIVE, json.dumps(known._replace(device=device)._asdict()))
    except OSError as error:
        log.warning(f"cannot write the note about the archive in {data_folder}: {error.strerror}")


def _device(archive: Archive) -> int:
    folder = archive.storage.folder
    try:
        return 0 if folder is None else os.stat(folder).st_dev
    except OSError:
        return 0


def was_ours(data_folder: str, archive: Archive) -> bool:
    """Return whether this archive already was this cluster's."""
    return read(data_folder).url == archive.storage.url


def path(archive: Archive) -> str | None:
    """Return the path of the mark, for an archive in a folder."""
    folder = archive.storage.folder
    return None if folder is None else f"{folder}/{archive.tool.sign}"


def is_lost(data_folder: str, archive: Archive) -> bool:
    """Return whether an archive in a folder was this cluster's and has no mark any more.

    Return False if the folder cannot be read: then something else is wrong.
    """
    place = path(archive)
    if place is None or not was_ours(data_folder, archive):
        return False
    try:
        os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def unmounted(data_folder: str, archive: Archive) -> Problem | None:
    """Return what is wrong if an archive without its mark is on a different filesystem than before."""
    known = read(data_folder)
    if archive.storage.folder is None or known.url != archive.storage.url or known.device == _device(archive):
        return None
    return Problem(
        f"{archive.storage.folder} is on a different filesystem than before, and holds nothing of this "
        "cluster's archive: its mount is missing",
        "mount it again, and the waiting WAL is archived; or, to start the archive from scratch there, "
        f"remove {notes.path(data_folder, own.ARCHIVE)}",
        exits.ARCHIVE_REFUSED,
        docs="fix-archiving",
    )
