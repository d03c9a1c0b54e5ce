"""The places of an upgraded cluster's backups, where the archiver cannot keep two major versions apart.

The first major version has the place that is set. Each later one has a folder of its own below it, which is
named after the major version and the cluster. The note about the upgrade names the cluster's own folder; a
restore onto an empty volume looks in the archive which folders there are.
"""

from __future__ import annotations

import os

from entrypoint import exits, log
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import brief
from entrypoint.errors import Failure, Problem
from entrypoint.settings import archiving
from entrypoint.system import files
from entrypoint.volume import past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from entrypoint.archivers.terms import Backup
    from entrypoint.server.context import Context


def place(context: Context, below: str | None = None) -> Context:
    """Return the context with the archive's folder of the cluster in the data folder, or with a given one."""
    wanted = context.settings
    if wanted.archive is None and wanted.source is None:
        return context
    name = past.place(wanted.data_folder) if below is None else below
    archive, source = archiving.at(wanted.archive, name), archiving.at(wanted.source, name)
    return context._replace(settings=wanted._replace(archive=archive, source=source))


def others(opened: OpenedArchive) -> Iterator[OpenedArchive]:
    """Yield the archive's other places, with the settings file of each; raises Failure.

    The archive's own settings file must be there: it may be the only place of its secrets.
    """
    if opened.can.dividing is None:
        return
    now = opened.archive.storage.below
    top = _at(opened, "") if now else opened
    code, text, words = top.ask(top.tool.look(top.server))
    if code:
        raise Failure(
            Problem(
                f"the folders in {top.url} cannot be listed (exit code {code}), and each upgraded cluster "
                f"has one:\n{brief(words.strip() or text.strip())}",
                "check that the storage can be reached and that the ARCHIVE_* variables are right",
                exits.ARCHIVE_REFUSED,
                docs="fix-archiving",
            )
        )
    for name in ("", *sorted(name for name in top.tool.parse_names(text) if past.is_place(name))):
        if name != now:
            yield _at(opened, name)


def _at(opened: OpenedArchive, below: str) -> OpenedArchive:
    """Return an archive at another of its places, with its settings file in a folder of its own."""
    dividing, name = opened.can.dividing, opened.tool.config_name
    archive = archiving.at(opened.archive, below)
    assert dividing is not None
    assert archive is not None
    folder = f"{opened.runtime_folder}/places"
    files.ensure_folder(folder, 0o700)
    folder += f"/{below or 'first'}"
    files.ensure_folder(folder, 0o700)
    text = files.read_text(f"{opened.runtime_folder}/{name}")
    files.write_atomically(f"{folder}/{name}", dividing.below(text, opened.archive.storage.below, below))
    return OpenedArchive(opened.context._replace(runtime_folder=folder), archive)


def backups(opened: OpenedArchive) -> list[tuple[OpenedArchive, list[Backup]]]:
    """Return the backups of the archive's other places; raises Failure if one of them cannot be read.

    The newest backup may be in any of them, so none may be left out for a restore.
    """
    listed = [(other, other.list_backups()) for other in others(opened)]
    return [(other, found) for other, found in listed if found]


def readable_backups(opened: OpenedArchive) -> list[tuple[str, Backup]]:
    """Return the backups of other places, and their folders; what cannot be read is logged and left out."""
    found: list[tuple[str, Backup]] = []
    try:
        for other in others(opened):
            try:
                found += ((other.archive.storage.below, each) for each in other.list_backups())
            except Failure as failure:
                log.problem(failure.problems[0])
    except Failure as failure:
        log.problem(failure.problems[0])
    return found


def make(opened: OpenedArchive) -> None:
    """Make the folder of an upgraded cluster in an archive in a folder, if the archive itself is there."""
    folder, below = opened.folder, opened.archive.storage.below
    if folder is None or not below:
        return
    top = folder.removesuffix(f"/{below}")
    if os.path.isdir(folder) or not any(os.path.isdir(f"{top}/{name}") for name in opened.tool.top_folders):
        return
    try:
        os.mkdir(folder, 0o700)
    except OSError as error:
        log.debug(f"cannot make {folder}: {error.strerror}")
