"""Running the archiver: its settings file, its calls, and the notes of the server's own calls."""

from __future__ import annotations

import os

from entrypoint import exits, own
from entrypoint.archive.shares import MOST_PROCESSES
from entrypoint.archivers.known import WORK_FOLDERS
from entrypoint.archivers.terms import Answer, Backup, Command, Server, brief
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import status
from entrypoint.server import control_file, sessions
from entrypoint.server.context import Context, server_port, tool_path
from entrypoint.settings.archiving import Archive
from entrypoint.system import capacity, files, small
from entrypoint.system.children import answer_file, find_program, memory_file, read_back

QUICK = 120
"""Seconds for calls that only ask the storage something."""


FAILING = "archive-failing"
WORDS = "archive-words"
ARCHIVED = "archived"
PREPARE = "prepare-archive"
ONE_BY_ONE = "one-by-one"
"""Notes of shims/archive-segment below the runtime folder, which says what is in them."""

LOOK = "look-archive"
"""How archive-segment looks whether another server was promoted."""
MARK = "archive-mark"
CLAIM = "claim-archive"
"""Where the archive's mark lies, and what is done where it is missing."""
ASK = "ask-archive"
FETCH_FAILED = "fetch-failed"
FETCHED = "fetched"
READ_TO_END = "read-to-end"
ENDED_EARLY = "ended-early"
OF_A_RECOVERY = (
    *("fetch-words", "fetch-failing", FETCH_FAILED, FETCHED, READ_TO_END, ENDED_EARLY),
    *("stored", "stored.new", "later"),
)
"""The same of shims/fetch-segment; all but ASK are of one recovery, and another one must not believe them."""


def render(context: Context, archive: Archive) -> None:
    """Write the archiver's settings file, for the server's user only."""
    from entrypoint.archive import wal_commands

    what = describe_server(context)
    path = f"{what.runtime_folder}/{archive.tool.config_name}"
    text = wal_commands.archiver_conf(context.settings, archive, what)
    try:
        if small.read_text(path) == text:
            return  # for which there need be no room
    except OSError:
        pass
    files.write_atomically(path, text)


def outage(runtime_folder: str, data_folder: str) -> tuple[list[str], list[str]]:
    """Return why archiving fails and since when, and what the archiver last said; empty: it works."""
    for beginning in (f"{runtime_folder}/", f"{data_folder}/{own.PREFIX}"):
        failing = lines(beginning + FAILING)
        if failing:
            return failing, lines(beginning + WORDS)
    return [], []


def lines(path: str) -> list[str]:
    """Return the lines of a note; none where it cannot be read."""
    try:
        text = small.read(path).decode("utf-8", "replace")
    except OSError:
        return []
    return text.removesuffix("\n").split("\n") if text else []


def forget(runtime_folder: str, data_folder: str) -> None:
    """Remove what an earlier start of this container left about its archiving.

    A stale acknowledgement in a spool would tell PostgreSQL that a segment was archived which
    never was.
    """
    for name in (FAILING, WORDS, ARCHIVED, PREPARE, ONE_BY_ONE, MARK, CLAIM, ASK, *OF_A_RECOVERY):
        if os.path.lexists(f"{runtime_folder}/{name}"):
            os.unlink(f"{runtime_folder}/{name}")
    for name in (FAILING, WORDS):
        if os.path.lexists(f"{data_folder}/{own.PREFIX}{name}"):
            os.unlink(f"{data_folder}/{own.PREFIX}{name}")
    for name in WORK_FOLDERS:
        if os.path.isdir(f"{runtime_folder}/{name}"):
            files.remove_tree(f"{runtime_folder}/{name}")
    for folder in (runtime_folder, f"{data_folder}/pg_wal"):
        for name in filter(own.is_ours_in_wal, os.listdir(folder) if os.path.isdir(folder) else ()):
            files.remove_tree(f"{folder}/{name}")  # of a check that was killed


def environment(context: Context, command: Command) -> dict[str, str]:
    """Return the environment of an archiver call: made from zero."""
    fixed = {"PATH": tool_path(context), "LC_ALL": "C", **sessions.for_tools(context)}
    return {**fixed, **command.environment}


def can_help(context: Context, archive: Archive) -> bool:
    """Tell whether the image has an archiver whose helper is to be trusted."""
    helping = archive.tool.capabilities.helping
    if helping is None or not describe_server(context).client:
        return False
    argv = [archive.tool.name, "--version"]
    return helping.can_help(context.children.output(argv, {"PATH": tool_path(context)})[1])


SMALL = 1024**2
"""Bytes: more than any object of ours in an archive has, and any history of a timeline."""


def most() -> int:
    """Return how many bytes of an answer are taken: what is made of them takes several times as many."""
    return min(256 * 1024**2, max(16 * 1024**2, capacity.memory() // 16))


def ask(
    context: Context,
    command: Command,
    *,
    seconds: float = QUICK,
    given: str = "",
    at_most: int | None = None,
) -> Answer:
    """Run an archiver call, `given` on its stdin, and return all that it said.

    The code is 124 where it has not ended within its time. One that says more than `at_most` bytes (by
    default `most()`) fails, and the last line of its words says so.
    """
    size = at_most or most()
    streams = {0: memory_file(given), 1: answer_file(size), 2: answer_file(max(size, SMALL))}
    try:
        made = environment(context, command)
        code = context.children.run(command.argv, made, descriptors=streams, seconds=seconds)
        said, words = read_back(streams[1]), read_back(streams[2])
        if len(said.encode("utf-8", "surrogateescape")) < size:
            return Answer(code, said, words)
        return Answer(code or 1, "", f"{words.strip()}\nits answer has more than {size} bytes".lstrip())
    except TimeoutError:
        words = f"{read_back(streams[2]).strip()}\nno answer within {seconds:.0f} seconds".lstrip()
        return Answer(124, read_back(streams[1]), words)
    finally:
        for descriptor in streams.values():
            os.close(descriptor)


def run_quietly(
    context: Context, command: Command, *, seconds: float = QUICK, at_most: int | None = None
) -> tuple[int, str]:
    """Run an archiver call and return its exit code and everything it said."""
    answer = ask(context, command, seconds=seconds, at_most=at_most)
    return answer.code, answer.stderr + answer.stdout  # what is to be parsed comes last


class understood:  # noqa: N801 - it reads as a block's name
    """A block in which an answer of the archiver is read: what is wrong with that is a Failure."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Turn a ValueError into a Failure."""
        if isinstance(error, ValueError):
            raise Failure(
                Problem(
                    f"what {self.archive.tool.name} says of {self.archive.storage.url} is not understood:\n"
                    f"{brief(str(error))}",
                    "somebody has written there what the archiver did not; look at it: entrypoint doctor",
                    exits.ARCHIVE_REFUSED,
                )
            ) from error


def not_verified(archive: Archive, error: ValueError) -> Failure:
    """Return what is said where an answer does not tell whether the archive is whole."""
    return Failure(
        Problem(
            f"{archive.tool.name} cannot verify {archive.storage.url}:\n{brief(str(error))}",
            "check that the storage can be reached",
            exits.ARCHIVE_REFUSED,
        )
    )


def list_backups(context: Context, archive: Archive, *, seconds: float = QUICK) -> list[Backup]:
    """Return the backups, oldest first; raises Failure with the tool's words."""
    code, text, words = ask(context, archive.tool.list_backups(describe_server(context)), seconds=seconds)
    if code == 0:
        try:
            return archive.tool.parse_backups(text)
        except ValueError as error:
            words = f"{error}\n{words}"
    raise Failure(
        Problem(
            f"the backups in {archive.storage.url} cannot be listed (exit code {code}):\n"
            f"{brief(words.strip() or text.strip())}",
            "check that the storage can be reached and that the ARCHIVE_* variables are right"
            + (
                ", and the passphrase or key with which it was written"
                if archive.tool.capabilities.encrypts
                else ""
            ),
            exits.ARCHIVE_REFUSED,
        )
    )


def describe_server(context: Context) -> Server:
    """Return the server as an archiver needs to know it."""
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
