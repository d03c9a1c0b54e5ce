"""One look: it runs doctor's checks, and returns everything that the faces show.

It is made in a copy of the watch, which it may outlive or end early.
"""

from __future__ import annotations

import pickle
import time

from entrypoint.backup import history, journal, runs
from entrypoint.backup.scheduled import schedule_of
from entrypoint.doctor import checkup
from entrypoint.doctor.checkup import CHECKS, Outcome
from entrypoint.doctor.look import nodes
from entrypoint.doctor.sight import Sight
from entrypoint.drill import drills, rehearsals
from entrypoint.errors import Failure
from entrypoint.finding import OK
from entrypoint.light import NamedTuple, re
from entrypoint.noted import figures, reachable
from entrypoint.noted.conditions import RANK, Found
from entrypoint.noted.seen import Seen
from entrypoint.pid1 import status
from entrypoint.standby import promotion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.backup.runs import Run
    from entrypoint.backup.window import Window
    from entrypoint.drill.drills import Drill
    from entrypoint.failover.member import Member
    from entrypoint.noted.seen import Server


_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)+")
_SIZE = "pg_database_size_bytes"


class Task(NamedTuple):
    """What a look is to look at."""

    values: Mapping[str, str]
    """The variables."""
    before: Seen
    """What the last look saw."""
    whole: bool
    """Make all checks, also those that query the archive and each database."""
    sizes: bool
    """Measure the sizes of the databases."""
    forecast: Mapping[str, int]
    """After how many seconds each filesystem is full, by a folder on it."""


class Look(NamedTuple):
    """What a look has seen."""

    seen: Seen
    """Without conditions and events, which the watch itself notes."""
    fresh: tuple[Found, ...]
    """The results of the checks that have looked."""


def work(task: Task) -> bytes:
    """Make a look, and return it as bytes for `unpack`."""
    return pickle.dumps(_look(task))


def unpack(data: bytes) -> Look:
    """Return the look that our own copy has sent."""
    look: Look = pickle.loads(data)  # noqa: S301 - a copy of this process has written it
    return look


def _look(task: Task) -> Look:
    sight = Sight(
        task.values,
        forecast=task.forecast,
        further=lambda major: figures.questions(major, sizes=task.sizes),
    )
    checks = [check for check in CHECKS if task.whole or not check.costly]
    if sight.member is not None and sight.known is not None and sight.known.server is None:
        checks = [*nodes.CHECKS]  # Patroni will start the server: whatever lacks without it is no news
    fresh = tuple(_worst(each) for each in checkup.run(sight, checks) if each.looked)
    member = _member(sight, task.before)
    fresh = _settled(sight, member, fresh, task.before)
    known = {each.check: each for each in (*task.before.findings, *fresh)}
    now = time.time()
    seen = task.before._replace(
        at=now,
        findings=tuple(known[check.name] for check in CHECKS if check.name in known),
        server=_server(sight, task.before),
        archive=sight.archiving,
        window=_window(sight),
        following=promotion.look(sight.context) if status.in_recovery(sight.data_folder) else None,
        runs=tuple(history.RUNS.read(sight.data_folder)),
        drills=tuple(rehearsals.DRILLS.read(sight.data_folder)),
        volumes=tuple(sight.volumes),
        filling=sight.filled,
        reserve_missing=sight.lacks_reserve,
        member=member,
    )
    return Look(_whole(sight, seen, now) if task.whole else seen, fresh)


def _member(sight: Sight, before: Seen) -> Member | None:
    """Return what Patroni says; while the DCS is away, the leader and the other nodes are as before."""
    found = sight.member
    if found is None or before.member is None or found.peers:
        return found
    from entrypoint.failover import member

    return member.newest(before.member, found)._replace(lag_bytes=None)


def _settled(
    sight: Sight, member: Member | None, fresh: tuple[Found, ...], before: Seen
) -> tuple[Found, ...]:
    """Return the results of the checks, marked if another node of the cluster reports them."""
    node = sight.settings.failover
    if node is None or member is None:
        return fresh
    from entrypoint.watch.neighbors import Neighbors  # only under Patroni

    return Neighbors(node, member, nodes.SHARED).settle(fresh, before.conditions)


def _worst(outcome: Outcome) -> Found:
    """Return the result of a check as one value: the texts of its most serious findings."""
    check, findings, _ = outcome
    level = max((each.level for each in findings), key=lambda each: RANK[each], default=OK)
    worst = [each for each in findings if each.level == level]
    hints = dict.fromkeys(each.hint for each in worst if each.hint)
    docs = next((each.docs for each in worst if each.docs), "")
    text = "\n".join(each.found for each in worst)
    return Found(check.name, level, text, "\n".join(hints), docs, check.why, time.time(), check.costly)


def _server(sight: Sight, before: Seen) -> Server | None:
    """Return the server's answers; sizes that were not asked for are those of before."""
    try:
        server = figures.server(sight.asked[0])
    except (LookupError, TypeError, ValueError):
        return None  # a question has no answer
    if server is None or before.server is None or any(each.name == _SIZE for each in server.samples):
        return server
    sizes = [each for each in before.server.samples if each.name == _SIZE]
    return server._replace(samples=(*server.samples, *sizes))


def _whole(sight: Sight, seen: Seen, now: float) -> Seen:
    """Return what was seen, with what only a look at the archive shows."""
    wanted = sight.settings
    try:
        backups = tuple(sight.backups) if sight.has_storage else None
    except Failure:
        backups = None
    return seen._replace(
        whole_at=now,
        backups=backups,
        tool_version=_version(sight),
        next_backup=_due(sight, wanted.backup.schedule, runs.last(seen.runs).success),
        next_drill=_due(sight, wanted.drill.schedule, drills.last(seen.drills).success),
    )


def _window(sight: Sight) -> Window | None:
    """Return the moments that can be restored; None: there are none, or they are not known."""
    if sight.archive is None or sight.archiving is None:
        return None
    found = reachable.known(sight.archive.archive, sight.context, sight.archiving)
    return None if isinstance(found, str) else found


def _version(sight: Sight) -> str:
    """Return the archiver's version as a number; empty: it is not known."""
    found = None if sight.archive is None else _NUMBER.search(sight.archive.version())
    return "" if found is None else found[0]


def _due(sight: Sight, schedule: str | None, last: Run | Drill | None) -> float | None:
    """Return the first moment of a schedule after the last success, or after the cluster was created."""
    if schedule is None or not sight.has_cluster:
        return None
    since = rehearsals.made(sight.data_folder) if last is None else journal.ended(last)
    return schedule_of(sight.context, schedule).next(since)
