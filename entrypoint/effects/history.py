"""What happened to backups, in a file beside the data that outlives the container."""

import os
from collections.abc import Sequence

from entrypoint import log, runs
from entrypoint.effects import files
from entrypoint.runs import LastRuns, Run

NAME = ".entrypoint.backups"
"""Below the data folder: one line of JSON for each run."""


def read(data_folder: str) -> list[Run]:
    """Return the runs, oldest first."""
    try:
        return runs.parse(files.read_text(f"{data_folder}/{NAME}"))
    except OSError:
        return []


def last_runs(data_folder: str) -> LastRuns:
    """Return what status and doctor tell of the runs."""
    return runs.last(read(data_folder))


def write(data_folder: str, found: Sequence[Run]) -> None:
    """Replace the file; a full disk must not fail a backup that is good."""
    try:
        files.write_atomically(f"{data_folder}/{NAME}", runs.write(found))
    except OSError as error:
        log.warning(f"the backup cannot be noted in {data_folder}: {os.strerror(error.errno or 0)}")


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


def settled(found: Sequence[Run]) -> list[Run]:
    """Return the runs with those that were killed told as such."""
    killed = {"outcome": runs.INTERRUPTED, "words": "it was killed before it could end"}
    return [each._replace(**killed) if each.outcome == runs.RUNNING else each for each in found]  # type: ignore[arg-type]
