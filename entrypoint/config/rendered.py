"""How far variables and the user's own files configure the server, beside what the cluster's files say."""

from __future__ import annotations

import os

from entrypoint.server.context import Context
from entrypoint.system import files

CONF_FOLDER = "/docker-entrypoint-conf.d"
"""The user's own `*.conf` files: stronger than variables, weaker than ALTER SYSTEM."""
CHOSEN_FILE = "chosen.conf"
"""In the runtime folder: what the entrypoint chooses for this container, with the reasons."""


def renders(context: Context) -> bool:
    """Tell whether variables or files of the user's conf folder configure the server."""
    settings = context.settings
    archives = settings.our_archive is not None
    return bool(archives or settings.conf or settings.serving.tune or has_conf_folder())


def has_usual_shared_memory(context: Context) -> bool:
    """Tell whether the cluster's file has initdb's line for it, so that the size of /dev/shm matters."""
    try:
        text = files.read_text(f"{context.settings.data_folder}/postgresql.conf")
    except OSError:
        return True
    return "\ndynamic_shared_memory_type = posix" in text


def has_conf_folder() -> bool:
    """Tell whether the user has given files in the conf folder."""
    try:
        return any(name.endswith(".conf") for name in os.listdir(CONF_FOLDER))
    except PermissionError:
        return os.getuid() == 0  # before root steps down the server's binary says what is wrong with it
    except OSError:
        return False


def has_own_configuration(context: Context) -> bool:
    """Tell whether anything but the cluster's own files configures the server."""
    settings = context.settings
    return settings.server.is_server and bool(settings.server.given or settings.conf or has_conf_folder())


def is_configured(context: Context) -> bool:
    """Tell whether anybody but initdb has a say in the settings of a new cluster."""
    settings = context.settings
    environment = any(name in context.environment for name in ("PGDATESTYLE", "PGCLIENTENCODING", "PGPORT"))
    return bool(
        environment or settings.server.given or settings.conf or settings.serving.tune or has_conf_folder()
    )


def rendered_path(context: Context) -> str:
    """Return where the rendered configuration file lies."""
    return f"{context.runtime_folder}/postgresql.conf"
