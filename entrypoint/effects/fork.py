"""A restored cluster and the archive that it came from: it writes there only if nobody else goes on in it.

The original may live: then both would take backups, remove each other's, and after the next restore nobody
knows whose history it is. So a restore leaves `$PGDATA/.entrypoint.fork`. While that is there every start
looks into the archive before anything is written to it; the first full backup on the new timeline removes
it. A backup holds the file of its time, and a restore of it writes it anew.
"""

from __future__ import annotations

import os

from entrypoint import exits, segments
from entrypoint.archivers import brief, lsn_text
from entrypoint.effects import archive as archives
from entrypoint.effects import files, server
from entrypoint.effects.server import Context
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple
from entrypoint.settings import Archive

NAME = ".entrypoint.fork"
"""Below the data folder: one object of JSON."""

RESTORED = "restored"
"""Nobody has looked into the archive yet."""
REFUSED = "refused"
CLEAR = "clear"
"""Nobody else has gone on in it."""
CONFIRMED = "confirmed"
"""Somebody else has, and ARCHIVE_FORK says that this cluster takes its place."""


class Fork(NamedTuple):
    """What is known of a restored cluster that has no backup on its timeline yet."""

    state: str = RESTORED
    url: str = ""
    """Of the archive that the state is about."""
    timeline: int = 0
    """The cluster's own when it was looked."""
    what: str = ""
    """Why it is refused."""
    mend: str = ""


def read(data_folder: str) -> Fork | None:
    """Return what the file says; one that cannot be understood says that nobody has looked yet."""
    import json

    try:
        found = json.loads(files.read_text(f"{data_folder}/{NAME}"))
        return Fork(**found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        return Fork()


def _write(data_folder: str, fork: Fork) -> None:
    import json

    files.write_atomically(f"{data_folder}/{NAME}", json.dumps(fork._asdict()) + "\n")


def begin(context: Context) -> None:
    """Note that a cluster is restored, before anything can be archived."""
    _write(context.settings.data_folder, Fork())


def end(context: Context, kind: str, timeline: int) -> None:
    """Forget the fork, once a full backup on the cluster's timeline is in the archive."""
    data = context.settings.data_folder
    fork = read(data)
    if fork is not None and fork.state in (CLEAR, CONFIRMED) and (kind, timeline) == ("full", fork.timeline):
        os.unlink(f"{data}/{NAME}")
        files.sync_folder(data)


def awaits_backup(data_folder: str) -> bool:
    """Tell whether a restored cluster still has no backup on its own timeline, and may take one."""
    return awaits_backup_since(data_folder) is not None


def awaits_backup_since(data_folder: str) -> float | None:
    """Return since when it does, in seconds since 1970: the restore, or the last look into the archive."""
    fork = read(data_folder)
    if fork is None or fork.state == REFUSED:
        return None
    return os.stat(f"{data_folder}/{NAME}").st_mtime


def refusal(data_folder: str) -> Problem | None:
    """Return why this cluster must not write into its archive, by the last look."""
    fork = read(data_folder)
    if fork is None or fork.state != REFUSED:
        return None
    return Problem(fork.what, fork.mend, exits.ARCHIVE_REFUSED)


def objection(data_folder: str) -> Problem | None:
    """Return why nothing in the archive may be changed: refused, or nobody could look yet."""
    fork = read(data_folder)
    if fork is None or fork.state != RESTORED:
        return refusal(data_folder)
    return Problem(
        "this cluster was restored, and whether the original has gone on in the archive is not known yet",
        "make the storage reachable (entrypoint doctor); the first segment to be archived looks first",
        exits.ARCHIVE_REFUSED,
    )


def reopen(context: Context, archive: Archive) -> None:
    """Make a refusal an open question again where this start is told something else than the last one."""
    data = context.settings.data_folder
    fork = read(data)
    if (
        fork is not None
        and fork.state == REFUSED
        and (archive.fork_confirmed or fork.url != archive.storage.url)
    ):
        _write(data, fork._replace(state=RESTORED))


def look(context: Context, archive: Archive, seconds: int) -> Problem | None:
    """Look who else has gone on in the archive, and note it; returns why that cannot be told."""
    data = context.settings.data_folder
    fork = read(data)
    if fork is None:
        return None
    timeline, url = _timeline(context), archive.storage.url
    known = fork.timeline == timeline and fork.url == url
    if known and fork.state == CONFIRMED:
        return None
    forks = segments.parse_history(_text(f"{data}/pg_wal/{timeline:08X}.history"))
    command = archive.tool.list_wal(server.describe(context))
    answer = archives.ask(context, command, seconds=seconds)
    if answer.code or not forks:
        why = brief(answer.stderr.strip()) if answer.code else f"pg_wal/{timeline:08X}.history is missing"
        return Problem(
            f"whether the original of this restored cluster has gone on in {url} cannot be told: {why}",
            "check that the storage can be reached and that the variables of the archive are right",
            exits.ARCHIVE_REFUSED,
        )
    others = segments.others(
        {each.name for each in archive.tool.parse_wal(answer.stdout)},
        timeline,
        forks,
        server.segment_bytes(context),
        ours=known and fork.state == CLEAR,
    )
    problem = _judge(others, timeline, forks[-1], url)
    if problem is None:
        state = CLEAR
    elif archive.fork_confirmed and timeline not in others.timelines:
        state, problem = CONFIRMED, None
    else:
        state = REFUSED
    _write(
        data,
        Fork(state, url, timeline, problem.what if problem else "", problem.mend if problem else ""),
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
    return Problem(
        f"another cluster has gone on in {url} since this one was restored from it (up to "
        f"{lsn_text(left[1])} of timeline {left[0]}): it holds {' and '.join(found)}",
        "give this copy its own ARCHIVE_URL; or, if the other one is gone for good and this one takes its "
        "place, start it with ARCHIVE_FORK=confirm",
    )


def _timeline(context: Context) -> int:
    return int(server.read_control(context).get("Latest checkpoint's TimeLineID", 0))


def _text(path: str) -> str:
    try:
        return files.read_text(path)
    except OSError:
        return ""
