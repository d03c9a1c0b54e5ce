"""The running server's settings, and the changes that a reload or a start would make."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from entrypoint import log
from entrypoint.config import accept, charge_now, chosen, collect, complaints, rendered, sources
from entrypoint.config.sources import Change, Running, Source
from entrypoint.errors import Failure, Problem
from entrypoint.server import programs, sessions
from entrypoint.server.context import Context
from entrypoint.server.data_folder import live_postmaster, running_arguments
from entrypoint.settings.hiding import hide_words

_RUNNING = """
SELECT json_object_agg(name, json_build_array(
    setting, current_setting(name, true), context, source, pending_restart, coalesce(boot_val, '')))
FROM pg_settings
"""


def running(context: Context) -> dict[str, Running] | None:
    """Return the running server's settings, or None without a server; raises Failure without an answer."""
    if live_postmaster(context.settings.data_folder) is None:
        return None
    found = sessions.query_json(context, _RUNNING, dict)
    return {name.lower(): Running(*row) for name, row in found.items()}


def changes(context: Context, found: Sequence[Source], known: dict[str, Running]) -> list[Change]:
    """Return the settings of the running server that a start now would change, without secrets."""
    wanted = sources.winners(found)
    names = sources.doubtful(wanted, known)
    plain = _plain(context, wanted, names)
    return [each.hidden() for each in sources.changes(wanted, known, plain)]


def _plain(context: Context, wanted: dict[str, Source], names: Sequence[str]) -> dict[str, str]:
    """Return values in the form of the server's binary, so that 1GB and 1048576kB are equal."""
    plain = {}
    with programs.ScratchFolder(context) as scratch:
        for name in names:
            accept.write_settings(
                f"{scratch}/postgresql.conf", [wanted[name]]
            )  # not on a command line, which ps would show
            code, text = programs.ask(context, name, [], scratch)
            if code == 0 and text:
                plain[name] = text.splitlines()[-1]
    return plain


def reload(context: Context) -> None:
    """Check the changed settings, and let the server reload its files if all of them are valid.

    Raises Failure with all problems; the server then keeps its present settings.
    """
    words = running_arguments(context)
    found = live_postmaster(context.settings.data_folder)
    if words is None or found is None:
        raise Failure(Problem("there is no running server to reload", "start the server"))
    context = chosen.beside(context)
    chosen.write_chosen(context, f"{context.runtime_folder}/{rendered.CHOSEN_FILE}")
    wanted = chosen.all_sources(context)
    code, text = programs.ask(context, "port", words, context.settings.data_folder)
    if code:
        shown = hide_words(text, ((source.name, source.value) for source in wanted))
        problems = accept.explain(context, wanted, collect.fragments()[1]) or [
            Problem(
                f"the server does not accept its files:\n{shown}",
                "correct the line that this message names",
                docs=complaints.PAGE,
            )
        ]
        raise Failure(
            *problems,
            Problem(
                "nothing was reloaded; the server keeps its settings",
                "correct the problems above, then send SIGHUP again",
                docs=complaints.PAGE,
            ),
        )
    try:
        differences = changes(context, wanted, running(context) or {})
    except Failure:
        os.kill(found.pid, signal.SIGHUP)
        log.info("reloaded; the server accepts no sessions now, so the changes cannot be shown")
        return
    os.kill(found.pid, signal.SIGHUP)
    for each in differences:
        log.info(describe(each))
    log.info(f"reloaded; {count(differences)}")
    charge_now.notice(context)


def describe(change: Change) -> str:
    """Return one line about a change."""
    later = ", needs a restart" if change.restart else ""
    return f"{change.name}: {change.old or '(empty)'} → {change.new or '(empty)'}{later} ({change.where})"


def count(found: Sequence[Change]) -> str:
    """Return a text with the number of changed settings, and of those that wait for a restart."""
    if not found:
        return "no setting changes"
    waiting = sum(change.restart for change in found)
    text = f"{len(found)} setting{'s' if len(found) > 1 else ''} change{'' if len(found) > 1 else 's'}"
    return f"{text}, {waiting} of them at the next restart" if waiting else text
