"""An opened archive: one value with what one asks of it, made of an archive and the context of its use."""

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
    """Return how many bytes of an answer are taken: what is made of them takes several times as many."""
    return min(256 * 1024**2, max(16 * 1024**2, capacity.memory() // 16))


class OpenedArchive:
    """An archive, and the context in which it is used."""

    def __init__(self, context: Context, archive: Archive) -> None:
        self.context = context
        self.archive = archive
        self._server: Server | None = None

    def with_context(self, context: Context) -> OpenedArchive:
        """Return the same archive as another server uses it."""
        return OpenedArchive(context, self.archive)

    @property
    def server(self) -> Server:
        """The server as the archiver needs to know it, looked at when it is first asked for."""
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
        """Where the archive is, for people."""
        return self.archive.storage.url

    @property
    def folder(self) -> str | None:
        """The folder that the archive is on, if it is on one."""
        return self.archive.storage.folder

    @property
    def settings(self) -> Settings:
        """What the user wants."""
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
                return  # for which there need be no room
        except OSError:
            pass
        files.write_atomically(path, text)

    def can_help(self) -> bool:
        """Tell whether the image has an archiver whose helper is to be trusted."""
        helping = self.can.helping
        if helping is None or not self.server.client:
            return False
        argv = [self.tool.name, "--version"]
        said = self.context.children.output(argv, {"PATH": tool_path(self.context)})[1]
        return helping.can_help(said)

    def spawn(self, command: Command, descriptors: Mapping[int, int]) -> int:
        """Start an archiver call with these descriptors; return its pid."""
        made = calls.environment(self.context, command)
        return self.context.children.spawn(command.argv, made, descriptors=descriptors)

    def ask(
        self, command: Command, *, seconds: float = QUICK, given: str = "", at_most: int | None = None
    ) -> Answer:
        """Run an archiver call, `given` on its stdin, and return all that it said.

        The code is 124 where it has not ended within its time. One that says more than `at_most` bytes (by
        default `most()`) fails, and the last line of its words says so.
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
        """Run an archiver call and return its exit code and everything it said."""
        answer = self.ask(command, seconds=seconds, at_most=at_most)
        return answer.code, answer.stderr + answer.stdout  # what is to be parsed comes last

    def list_backups(self, *, seconds: float = QUICK) -> list[Backup]:
        """Return the backups, oldest first; raises Failure with the tool's words."""
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
                + (", and the passphrase or key with which it was written" if self.can.encrypts else ""),
                exits.ARCHIVE_REFUSED,
            )
        )

    def understood(self) -> _Understood:
        """Return a block in which an answer of the archiver is read: what is wrong with that is a Failure."""
        return _Understood(self.archive)

    def not_verified(self, error: ValueError) -> Failure:
        """Return what is said where an answer does not tell whether the archive is whole."""
        return Failure(
            Problem(
                f"{self.tool.name} cannot verify {self.url}:\n{brief(str(error))}",
                "check that the storage can be reached",
                exits.ARCHIVE_REFUSED,
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
                    f"what {self.archive.tool.name} says of {self.archive.storage.url} is not understood:\n"
                    f"{brief(str(error))}",
                    "somebody has written there what the archiver did not; look at it: entrypoint doctor",
                    exits.ARCHIVE_REFUSED,
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
                "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive, and start anew",
            )
        )
    served = None if known is None else opening.read_settings({**os.environ, **known}, ())[0].archive
    if served is not None:
        _refuse_another(wanted.archive, served, known or {})
    opened = OpenedArchive(opening.command_context(wanted), wanted.archive)
    if SETTINGS_VARIABLE not in os.environ and served is None:  # else PID 1 has rendered it, with the secrets
        opened.render()
    return opened


def _refuse_another(archive: Archive, served: Archive, known: Mapping[str, str]) -> None:
    """Refuse another archive than that of the server beside us, which archives by the same settings file."""
    if (archive.tool.name, archive.storage) != (served.tool.name, served.storage):
        raise Failure(
            Problem(
                f"{archive.storage.url} ({archive.tool.name}) is not the archive of the server here: "
                f"{served.storage.url} ({served.tool.name})",
                "look at it from a container of its own: docker run --rm -e ARCHIVE_URL=… IMAGE backup list",
                exits.ARCHIVE_REFUSED,
            )
        )
    without = [
        name
        for name, value in os.environ.items()
        if value and archive.tool.is_own_variable(name) and not opening.is_as_known(name, value, known)
    ]
    if without:
        log.warning(
            f"of no effect, since the settings of the server here are in force: {', '.join(sorted(without))}",
            f"call the tool itself: docker exec -e {without[0]}=… … {archive.tool.name} …",
        )
