"""Whether variables and the user's own files configure the server, in addition to the cluster's files."""

from __future__ import annotations

import os

from entrypoint.server.context import Context
from entrypoint.system import files

CONF_FOLDER = "/docker-entrypoint-conf.d"
"""The folder of the user's own `*.conf` files: stronger than variables, weaker than ALTER SYSTEM."""
CHOSEN_FILE = "chosen.conf"
"""A file in the runtime folder: the settings that the entrypoint chooses, with the reasons."""


def renders(context: Context) -> bool:
    """Return whether variables or files in the user's conf folder configure the server."""
    settings = context.settings
    archives = settings.our_archive is not None
    return bool(archives or settings.conf or settings.serving.tune or has_conf_folder())


def guards(context: Context) -> bool:
    """Return whether the server's settings change when its disk is about to be full."""
    settings = context.settings
    return settings.server.is_server and settings.serving.when_full != "wait"


def has_usual_shared_memory(context: Context) -> bool:
    """Return whether the cluster's file has initdb's line for shared memory, so that /dev/shm matters."""
    try:
        text = files.read_text(f"{context.settings.data_folder}/postgresql.conf")
    except OSError:
        return True
    return "\ndynamic_shared_memory_type = posix" in text


def has_conf_folder() -> bool:
    """Return whether the user's conf folder contains `*.conf` files."""
    try:
        return any(name.endswith(".conf") for name in os.listdir(CONF_FOLDER))
    except PermissionError:
        return os.getuid() == 0  # if so, the server's binary reports the error after root has stepped down
    except OSError:
        return False


def has_own_configuration(context: Context) -> bool:
    """Return whether anything except the cluster's own files configures the server."""
    settings = context.settings
    return settings.server.is_server and bool(settings.server.given or settings.conf or has_conf_folder())


def is_configured(context: Context) -> bool:
    """Return whether anything except initdb affects the settings of a new cluster."""
    settings = context.settings
    environment = any(name in context.environment for name in ("PGDATESTYLE", "PGCLIENTENCODING", "PGPORT"))
    return bool(
        environment or settings.server.given or settings.conf or settings.serving.tune or has_conf_folder()
    )


def rendered_path(context: Context) -> str:
    """Return the path of the rendered configuration file."""
    return f"{context.runtime_folder}/postgresql.conf"
