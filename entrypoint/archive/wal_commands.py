"""The commands with which the server archives and fetches WAL, and the archiver's settings file; pure."""

from __future__ import annotations

import shlex

from entrypoint import templates
from entrypoint.archivers.terms import Command, Server
from entrypoint.settings.archiving import Archive
from entrypoint.settings.values import Settings


def archiver_conf(settings: Settings, archive: Archive, server: Server) -> str:
    """Return the settings file of the archiver."""
    options = archive.tool.options(settings.values, archive.storage, server)
    return templates.render(archive.tool.config_name, **options)


def archive_settings(archive: Archive, server: Server, tool_path: str) -> dict[str, str]:
    """Return the server's settings for archiving."""
    return {
        "wal_level": "replica",
        "archive_mode": "on",
        "archive_command": archive_command(archive, server, tool_path),
        "archive_timeout": archive.timeout,
    }


def archive_command(archive: Archive, server: Server, tool_path: str) -> str:
    """Return the value of archive_command.

    The value ends with the tool's name, because one of the tools refuses to work if the command lacks it.
    """
    words = _words(str(archive.command_timeout), server.runtime_folder) + ' "%f" '
    words += _words(server.client or "-", _socket(archive, server), archive.tool.capabilities.alone)
    command = _from_zero(archive.tool.archive_segment(server), tool_path)
    return f"{_shim('archive-segment', f'{words} {command}')} # {archive.tool.name}"


def restore_command(archive: Archive, server: Server, tool_path: str, *, proof: str = "") -> str:
    """Return the value of restore_command; `proof` is PROOF of shims/fetch-segment.

    If the shim is missing, a shell exits with 2, which PostgreSQL takes for the end of the archive. With 126,
    PostgreSQL stops.
    """
    can = archive.tool.capabilities
    sums = "sums" if can.leaves_sums else "-"
    words = _words(
        str(can.missing_code), can.damage, sums, str(archive.command_timeout), server.runtime_folder
    )
    words += ' "%f" "%p" ' + _words(server.client or "-", _socket(archive, server), can.sure, proof)
    command = _from_zero(archive.tool.fetch_segment(server), tool_path)
    return f"trap 'exit 126' EXIT; {_shim('fetch-segment', f'{words} {command}')}"


def _socket(archive: Archive, server: Server) -> str:
    helping = archive.tool.capabilities.helping
    return helping.socket(server) if helping is not None else "-"


def _shim(name: str, words: str) -> str:
    # The shell that PostgreSQL starts reads the shim: another shell would cost a millisecond per segment.
    return f"set -- {words}; . {_words(str(templates.HERE / 'shims' / name))}"


def _words(*words: str) -> str:
    # PostgreSQL replaces %p and %f, and takes %% for a percent sign.
    return shlex.join(words).replace("%", "%%")


def _from_zero(command: Command, tool_path: str) -> str:
    """Return the command with its whole environment, for `env -i`: else it would inherit the server's."""
    variables = {"PATH": tool_path, **command.environment}
    words = [*(f"{name}={value}" for name, value in variables.items()), *command.argv]
    # PostgreSQL replaces %p and %f, and the name of a data folder may contain a space.
    return " ".join(
        f'"{word}"' if word in ("%p", "%f") else shlex.quote(word).replace("%", "%%") for word in words
    )
