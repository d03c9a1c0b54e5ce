"""The drills that have run, and when the next one is due."""

from __future__ import annotations

import os
import time

from entrypoint import own
from entrypoint.backup import journal
from entrypoint.backup.history import Journal
from entrypoint.backup.schedule import due
from entrypoint.backup.scheduled import schedule_of
from entrypoint.drill import drills
from entrypoint.server.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.backup.schedule import Schedule
    from entrypoint.drill.drills import Drill, LastDrills

DRILLS = Journal(own.DRILLS, "drill", drills.parse, drills.write)


def last_drills(data_folder: str) -> LastDrills:
    """Return the drills that status and doctor report."""
    return drills.last(DRILLS.read(data_folder))


def note(data_folder: str, drill: Drill) -> None:
    """Note that a drill has started, or how the last one that started has ended.

    Nothing is noted in an empty data folder: it must stay empty.
    """
    if os.path.exists(f"{data_folder}/PG_VERSION"):
        DRILLS.note(data_folder, drill)


def due_by(data_folder: str, schedule: Schedule) -> float:
    """Return when the next drill is due, in seconds since 1970.

    A failed drill has given its answer, so only a drill that was killed or stopped is tried again.
    """
    now = time.time()
    found = journal.believed(journal.settled(DRILLS.read(data_folder)), now)
    done = [journal.ended(each) for each in found if each.outcome in (journal.OK, journal.FAILED)]
    broken = drills.interrupted_in_a_row(found)
    last = journal.ended(found[-1]) if broken else None
    return due(schedule, now, max([made(data_folder), *done[-1:]]), last, broken)


def overdue(context: Context) -> bool:
    """Return whether a schedule is set and the last good drill is older than two of its periods."""
    data, text = context.settings.data_folder, context.settings.drill.schedule
    if text is None or not os.path.exists(f"{data}/PG_VERSION"):
        return False
    now = time.time()
    good = drills.last(journal.believed(DRILLS.read(data), now)).success
    ended = [journal.ended(good)] if good else []
    return schedule_of(context, text).is_overdue(now, max([made(data), *ended]))


def made(data_folder: str) -> float:
    """Return when the cluster was created or last promoted; a schedule counts from then on.

    What another server has rehearsed before the promotion is not known here.
    """
    folder = f"{data_folder}/pg_wal"
    names = os.listdir(folder) if os.path.isdir(folder) else []
    histories = [f"{folder}/{name}" for name in names if name.endswith(".history")]
    now = time.time()
    moments = [os.stat(path).st_mtime for path in (f"{data_folder}/PG_VERSION", *histories)]
    return max((each for each in moments if each <= now), default=0.0)
