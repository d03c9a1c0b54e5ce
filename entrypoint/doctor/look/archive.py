"""Checks of the archive, its backups and drills; one of them writes a small object and removes it."""

import glob
import os
import time
from datetime import datetime

from entrypoint.archive import fetching, pending
from entrypoint.backup import history, scheduled
from entrypoint.config import charge_now
from entrypoint.doctor import judge
from entrypoint.doctor.sight import ARCHIVE, ARCHIVING, STORAGE, Check, Sight
from entrypoint.drill import rehearsals
from entrypoint.finding import Finding, ok
from entrypoint.postgres import segments
from entrypoint.server import control_file


def _archive(sight: Sight) -> list[Finding]:
    archive = sight.settings.archive
    if archive is not None and sight.problems:
        return []  # what is wrong is said already
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
    text = str(sight.conf["archive_timeout"]["value"])
    units = {"d": 86400, "h": 3600, "min": 60, "s": 1}
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * units.get(unit, 1)


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
        why = f"this {sight.archive.tool.name} has no command that stores one object; a whole segment goes "
        why += "there and back by: entrypoint archive check"
        return judge.archive.read_only(len(sight.backups), why)
    return judge.archive.round_trip(trip.seconds, trip.stays)


_MOST = 64 * 1024**2
"""Bytes: a bigger segment takes longer to read back than somebody waits for a look."""


def _way_back(sight: Sight) -> list[Finding]:
    name = _last_name(sight)
    if sight.archive is None or name is None or control_file.segment_bytes(sight.context) > _MOST:
        return []
    sight.render()
    seconds, same = pending.read_back(sight.archive, name, patience=sight.patience)
    told = "identical" if same else "the server has no copy to compare any more"
    return [ok(f"{name} came back in {seconds:.2f} s: {told}")]


def _last_name(sight: Sight) -> str | None:
    """Return the last archived segment, unless there is an outage, which is told already."""
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
            return []  # that it cannot be reached is told by others
    path = _stored(sight)
    if path is None or sight.last_segment is None:
        return []
    # The storage has dated the segment, we have dated the note that it was archived.
    return judge.archive.clock(os.stat(path).st_mtime - sight.last_segment[1], "the archive's folder")


def seconds_ahead(url: str) -> float:
    """Return by how much a web server's clock is ahead of ours; any answer has a date, also a refusal.

    Raises OSError where there is none. Nothing is sent and nothing but the date is believed, so the server's
    certificate, which may be of an authority that only the archiver knows, is not looked at.
    """
    import ssl
    import urllib.error
    import urllib.request
    from email.utils import parsedate_to_datetime

    unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 - see above
    asked = time.time()
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - of the settings
    try:
        with urllib.request.urlopen(request, timeout=3, context=unverified) as answer:  # noqa: S310
            headers = answer.headers
    except urllib.error.HTTPError as refusal:
        headers = refusal.headers
    between = (asked + time.time()) / 2
    # A date has whole seconds: on average it is half a one too small.
    return parsedate_to_datetime(headers["Date"] or "").timestamp() + 0.5 - between


def _runs(sight: Sight) -> list[Finding]:
    return judge.archive.runs(history.last_runs(sight.data_folder))


def _drills(sight: Sight) -> list[Finding]:
    overdue = rehearsals.overdue(sight.context)
    return judge.archive.drills(rehearsals.last_drills(sight.data_folder), overdue=overdue)


CHECKS = (
    Check(
        "archive",
        "without an archive everything since the last dump is lost with the volume",
        "whether archiving is on, and its folder can be used",
        _archive,
    ),
    Check(
        "archive fork",
        "two clusters that write into one archive make it worthless for both",
        "whether somebody else has gone on in the archive that this cluster was restored from, or was "
        "promoted beside it",
        _fork,
        ARCHIVE,
    ),
    Check(
        "archive backlog",
        "WAL that waits is lost with the volume, and fills it meanwhile",
        "pg_wal/archive_status, the outage that archive_command notes, the room that is left",
        _backlog,
        ARCHIVE,
    ),
    Check(
        "archiving",
        "a command of your own, or none: a server can archive nothing, and be content",
        "archive_mode, archive_command, archive_library and archive_timeout, of the running server and where "
        "they stand",
        _running,
        ARCHIVE,
    ),
    Check(
        "last segment",
        "what was written after the last archived segment is lost with the volume",
        "the last archived segment against the one that is being written, and archive_timeout",
        _last_segment,
        ARCHIVING,
    ),
    Check(
        "round trip",
        "an archive that cannot be written takes no WAL, and one where nothing can be removed fills up",
        "a small object, written, read back and removed as the server's user; only read where this cluster "
        "may not write: on a standby, and in the archive of another one, and with pgBackRest 2.60",
        _round_trip,
        STORAGE,
    ),
    Check(
        "way back",
        "a segment that cannot be read back is not archived",
        "the last archived segment, read back as the server's user and compared",
        _way_back,
        STORAGE,
    ),
    Check(
        "encryption",
        "whoever reads the archive has the database",
        "the stored bytes of the last archived segment, where a key is set",
        _encryption,
        STORAGE,
    ),
    Check(
        "clock",
        "restores to a time, retention and schedules go by it, and S3 refuses one that is 15 minutes off",
        "the date that the archive's folder gave the last segment, or of an S3 server's answer, against ours",
        _clock,
        STORAGE,
    ),
    Check(
        "backups",
        "WAL without a base backup restores nothing",
        "the archive's list of base backups, their age and the schedule",
        _backups,
        STORAGE,
    ),
    Check(
        "backup runs",
        "a backup that failed, or one with holes, is found out when it is needed",
        "the record of the last runs and verifications beside the data",
        _runs,
        ARCHIVE,
    ),
    Check(
        "drills",
        "a backup that was never restored is a hope",
        "the record of the last drills, and their schedule",
        _drills,
        ARCHIVE,
    ),
)
