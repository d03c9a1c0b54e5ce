"""What happened to backups and drills, in files beside the data that outlive the container."""

import os
from collections.abc import Sequence

from entrypoint import drills, log, own, reading, runs
from entrypoint.drills import Drill, LastDrills
from entrypoint.effects import notes
from entrypoint.runs import LastRuns, Run

_MOST = 16 * 1024**2
"""Bytes that are read of them: a run names every hole that it has found."""
_MOST_CONTENTS = 64 * 1024**2
"""The same of what was read: 150 bytes for each backup and for each 256 segments."""


def read(data_folder: str) -> list[Run]:
    """Return the runs, oldest first."""
    try:
        return runs.parse(notes.read_text(data_folder, own.BACKUPS, most=_MOST))
    except OSError:
        return []


def last_runs(data_folder: str) -> LastRuns:
    """Return what status and doctor tell of the runs."""
    return runs.last(read(data_folder))


def write(data_folder: str, found: Sequence[Run]) -> None:
    """Replace them, a line of JSON each; a full disk must not fail a backup that is good."""
    try:
        notes.write(data_folder, own.BACKUPS, runs.write(found))
    except OSError as error:
        log.warning(f"the backup cannot be noted in {data_folder}: {error.strerror}")


def begin(data_folder: str, run: Run) -> None:
    """Note that a run begins. One that is still noted as running was killed: nobody else holds the lock."""
    write(data_folder, [*settled(read(data_folder)), run])


def end(data_folder: str, run: Run) -> None:
    """Note how the run that was begun last ended."""
    write(data_folder, [*(each for each in read(data_folder) if each.outcome != runs.RUNNING), run])


def forget_running(data_folder: str) -> None:
    """Drop from a copy of a data folder the backup that made it, which there has never ended."""
    found = read(data_folder)
    if any(each.outcome == runs.RUNNING for each in found):
        write(data_folder, [each for each in found if each.outcome != runs.RUNNING])


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


def settled(found: Sequence[Run]) -> list[Run]:
    """Return the runs with those that were killed told as such."""
    killed = {"outcome": runs.INTERRUPTED, "words": "it was killed before it could end"}
    return [each._replace(**killed) if each.outcome == runs.RUNNING else each for each in found]  # type: ignore[arg-type]


def read_drills(data_folder: str) -> list[Drill]:
    """Return the drills, oldest first."""
    try:
        return drills.parse(notes.read_text(data_folder, own.DRILLS, most=_MOST))
    except OSError:
        return []


def last_drills(data_folder: str) -> LastDrills:
    """Return what status and doctor tell of the drills."""
    return drills.last(read_drills(data_folder))


def note_drill(data_folder: str, drill: Drill) -> None:
    """Note that a drill has begun, or how the one that was begun last has ended.

    Beside an empty data folder nothing is noted: it must stay empty.
    """
    if not os.path.exists(f"{data_folder}/PG_VERSION"):
        return
    known = drills.settled(each for each in read_drills(data_folder) if each.started != drill.started)
    _write_drills(data_folder, [*known, drill])


def settle_drills(data_folder: str) -> None:
    """Note that nothing is running any more."""
    found = read_drills(data_folder)
    if found and drills.settled(found) != found:
        _write_drills(data_folder, drills.settled(found))


def _write_drills(data_folder: str, found: Sequence[Drill]) -> None:
    try:
        notes.write(data_folder, own.DRILLS, drills.write(found))
    except OSError as error:
        log.warning(f"the drill cannot be noted in {data_folder}: {error.strerror}")
