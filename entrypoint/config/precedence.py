"""Who archives, the entrypoint or the user's own archive_command: one rule for all sources; pure.

1. A command on the command line is the user's own and archives, as every setting there wins.
2. Otherwise, one of our variables that needs an archive (ARCHIVE_URL, BACKUP_SCHEDULE, …) makes the
   entrypoint archive; its command then overrides every file and ALTER SYSTEM.
3. Otherwise, only the tool's own variables (WALG_*, PGBACKREST_*) are set, as in the tool's guides. A command
   that archives is then the user's own, wherever it is set, and gets these variables.
4. A command that archives nothing (archive_mode is off, or it names no segment) does not count: the
   entrypoint archives.

A start decides, since only a start gives the server its environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from entrypoint.archivers import tool_variables
from entrypoint.config.sources import ALTER, COMMAND, FILE, IMAGE, Source, winners
from entrypoint.light import NamedTuple
from entrypoint.settings.hiding import hide_secrets
from entrypoint.volume.facts import OwnCommand

COMMAND_NAME = "archive_command"
LIBRARY_NAME = "archive_library"
"""Since PostgreSQL 15; it overrides the command, and from 16 on both together are an error."""
NEEDED = {"archive_mode": "on", LIBRARY_NAME: "", "wal_level": "replica"}
"""The settings that our archiving needs if the user sets other values."""
PAGE = "use-your-own-archive-command"
"""The page about the user's own command in docs/how-to/."""
_OFF = ("off", "false", "no", "0")


class Charge(NamedTuple):
    """The decision who archives."""

    own: Source | None
    """The user's own command or library; None: the entrypoint archives."""
    idle: tuple[Source, ...]
    """The settings without effect because the entrypoint archives."""
    options: dict[str, str]
    """Our settings on the command line, since a source stronger than our file sets other values."""
    off: Source | None
    """The setting that turns our archiving off all the same: archive_mode on the command line."""


def decide(said: Sequence[Source], command: str, asked: str) -> Charge:
    """Return who archives.

    `said` holds everything that the user sets, weakest first. `command` is our archive_command. `asked` names
    the variables that make the entrypoint archive.
    """
    last = winners(said)
    given = [each for each in said if each.origin == COMMAND]
    own = _own(winners(given)) or _own(last)
    if own is not None and (own in given or (not asked and _archives(own, last))):
        return Charge(own, (), {}, None)
    mode = last.get("archive_mode")
    off = mode if mode is not None and mode.origin == COMMAND and _is_off(mode.value) else None
    instead = {COMMAND_NAME: command, **NEEDED}
    idle = tuple(each for each in said if each.origin != COMMAND and _contradicts(each, command))
    options = {
        name: instead[name]
        for name, each in last.items()
        # Our file overrides the cluster's own file, but does not set the library.
        if each in idle and (each.origin not in (IMAGE, FILE) or name == LIBRARY_NAME)
    }
    return Charge(None, idle, options, off)


def own(said: Iterable[Source]) -> Source | None:
    """Return the user's command or library that would archive, whatever the decision is."""
    return _own(winners(said))


def _own(last: Mapping[str, Source]) -> Source | None:
    library, command = last.get(LIBRARY_NAME), last.get(COMMAND_NAME)
    if library is not None and library.value:
        return library
    if command is not None and (command.value or command.origin == COMMAND):
        return command
    return None


def _archives(own_: Source, last: Mapping[str, Source]) -> bool:
    """Return whether a command archives anything: people use `/bin/true` as a placeholder."""
    mode = last.get("archive_mode")
    if mode is None or _is_off(mode.value):
        return False
    plain = own_.value.replace("%%", "")
    return own_.name == LIBRARY_NAME or "%p" in plain or "%f" in plain


def _is_off(value: str) -> bool:
    return value.lower() in _OFF


def _contradicts(source: Source, command: str) -> bool:
    if source.name == COMMAND_NAME:
        # Empty is the default, but in a stronger source an empty command holds archiving back.
        return source.value != command and (bool(source.value) or source.origin not in (IMAGE, FILE))
    if source.name == LIBRARY_NAME:
        return bool(source.value)
    if source.name == "archive_mode":
        return _is_off(source.value)
    return source.name == "wal_level" and source.value.lower() == "minimal"


def shown(source: Source) -> str:
    """Return a setting with its place, without secrets."""
    return f"{source.where}: {source.name} = {hide_secrets(source.value, source.name) or '(empty)'}"


def remove(source: Source) -> str:
    """Return the hint that removes a setting."""
    if source.origin == ALTER:
        return f"ALTER SYSTEM RESET {source.name}"
    if source.origin == COMMAND:
        return f"remove {source.where}"
    return f"remove {source.name} from {source.where.rpartition(':')[0] or source.where}"


def tell(found: Charge, asked: str, tool: str) -> OwnCommand | None:
    """Return the report about the decision of a start, or None if there is nothing to say."""
    if found.own is not None:
        # The storage is set already, so this variable is enough.
        ours = remove(found.own) + ("" if asked else f", or set ARCHIVE_TOOL={tool}")
        return OwnCommand(
            f"your own command archives, not the entrypoint's: {shown(found.own)}\n"
            "it has the container's variables; the entrypoint takes no scheduled backup, and does not notice "
            "if another server writes into the archive",
            f"to let the entrypoint archive: {ours}; then restart the container",
        )
    if found.off is not None:
        return OwnCommand(f"{shown(found.off)}: nothing is archived", remove(found.off), lost=True)
    if not found.idle:
        return None
    why = f"{asked} {'are' if ', ' in asked else 'is'} set" if asked else "these settings archive nothing"
    groups = " or ".join(f"{group}*" for group in tool_variables.GROUPS.values())
    keep = f"remove {asked} and leave the storage to {groups}" if asked else ""
    keep = keep or "set archive_mode = on and an archive_command with %p"
    lines = "".join(f"\n{shown(each)}" for each in found.idle)
    return OwnCommand(
        f"the entrypoint archives, since {why}; without effect:{lines}",
        f"{'; '.join(dict.fromkeys(map(remove, found.idle)))}; to use your own command instead: {keep}, or "
        "set it on the command line (-c archive_command=…)",
    )


def tell_next(own_: Source) -> OwnCommand:
    """Return the report that the next start will decide differently from the present one."""
    return OwnCommand(f"from the next start on, your own command archives: {shown(own_)}", remove(own_))


def tell_change(now: Source | None, asked: str) -> OwnCommand:
    """Return the report that the server no longer archives as its start decided."""
    if now is None:
        return OwnCommand(
            "nothing is archived: your own command, which the start found, is gone",
            "restart the container, so that the entrypoint archives; or set your command again",
            lost=True,
        )
    keep = "" if asked else "; to keep it, restart the container: then it has the archiver's variables"
    return OwnCommand(
        f"the entrypoint no longer archives: {shown(now)}\n"
        "it was set after the start, so it does not have the archiver's variables",
        f"{remove(now)}, then: SELECT pg_reload_conf(){keep}",
        lost=True,
    )
