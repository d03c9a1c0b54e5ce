"""What happened to backups, in files beside the data that outlive the container."""

from __future__ import annotations

from entrypoint import log, own
from entrypoint.backup import journal, reading, runs
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Generic, TypeVar

    from entrypoint.backup.journal import Entry
    from entrypoint.backup.runs import LastRuns

    E = TypeVar("E", bound=Entry)
else:
    E = None

    class Generic:
        """For type checkers only."""

        def __class_getitem__(cls, _: object) -> type:
            return cls


_MOST = 16 * 1024**2
"""Bytes that are read of them: a run names every hole that it has found."""
_MOST_CONTENTS = 64 * 1024**2
"""The same of what was read: 150 bytes for each backup and for each 256 segments."""


class Journal(Generic[E]):
    """Entries in a file beside the data, a line of JSON each."""

    def __init__(
        self,
        note: str,
        word: str,
        parse: Callable[[str], list[E]],
        write: Callable[[Sequence[E]], str],
    ) -> None:
        self._note = note
        """The file's name, see `own`."""
        self._word = word
        """What an entry is about, for people."""
        self._parse = parse
        self._write = write

    def read(self, data_folder: str) -> list[E]:
        """Return the entries, oldest first."""
        try:
            return self._parse(notes.read_text(data_folder, self._note, most=_MOST))
        except OSError:
            return []

    def write(self, data_folder: str, entries: Sequence[E]) -> None:
        """Replace them; a full disk must not fail a backup that is good."""
        try:
            notes.write(data_folder, self._note, self._write(entries))
        except OSError as error:
            log.warning(f"the {self._word} cannot be noted in {data_folder}: {error.strerror}")

    def note(self, data_folder: str, entry: E) -> None:
        """Note that something begins, or how what was begun last has ended.

        What else is still noted as running was killed: nobody else holds the lock.
        """
        others = [each for each in self.read(data_folder) if each.started != entry.started]
        self.write(data_folder, [*journal.settled(others), entry])

    def settle(self, data_folder: str) -> None:
        """Note that nothing is running any more."""
        found = self.read(data_folder)
        if found and journal.settled(found) != found:
            self.write(data_folder, journal.settled(found))

    def forget_running(self, data_folder: str) -> None:
        """Drop from a copy of a data folder what was running when it was made: there it has never ended."""
        found = self.read(data_folder)
        if any(each.outcome == journal.RUNNING for each in found):
            self.write(data_folder, [each for each in found if each.outcome != journal.RUNNING])


RUNS = Journal(own.BACKUPS, "backup", runs.parse, runs.write)


def last_runs(data_folder: str) -> LastRuns:
    """Return what status and doctor tell of the runs."""
    return runs.last(RUNS.read(data_folder))


def read_contents(data_folder: str) -> reading.State | None:
    """Return what of the archive was read, and when; None: it is not known."""
    try:
        return reading.parse(notes.read_text(data_folder, own.READ, most=_MOST_CONTENTS))
    except OSError:
        return None


def write_contents(data_folder: str, state: reading.State) -> None:
    """Note what of the archive was read; a full disk must not fail a backup that is good."""
    try:
        notes.write(data_folder, own.READ, reading.write(state))
    except OSError as error:
        log.warning(f"what was read cannot be noted in {data_folder}: {error.strerror}")


def forget_contents(data_folder: str) -> None:
    """Drop from a copy of a data folder what the original had read: what it read since is not in it."""
    try:
        notes.remove(data_folder, own.READ)
    except FileNotFoundError:
        pass
