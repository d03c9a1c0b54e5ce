"""The base backup before an upgrade: the old server runs for it, and archives what still waits."""

from __future__ import annotations

from entrypoint import log
from entrypoint.archive import claim
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archive.wal_commands import archive_settings
from entrypoint.backup import journal
from entrypoint.backup.take import push
from entrypoint.backup.turn import alone
from entrypoint.errors import Failure
from entrypoint.server import control_file, temporary
from entrypoint.server.context import server_port, tool_path, write_down_settings
from entrypoint.upgrade import build, older, parameters
from entrypoint.volume import past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context


def take(context: Context, before: str) -> None:
    """Take a base backup of the old cluster, with its own server, which listens on no TCP port meanwhile.

    The server archives all of its WAL before it has shut down. Raises Failure if there is no backup then.
    """
    archive = context.settings.our_archive
    assert archive is not None
    old = older.with_programs(context, before)
    opened = OpenedArchive(old, archive)
    opened.render()
    write_down_settings(old)
    claim.prepare(opened, must_work=True)
    log.info(f"taking a base backup first, with the server of PostgreSQL {before}")
    try:
        with (
            temporary.serve(old, _arguments(opened, before), seconds=None),
            alone(old, "the backup before an upgrade", wait=True) as lock,
        ):
            push(opened, incremental=False, why=journal.COMMAND, lock=lock)
            past.note(old.settings.data_folder, lambda known: known._replace(backup=True))
    except temporary.EarlyEnd as failure:
        raise Failure(
            *(
                each._replace(hint="start the old image, and see what it says; nothing was changed")
                for each in failure.problems
            )
        ) from failure


def _arguments(opened: OpenedArchive, before: str) -> list[str]:
    """Return the arguments of the old server: the cluster's own configuration, and our archiving.

    The variables and files of this container are for the new server: the old one may not know their settings.
    """
    context, data = opened.context, opened.data_folder
    here = older.context_of(context, before, data)
    control = control_file.read_control(here)
    settings = parameters.of_old(control, build.asked(here))
    # All else that only matters without an archive is the cluster's own.
    for name in ("wal_keep_size", "shared_preload_libraries"):
        settings.pop(name, None)
    archiving = archive_settings(opened.archive, opened.server, tool_path(context))
    if settings.get("wal_level") == "logical":
        del archiving["wal_level"]
    settings |= {**archiving, "port": server_port(context.settings), "autovacuum": "off"}
    if int(before) >= _LIBRARY:
        settings["archive_library"] = ""
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


_LIBRARY = 15
"""The first major version with archive_library, which would count instead of archive_command."""
