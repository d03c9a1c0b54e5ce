"""The settings that the entrypoint chooses for the server, and all sources of its settings."""

from entrypoint.archive import wal_commands
from entrypoint.archive.calls import describe_server
from entrypoint.config import charge, collect, follow, from_patroni, memory, rendered, sources, when_full
from entrypoint.config.sources import Source
from entrypoint.postgres import configfile
from entrypoint.postgres.argv import parse_server
from entrypoint.postgres.sql import conf_value
from entrypoint.server import control_file, programs
from entrypoint.server.context import Context, tool_path
from entrypoint.server.data_folder import running_arguments
from entrypoint.system import files

FORKED = "archive_mode=off"
"""This is on the command line of a copy that may not archive."""


def beside(context: Context) -> Context:
    """Return the context with the running server's arguments, and with its decision who archives.

    A command in the server's container does not know the arguments after the image's name. If no server runs,
    the context is that of a start.
    """
    words = running_arguments(context)
    if words is None:
        return charge.settle(context)
    context = charge.settled(context, own=not charge.rendered_command(context, words))
    arguments = from_patroni.without(context, parse_server(words))
    if arguments.settings.get("config_file") == rendered.rendered_path(context):
        path = rendered.rendered_path(context)
        entries, _ = configfile.parse(files.read_text(path), path)
        base = next(entry.value for entry in entries if entry.name == "include")
        own = () if base == collect.own_file(context) else ("-c", f"config_file={base}")
        asked = parse_server(_without_rule(context, words)).without_config_file
        arguments = parse_server([*asked, *own])
    return context._replace(settings=context.settings._replace(server=arguments))


def _without_rule(context: Context, words: list[str]) -> list[str]:
    """Return the arguments without our own ones, which follow the rendered file's name.

    Ours control a standby and our archiving; a copy that may not archive keeps its archive_mode=off.
    """
    ours = set(charge.OPTIONS)
    if control_file.is_our_standby(context):
        ours |= follow.ruled_settings(context).options.keys()
    at = words.index(f"config_file={rendered.rendered_path(context)}") + 1
    pairs = zip(words[at::2], words[at + 1 :: 2], strict=False)
    kept = [pair for pair in pairs if pair[1] == FORKED or pair[1].partition("=")[0] not in ours]
    return [*words[:at], *(word for pair in kept for word in pair)]


def chosen(context: Context) -> list[Source]:
    """Return the settings that the entrypoint chooses if it renders; any setting of a person is stronger."""
    found = memory.shared_memory(context)
    adapted = [Source(memory.SHARED_MEMORY_TYPE, found.kind, sources.ADAPTED, "the entrypoint", found.words)]
    return [*when_full.fitting(context), *memory.tuned(context), *(adapted if found.adapted else [])]


def write_chosen(context: Context, path: str) -> None:
    """Write the file of chosen settings, which the rendered file includes."""
    files.write_atomically(path, chosen_text(context))


def chosen_text(context: Context) -> str:
    """Return the content of the file of chosen settings, with the reasons."""
    lines = [f"{each.name} = {conf_value(each.value)}  # {each.reason}\n" for each in chosen(context)]
    head = "# The settings that the entrypoint chooses for this container, at every start and SIGHUP\n"
    return head + "".join(lines)


def all_sources(context: Context) -> list[Source]:
    """Return everything that sets a setting of the server, weakest first."""
    found = [
        *collect.base(context, _sample(context)),
        *chosen(context),
        *_entrypoints(context),
        *collect.overriding(context),
        *_ruling(context),
    ]
    return found if context.settings.failover is None else from_patroni.placed(context, found)


def _ruling(context: Context) -> list[Source]:
    """Return our own settings on the command line, as far as they hide another value."""
    where = "on the command line, since a file or ALTER SYSTEM sets another value"
    archives = [
        Source(name, value, sources.ARCHIVE, where) for name, value in charge.options(context).items()
    ]
    if not control_file.is_our_standby(context):
        return archives
    said = {*follow.following(context), *(each.name for each in charge.said(context))}
    return archives + [
        Source(name, value, sources.STANDBY, "on the command line, as long as this is our standby")
        for name, value in follow.ruled_settings(context).options.items()
        if name in said
    ]


def _entrypoints(context: Context) -> list[Source]:
    """Return the settings for the archive, and those for a standby that are rendered."""
    archive = context.settings.our_archive
    found = []
    if archive is not None:
        values = wal_commands.archive_settings(archive, describe_server(context), tool_path(context))
        found = [Source(name, value, sources.ARCHIVE, archive.storage.url) for name, value in values.items()]
    return found + [
        Source(name, value, sources.STANDBY, "STANDBY_*, RESTORE_* and ARCHIVE_* variables")
        for name, value in follow.following(context).items()
    ]


def _sample(context: Context) -> dict[str, str]:
    """Return the settings in the image's sample file."""
    folder = programs.folder_with(programs.SAMPLE, context)
    return {entry.name: entry.value for entry in collect.read_entries(f"{folder}/{programs.SAMPLE}")}
