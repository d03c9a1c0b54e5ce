"""Scheduled jobs: backups and drills run when they are due, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from entrypoint import log
from entrypoint.archive import calls, claim, fork, gap, known_gaps, one_leader
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup
from entrypoint.backup import history, journal, runs
from entrypoint.backup.catalog import next_is_incremental, own_backups
from entrypoint.backup.schedule import ASK_AGAIN, Schedule, at_once, due
from entrypoint.backup.take import obstacle, push
from entrypoint.backup.turn import Busy, alone
from entrypoint.errors import Failure
from entrypoint.light import NamedTuple
from entrypoint.pid1 import status
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.server.data_folder import read_postmaster
from entrypoint.settings.serving import DROP
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.backup.runs import Why

SOON = 60
"""Seconds until the next look after a job could not be done."""
_NO_SERVER = 10
"""Seconds until the next look whether Patroni has started the server."""
_LOOK = 300
"""Seconds within which the archive is looked at again, to see whether it has changed."""


class Job(NamedTuple):
    """A scheduled job, which never runs at the same time as any other job on backups."""

    name: str
    """Shown to those who wait for its end."""
    do: Callable[[int], bool]
    """Does the job if it is due, given the lock's descriptor; False: something else must come first."""
    due: Callable[[], float | None]
    """When the job is due next, in seconds since 1970; None: never."""
    most: int
    """Seconds within which the due time is computed again."""


def attempt(context: Context, job: Job) -> int | None:
    """Do a job if no other job is running; return the seconds until the next look, None for never.

    A failure is logged here.
    """
    least = 1
    try:
        with alone(context, job.name, wait=False) as lock:
            if not job.do(lock):
                return SOON
    except Busy as busy:
        log.info(f"{job.name} waits for another job to finish: {busy}")
        return SOON
    except Failure as failure:
        for problem in failure.problems:
            log.problem(problem)
        least = SOON
    return _until(job.due(), job.most, least)


def _until(when: float | None, most: int, least: int = 1) -> int | None:
    """Return the seconds until the next look."""
    return None if when is None else max(least, min(most, int(when - time.time()) + 1))


def wait_for_server(context: Context) -> None:
    """Wait until the server accepts connections."""
    while not _is_up(context.settings.data_folder):
        context.children.pause(0.5)


def until_it_leads(opened: OpenedArchive) -> int | None:
    """Return the seconds until the next look if the server takes no writes; waits for a start's end.

    Scheduled work is done where the server takes writes. Under Patroni, nobody knows when it starts.
    """
    data = opened.data_folder
    if opened.settings.failover is None:
        wait_for_server(opened.context)
        return SOON if status.in_recovery(data) else None
    if one_leader.is_leading(opened):
        return None
    return SOON if status.in_recovery(data) else _NO_SERVER


def _is_up(data_folder: str) -> bool:
    """Return whether the server accepts connections."""
    found = read_postmaster(data_folder)
    return found is not None and found.status in ("ready", "standby")


def schedule_of(context: Context, text: str) -> Schedule:
    """Return a schedule of this cluster; all schedules have the time zone and the jitter of backups."""
    wanted = context.settings.backup
    identifier = control_file.system_identifier(context)
    return Schedule(text, wanted.timezone, wanted.jitter, identifier)


def scheduled(opened: OpenedArchive) -> int | None:
    """Take the backup that the schedule or a restore requires, if one is due.

    Return the seconds until the next look, None for never.
    """
    data = opened.data_folder
    if (pause := until_it_leads(opened)) is not None:
        return pause
    try:
        when = _due(opened)
    except Failure:
        return SOON  # the storage is unreachable, which is reported elsewhere
    if when is None or when > time.time():
        return _until(when, _LOOK) or _look_for_gaps(opened)
    if obstacle(opened) is not None:
        return SOON  # the obstacle, such as failing archiving, is reported elsewhere
    why: Why = journal.SCHEDULE
    if fork.awaits_backup(data):
        why = runs.RESTORE
    elif known_gaps.owed(opened.context, opened.url):
        why = runs.GAP

    def take(lock: int) -> bool:
        incremental = why == journal.SCHEDULE and next_is_incremental(opened, own_backups(opened))
        push(opened, incremental=incremental, why=why, lock=lock)
        return True

    job = Job(_NAMES[why], take, lambda: _due(opened), _LOOK)
    return attempt(opened.context, job) or _look_for_gaps(opened)


_NAMES: Mapping[str, str] = {
    journal.SCHEDULE: "the scheduled backup",
    runs.RESTORE: "the first backup after a restore",
    runs.GAP: "the full backup after a gap",
}


def _look_for_gaps(opened: OpenedArchive) -> int | None:
    """Return when to look again although no schedule is set: WAL may be given up at any time."""
    if known_gaps.is_unstored(opened.context, opened.url) and obstacle(opened) is None:
        try:
            gap.settle(opened)
        except Failure as failure:
            log.problem(failure.problems[0])
    return _LOOK if opened.settings.serving.when_full == DROP else None


def _due(opened: OpenedArchive) -> float | None:
    """Return when the next backup is due, in seconds since 1970; None: never."""
    wanted = opened.settings.backup
    data = opened.data_folder
    now = time.time()
    found = journal.believed(journal.settled(history.RUNS.read(data)), now)
    awaited = fork.awaits_backup_since(data)
    if awaited is None:
        awaited = known_gaps.owed_since(opened.context, opened.url)
    if awaited is not None:
        # Earlier runs are the original cluster's, including the run of the backup that was restored, or they
        # do not lead over the gap.
        found = [each for each in found if journal.began(each) >= awaited]
    failed = runs.last(found).failure
    failed_at = journal.ended(failed) if failed else None
    if awaited is not None:
        own_backups(opened)  # raises Failure if the storage is unreachable
        return at_once(now, failed_at, runs.failures_in_a_row(found))
    if wanted.schedule is None:
        return None
    if fork.refusal(data) is not None:
        return now + ASK_AGAIN
    good = [each for each in found if each.succeeded and each.url == opened.url]
    if good and _is_emptied(opened):
        good = []
    ended = [journal.ended(each) for each in good[-1:]]
    if not good or opened.settings.failover is not None:
        ended += _moments(own_backups(opened), now)[-1:]
    last = max(ended, default=None)
    if failed_at is not None and last is not None and failed_at < last:
        found, failed_at = [], None  # another node has taken a backup since
    return due(
        schedule_of(opened.context, wanted.schedule), now, last, failed_at, runs.failures_in_a_row(found)
    )


def _is_emptied(opened: OpenedArchive) -> bool:
    """Return whether the archive has no backup any longer.

    If the archive has also lost its owner's mark, claim it again. Return False while the storage is
    unreachable.
    """
    try:
        if own_backups(opened):
            return False
        if claim.owner(opened, calls.QUICK) is None:
            claim.prepare(opened, must_work=True)
    except ValueError:
        return False
    except Failure as failure:
        log.problem(failure.problems[0])
        return False
    log.warning(f"{opened.url} no longer has any backup, although some were taken: a full backup is due")
    return True


def overdue(context: Context, found: Sequence[Backup]) -> bool:
    """Return whether a schedule is set and the newest backup is older than two of its periods."""
    text = context.settings.backup.schedule
    if text is None or not found:
        return False
    now = time.time()
    return schedule_of(context, text).is_overdue(now, max(_moments(found, now), default=0.0))


def _moments(found: Sequence[Backup], now: float) -> list[float]:
    """Return when the backups ended, in seconds since 1970, without those dated by a clock that was ahead."""
    moments = (guest.moment(each.finished, now) for each in found)
    return [each for each in moments if each is not None]
