"""The filesystems of a server and of its archive, each for itself: their bytes and their inodes.

A quota of a project (XFS, ext4) is a disk of its own: statvfs says its limit as the size if new files inherit
the project, as they do in every folder that a quota is meant for. Quotas of users are not shown by any disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from entrypoint.full_disk import filling
from entrypoint.system import space
from entrypoint.volume.facts import Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.settings.values import Settings


def volumes(settings: Settings, forecast: Mapping[str, int]) -> list[Volume]:
    """Return the filesystems, each once, under the first of its names.

    `forecast` has the seconds until a filesystem is full, by a folder on it.
    """
    found = []
    known = set()
    for name, folder in _folders(settings):
        try:
            identity, found_space = space.identity(folder), space.look(folder)
        except OSError:
            continue
        if identity in known:
            continue
        known.add(identity)
        files, free_files = (found_space.files, found_space.free_files) if found_space.files else (None, None)
        left = forecast.get(folder)
        found.append(Volume(name, folder, found_space.size, found_space.free, left, files, free_files))
    return found


def _folders(settings: Settings) -> Iterator[tuple[str, str]]:
    data, archive, drill = settings.data_folder, settings.our_archive, settings.drill
    yield "data", data
    yield "wal", f"{data}/pg_wal"
    if archive is not None and archive.storage.folder:
        yield "archive", archive.storage.folder
    for oid, folder in filling.tablespaces(data).items():
        yield f"tablespace {oid}", folder
    yield "log", filling.log_folder(data)
    yield "drill", _existing(drill.folder) if drill.schedule else drill.folder


def _existing(folder: str) -> str:
    """Return a folder, or the nearest one above it that exists: the first drill makes the folder."""
    while not os.path.isdir(folder) and folder != "/":
        folder = os.path.dirname(folder)
    return folder
