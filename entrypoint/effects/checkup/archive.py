"""Checks of the archive, its backups and drills; they read, and write nothing."""

import time
from datetime import datetime

from entrypoint.checks import Finding
from entrypoint.checks import archive as judge
from entrypoint.effects import drill, history
from entrypoint.effects.checkup.sight import ARCHIVE, STORAGE, Check, Sight


def _archive(sight: Sight) -> list[Finding]:
    archive = sight.settings.archive
    if archive is not None and sight.problems:
        return []  # what is wrong is said already
    where = f"{archive.tool.name} to {archive.storage.url}" if archive is not None else ""
    return judge.archive(where, sight.archive_problem)


def _fork(sight: Sight) -> list[Finding]:
    return judge.fork(sight.archiving) if sight.archiving is not None else []


def _backlog(sight: Sight) -> list[Finding]:
    return judge.backlog(sight.archiving) if sight.archiving is not None else []


def _backups(sight: Sight) -> list[Finding]:
    found = sight.backups
    age = time.time() - datetime.fromisoformat(found[-1].finished).timestamp() if found else 0
    return judge.backups(found, age)


def _runs(sight: Sight) -> list[Finding]:
    return judge.runs(history.last_runs(sight.data_folder))


def _drills(sight: Sight) -> list[Finding]:
    overdue = drill.overdue(sight.context)
    return judge.drills(history.last_drills(sight.data_folder), overdue=overdue)


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
        "whether somebody else has gone on in the archive that this cluster was restored from",
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
