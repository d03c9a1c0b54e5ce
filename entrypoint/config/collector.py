"""The server's settings for a log in JSON: its own collector hands its messages to our process."""

from __future__ import annotations

from entrypoint import log
from entrypoint.config import collect, precedence, sources
from entrypoint.config.sources import Source
from entrypoint.logs.places import FILE, FOLDER
from entrypoint.server import programs
from entrypoint.server.context import Context
from entrypoint.server.data_folder import data_major

_JSON_SINCE = 15
"""The first major version with log_destination = jsonlog."""
_PAGE = "read-the-logs"
_NAMES = ("logging_collector", "log_destination")
"""Whoever sets one of these decides where the server's messages are written."""


def arguments(context: Context) -> list[str]:
    """Return the server's arguments; empty if the user has set where its messages are written.

    Only the collector keeps long messages of several processes apart.
    """
    if not context.settings.server.is_server or _own(context) is not None:
        return []
    settings = {
        "logging_collector": "on",
        "log_destination": "jsonlog" if _major(context) >= _JSON_SINCE else "stderr",
        "log_directory": f"{context.runtime_folder}/{FOLDER}",
        "log_filename": FILE,
        "log_rotation_age": "0",
        "log_rotation_size": "0",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def say(context: Context) -> None:
    """Log at a start if the server's messages are not in the log, or not with all fields."""
    own = _own(context)
    if own is not None:
        log.warning(
            f"{precedence.shown(own)}, so the server's messages in the log in JSON have only the fields of "
            "their text, if they are there at all",
            f"{precedence.remove(own)}, then restart the container",
            docs=_PAGE,
        )
    elif _major(context) < _JSON_SINCE:
        log.info("PostgreSQL 14 writes no JSON: its messages in the log have only the fields of their text")


def _own(context: Context) -> Source | None:
    found = sources.winners([*collect.base(context), *collect.overriding(context)])
    return next((found[name] for name in _NAMES if name in found), None)


def _major(context: Context) -> int:
    try:
        return data_major(context.settings.data_folder)
    except (OSError, ValueError):
        return programs.binary_major(context)
