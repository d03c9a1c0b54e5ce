"""What the watch may have seen, for the tests of what shows it: a server that is well, and one that is not."""

from __future__ import annotations

from entrypoint.archivers.terms import Backup
from entrypoint.backup.runs import Run
from entrypoint.backup.window import Gap, Tick, Window
from entrypoint.drill.drills import Drill
from entrypoint.full_disk import parts
from entrypoint.noted.conditions import BEGAN, ENDED, HAPPENED, Condition, Event
from entrypoint.noted.seen import Seen, Server
from entrypoint.pid1.lifecycle import KnownHelper
from entrypoint.shown import iso
from entrypoint.volume.facts import ArchiveState, Volume

__all__ = ["DAY", "HOUR", "NOW", "broken", "well"]

HOUR, DAY = 3600, 86400
NOW = 1795946400.0
"""2026-11-29T10:00:00+00:00"""
_GB = 1024**3
_NIGHTS = 12


def _taken(night: int) -> float:
    """When the backup of a night ended; the last night is 0."""
    return NOW - 7 * HOUR - night * DAY + 251 - 9 * night


def _backup(night: int) -> Backup:
    full = night in (0, 7, 12)
    ended = _taken(night)
    return Backup(
        name=_name(night),
        kind="full" if full else "incremental",
        started=iso(ended - (251 if full else 38)),
        finished=iso(ended),
        size_bytes=41 * _GB - night * 300 * 1024**2,
        start_lsn="0/2000028",
        stop_lsn="0/2000100",
        permanent=night == 12,
        system_identifier="7577301420165435420",
        timeline=1 if night > 9 else 2,
        stored_bytes=(11 * _GB if full else 640 * 1024**2) - night * 40 * 1024**2,
        major=17,
    )


def _name(night: int) -> str:
    return f"202611{29 - night:02}-0300{'14F' if night in (0, 7, 12) else '09I'}"


def _run(night: int) -> Run:
    backup = _backup(night)
    took = 251 if backup.kind == "full" else 38
    return Run(backup.kind, backup.started, "schedule", "ok", took, backup.stored_bytes, backup.name)


def well() -> Seen:
    """A primary that archives, with two weeks of backups."""
    nights = range(_NIGHTS, -1, -1)
    ticks = tuple(Tick(_name(night), _taken(night), night in (0, 7)) for night in nights)
    drills = tuple(
        Drill(
            iso(_taken(night) + HOUR),
            "schedule",
            "ok",
            _name(night),
            41 * _GB,
            31,
            iso(_taken(night) + HOUR),
            118.2,
            21.4,
            64.0,
            205.1,
            ("pg_amcheck", "orders.sql"),
        )
        for night in (7, 0)
    )
    return Seen(
        at=NOW - 12,
        whole_at=NOW - 1500,
        server=Server(
            role="primary",
            version="17.6 (Debian 17.6-1.pgdg13+1)",
            identifier="7577301420165435420",
            timeline=2,
            started=NOW - 9 * DAY,
            recovered=NOW - 9 * DAY,
            samples=(),
            lag_bytes=None,
            standbys=(
                {
                    "application_name": "db2",
                    "client_addr": "10.0.0.12",
                    "state": "streaming",
                    "sync_state": "async",
                    "replay_lsn": "2C/5F0001A8",
                    "replay_lag": "00:00:00.021",
                },
            ),
        ),
        events=(
            Event(1, NOW - 9 * DAY, HAPPENED, "promotion", "info", "the server was promoted", NOW - 9 * DAY),
            Event(2, NOW - 3 * DAY, BEGAN, "archive backlog", "error", _OUTAGE, NOW - 3 * DAY),
            Event(3, NOW - 3 * DAY + 1500, ENDED, "archive backlog", "error", _OUTAGE, NOW - 3 * DAY),
        ),
        archive=_archive(),
        runs=tuple(_run(night) for night in nights),
        drills=drills,
        backups=tuple(_backup(night) for night in nights),
        window=Window(ticks[0].moment, NOW - 41, (), ticks),
        next_backup=NOW + 17 * HOUR,
        next_drill=NOW + 6 * DAY,
        volumes=(
            Volume("data", "/var/lib/postgresql/data", 200 * _GB, 118 * _GB, None),
            Volume("archive", "/archive", 900 * _GB, 512 * _GB, 61 * DAY),
        ),
        helpers=(KnownHelper("backups", "waiting", 0, 0, 0), KnownHelper("drills", "waiting", 0, 0, 0)),
        tool_version="2.56.0",
    )


_OUTAGE = "14 WAL files wait to be archived, the oldest for 20 minutes"


def broken() -> Seen:
    """The same server with an archive that fails, a gap, and a disk that fills up."""
    seen = well()
    assert seen.window is not None
    assert seen.archive is not None
    gap = Gap("000000020000002A000000C1", "000000020000002A000000C4", _taken(5), _taken(4))
    words = (
        "P00  ERROR: [103]: unable to find a valid repository\n"
        "     repo1: [FileOpenError] raised from remote-0 tls protocol on 'backup.example.org': unable to open"
    )
    failing = seen.archive._replace(
        backlog_segments=412,
        backlog_bytes=412 * 16 * 1024**2,
        oldest_ready="000000020000002C00000041",
        oldest_ready_seconds=5700,
        archived_per_minute=0.0,
        failing_since=iso(NOW - 5700),
        last_error=words,
        seconds_until_full=5 * HOUR,
    )
    failed = Run(
        "full", iso(NOW - 7 * HOUR), "schedule", "failed", 61.0, words="unable to find a valid repository"
    )
    return seen._replace(
        conditions=(
            Condition(
                "free space",
                "warning",
                NOW - 3200,
                "the data's volume is full in 5 hours at the present rate",
                "make the storage of the archive reachable, or enlarge the volume",
                "fix-archiving",
                "a full disk stops the server or archiving",
            ),
            Condition(
                "archive backlog",
                "error",
                NOW - 5400,
                f"412 WAL files wait to be archived, the oldest for 95 minutes; the archiver says:\n{words}",
                "docker exec CONTAINER entrypoint doctor 'round trip'",
                "fix-archiving",
                "waiting WAL is lost with the volume, and fills it until the server stops",
            ),
        ),
        archive=failing,
        runs=(*seen.runs[:-1], failed),
        window=seen.window._replace(end=NOW - 5760, gaps=(gap,)),
        volumes=(
            Volume("data", "/var/lib/postgresql/data", 200 * _GB, 9 * _GB, 5 * HOUR, 13_107_200, 13_000_000),
            *seen.volumes[1:],
        ),
        filling={
            "/var/lib/postgresql/data": (
                parts.database("app", 160 * _GB, 4000),
                parts.unarchived(412 * 16 * 1024**2, 412, words),
                parts.kept(1024**3, 64),
            )
        },
        helpers=(KnownHelper("backups", "waiting", 0, 3, 1),),
    )


def _archive() -> ArchiveState:
    return ArchiveState(
        tool="pgbackrest",
        url="file:///archive",
        backlog_segments=0,
        backlog_bytes=0,
        oldest_ready=None,
        oldest_ready_seconds=None,
        archived_per_minute=1.2,
        last_archived="000000020000002C0000005E",
        last_archived_at=iso(NOW - 41),
        failing_since=None,
        last_error=None,
        prepared=True,
        fork_refused=None,
        fork_hint=None,
        fork_docs=None,
        free_bytes=118 * _GB,
        seconds_until_full=None,
    )
