"""The server's arguments and its configuration file."""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.config import rendered, when_full
from entrypoint.pid1 import brake
from entrypoint.server.context import Context, tool_path
from entrypoint.settings.values import Settings
from entrypoint.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.archivers.terms import Server
    from entrypoint.settings.archiving import Archive


def arguments(context: Context, following: Mapping[str, str] | None = None) -> list[str]:
    """Return the server's arguments; renders its configuration if there is anything to render.

    `following` holds the settings of a standby. If there is nothing to render (ARCHIVE_WHEN_FULL=wait), the
    arguments are exactly the given ones.
    """
    settings = context.settings
    given = list(settings.server.given)
    when_full.prepare(context)
    if following or rendered.renders(context) or when_full.is_small(context):
        archive = settings.our_archive
        from entrypoint.archive.calls import describe_server

        path = write_configuration(context, archive, describe_server(context), following)
        given = [*settings.server.without_config_file, "-c", f"config_file={path}"]
        if archive is not None:
            from entrypoint.config import charge
            from entrypoint.postgres import ruled

            given += ruled.words(charge.decide(context).options)
    elif rendered.guards(context):
        given = [*settings.server.without_config_file, "-c", f"config_file={when_full.write_plain(context)}"]
    if log.give_back is not None:
        from entrypoint.config import collector

        given += collector.arguments(context)
    return given


def write_configuration(
    context: Context, archive: Archive | None, server: Server, following: Mapping[str, str] | None = None
) -> str:
    """Write the server's configuration file and the file of chosen settings; return the path of the first."""
    from entrypoint.config import chosen

    chosen.write_chosen(context, f"{server.runtime_folder}/{rendered.CHOSEN_FILE}")
    path = f"{server.runtime_folder}/postgresql.conf"
    text = rendered_text(context, archive, server, following)
    files.write_atomically(path, text)
    return path


def rendered_text(
    context: Context,
    archive: Archive | None,
    server: Server,
    following: Mapping[str, str] | None = None,
) -> str:
    """Return the content of the server's configuration file."""
    return postgresql_conf(
        context.settings,
        archive,
        server,
        tool_path(context),
        rendered.CONF_FOLDER if os.access(rendered.CONF_FOLDER, os.R_OK | os.X_OK) else None,
        following=following,
        chosen=f"{server.runtime_folder}/{rendered.CHOSEN_FILE}",
        full_disk=f"{server.runtime_folder}/{brake.ACTIVE}" if rendered.guards(context) else None,
    )


def postgresql_conf(
    settings: Settings,
    archive: Archive | None,
    server: Server,
    tool_path: str,
    conf_folder: str | None,
    *,
    following: Mapping[str, str] | None = None,
    chosen: str | None = None,
    full_disk: str | None = None,
) -> str:
    """Return the content of the server's configuration file, which includes the cluster's own or the user's.

    `following` holds the settings with which a standby follows. `chosen` is the path of the file of chosen
    settings, `full_disk` that of the settings while the disk is about to be full.
    """
    from entrypoint import templates
    from entrypoint.archive import wal_commands

    return templates.render(
        "postgresql.conf",
        base_file=settings.server.settings.get("config_file") or f"{server.data_folder}/postgresql.conf",
        archive_settings=archive and wal_commands.archive_settings(archive, server, tool_path),
        archive_url=archive and archive.storage.url,
        following=following or {},
        chosen=chosen,
        settings=settings.conf,
        conf_folder=conf_folder,
        full_disk=full_disk,
    )
