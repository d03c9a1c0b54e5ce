"""Who archives, the entrypoint or an archive_command of the user's own, by one rule for all places; pure.

1. On the command line it is the user's, as each setting there wins.
2. Else a variable of ours that needs an archive (ARCHIVE_URL, BACKUP_SCHEDULE, …) asks for ours, which is
   then stronger than every file and ALTER SYSTEM.
3. Else there are only a tool's own variables (WALG_*, PGBACKREST_*), as its guides have it. A command that
   archives is the user's, wherever it stands, and has these variables.
4. What archives nothing (archive_mode is off, no segment is named) is nobody's: ours is in charge.

It is decided at a start, since only a start gives the server its environment.
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
"""Since PostgreSQL 15; stronger than the command, and an error beside it from 16 on."""
NEEDED = {"archive_mode": "on", LIBRARY_NAME: "", "wal_level": "replica"}
"""What archiving of ours needs where somebody says otherwise."""
_OFF = ("off", "false", "no", "0")


class Charge(NamedTuple):
    """Who is in charge at a start."""

    own: Source | None
    """The user's own command or library; None: ours is in charge."""
    idle: tuple[Source, ...]
    """What is without effect because of ours."""
    options: dict[str, str]
    """What ours has on the command line, since something stronger than its file says otherwise."""
    off: Source | None
    """What turns ours off all the same: archive_mode on the command line."""


def decide(said: Sequence[Source], command: str, asked: str) -> Charge:
    """Return who archives.

    `said` is what the user's places set, weakest first, `command` our archive_command, `asked` names the
    variables that ask for ours.
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
        # Ours is stronger than the cluster's own file, but says nothing of the library there.
        if each in idle and (each.origin not in (IMAGE, FILE) or name == LIBRARY_NAME)
    }
    return Charge(None, idle, options, off)


def own(said: Iterable[Source]) -> Source | None:
    """Return the command or the library that would archive, whoever is in charge."""
    return _own(winners(said))


def _own(last: Mapping[str, Source]) -> Source | None:
    library, command = last.get(LIBRARY_NAME), last.get(COMMAND_NAME)
    if library is not None and library.value:
        return library
    if command is not None and (command.value or command.origin == COMMAND):
        return command
    return None


def _archives(own_: Source, last: Mapping[str, Source]) -> bool:
    """Tell whether it archives anything: `/bin/true` is what people write to set it later."""
    mode = last.get("archive_mode")
    if mode is None or _is_off(mode.value):
        return False
    plain = own_.value.replace("%%", "")
    return own_.name == LIBRARY_NAME or "%p" in plain or "%f" in plain


def _is_off(value: str) -> bool:
    return value.lower() in _OFF


def _contradicts(source: Source, command: str) -> bool:
    if source.name == COMMAND_NAME:
        # Empty is the default, but where it is said in a stronger place it holds archiving back.
        return source.value != command and (bool(source.value) or source.origin not in (IMAGE, FILE))
    if source.name == LIBRARY_NAME:
        return bool(source.value)
    if source.name == "archive_mode":
        return _is_off(source.value)
    return source.name == "wal_level" and source.value.lower() == "minimal"


def shown(source: Source) -> str:
    """Return a setting and its place, without secrets."""
    return f"{source.where}: {source.name} = {hide_secrets(source.value, source.name) or '(empty)'}"


def remove(source: Source) -> str:
    """Return how a setting is taken away."""
    if source.origin == ALTER:
        return f"ALTER SYSTEM RESET {source.name}"
    return f"remove {source.name} from {source.where.rpartition(':')[0] or source.where}"


def tell(found: Charge, asked: str, tool: str) -> OwnCommand | None:
    """Return what is to be said of a start's decision."""
    if found.own is not None:
        # The storage is set already, so this is all that asks for ours.
        ours = remove(found.own) + ("" if asked else f", or set ARCHIVE_TOOL={tool}")
        return OwnCommand(
            f"archiving is yours, not the entrypoint's: {shown(found.own)}\n"
            "it has the container's variables; the entrypoint takes no scheduled backup, and does not see "
            "whether another server writes into the archive",
            f"to let the entrypoint archive: {ours}; then start anew",
        )
    if found.off is not None:
        return OwnCommand(f"{shown(found.off)}: nothing is archived", remove(found.off), lost=True)
    if not found.idle:
        return None
    why = f"{asked} asks for that" if asked else "what stands there archives nothing"
    groups = " or ".join(f"{group}*" for group in tool_variables.GROUPS.values())
    keep = f"remove {asked} and leave the storage to {groups}" if asked else ""
    keep = keep or "set archive_mode = on and an archive_command with %p"
    lines = "".join(f"\n{shown(each)}" for each in found.idle)
    return OwnCommand(
        f"the entrypoint archives, since {why}; without effect:{lines}",
        f"{'; '.join(dict.fromkeys(map(remove, found.idle)))}; to archive by it instead: {keep}, or give it "
        "on the command line (-c archive_command=…)",
    )


def tell_next(own_: Source) -> OwnCommand:
    """Return what is to be said where the next start will decide otherwise than the present one has."""
    return OwnCommand(f"from the next start on archiving is yours: {shown(own_)}", remove(own_))


def tell_change(now: Source | None, asked: str) -> OwnCommand:
    """Return what is to be said where the server does not archive any more by what its start has decided."""
    if now is None:
        return OwnCommand(
            "nothing is archived: the command of your own that the start has found is gone",
            "start anew: then the entrypoint archives; or set it again",
            lost=True,
        )
    keep = "" if asked else "; to keep it start anew: then it has the archiver's variables"
    return OwnCommand(
        f"the entrypoint does not archive any more: {shown(now)}\n"
        "it was set after the start, so it has not the archiver's variables",
        f"{remove(now)}, then: SELECT pg_reload_conf(){keep}",
        lost=True,
    )
