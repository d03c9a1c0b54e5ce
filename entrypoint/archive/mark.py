"""Whether the archive still is the one that this cluster was given: it may have been emptied, or unmounted.

Beside the data it is noted where the cluster archives to, on which filesystem, and since when. Its own sign
must be in the archive from then on. Where it is missing on the same filesystem somebody has emptied the
archive: it is begun anew. On another filesystem a mount is missing, and what lies there is the disk below it:
nothing is written there.
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
    """What is noted of the archive that this cluster was given."""

    url: str = ""
    device: int = 0
    """Of the filesystem of an archive on a folder."""
    since: float = 0
    """Since when it has been this cluster's without a break, in seconds since 1970."""


def read(data_folder: str) -> Mark:
    """Return what is noted; nothing where it cannot be understood."""
    try:
        text = notes.read_text(data_folder, own.ARCHIVE)
        with guest.Reading(own.ARCHIVE):
            mark: Mark = guest.typed(Mark(**guest.parse_json(text)))
            return mark
    except (OSError, ValueError):
        return Mark()


def note(data_folder: str, archive: Archive, *, anew: bool) -> None:
    """Note that the archive is this cluster's, since now where it is a new one."""
    known = read(data_folder)
    device = _device(archive)
    if anew or known.url != archive.storage.url:
        known = Mark(archive.storage.url, device, time.time())
    elif known.device == device:
        return
    import json

    try:
        notes.write(data_folder, own.ARCHIVE, json.dumps(known._replace(device=device)._asdict()))
    except OSError as error:
        log.warning(f"the archive cannot be noted in {data_folder}: {error.strerror}")


def _device(archive: Archive) -> int:
    folder = archive.storage.folder
    try:
        return 0 if folder is None else os.stat(folder).st_dev
    except OSError:
        return 0


def was_ours(data_folder: str, archive: Archive) -> bool:
    """Tell whether this archive was this cluster's already."""
    return read(data_folder).url == archive.storage.url


def path(archive: Archive) -> str | None:
    """Return the path of the mark in an archive on a folder."""
    folder = archive.storage.folder
    return None if folder is None else f"{folder}/{archive.tool.sign}"


def is_lost(data_folder: str, archive: Archive) -> bool:
    """Tell whether an archive on a folder was this cluster's and has no mark any more.

    Where it cannot be looked at, something else is wrong.
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
    """Return what is wrong where an archive without its mark is on another filesystem than it was."""
    known = read(data_folder)
    if archive.storage.folder is None or known.url != archive.storage.url or known.device == _device(archive):
        return None
    return Problem(
        f"{archive.storage.folder} is on another filesystem than before, and holds nothing of this cluster's "
        "archive: its mount is missing",
        "mount it again; what waits is archived then. If the archive is to begin anew there, remove "
        f"{notes.path(data_folder, own.ARCHIVE)}",
        exits.ARCHIVE_REFUSED,
    )
