"""What can be found out about a storage: whether a folder is usable, and which tool's archive it holds."""

from __future__ import annotations

import errno
import os

from entrypoint import exits
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.known import adapters
from entrypoint.archivers.tool_variables import SOURCE_PREFIX
from entrypoint.errors import Problem
from entrypoint.settings.archiving import Archive
from entrypoint.system import access

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _other_tool(
    archive: Archive, where: str, is_there: Callable[[str], bool], *, of_source: bool
) -> Problem | None:
    """Return the problem of an archive that has folders of another tool at its top level.

    `of_source` means that the archive is not this cluster's own, but the one to restore from.
    """
    prefix = SOURCE_PREFIX if of_source else ""
    for other, tool in adapters({}).items():
        found = [name for name in tool.top_folders if is_there(name)] if other != archive.tool.name else []
        if not found:
            continue
        choose = f"{prefix}ARCHIVE_TOOL={other}"
        if not archive.storage.from_url:
            own = f"{prefix}{archive.tool.group}*"
            choose += f" and {prefix}ARCHIVE_URL={archive.storage.url} in place of the {own} variables"
        return Problem(
            f"{where} holds an archive of another tool, {other} ({', '.join(found)}), and not one of "
            f"{archive.tool.name}",
            f"set {choose}, or set a different {prefix}ARCHIVE_URL",
            exits.ARCHIVE_REFUSED,
            docs="set-up-archiving",
        )
    return None


def other_tool_at(opened: OpenedArchive, *, of_source: bool = False) -> Problem | None:
    """Return the problem of a storage other than a folder that holds another tool's archive."""
    if opened.folder is not None:
        return None  # see storage_problem
    code, text = opened.run_quietly(opened.tool.look(opened.server))
    names = opened.tool.parse_names(text) if code == 0 else []
    return _other_tool(opened.archive, opened.url, names.__contains__, of_source=of_source)


def storage_problem(archive: Archive, *, to_write: bool = True, of_source: bool = False) -> Problem | None:
    """Return what is wrong with an archive in a folder, as far as that is visible."""
    folder = archive.storage.folder
    if folder is None:
        return None
    if not os.path.isdir(folder):
        return Problem(
            f"the archive folder {folder} does not exist",
            f"mount a volume there: -v NAME:{folder}",
            exits.ARCHIVE_REFUSED,
            docs="set-up-archiving",
        )
    problem = _folder_problem(folder, to_write=to_write)
    if problem is not None:
        return problem._replace(code=exits.ARCHIVE_REFUSED)
    return _other_tool(archive, folder, lambda name: os.path.isdir(f"{folder}/{name}"), of_source=of_source)


def _folder_problem(folder: str, *, to_write: bool) -> Problem | None:
    """Return what keeps this process from reading the archive folder, or from writing to it."""
    if os.access(folder, os.R_OK | os.X_OK | (os.W_OK if to_write else 0)):
        return None
    return access.denied(
        folder, "write to" if to_write else "read", PermissionError(errno.EACCES, "Permission denied")
    )
