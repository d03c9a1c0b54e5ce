"""The note about other servers in a cluster's archive; a restored cluster never archives next to another one.

The original may still run. Then both would take backups and remove each other's, and after the next restore
nobody would know whose history it is. So a restore leaves `$PGDATA/entrypoint.fork`. While this file exists,
every start looks into the archive before anything is written there. The first full backup on the new timeline
removes the file. A backup contains the file as it was at that time, and a restore writes a new one.

The file also records that another server was promoted in place of this one: see archive/writer.py.
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
    """The states of a cluster that has not seen another server promoted."""
    State = Literal[_Unrivalled, "standby", "superseded", "reading", "taking"]

RESTORED: State = "restored"
"""Nobody has looked into the archive yet."""
REFUSED: State = "refused"
CLEAR: State = "clear"
"""No other server has written to the archive since."""
CONFIRMED: State = "confirmed"
"""Another server has, but the user said that this cluster takes its place: by ARCHIVE_FORK or a promotion."""
STANDBY: State = "standby"
"""The cluster was built as a standby and has archived nothing itself. Its promotion means a takeover."""
SUPERSEDED: State = "superseded"
"""Another server was promoted and takes writes, so this one does not."""
READING: State = "reading"
"""As `superseded`, and standby.signal is ours: the server is read-only, so that people can see its data."""
TAKING: State = "taking"
"""The cluster is moving to its own timeline, above the other server's; recovery.signal is ours."""
SETTLED: State = "settled"
"""No question is open; the note only remembers that ARCHIVE_FORK=confirm was obeyed."""

_STOPPED = (SUPERSEDED, READING, TAKING)
_ARCHIVING = (CLEAR, CONFIRMED)


class Fork(NamedTuple):
    """What is known about a restored cluster that has no backup on its timeline yet."""

    state: State = RESTORED
    url: str = ""
    """Address of the archive that the state is about."""
    timeline: int = 0
    """The cluster's own timeline when the archive was checked."""
    what: str = ""
    """Why writing to the archive is refused."""
    hint: str = ""
    theirs: int = 0
    """The timeline of the other server that was promoted."""
    before: State = ""
    """The state to return to if the other server turns out to be gone."""
    confirmed: int = 0
    """The timeline for which the current ARCHIVE_FORK=confirm was obeyed; it takes effect once."""


def read(data_folder: str) -> Fork | None:
    """Return the note; a file that cannot be parsed means that nobody has looked into the archive yet."""
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
    """Write the note."""
    notes.write(data_folder, own.FORK, _text(fork))


def _text(fork: Fork) -> str:
    import json

    return json.dumps(fork._asdict()) + "\n"


def carried(data_folder: str) -> str:
    """Return the text of the note for the cluster that an upgrade makes of this one; empty: it needs none.

    No question is open then, see `objection`, but ARCHIVE_FORK=confirm still takes effect only once.
    """
    fork = read(data_folder)
    return "" if fork is None or not fork.confirmed else _text(fork._replace(state=SETTLED))


def forget(data_folder: str) -> None:
    """Remove the note."""
    notes.remove(data_folder, own.FORK)


def begin(context: Context, state: State = RESTORED) -> None:
    """Note that a cluster was restored, before anything can be archived."""
    write(context.settings.data_folder, Fork(state))


def end(context: Context, kind: Kind, timeline: int) -> None:
    """Forget the fork once the archive holds a full backup on the cluster's timeline."""
    data = context.settings.data_folder
    fork = read(data)
    if fork is None or fork.state not in _ARCHIVING or (kind, timeline) != ("full", fork.timeline):
        return
    if fork.confirmed:
        write(data, fork._replace(state=SETTLED))
    else:
        forget(data)


def awaits_backup(data_folder: str) -> bool:
    """Return whether a restored cluster still has no backup on its own timeline, and may take one."""
    return awaits_backup_since(data_folder) is not None


def awaits_backup_since(data_folder: str) -> float | None:
    """Return since when that is so, in seconds since 1970: the restore, or the last look into the archive."""
    fork = read(data_folder)
    if fork is None or fork.state not in (RESTORED, STANDBY, *_ARCHIVING):
        return None
    return os.stat(notes.path(data_folder, own.FORK)).st_mtime


def refusal(data_folder: str) -> Problem | None:
    """Return why this cluster must not write to its archive, according to the last look."""
    fork = read(data_folder)
    if fork is None or fork.state not in (REFUSED, *_STOPPED):
        return None
    if fork.state == REFUSED:
        return Problem(fork.what, fork.hint, exits.ARCHIVE_REFUSED, docs="inspect-a-copy")
    return Problem(fork.what, fork.hint, exits.SUPERSEDED, docs="resolve-two-writers")


def is_superseded(data_folder: str) -> bool:
    """Return whether this cluster takes no writes because another server was promoted in its place."""
    fork = read(data_folder)
    return fork is not None and fork.state in _STOPPED


def shows_old_primary(data_folder: str) -> bool:
    """Return whether standby.signal is ours, so that an old primary could be read; each start removes it."""
    fork = read(data_folder)
    return fork is not None and fork.state == READING


def objection(data_folder: str) -> Problem | None:
    """Return why nothing in the archive may be changed: that is refused, or nobody could look there yet."""
    fork = read(data_folder)
    if fork is None or fork.state not in (RESTORED, STANDBY):
        return refusal(data_folder)
    return Problem(
        "this cluster was restored, and it is not known yet whether the original has written to the archive "
        "since",
        "make the storage reachable (entrypoint doctor); archiving the next segment looks there first",
        exits.ARCHIVE_REFUSED,
        docs="inspect-a-copy",
    )


def reopen(opened: OpenedArchive) -> None:
    """Make a refusal an open question again if this start has different settings than the last one."""
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
        # The user may confirm again, about the next server.
        forget(data) if fork.state == SETTLED else write(data, fork._replace(confirmed=0))


def restore(data_folder: str, fork: Fork) -> None:
    """Return to the state from before another server was seen."""
    if fork.before:
        write(data_folder, Fork(fork.before, fork.url, fork.timeline, confirmed=fork.confirmed))
    else:
        forget(data_folder)


def look(opened: OpenedArchive, seconds: int) -> Problem | None:
    """Check whether another server writes to the archive, and note it; return why that is unknown."""
    data = opened.data_folder
    fork = read(data)
    if fork is None or fork.state in (SETTLED, *_STOPPED):
        return None
    timeline, url = control_file.timeline(opened.context), opened.url
    known = fork.timeline == timeline and fork.url == url
    clear = known and fork.state == CLEAR
    if known and fork.state == CONFIRMED:
        return None
    if fork.state == STANDBY:
        # What the old primary has archived since does not matter; each start looks for a newer timeline.
        write(data, Fork(CONFIRMED, url, timeline))
        return None
    from entrypoint.archivers.terms import brief  # loaded only where an archive is set
    from entrypoint.postgres import segments

    history = control_file.history(opened.context, timeline)
    forks = segments.parse_history(history)
    command = opened.tool.list_wal(opened.server)
    answer = opened.ask(command, seconds=seconds)
    if answer.code or not forks:
        why = brief(answer.stderr.strip()) if answer.code else f"pg_wal/{timeline:08X}.history is missing"
        return Problem(
            f"cannot find out whether the original of this restored cluster still writes to {url}: {why}",
            "check that the storage can be reached and that the variables of the archive are right",
            exits.ARCHIVE_REFUSED,
            docs="fix-archiving",
        )
    try:
        with opened.understood():
            present = {each.name for each in opened.tool.parse_wal(answer.stdout)}
    except Failure as failure:
        return failure.problems[0]  # a server with data starts anyway
    others = segments.others(
        present,
        timeline,
        forks,
        control_file.segment_bytes(opened.context),
        ours=clear,
        stopped=not clear and segments.stopped_at_target(history),
    )
    if clear:
        others = others._replace(timelines=())  # a newer timeline than ours means more: archive/writer.py
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
    """Return what speaks against writing to the archive."""
    if timeline in others.timelines:
        # Both would write segments of the same names, so a confirmation cannot help here.
        return Problem(
            f"another copy of this cluster has already taken timeline {timeline} in {url}",
            "give this copy its own ARCHIVE_URL, or restore it again on an empty volume: it then gets its "
            "own timeline",
        )
    found = []
    if others.segment is not None:
        found.append(f"{others.segment}, with WAL from after this copy left timeline {left[0]}")
    if others.timelines:
        found.append(f"timeline {others.timelines[-1]}, which is newer than this copy's {timeline}")
    if not found:
        return None
    from entrypoint.postgres.segments import lsn_text

    left_at = lsn_text(left[1])
    return Problem(
        f"another cluster has written to {url} since this one was restored from it (up to "
        f"{left_at} of timeline {left[0]}): it holds {' and '.join(found)}",
        "give this copy its own ARCHIVE_URL; or, if the other cluster is gone for good and this one takes "
        "its place, start this one with ARCHIVE_FORK=confirm",
    )


def is_standby_now(data_folder: str) -> bool:
    """Return whether somebody has made a standby of an old primary, by a standby.signal that is not ours."""
    known = read(data_folder)
    return known is not None and known.state == SUPERSEDED and os.path.exists(f"{data_folder}/standby.signal")


def end_reading(data_folder: str) -> None:
    """Turn a cluster that was read-only back into a primary, which the start then judges again.

    If somebody has made a standby of the cluster manually, it is a standby from now on.
    """
    known = read(data_folder)
    if known is not None and known.state == READING:
        if os.path.exists(f"{data_folder}/standby.signal"):
            os.unlink(f"{data_folder}/standby.signal")
            files.sync_folder(data_folder)
        write(data_folder, known._replace(state=SUPERSEDED))
    elif is_standby_now(data_folder):
        write(data_folder, Fork(STANDBY))
