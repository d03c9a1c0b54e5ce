"""The history of backups, in files next to the data that outlive the container."""

from __future__ import annotations

from entrypoint import log, own
from entrypoint.backup import journal, reading, runs, window
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Generic, TypeVar

    from entrypoint.backup.journal import Entry
    from entrypoint.backup.runs import LastRuns
    from entrypoint.backup.window import Coverage

    E = TypeVar("E", bound=Entry)
else:
    E = None

    class Generic:
        """For type checkers only."""

        def __class_getitem__(cls, _: object) -> type:
            return cls


_MOST = 16 * 1024**2
"""Most bytes that are read of a journal: a run names every hole that it found."""
_MOST_CONTENTS = 64 * 1024**2
"""Most bytes of the record of what was read: 150 bytes for each backup and for each 256 segments."""


class Journal(Generic[E]):
    """Entries in a file next to the data, one line of JSON each."""

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
        """The subject of an entry, for messages."""
        self._parse = parse
        self._write = write

    def read(self, data_folder: str) -> list[E]:
        """Return the entries, oldest first."""
        try:
            return self._parse(notes.read_text(data_folder, self._note, most=_MOST))
        except OSError:
            return []

    def write(self, data_folder: str, entries: Sequence[E]) -> None:
        """Replace the entries; only warn on failure, since a full disk must not fail a good backup."""
        try:
            notes.write(data_folder, self._note, self._write(entries))
        except OSError as error:
            log.warning(f"cannot record the {self._word} in {data_folder}: {error.strerror}")

    def note(self, data_folder: str, entry: E) -> None:
        """Record the begin of an entry, or how it ended.

        Any other entry still recorded as running was killed: nobody else holds the lock.
        """
        others = [each for each in self.read(data_folder) if each.started != entry.started]
        self.write(data_folder, [*journal.settled(others), entry])

    def settle(self, data_folder: str) -> None:
        """Record that nothing is running any longer."""
        found = self.read(data_folder)
        if found and journal.settled(found) != found:
            self.write(data_folder, journal.settled(found))

    def forget_running(self, data_folder: str) -> None:
        """Drop from a copied data folder the entries that were running at the time of the copy.

        In the copy they never end.
        """
        found = self.read(data_folder)
        if any(each.outcome == journal.RUNNING for each in found):
            self.write(data_folder, [each for each in found if each.outcome != journal.RUNNING])


RUNS = Journal(own.BACKUPS, "backup", runs.parse, runs.write)


def last_runs(data_folder: str) -> LastRuns:
    """Return the runs that status and doctor show."""
    return runs.last(RUNS.read(data_folder))


def read_contents(data_folder: str) -> reading.State | None:
    """Return the record of what was read of the archive, and when; None: unknown."""
    try:
        return reading.parse(notes.read_text(data_folder, own.READ, most=_MOST_CONTENTS))
    except OSError:
        return None


def write_contents(data_folder: str, state: reading.State) -> None:
    """Record what was read of the archive; only warn on failure: a full disk must not fail a good backup."""
    try:
        notes.write(data_folder, own.READ, reading.write(state))
    except OSError as error:
        log.warning(f"cannot record how much of the archive was read in {data_folder}: {error.strerror}")


def read_coverage(data_folder: str, url: str) -> Coverage | None:
    """Return what the backups of this archive cover, as of the last backup or removal; None: unknown."""
    try:
        found = window.parse(notes.read_text(data_folder, own.COVERAGE, most=_MOST))
    except (OSError, ValueError):
        return None
    return found if found.url == url else None


def write_coverage(data_folder: str, coverage: Coverage) -> None:
    """Record what the backups cover; only warn on failure: a full disk must not fail a good backup."""
    try:
        notes.write(data_folder, own.COVERAGE, window.write(coverage))
    except OSError as error:
        log.warning(f"cannot record which moments the backups cover in {data_folder}: {error.strerror}")


def forget_archive(data_folder: str) -> None:
    """Drop from a copied data folder the records of the archive's contents, which have changed since."""
    for name in (own.READ, own.COVERAGE, own.GAPS, own.GIVEN_UP):
        try:
            notes.remove(data_folder, name)
        except FileNotFoundError:
            pass
