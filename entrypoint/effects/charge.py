"""Who archives, in the world: decided at a start, and looked at again where a server runs."""

import os

from entrypoint import charge, conf, configfile, configuration, log
from entrypoint.argv import parse_server
from entrypoint.charge import Charge
from entrypoint.configuration import Source
from entrypoint.effects import configuration as engine
from entrypoint.effects import files, fork, server
from entrypoint.effects.context import Context, tool_path
from entrypoint.facts import OwnCommand

OPTIONS = (*charge.NEEDED, charge.COMMAND_NAME)
"""What archiving of ours may have on the command line."""
_OURS = "/shims/archive-segment"
_NOTE = "archive-changed"
"""In the runtime folder: it was said that the server does not archive by what its start has decided."""


def decide(context: Context) -> Charge:
    """Return who archives when the server is started now; only for a context with an archive."""
    archive = context.settings.archive
    assert archive is not None
    command = conf.archive_command(archive, server.describe(context), tool_path(context))
    return charge.decide(_said(context), command, archive.asked)


def settle(context: Context) -> Context:
    """Return the context of a start, in which it is decided who archives, and by what a recovery fetches."""
    own = own_recovery(context) is not None
    context = context._replace(settings=context.settings._replace(own_recovery=own))
    if context.settings.archive is None:
        return context
    return settled(context, own=decide(context).own is not None)


def own_recovery(context: Context) -> Source | None:
    """Return the user's own restore_command where a recovery that is not ours is to fetch by it.

    It stays, for only it knows from where, and gets the container's variables: an archiver that lacks them
    fails as if the archive were at its end, and PostgreSQL would promote.
    """
    data = context.settings.data_folder
    signals = (f"{data}/{name}" for name in ("standby.signal", "recovery.signal"))
    if not any(map(os.path.exists, signals)) or server.is_our_standby(context) or fork.is_superseded(data):
        return None
    found = configuration.winners(_said(context)).get("restore_command")
    return found if found is not None and found.value else None


def settled(context: Context, *, own: bool) -> Context:
    """Return the context in which archiving is the user's own, or ours."""
    wanted = context.settings
    if wanted.archive is None:
        return context
    archive = wanted.archive._replace(by_user=own)
    source = archive if wanted.source is wanted.archive else wanted.source
    return context._replace(settings=wanted._replace(archive=archive, source=source))


def options(context: Context) -> dict[str, str]:
    """Return what archiving of ours has on the command line: of the running server, else at a start."""
    archive = context.settings.archive
    if archive is None or archive.by_user:
        return {}
    words = engine.running_arguments(context)
    return decide(context).options if words is None else _running_options(context, words)


def _running_options(context: Context, words: list[str]) -> dict[str, str]:
    path = f"config_file={engine.rendered_path(context)}"
    behind = words[words.index(path) + 1 :] if path in words else []
    found = parse_server(behind).settings
    return {name: found[name] for name in OPTIONS if name in found} if rendered(context, words) else {}


def rendered(context: Context, words: list[str]) -> str:
    """Return our archive_command, with which a server was started; empty where the user archives."""
    path = engine.rendered_path(context)
    if f"config_file={path}" not in words:
        return ""
    try:
        entries, _ = configfile.parse(files.read_text(path), path)
    except OSError:
        return ""
    found = (each.value for each in entries if each.name == charge.COMMAND_NAME)
    return next((value for value in found if _OURS in value), "")


def _said(context: Context) -> list[Source]:
    return [*engine.base(context), *engine.overriding(context)]


def say(context: Context) -> None:
    """Say at a start who archives, where a place says something of it."""
    archive = context.settings.archive
    if archive is None:
        return
    recovery = own_recovery(context)
    if recovery is not None:
        what = f"this recovery is yours: {charge.shown(recovery)}"
        log.info(
            f"{what}; it has the container's variables, with the archiver's keys, as the server has them"
        )
    told = charge.tell(decide(context), archive.asked, archive.tool.name)
    if told is not None:
        log.warning(told.what, told.mend)


def look(context: Context) -> OwnCommand | None:
    """Return what there is to say, of the running server or of the next start."""
    archive = context.settings.archive
    if archive is None or fork.refusal(context.settings.data_folder) is not None:
        return None  # a copy that may not archive says so itself
    words = engine.running_arguments(context)
    context = engine.beside(context)
    if words is None:
        return charge.tell(decide(context), archive.asked, archive.tool.name)
    said, ours = _said(context), rendered(context, words)
    if not ours:
        own = charge.own(said)
        if own is None or not own.value:
            return charge.tell_change(None, "")
        return charge.tell(Charge(own, (), {}, None), archive.asked, archive.tool.name)
    ruled = _running_options(context, words)
    wins = configuration.winners(
        [
            *engine.base(context),
            Source(charge.COMMAND_NAME, ours, configuration.ARCHIVE, engine.rendered_path(context)),
            *engine.overriding(context),
            *(Source(name, value, configuration.ARCHIVE, "") for name, value in ruled.items()),
        ]
    )
    library, command = wins.get(charge.LIBRARY_NAME), wins[charge.COMMAND_NAME]
    now = library if library is not None and library.value else command
    if now.value != ours:
        return charge.tell_change(now, archive.asked)
    found = charge.decide(said, ours, archive.asked)
    return charge.tell_next(found.own) if found.own else charge.tell(found, archive.asked, archive.tool.name)


def notice(context: Context) -> None:
    """Say in the log, once, that somebody has changed who archives while the server runs."""
    told = look(context)
    note = f"{context.runtime_folder}/{_NOTE}"
    if told is not None and told.lost:
        if not os.path.exists(note):
            log.warning(told.what, told.mend)
            files.write_atomically(note, "")
    elif os.path.exists(note):
        os.unlink(note)
        log.info("the entrypoint archives again")
