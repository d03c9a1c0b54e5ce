"""An opened archive: one value for an archive and the context of its use, with the queries to it."""

from __future__ import annotations

import os

from entrypoint import exits, log
from entrypoint.archive import calls
from entrypoint.archive.calls import QUICK, SMALL
from entrypoint.archivers.terms import Answer, Backup, Command, Server, brief
from entrypoint.errors import Failure, Problem
from entrypoint.server import opening
from entrypoint.server.context import SETTINGS_VARIABLE, Context, tool_path
from entrypoint.settings.archiving import Archive
from entrypoint.system import capacity, files, small
from entrypoint.system.children import answer_file, memory_file, read_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.archivers.interface import Archiver, Capabilities
    from entrypoint.settings.values import Settings


def most() -> int:
    """Return how many bytes of an answer are accepted: parsing them takes several times as much memory."""
    return min(256 * 1024**2, max(16 * 1024**2, capacity.memory() // 16))


class OpenedArchive:
    """An archive and the context of its use."""

    def __init__(self, context: Context, archive: Archive) -> None:
        self.context = context
        self.archive = archive
        self._server: Server | None = None

    def with_context(self, context: Context) -> OpenedArchive:
        """Return the same archive in the context of another server."""
        return OpenedArchive(context, self.archive)

    @property
    def server(self) -> Server:
        """The description of the server that the archiver needs, made on first use."""
        if self._server is None:
            self._server = calls.describe_server(self.context)
        return self._server

    @property
    def tool(self) -> Archiver:
        """The archiver."""
        return self.archive.tool

    @property
    def can(self) -> Capabilities:
        """What the archiver can do, and what it lacks."""
        return self.archive.tool.capabilities

    @property
    def url(self) -> str:
        """The archive's address, for people."""
        return self.archive.storage.url

    @property
    def folder(self) -> str | None:
        """The folder of the archive, if it is in one."""
        return self.archive.storage.folder

    @property
    def settings(self) -> Settings:
        """The user's settings."""
        return self.context.settings

    @property
    def data_folder(self) -> str:
        """The server's data folder."""
        return self.context.settings.data_folder

    @property
    def runtime_folder(self) -> str:
        """The folder with the archiver's settings file and the notes of archive-segment."""
        return self.context.runtime_folder

    def render(self) -> None:
        """Write the archiver's settings file, for the server's user only."""
        from entrypoint.archive import wal_commands

        path = f"{self.server.runtime_folder}/{self.tool.config_name}"
        text = wal_commands.archiver_conf(self.settings, self.archive, self.server)
        try:
            if small.read_text(path) == text:
                return  # nothing is written, so a full disk does no harm
        except OSError:
            pass
        files.write_atomically(path, text)

    def can_help(self) -> bool:
        """Return whether the image has an archiver with a helper that can be trusted."""
        helping = self.can.helping
        if helping is None or not self.server.client:
            return False
        return helping.can_help(self.version())

    def version(self) -> str:
        """Return what the archiver says about its version."""
        argv = [self.tool.name, self.tool.asks_version]
        return self.context.children.output(argv, {"PATH": tool_path(self.context)})[1]

    def spawn(self, command: Command, descriptors: Mapping[int, int]) -> int:
        """Start an archiver call with these descriptors; return its pid."""
        made = calls.environment(self.context, command)
        return self.context.children.spawn(command.argv, made, descriptors=descriptors)

    def ask(
        self, command: Command, *, seconds: float = QUICK, given: str = "", at_most: int | None = None
    ) -> Answer:
        """Run an archiver call, with `given` on its stdin, and return its output.

        The code is 124 if the call does not end in time. A call that prints more than `at_most` bytes (by
        default `most()`) fails, and the last line of its output says so.
        """
        size = at_most or most()
        streams = {0: memory_file(given), 1: answer_file(size), 2: answer_file(max(size, SMALL))}
        try:
            made = calls.environment(self.context, command)
            code = self.context.children.run(command.argv, made, descriptors=streams, seconds=seconds)
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
        self, command: Command, *, seconds: float = QUICK, at_most: int | None = None
    ) -> tuple[int, str]:
        """Run an archiver call and return its exit code and everything it printed."""
        answer = self.ask(command, seconds=seconds, at_most=at_most)
        return answer.code, answer.stderr + answer.stdout  # the part to parse comes last

    def list_backups(self, *, seconds: float = QUICK) -> list[Backup]:
        """Return the backups, oldest first; raises Failure with the tool's output."""
        code, text, words = self.ask(self.tool.list_backups(self.server), seconds=seconds)
        if code == 0:
            try:
                return self.tool.parse_backups(text)
            except ValueError as error:
                words = f"{error}\n{words}"
        raise Failure(
            Problem(
                f"the backups in {self.url} cannot be listed (exit code {code}):\n"
                f"{brief(words.strip() or text.strip())}",
                "check that the storage can be reached and that the ARCHIVE_* variables are right"
                + (", and so is the passphrase or key that it was written with" if self.can.encrypts else ""),
                exits.ARCHIVE_REFUSED,
                docs="fix-archiving",
            )
        )

    def understood(self) -> _Understood:
        """Return a block for parsing an answer of the archiver: a mistake in the answer becomes a Failure."""
        return _Understood(self.archive)

    def not_verified(self, error: ValueError) -> Failure:
        """Return the failure for an answer that does not say whether the archive is intact."""
        return Failure(
            Problem(
                f"{self.tool.name} cannot verify {self.url}:\n{brief(str(error))}",
                "check that the storage can be reached",
                exits.ARCHIVE_REFUSED,
                docs="fix-archiving",
            )
        )


class _Understood:
    """See `OpenedArchive.understood`."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Turn a ValueError into a Failure."""
        if isinstance(error, ValueError):
            raise Failure(
                Problem(
                    f"the answer of {self.archive.tool.name} about {self.archive.storage.url} cannot be "
                    f"parsed:\n{brief(str(error))}",
                    "find out what wrote to the archive besides the archiver: entrypoint doctor",
                    exits.ARCHIVE_REFUSED,
                    docs="fix-archiving",
                )
            ) from error


def open_archive() -> OpenedArchive:
    """Return the archive of this container, with the archiver's settings file in place; raises Failure."""
    known = opening.in_force()
    wanted = opening.load_settings(opening.beside(known), ())
    if wanted.archive is None:
        raise Failure(
            Problem(
                "no archive is set, so there are no backups",
                "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive, and start again",
                docs="set-up-archiving",
            )
        )
    served = None if known is None else opening.read_settings({**os.environ, **known}, ())[0].archive
    if served is not None:
        _refuse_another(wanted.archive, served, known or {})
    opened = OpenedArchive(opening.command_context(wanted), wanted.archive)
    if SETTINGS_VARIABLE not in os.environ and served is None:  # else PID 1 has written it, with the secrets
        opened.render()
    return opened


def _refuse_another(archive: Archive, served: Archive, known: Mapping[str, str]) -> None:
    """Refuse an archive other than that of the running server, which archives with the same settings file."""
    if (archive.tool.name, archive.storage) != (served.tool.name, served.storage):
        raise Failure(
            Problem(
                f"{archive.storage.url} ({archive.tool.name}) is not the archive of the server here: "
                f"{served.storage.url} ({served.tool.name})",
                "look at it from a separate container: docker run --rm -e ARCHIVE_URL=… IMAGE backup list",
                exits.ARCHIVE_REFUSED,
                docs="call-the-archivers",
            )
        )
    without = [
        name
        for name, value in os.environ.items()
        if value and archive.tool.is_own_variable(name) and not opening.is_as_known(name, value, known)
    ]
    if without:
        log.warning(
            "these variables have no effect, since the settings of the running server apply: "
            f"{', '.join(sorted(without))}",
            f"call the tool itself: docker exec -e {without[0]}=… … {archive.tool.name} …",
            docs="call-the-archivers",
        )
