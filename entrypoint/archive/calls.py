"""What every archiver call needs, and the notes that the server's own calls leave."""

from __future__ import annotations

import os

from entrypoint import own
from entrypoint.archive.shares import MOST_PROCESSES
from entrypoint.archivers.known import WORK_FOLDERS
from entrypoint.archivers.terms import Command, Server
from entrypoint.errors import Failure
from entrypoint.pid1 import status
from entrypoint.server import control_file, sessions
from entrypoint.server.context import Context, server_port, tool_path
from entrypoint.system import capacity, files, small
from entrypoint.system.children import find_program

QUICK = 120
"""Seconds for calls that only query the storage."""


FAILING = "archive-failing"
WORDS = "archive-words"
PRESENT_WORDS = WORDS + own.HALF
ARCHIVED = "archived"
PREPARE = "prepare-archive"
ONE_BY_ONE = "one-by-one"
DROP = "drop-archive"
DROPPING = "archive-dropping"
"""Notes of shims/archive-segment in the runtime folder; that script describes their content."""

LOOK = "look-archive"
"""How archive-segment checks whether another server was promoted."""
MARK = "archive-mark"
CLAIM = "claim-archive"
"""Where the archive's mark is, and what to do if it is missing."""
ASK = "ask-archive"
FETCH_FAILED = "fetch-failed"
FETCHED = "fetched"
READ_TO_END = "read-to-end"
ENDED_EARLY = "ended-early"
OF_A_RECOVERY = (
    *("fetch-words", "fetch-failing", "fetch-asked", FETCH_FAILED, FETCHED, READ_TO_END, ENDED_EARLY),
    *("stored", "stored.new", "later"),
)
"""Notes of shims/fetch-segment. All but ASK belong to one recovery; the next one must not trust them."""
_OF_A_START = (ARCHIVED, PREPARE, ONE_BY_ONE, DROP, DROPPING, MARK, CLAIM, ASK)

OURS = "entrypoint: error: "
"""The beginning of our own message in the output of archive-segment."""


def outage(runtime_folder: str, data_folder: str) -> tuple[list[str], list[str]]:
    """Return why archiving fails and since when, and the archiver's last output; empty while it works."""
    for beginning in (f"{runtime_folder}/", f"{data_folder}/{own.PREFIX}"):
        failing = lines(beginning + FAILING)
        if failing:
            failing[0] = failing[0].removeprefix(OURS)
            return failing, lines(beginning + WORDS)
    return [], []


def lines(path: str) -> list[str]:
    """Return the lines of a note; none if it cannot be read."""
    try:
        text = small.read(path).decode("utf-8", "replace")
    except OSError:
        return []
    return text.removesuffix("\n").split("\n") if text else []


def forget(runtime_folder: str, data_folder: str) -> None:
    """Remove the notes and spools about archiving that an earlier start of this container left.

    A stale acknowledgement in a spool would report a segment to PostgreSQL as archived although it never was.
    """
    forget_outage(runtime_folder, data_folder)
    for name in (*_OF_A_START, *OF_A_RECOVERY):
        if os.path.lexists(f"{runtime_folder}/{name}"):
            os.unlink(f"{runtime_folder}/{name}")
    for name in WORK_FOLDERS:
        if os.path.isdir(f"{runtime_folder}/{name}"):
            files.remove_tree(f"{runtime_folder}/{name}")
    for folder in (runtime_folder, f"{data_folder}/pg_wal"):
        for name in filter(own.is_left_in_wal, os.listdir(folder) if os.path.isdir(folder) else ()):
            files.remove_tree(f"{folder}/{name}")  # left by a check that was killed


def environment(context: Context, command: Command) -> dict[str, str]:
    """Return the environment of an archiver call, built from scratch."""
    fixed = {"PATH": tool_path(context), "LC_ALL": "C", **sessions.for_tools(context)}
    return {**fixed, **command.environment}


def forget_outage(runtime_folder: str, data_folder: str) -> None:
    """Remove the notes about an outage: if it lasts, the next call of archive-segment makes them again."""
    for beginning in (f"{runtime_folder}/", f"{data_folder}/{own.PREFIX}"):
        for name in (FAILING, WORDS, PRESENT_WORDS):
            if os.path.lexists(f"{beginning}{name}"):
                os.unlink(f"{beginning}{name}")


SMALL = 1024**2
"""Bytes: more than the size of any object that we put into an archive, and of any timeline history."""


def describe_server(context: Context) -> Server:
    """Return the description of the server that an archiver needs."""
    return Server(
        data_folder=context.settings.data_folder,
        socket_folder=status.SOCKET_FOLDER,
        port=server_port(context.settings),
        user=context.settings.init.user,
        runtime_folder=context.runtime_folder,
        segment_bytes=control_file.segment_bytes(context),
        processes=min(capacity.processors(), MOST_PROCESSES),
        client=_client(context),
    )


def _client(context: Context) -> str:
    archive = context.settings.archive
    helping = archive.tool.capabilities.helping if archive is not None else None
    if helping is None:
        return ""
    try:
        return find_program(helping.client, context.environment)
    except Failure:
        return ""
