"""Collects the sources of the server's settings: its own files, the conf folder, variables, arguments."""

from __future__ import annotations

import os

from entrypoint.config import sources
from entrypoint.config.rendered import CONF_FOLDER
from entrypoint.config.sources import Source
from entrypoint.postgres import configfile
from entrypoint.server.context import Context
from entrypoint.settings.serving import variable_of
from entrypoint.system import files


def own_file(context: Context) -> str:
    """Return the path of the cluster's own configuration file."""
    return f"{context.settings.data_folder}/postgresql.conf"


def read_entries(path: str) -> list[configfile.Entry]:
    """Return the entries of a configuration file, with those of the files that it includes."""
    return configfile.read(path, files.read_text, os.listdir)[0]


def base(context: Context, sample: dict[str, str] | None = None) -> list[Source]:
    """Return the settings of the cluster's own file, or of the file that was passed in its place."""
    path = context.settings.server.settings.get("config_file") or own_file(context)
    return sources.of_base(read_entries(path), sample or {})


def overriding(context: Context) -> list[Source]:
    """Return the settings that override the cluster's own file and the archive's settings, weakest first."""
    wanted = context.settings
    found = [
        Source(name, value, sources.VARIABLE, variable_of(name, wanted.values))
        for name, value in wanted.conf.items()
    ]
    folder, _ = fragments()
    found += sources.of_files(folder, sources.FOLDER)
    found += sources.of_files(read_entries(f"{wanted.data_folder}/postgresql.auto.conf"), sources.ALTER)
    return found + [
        Source(name, value, sources.COMMAND, f"-c {name}")
        for name, value in wanted.server.settings.items()
        if name not in ("config_file", "data_directory")
    ]


def fragments() -> tuple[list[configfile.Entry], list[str]]:
    """Return the entries of the files in the user's conf folder, and their errors."""
    try:
        names = sorted(name for name in os.listdir(CONF_FOLDER) if configfile.is_fragment(name))
    except OSError:
        return [], []
    found = [configfile.read(f"{CONF_FOLDER}/{name}", files.read_text, os.listdir) for name in names]
    return [entry for entries, _ in found for entry in entries], [
        error for _, errors in found for error in errors
    ]
