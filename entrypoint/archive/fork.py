"""What a cluster remembers of others in its archive; and a restored one, which archives beside nobody.

The original may live: then both would take backups, remove each other's, and after the next restore nobody
knows whose history it is. So a restore leaves `$PGDATA/entrypoint.fork`. While that is there every start
looks into the archive before anything is written to it; the first full backup on the new timeline removes
it. A backup holds the file of its time, and a restore of it writes it anew.

The file also says that another server was promoted beside this one: see archive/writer.py.
"""

from __future__ import annotations

import os

from entrypoint import exits, own
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.system import files, guest
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from entrypoint.archive.opened import OpenedArchive
    from entrypoint.archivers.terms import Kind
    from entrypoint.postgres import segments

    _Unrivalled = Literal["", "restored", "refused", "clear", "confirmed", "settled"]
    """Of a cluster beside which no other server was seen promoted."""
    State = Literal[_Unrivalled, "standby", "superseded", "reading", "taking"]

RESTORED: State = "restored"
"""Nobody has looked into the archive yet."""
REFUSED: State = "refused"
CLEAR: State = "clear"
"""Nobody else has gone on in it."""
CONFIRMED: State = "confirmed"
"""Somebody else has, and that this cluster takes its place was said: by ARCHIVE_FORK, or by a promotion."""
STANDBY: State = "standby"
"""It was built to follow, and has archived nothing itself. Who promotes it says that it takes over."""
SUPERSEDED: State = "superseded"
"""Another server was promoted and goes on, so this one takes no writes."""
READING: State = "reading"
"""The same, and standby.signal is ours: it serves read-only, to be looked at."""
TAKING: State = "taking"
"""It is on its way to a timeline of its own, above the other server's; recovery.signal is ours."""
SETTLED: State = "settled"
"""Nothing is open; only that ARCHIVE_FORK=confirm was obeyed is remembered."""

_STOPPED = (SUPERSEDED, READING, TAKING)
_ARCHIVING = (CLEAR, CONFIRMED)


class Fork(NamedTuple):
    """What is known of a restored cluster that has no backup on its timeline yet."""

    state: State = RESTORED
    url: str = ""
    """Of the archive that the state is about."""
    timeline: int = 0
    """The cluster's own when it was looked."""
    what: str = ""
    """Why it is refused."""
    hint: str = ""
    theirs: int = 0
    """The timeline of the server that was promoted beside this one."""
    before: State = ""
    """The state that is left to return to, should that one turn out to be gone."""
    confirmed: int = 0
    """The timeline that the present ARCHIVE_FORK=confirm was obeyed for: it holds once."""


def read(data_folder: str) -> Fork | None:
    """Return what the file says; one that cannot be understood says that nobody has looked yet."""
    try:
        text = notes.read_text(data_folder, own.FORK)
        with guest.Reading(own.FORK):
            noted = guest.parse_json(text)
            if "mend" in noted:
                noted["hint"] = noted.pop("mend")  # its name in earlier versions
            fork: Fork = guest.typed(Fork(**noted))
            return fork
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return Fork()


def write(data_folder: str, fork: Fork) -> None:
    """Note it."""
    import json

    notes.write(data_folder, own.FORK, json.dumps(fork._asdict()) + "\n")


def forget(data_folder: str) -> None:
    """Remove the note."""
    notes.remove(data_folder, own.FORK)


def begin(context: Context, state: State = RESTORED) -> None:
    """Note that a cluster is restored, before anything can be archived."""
    write(context.settings.data_folder, Fork(state))


def end(context: Context, kind: Kind, timeline: int) -> None:
    """Forget the fork, once a full backup on the cluster's timeline is in the archive."""
    data = context.settings.data_folder
    fork = read(data)
    if fork is None or fork.state not in _ARCHIVING or (kind, timeline) != ("full", fork.timeline):
        return
    if fork.confirmed:
        write(data, fork._replace(state=SETTLED))
    else:
        forget(data)


def awaits_backup(data_folder: str) -> bool:
    """Tell whether a restored cluster still has no backup on its own timeline, and may take one."""
    return awaits_backup_since(data_folder) is not None


def awaits_backup_since(data_folder: str) -> float | None:
    """Return since when it does, in seconds since 1970: the restore, or the last look into the archive."""
    fork = read(data_folder)
    if fork is None or fork.state not in (RESTORED, STANDBY, *_ARCHIVING):
        return None
    return os.stat(notes.path(data_folder, own.FORK)).st_mtime


def refusal(data_folder: str) -> Problem | None:
    """Return why this cluster must not write into its archive, by the last look."""
    fork = read(data_folder)
    if fork is None or fork.state not in (REFUSED, *_STOPPED):
        return None
    return Problem(fork.what, fork.hint, exits.ARCHIVE_REFUSED if fork.state == REFUSED else exits.SUPERSEDED)


def is_superseded(data_folder: str) -> bool:
    """Tell whether this cluster takes no writes, since another server was promoted beside it."""
    fork = read(data_folder)
    return fork is not None and fork.state in _STOPPED


def objection(data_folder: str) -> Problem | None:
    """Return why nothing in the archive may be changed: refused, or nobody could look yet."""
    fork = read(data_folder)
    if fork is None or fork.state not in (RESTORED, STANDBY):
        return refusal(data_folder)
    return Problem(
        "this cluster was restored, and whether the original has gone on in the archive is not known yet",
        "make the storage reachable (entrypoint doctor); the first segment to be archived looks first",
        exits.ARCHIVE_REFUSED,
    )


def reopen(opened: OpenedArchive) -> None:
    """Make a refusal an open question again where this start is told something else than the last one."""
    data = opened.data_folder
    fork = read(data)
    if fork is None:
        return
    elsewhere = fork.url != opened.url
    if fork.state == REFUSED and (opened.archive.fork_confirmed or elsewhere):
        write(data, fork._replace(state=RESTORED))
    elif fork.state == SUPERSEDED and elsewhere:
        restore(data, fork)
    elif fork.confirmed and not opened.archive.fork_confirmed:
        # It may be said again, of the next one.
        forget(data) if fork.state == SETTLED else write(data, fork._replace(confirmed=0))


def restore(data_folder: str, fork: Fork) -> None:
    """Return to the state from before another server was seen."""
    if fork.before:
        write(data_folder, Fork(fork.before, fork.url, fork.timeline, confirmed=fork.confirmed))
    else:
        forget(data_folder)


def look(opened: OpenedArchive, seconds: int) -> Problem | None:
    """Look who else has gone on in the archive, and note it; returns why that cannot be told."""
    data = opened.data_folder
    fork = read(data)
    if fork is None or fork.state in (SETTLED, *_STOPPED):
        return None
    timeline, url = control_file.timeline(opened.context), opened.url
    known = fork.timeline == timeline and fork.url == url
    if known and fork.state == CONFIRMED:
        return None
    if fork.state == STANDBY:
        # What the old primary has archived since says nothing; a newer timeline is looked for at each start.
        write(data, Fork(CONFIRMED, url, timeline))
        return None
    from entrypoint.archivers.terms import brief  # what it takes is loaded only where an archive is set
    from entrypoint.postgres import segments

    forks = segments.parse_history(control_file.history(opened.context, timeline))
    command = opened.tool.list_wal(opened.server)
    answer = opened.ask(command, seconds=seconds)
    if answer.code or not forks:
        why = brief(answer.stderr.strip()) if answer.code else f"pg_wal/{timeline:08X}.history is missing"
        return Problem(
            f"whether the original of this restored cluster has gone on in {url} cannot be told: {why}",
            "check that the storage can be reached and that the variables of the archive are right",
            exits.ARCHIVE_REFUSED,
        )
    try:
        with opened.understood():
            present = {each.name for each in opened.tool.parse_wal(answer.stdout)}
    except Failure as failure:
        return failure.problems[0]  # a server with data comes up all the same
    others = segments.others(
        present,
        timeline,
        forks,
        control_file.segment_bytes(opened.context),
        ours=known and fork.state == CLEAR,
    )
    if known and fork.state == CLEAR:
        others = others._replace(timelines=())  # a newer one than ours says more than that: archive/writer.py
    problem = _judge(others, timeline, forks[-1], url)
    if problem is None:
        state = CLEAR
    elif opened.archive.fork_confirmed and timeline not in others.timelines:
        state, problem = CONFIRMED, None
    else:
        state = REFUSED
    write(
        data,
        Fork(state, url, timeline, problem.what if problem else "", problem.hint if problem else ""),
    )
    return None


def _judge(others: segments.Others, timeline: int, left: tuple[int, int], url: str) -> Problem | None:
    """Return what speaks against writing into the archive."""
    if timeline in others.timelines:
        # Segments of the same names would follow, so nothing can be confirmed here.
        return Problem(
            f"another copy of this cluster has taken timeline {timeline} in {url} already",
            "give this copy its own ARCHIVE_URL, or restore it anew on an empty volume: it then gets a "
            "timeline of its own",
        )
    found = []
    if others.segment is not None:
        found.append(f"{others.segment}, which was written after this copy had left timeline {left[0]}")
    if others.timelines:
        found.append(f"timeline {others.timelines[-1]}, which is newer than this copy's {timeline}")
    if not found:
        return None
    from entrypoint.postgres.segments import lsn_text

    left_at = lsn_text(left[1])
    return Problem(
        f"another cluster has gone on in {url} since this one was restored from it (up to "
        f"{left_at} of timeline {left[0]}): it holds {' and '.join(found)}",
        "give this copy its own ARCHIVE_URL; or, if the other one is gone for good and this one takes its "
        "place, start it with ARCHIVE_FORK=confirm",
    )


def end_reading(data_folder: str) -> None:
    """Make a cluster that was looked at read-only what it was: a primary that is to be judged anew.

    One of which somebody has made a standby by hand is one from now on.
    """
    known = read(data_folder)
    followed = os.path.exists(f"{data_folder}/standby.signal")
    if known is not None and known.state == READING:
        if followed:
            os.unlink(f"{data_folder}/standby.signal")
            files.sync_folder(data_folder)
        write(data_folder, known._replace(state=SUPERSEDED))
    elif known is not None and known.state == SUPERSEDED and followed:
        write(data_folder, Fork(STANDBY))
