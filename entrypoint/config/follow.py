"""The settings of a standby: those with which it follows, and those that override its files."""

import os

from entrypoint.archive import fetching, wal_commands
from entrypoint.archive.source import find_source, source_of
from entrypoint.config import rendered, ruling
from entrypoint.postgres import configfile, ruled
from entrypoint.server import control_file
from entrypoint.server.context import Context, handed_on_folder, tool_path
from entrypoint.system import files


def settings(context: Context) -> dict[str, str]:
    """Return the server's settings for a standby; renders the settings of the archive that it follows.

    Without STANDBY=on, or without an archive, the values in the cluster's own configuration stay.
    """
    if context.settings.source is not None and not context.settings.own_recovery:
        fetching.prepare(source_of(context).context)
    return values(context)


def values(context: Context) -> dict[str, str]:
    """Return the server's settings for a standby, as `settings` does, but write nothing."""
    wanted = context.settings
    found: dict[str, str] = {}
    if wanted.source is not None and not wanted.own_recovery:
        source = find_source(context)
        command = wal_commands.restore_command(source.archive, source.server, tool_path(context))
        found = {"restore_command": command, "recovery_target_timeline": "latest"}
    if control_file.is_our_standby(context) or wanted.standby is not None:
        found |= {"hot_standby": "on", "recovery_target_timeline": "latest"}
    if wanted.standby is not None:
        if wanted.standby.conninfo:
            found["primary_conninfo"] = wanted.standby.conninfo
        if wanted.standby.slot:
            found["primary_slot_name"] = wanted.standby.slot
    return found


def ruling_words(context: Context) -> list[str]:
    """Return the arguments that keep settings from a backup from taking effect in our standby.

    ALTER SYSTEM is stronger than every file, so no file can do this. Logs settings without effect. Raises
    Failure if a recovery target is set. A standby that the entrypoint did not create stays as it is.
    """
    if not control_file.is_our_standby(context):
        return []
    ruling.refuse_targets(context)
    found = ruled_settings(context)
    ruling.tell("this standby", found.idle)
    ruling.forget_conninfo(context, found.conninfo)
    return ruled.words(found.options)


def ruled_settings(context: Context) -> ruling.Ruling:
    """Return the settings that override the files of our standby."""
    follows_ours = context.settings.standby is not None
    return ruling.for_standby(context, values(context), follows_ours=follows_ours)


def following(context: Context) -> dict[str, str]:
    """Return the settings of a standby if the data folder holds one or will hold one."""
    wanted = context.settings
    made = os.path.exists(f"{wanted.data_folder}/PG_VERSION")
    if os.path.exists(f"{wanted.data_folder}/standby.signal") or (wanted.standby is not None and not made):
        return {**_rendered_for_standby(context), **values(context)}
    return {}


def _rendered_for_standby(context: Context) -> dict[str, str]:
    """Return the settings with which a standby follows from the file that its start has rendered.

    Helpers do not get the STANDBY_* variables.
    """
    path = rendered.rendered_path(context)
    if handed_on_folder() is None or not os.path.exists(path):
        return {}
    entries, _ = configfile.parse(files.read_text(path), path)
    names = ("primary_conninfo", "primary_slot_name")
    return {entry.name: entry.value for entry in entries if entry.name in names}
