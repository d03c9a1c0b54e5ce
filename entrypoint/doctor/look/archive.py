"""Checks of the archive, its backups and drills; one of them writes a small object, then removes it."""

import glob
import os
import time
from datetime import datetime

from entrypoint.archive import fetching, known_gaps, pending
from entrypoint.backup import history, scheduled
from entrypoint.config import charge_now
from entrypoint.doctor import judge
from entrypoint.doctor.sight import ARCHIVE, ARCHIVING, STORAGE, Check, Sight
from entrypoint.drill import rehearsals
from entrypoint.finding import Finding, ok
from entrypoint.postgres import segments
from entrypoint.server import control_file
from entrypoint.shown import seconds_in


def _archive(sight: Sight) -> list[Finding]:
    archive = sight.settings.archive
    if archive is not None and sight.problems:
        return []  # the check of the settings has reported the problems
    where = f"{archive.tool.name} to {archive.storage.url}" if archive is not None else ""
    lost = judge.archive.lost(sight.archiving) if sight.archiving is not None else []
    if lost and sight.archive_problem is None:
        return lost
    return [*judge.archive.archive(where, sight.archive_problem), *lost]


def _fork(sight: Sight) -> list[Finding]:
    return judge.archive.fork(sight.archiving) if sight.archiving is not None else []


def _backlog(sight: Sight) -> list[Finding]:
    return judge.archive.backlog(sight.archiving) if sight.archiving is not None else []


def _running(sight: Sight) -> list[Finding]:
    if sight.archiving is not None and sight.archiving.fork_refused is not None:
        return []  # a refused fork archives nothing on purpose
    own = charge_now.look(sight.context)
    if not sight.runs:
        return judge.archive.own_command(own)
    return judge.archive.running(
        mode=sight.wanted("archive_mode") or "",
        command=sight.wanted("archive_command") or "",
        library=sight.wanted("archive_library") or "",  # since PostgreSQL 15
        timeout=_timeout(sight),
        own=own,
    )


def _timeout(sight: Sight) -> int:
    """Return archive_timeout in seconds."""
    return int(seconds_in(str(sight.conf["archive_timeout"]["value"])))


def _last_segment(sight: Sight) -> list[Finding]:
    if sight.last_segment is None:
        return []
    name, when = sight.last_segment
    size, present = control_file.segment_bytes(sight.context), str(sight.answers["recovery"][0]["segment"])
    behind = segments.number(present, size) - segments.number(name, size)
    return judge.archive.last_segment(
        name=name, seconds=max(0, time.time() - when), written=behind > 1, timeout=_timeout(sight)
    )


def _backups(sight: Sight) -> list[Finding]:
    found = sight.backups
    age = time.time() - datetime.fromisoformat(found[-1].finished).timestamp() if found else 0
    made = [each for each in history.RUNS.read(sight.data_folder) if each.succeeded]
    here = [each for each in made if sight.archive is not None and each.url == sight.archive.url]
    return judge.archive.backups(
        found, age, overdue=scheduled.overdue(sight.context, found), taken=here[-1] if here else None
    )


def _round_trip(sight: Sight) -> list[Finding]:
    if sight.archive is None:
        return []
    if sight.untouchable:
        return judge.archive.read_only(len(sight.backups), sight.untouchable)
    sight.render()
    trip = pending.round_trip(sight.archive, sight.patience, lambda step: sight.say(f"round trip: {step}"))
    if trip is None:
        why = f"this {sight.archive.tool.name} has no command that stores one object; to write and read "
        why += "back a whole segment: entrypoint archive check"
        return judge.archive.read_only(len(sight.backups), why)
    return judge.archive.round_trip(trip.seconds, trip.stays)


_MOST = 64 * 1024**2
"""Bytes: it takes too long to read back a larger segment while a person waits."""


def _way_back(sight: Sight) -> list[Finding]:
    name = _last_name(sight)
    if sight.archive is None or name is None or control_file.segment_bytes(sight.context) > _MOST:
        return []
    sight.render()
    seconds, same = pending.read_back(sight.archive, name, patience=sight.patience)
    result = "identical" if same else "the server no longer has a copy to compare"
    return [ok(f"{name} was read back in {seconds:.2f} s: {result}")]


def _last_name(sight: Sight) -> str | None:
    """Return the last archived segment, unless there is an outage, which another check reports."""
    if sight.last_segment is None or (
        sight.archiving is not None and sight.archiving.failing_since is not None
    ):
        return None
    return sight.last_segment[0]


def _stored(sight: Sight) -> str | None:
    """Return the file of the last archived segment in an archive on a folder."""
    name = _last_name(sight)
    if name is None or sight.archive is None or sight.archive.folder is None:
        return None
    pattern = f"{glob.escape(sight.archive.folder)}/{sight.archive.tool.stored(name)}"
    return next(iter(glob.glob(pattern)), None)


def _encryption(sight: Sight) -> list[Finding]:
    name = _last_name(sight)
    if sight.archive is None or not sight.archive.can.encrypts or name is None:
        return []
    path = _stored(sight)
    if path is not None:
        with open(path, "rb") as file:
            return judge.archive.encryption(name, file.read(16))
    sight.render()
    return judge.archive.encryption(name, fetching.stored_bytes(sight.archive, name, sight.patience))


def _clock(sight: Sight) -> list[Finding]:
    archive = sight.archive
    url = archive.tool.s3_server(sight.settings.values, archive.archive.storage) if archive else ""
    if url:
        try:
            return judge.archive.clock(seconds_ahead(url), url)
        except (OSError, ValueError):
            return []  # other checks report that the server cannot be reached
    path = _stored(sight)
    if path is None or sight.last_segment is None:
        return []
    # The storage has dated the segment, and we have dated the note that it was archived.
    return judge.archive.clock(os.stat(path).st_mtime - sight.last_segment[1], "the archive's folder")


def seconds_ahead(url: str) -> float:
    """Return how many seconds a web server's clock is ahead of this machine's.

    Every answer has a date, even a refusal. Raises OSError if there is no answer. No data is sent, and only
    the date is used, so the server's certificate is not checked: only the archiver may know its authority.
    """
    import ssl
    import urllib.error
    import urllib.request
    from email.utils import parsedate_to_datetime

    unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 - see above
    asked = time.time()
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - from the settings
    try:
        with urllib.request.urlopen(request, timeout=3, context=unverified) as answer:  # noqa: S310
            headers = answer.headers
    except urllib.error.HTTPError as refusal:
        headers = refusal.headers
    between = (asked + time.time()) / 2
    # A date has whole seconds: on average it is half a second too early.
    return parsedate_to_datetime(headers["Date"] or "").timestamp() + 0.5 - between


def _gaps(sight: Sight) -> list[Finding]:
    state = sight.archiving
    if state is None:
        return []
    return judge.archive.gaps(known_gaps.here(sight.context, state.url), dropping=state.dropping)


def _runs(sight: Sight) -> list[Finding]:
    return judge.archive.runs(history.last_runs(sight.data_folder))


def _drills(sight: Sight) -> list[Finding]:
    overdue = rehearsals.overdue(sight.context)
    return judge.archive.drills(rehearsals.last_drills(sight.data_folder), overdue=overdue)


CHECKS = (
    Check(
        "archive",
        "without an archive, everything since the last dump is lost with the volume",
        "whether archiving is on, and whether its folder can be used",
        _archive,
        docs="fix-archiving",
    ),
    Check(
        "archive fork",
        "two clusters that write to the same archive make it worthless for both",
        "whether another cluster has written to the archive that this cluster was restored from, or was "
        "promoted in addition to it",
        _fork,
        ARCHIVE,
        "resolve-two-writers",
    ),
    Check(
        "archive backlog",
        "waiting WAL is lost with the volume, and fills it until it is archived",
        "pg_wal/archive_status, the outage that archive_command records, and the free space",
        _backlog,
        ARCHIVE,
        "fix-archiving",
    ),
    Check(
        "archive gaps",
        "no moment in a gap can be restored, and without a full backup behind it nothing since can",
        "what ARCHIVE_WHEN_FULL=drop has given up, and the full backups since",
        _gaps,
        ARCHIVE,
        "when-the-disk-fills",
    ),
    Check(
        "archiving",
        "a server with a wrong archive_command, or none, can archive nothing without any error",
        "archive_mode, archive_command, archive_library and archive_timeout in the running server, and the "
        "places that set them",
        _running,
        ARCHIVE,
        "fix-archiving",
    ),
    Check(
        "last segment",
        "everything written after the last archived segment is lost with the volume",
        "the last archived segment, the segment that the server writes now, and archive_timeout",
        _last_segment,
        ARCHIVING,
        "fix-archiving",
    ),
    Check(
        "round trip",
        "an archive that cannot be written takes no WAL, and one from which nothing can be removed fills up",
        "a small object that is written, read back and removed as the server's user; the archive is only "
        "read on a standby, if it belongs to another cluster, and with pgBackRest 2.60",
        _round_trip,
        STORAGE,
        "fix-archiving",
        costly=True,
    ),
    Check(
        "way back",
        "a segment that cannot be read back is not archived",
        "the last archived segment, read back as the server's user and compared",
        _way_back,
        STORAGE,
        "fix-archiving",
        costly=True,
    ),
    Check(
        "encryption",
        "anyone who can read an unencrypted archive has the database",
        "the stored bytes of the last archived segment, if a key is set",
        _encryption,
        STORAGE,
        "set-up-archiving",
        costly=True,
    ),
    Check(
        "clock",
        "restores to a time, retention and schedules depend on it, and S3 refuses one that is 15 minutes off",
        "this machine's clock, against the date that the archive's folder gave the last segment, or the date "
        "in an S3 server's answer",
        _clock,
        STORAGE,
        costly=True,
    ),
    Check(
        "backups",
        "WAL without a base backup restores nothing",
        "the archive's list of base backups, their age, and the schedule",
        _backups,
        STORAGE,
        "schedule-backups",
        costly=True,
    ),
    Check(
        "backup runs",
        "otherwise a failed backup, or a gap in the WAL, is noticed only when you need the backup",
        "the records of the last runs and verifications in the data folder",
        _runs,
        ARCHIVE,
        "schedule-backups",
    ),
    Check(
        "drills",
        "you cannot rely on a backup that was never restored",
        "the records of the last drills, and their schedule",
        _drills,
        ARCHIVE,
        "rehearse-restores",
    ),
)
