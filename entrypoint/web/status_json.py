"""`/status.json`: what the watch saw, for programs.

The values at the top are for widgets that show single values, for example Homepage's `customapi`. Below them
is everything that the watch saw. What is not known is null. Times are ISO 8601, and ages are in seconds.
"""

from __future__ import annotations

from entrypoint.backup import journal, runs, window
from entrypoint.drill import drills
from entrypoint.finding import ERROR, WARNING
from entrypoint.noted.seen import Seen
from entrypoint.shown import iso
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.backup.journal import Entry
    from entrypoint.failover.member import Member
    from entrypoint.volume.facts import Volume
    from entrypoint.web.live import State

    Shown = Mapping[str, object]


def show(seen: Seen | None, state: State, now: float, member: Member | None = None) -> dict[str, object]:
    """Return the object; `seen` is None before the first look, and `state` is of this moment.

    `member` is what Patroni says at this moment; what it says of the whole cluster, only a look knows.
    """
    known = Seen(now) if seen is None else seen
    return {
        **_now(seen, state, now),
        **_server(known),
        "patroni": _patroni(known.member, member, now),
        **_archive(known, now),
        **_backups(known, now),
        **_window(known),
        **_drills(known, now),
        **_space(known),
        "unsent_messages": None if seen is None else seen.unsent,
        "failed_sends": None if seen is None else seen.failed_sends,
        **_lists(known),
    }


def _now(seen: Seen | None, state: State, now: float) -> Shown:
    levels = None if seen is None else [each.level for each in seen.conditions]
    errors = None if levels is None else levels.count(ERROR)
    return {
        "ok": None if errors is None else state.ready and not errors,
        "phase": state.phase or None,
        "since": None if state.since is None else iso(state.since),
        "ready": state.ready,
        "role": state.role,
        "reason": state.reason or None,
        "writes_refused": None if state.role != "primary" else state.refused_since is not None,
        "writes_refused_since": None if state.refused_since is None else iso(state.refused_since),
        "errors": errors,
        "warnings": None if levels is None else levels.count(WARNING),
        "looked_at": None if seen is None else iso(seen.at),
        "look_age_seconds": None if seen is None else _age(seen.at, now),
        "all_checked_at": None if seen is None or seen.whole_at is None else iso(seen.whole_at),
    }


def _server(seen: Seen) -> Shown:
    server = seen.server
    return {
        "version": server and server.version,
        "system_identifier": server and server.identifier,
        "timeline": server and server.timeline,
        "server_started_at": server and iso(server.started),
        "lag_bytes": server and server.lag_bytes,
        "standby_count": server and len(server.standbys),
    }


def _patroni(before: Member | None, found: Member | None, now: float) -> Shown | None:
    """Return this node's place in a cluster under Patroni; None: it has none."""
    if before is None and found is None:
        return None
    from entrypoint.failover import member

    known = before if found is None else member.newest(before, found)
    return None if known is None else member.as_json(known, now)


def _archive(seen: Seen, now: float) -> Shown:
    found = seen.archive
    return {
        "archive_failing": found and (found.failing_since is not None or found.lost),
        "archive_backlog_segments": found and found.backlog_segments,
        "archive_backlog_bytes": found and found.backlog_bytes,
        "archive_backlog_age_seconds": found and found.oldest_ready_seconds,
        "archive_given_up_at": found and found.gap_at,
        "archive_awaits_full_backup": found and found.gap_open,
        "last_archived_at": found and found.last_archived_at,
        "last_archived_age_seconds": found and _age(guest.moment(found.last_archived_at or "", now), now),
    }


def _backups(seen: Seen, now: float) -> Shown:
    last = runs.last(journal.believed(seen.runs, now))
    success = last.success
    return {
        "last_backup_at": success and iso(journal.ended(success)),
        "backup_age_seconds": success and _age(journal.ended(success), now),
        "backup_seconds": success and success.seconds,
        "backup_bytes": success and success.bytes,
        "backup_failed": last.failure is not None if seen.runs else None,
        "backup_running": last.running is not None,
        "backup_count": None if seen.backups is None else len(seen.backups),
        "next_backup_at": None if seen.next_backup is None else iso(seen.next_backup),
    }


def _window(seen: Seen) -> Shown:
    """Return which moments can be restored."""
    found = seen.window
    return {
        "restorable_from": found and iso(found.start),
        "restorable_to": found and iso(found.end),
        "restorable_gaps": found and len(found.gaps),
    }


def _drills(seen: Seen, now: float) -> Shown:
    last = drills.last(journal.believed(seen.drills, now))
    success = last.success
    return {
        "last_drill_at": success and iso(journal.ended(success)),
        "drill_age_seconds": success and _age(journal.ended(success), now),
        "drill_seconds": success and success.seconds,
        "drill_failed": last.failure is not None if seen.drills else None,
        "next_drill_at": None if seen.next_drill is None else iso(seen.next_drill),
    }


def _space(seen: Seen) -> Shown:
    """Return the free space where it is least."""
    least = min(seen.volumes, key=_share, default=None)
    times = [each.full_seconds for each in seen.volumes if each.full_seconds is not None]
    return {
        "free_percent": least and round(100 * _share(least), 1),
        "free_bytes": least and least.free,
        "full_in_seconds": min(times, default=None),
        "free_inodes_percent": least and round(min(100 - each.files_percent for each in seen.volumes), 1),
        "reserve_missing": seen.reserve_missing,
    }


def _share(volume: Volume) -> float:
    return volume.free / max(volume.size, 1)


def _lists(seen: Seen) -> Shown:
    return {
        "conditions": [{**each._asdict(), "since": iso(each.since)} for each in seen.conditions],
        "findings": [{**each._asdict(), "at": iso(each.at)} for each in seen.findings],
        "events": [{**each._asdict(), "at": iso(each.at), "since": iso(each.since)} for each in seen.events],
        "archive": seen.archive and seen.archive._asdict(),
        "following": seen.following and seen.following._asdict(),
        "standbys": [*map(dict, seen.server.standbys)] if seen.server else [],
        "backups": None if seen.backups is None else [each._asdict() for each in seen.backups],
        "window": seen.window and window.as_json(seen.window),
        "backup_runs": [_entry(each) for each in seen.runs],
        "drills": [_entry(each) for each in seen.drills],
        "volumes": [each._asdict() for each in seen.volumes],
        "filling": [
            {"volume": volume.name, **part._asdict()}
            for volume in seen.volumes
            for part in seen.filling.get(volume.folder, ())
        ],
        "helpers": [{**each._asdict(), "pid": each.pid or None} for each in seen.helpers],
    }


def _entry(entry: Entry) -> Shown:
    return {
        **entry._asdict(),
        "ended": None if entry.outcome == journal.RUNNING else iso(journal.ended(entry)),
    }


def _age(moment: float | None, now: float) -> int | None:
    return None if moment is None else max(int(now - moment), 0)
