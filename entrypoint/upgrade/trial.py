"""Whether the archiver knows the new cluster's major version: tried with an archive in an empty folder."""

from __future__ import annotations

import os

from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import brief
from entrypoint.finding import Finding, error, ok, problem
from entrypoint.system import files
from entrypoint.upgrade import underway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context


def archiver(context: Context, cluster: str) -> list[Finding]:
    """Return whether the archiver makes an archive for the new cluster; nothing of it stays."""
    archive = context.settings.our_archive
    if archive is None:
        return []
    opened = OpenedArchive(context, archive)
    name, major = opened.tool.name, context.environment.get("PG_MAJOR", "")
    if opened.can.upgrading is None:
        return [ok(f"{name} archives PostgreSQL {major}, as any other major version")]
    folder = f"{underway.work(context.settings.data_folder)}/archive"
    os.mkdir(folder, 0o700)
    try:
        code, words = opened.run_quietly(opened.can.upgrading.rehearse(cluster, folder))
    finally:
        files.remove_tree(folder)
    unknown = opened.can.unknown_server
    if unknown is not None and code == opened.can.unknown_server_code:
        return [problem(unknown)]
    if code:
        return [
            error(
                f"{name} cannot archive the new cluster (exit code {code}):\n{brief(words.strip())}",
                "fix what it names; or use another ARCHIVE_TOOL",
                "fix-archiving",
            )
        ]
    return [ok(f"{name} archives PostgreSQL {major}")]
