"""Whether the running server still archives as its start decided."""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.archive import fork
from entrypoint.config import chosen, collect, from_patroni, precedence, rendered, sources
from entrypoint.config.charge import decide, rendered_command, running_options, said
from entrypoint.config.precedence import Charge
from entrypoint.config.sources import Source
from entrypoint.server.context import Context
from entrypoint.server.data_folder import running_arguments
from entrypoint.system import files
from entrypoint.volume.facts import OwnCommand

_NOTE = "archive-changed"
"""File in the runtime folder: the log says that the server does not archive as its start decided."""


def look(context: Context) -> OwnCommand | None:
    """Return the report about the running server or the next start, or None if there is nothing to say."""
    archive = context.settings.archive
    if archive is None or fork.refusal(context.settings.data_folder) is not None:
        return None  # the refusal of a copy is reported elsewhere
    words = running_arguments(context)
    if words is not None and context.settings.failover and not from_patroni.is_in_use(context, words):
        return None  # that server is for a first start or a restore
    context = chosen.beside(context)
    if words is None:
        return precedence.tell(decide(context), archive.asked, archive.tool.name)
    now_said, ours = said(context), rendered_command(context, words)
    if not ours:
        own = precedence.own(now_said)
        if own is None or not own.value:
            return precedence.tell_change(None, "")
        return precedence.tell(Charge(own, (), {}, None), archive.asked, archive.tool.name)
    ruled = running_options(context, words)
    wins = sources.winners(
        [
            *collect.base(context),
            Source(precedence.COMMAND_NAME, ours, sources.ARCHIVE, rendered.rendered_path(context)),
            *collect.overriding(context),
            *(Source(name, value, sources.ARCHIVE, "") for name, value in ruled.items()),
        ]
    )
    library, command = wins.get(precedence.LIBRARY_NAME), wins[precedence.COMMAND_NAME]
    now = library if library is not None and library.value else command
    if now.value != ours:
        return precedence.tell_change(now, archive.asked)
    found = precedence.decide(now_said, ours, archive.asked)
    return (
        precedence.tell_next(found.own)
        if found.own
        else precedence.tell(found, archive.asked, archive.tool.name)
    )


def notice(context: Context) -> None:
    """Log once that a change has taken archiving away from the entrypoint while the server runs."""
    told = look(context)
    note = f"{context.runtime_folder}/{_NOTE}"
    if told is not None and told.lost:
        if not os.path.exists(note):
            log.warning(told.what, told.hint, precedence.PAGE)
            files.write_atomically(note, "")
    elif os.path.exists(note):
        os.unlink(note)
        log.info("the entrypoint archives again")
