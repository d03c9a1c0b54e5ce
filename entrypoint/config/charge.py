"""Who archives here: decides at a start, and finds out the decision of a running server."""

from entrypoint import log
from entrypoint.archive import fork, wal_commands
from entrypoint.archive.calls import describe_server
from entrypoint.config import collect, from_patroni, precedence, rendered, sources
from entrypoint.config.precedence import Charge
from entrypoint.config.sources import Source
from entrypoint.pid1 import status
from entrypoint.postgres import configfile
from entrypoint.postgres.argv import parse_server
from entrypoint.server import control_file
from entrypoint.server.context import Context, tool_path
from entrypoint.server.data_folder import running_arguments
from entrypoint.system import files

OPTIONS = (*precedence.NEEDED, precedence.COMMAND_NAME)
"""The settings that our archiving may put on the command line."""
_OURS = "/shims/archive-segment"


def decide(context: Context) -> Charge:
    """Return who archives if the server starts now; only for a context with an archive."""
    archive = context.settings.archive
    assert archive is not None
    command = wal_commands.archive_command(archive, describe_server(context), tool_path(context))
    return precedence.decide(said(context), command, archive.asked)


def settle(context: Context) -> Context:
    """Return the context of a start, with the decisions who archives and whose command a recovery uses."""
    own = own_recovery(context) is not None
    context = context._replace(settings=context.settings._replace(own_recovery=own))
    if context.settings.archive is None:
        return context
    return settled(context, own=decide(context).own is not None)


def own_recovery(context: Context) -> Source | None:
    """Return the user's own restore_command if a recovery that is not ours must fetch with it.

    That command stays, since only it knows the source. It gets the container's variables: an archiver without
    them fails as if the archive had ended, and PostgreSQL would promote.
    """
    data = context.settings.data_folder
    if not status.in_recovery(data) or control_file.is_our_standby(context) or fork.is_superseded(data):
        return None
    found = sources.winners(said(context)).get("restore_command")
    return found if found is not None and found.value else None


def settled(context: Context, *, own: bool) -> Context:
    """Return the context with the decision whether the user's own command archives."""
    wanted = context.settings
    if wanted.archive is None:
        return context
    archive = wanted.archive._replace(by_user=own)
    source = archive if wanted.source is wanted.archive else wanted.source
    return context._replace(settings=wanted._replace(archive=archive, source=source))


def options(context: Context) -> dict[str, str]:
    """Return the settings of our archiving on the running server's command line, or on that of a start."""
    if context.settings.our_archive is None:
        return {}
    words = running_arguments(context)
    return decide(context).options if words is None else running_options(context, words)


def running_options(context: Context, words: list[str]) -> dict[str, str]:
    """Return the settings of our archiving on the command line of a server with these arguments."""
    path = f"config_file={rendered.rendered_path(context)}"
    behind = words[words.index(path) + 1 :] if path in words else []
    found = parse_server(behind).settings
    if not rendered_command(context, words):
        return {}
    return {name: found[name] for name in OPTIONS if name in found}


def rendered_command(context: Context, words: list[str]) -> str:
    """Return our archive_command in the configuration of a server with these arguments, or ""."""
    path = rendered.rendered_path(context)
    if f"config_file={path}" not in words and not from_patroni.is_in_use(context, words):
        return ""
    try:
        entries, _ = configfile.parse(files.read_text(path), path)
    except OSError:
        return ""
    found = (each.value for each in entries if each.name == precedence.COMMAND_NAME)
    return next((value for value in found if _OURS in value), "")


def said(context: Context) -> list[Source]:
    """Return everything that the user sets anywhere, weakest first."""
    return [*collect.base(context), *collect.overriding(context)]


def say(context: Context) -> None:
    """Log at a start who archives, if the user sets anything about it."""
    archive = context.settings.archive
    if archive is None:
        return
    recovery = own_recovery(context)
    if recovery is not None:
        what = f"this recovery uses your own command: {precedence.shown(recovery)}"
        log.info(
            f"{what}; it has the container's variables, including the archiver's keys, as the server does"
        )
    told = precedence.tell(decide(context), archive.asked, archive.tool.name)
    if told is not None:
        log.warning(told.what, told.hint, precedence.PAGE)
