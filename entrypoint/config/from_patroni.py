"""What Patroni sets for the server: in a file that includes ours, and on the server's command line."""

from __future__ import annotations

import json

from entrypoint.config import sources
from entrypoint.config.sources import Source
from entrypoint.postgres import configfile
from entrypoint.postgres.argv import ServerArguments, parse_server
from entrypoint.server.context import Context
from entrypoint.system import files

CONFIGURATION = "patroni.yml"
"""A file in the runtime folder: Patroni's configuration, in JSON, which YAML includes."""
_FOLLOWING = ("primary_", "recovery_target", "restore_command")


def folder(runtime_folder: str) -> str:
    """Return the folder in which Patroni writes the server's configuration."""
    return f"{runtime_folder}/patroni"


def _path(context: Context) -> str:
    return f"{folder(context.runtime_folder)}/postgresql.conf"


def is_in_use(context: Context, words: list[str]) -> bool:
    """Return whether a server with these arguments reads the file that Patroni has written."""
    return parse_server(words).settings.get("config_file") == _path(context)


def without(context: Context, arguments: ServerArguments) -> ServerArguments:
    """Return the arguments of a running server without the file that Patroni has written."""
    if arguments.settings.get("config_file") != _path(context):
        return arguments
    return parse_server(arguments.without_config_file)


def placed(context: Context, found: list[Source]) -> list[Source]:
    """Return all sources of a server under Patroni, weakest first: its file is weaker than ALTER SYSTEM."""
    path = _path(context)
    try:
        entries, _ = configfile.parse(files.read_text(path), path)
        kept = json.loads(files.read_text(f"{context.runtime_folder}/{CONFIGURATION}"))
        own = {*sources.COMMANDED, *kept["postgresql"]["parameters"]}
    except (OSError, ValueError, KeyError, TypeError):
        return found  # no start has rendered it yet
    written = [
        _source(each.name, each.value, each.where, own)
        for each in entries
        if not each.name.startswith("include")
    ]
    stronger = [each for each in found if each.origin in (sources.ALTER, sources.COMMAND)]
    weaker = [each for each in found if each not in stronger]
    commanded = [
        _source(each.name, each.value, each.where, own) if each.origin == sources.COMMAND else each
        for each in stronger
    ]
    return [*weaker, *written, *commanded]


def _source(name: str, value: str, where: str, own: set[str]) -> Source:
    if name in own or name.startswith(_FOLLOWING):
        return Source(name, value, sources.PATRONI, where)
    return Source(name, value, sources.DCS, where, "for all nodes: patronictl edit-config")
