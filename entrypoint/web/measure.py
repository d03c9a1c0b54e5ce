"""The values of the metrics, from what the watch saw; a value that is not known is left out; pure."""

from __future__ import annotations

from entrypoint import __version__
from entrypoint.backup import journal, runs
from entrypoint.drill import drills
from entrypoint.finding import ERROR, WARNING
from entrypoint.light import NamedTuple
from entrypoint.noted.seen import Sample
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from entrypoint.backup.runs import Run
    from entrypoint.noted.seen import Seen

_REPO = ("repo", "1")
"""The archive; so that a second one would not change the name of the first."""
_KINDS = ("full", "incremental")
_MOST_PARTS = 20
"""Parts of a filesystem, the largest: there may be thousands of databases."""


def samples(seen: Seen) -> Iterator[Sample]:
    """Return all values that the last look knows."""
    if seen.server is not None:
        yield from seen.server.samples
        yield Sample("nixpg_server_recovered_timestamp_seconds", (), seen.server.recovered)
        yield from _known({"nixpg_replication_lag_bytes": seen.server.lag_bytes})
    yield _info(seen)
    yield from _archive(seen)
    yield from _backups(seen)
    yield from _drills(seen)
    yield from _watch(seen)
    for volume in seen.volumes:
        yield from _known(
            {
                "nixpg_volume_size_bytes": volume.size,
                "nixpg_volume_free_bytes": volume.free,
                "nixpg_volume_full_seconds": volume.full_seconds,
                "nixpg_volume_inodes": volume.files,
                "nixpg_volume_free_inodes": volume.free_files,
            },
            ("volume", volume.name),
        )
        for part in seen.filling.get(volume.folder, ())[:_MOST_PARTS]:
            labels = ("volume", volume.name), ("part", part.kind), ("name", part.name)
            yield Sample("nixpg_volume_part_bytes", labels, float(part.bytes))
    yield from _known({"nixpg_reserve_missing": seen.reserve_missing})


def _known(values: Mapping[str, float | None], *labels: tuple[str, str]) -> Iterator[Sample]:
    for name, value in values.items():
        if value is not None:
            yield Sample(name, labels, float(value))


def _info(seen: Seen) -> Sample:
    server, archive = seen.server, seen.archive
    labels = {
        "version": __version__,
        "postgres": server.version if server else "",
        "archiver": archive.tool if archive else "",
        "archiver_version": seen.tool_version,
        "timeline": str(server.timeline) if server else "",
        "role": server.role if server else "",
    }
    return Sample("nixpg_info", tuple(labels.items()), 1.0)


def _archive(seen: Seen) -> Iterator[Sample]:
    state = seen.archive
    if state is None:
        return
    waits = state.oldest_ready_seconds
    yield from _known(
        {
            "nixpg_archive_ready_segments": state.backlog_segments,
            "nixpg_archive_ready_bytes": state.backlog_bytes,
            "nixpg_archive_oldest_ready_timestamp_seconds": None if waits is None else seen.at - waits,
            "nixpg_archive_failing": state.failing_since is not None or state.lost,
            "nixpg_archive_last_success_timestamp_seconds": guest.moment(
                state.last_archived_at or "", seen.at
            ),
            "nixpg_archive_given_up": state.gaps,
            "nixpg_archive_given_up_last_timestamp_seconds": guest.moment(state.gap_at or "", seen.at),
            "nixpg_archive_given_up_open": state.gap_open,
        },
        _REPO,
    )
    yield Sample("cnpg_collector_pg_wal_archive_status", (("value", "ready"),), float(state.backlog_segments))


def _backups(seen: Seen) -> Iterator[Sample]:
    if seen.archive is None:
        return
    believed = journal.believed(seen.runs, seen.at)
    last = runs.last(believed)
    failed = [each for each in believed if each.outcome in (journal.FAILED, journal.INTERRUPTED)]
    yield from _known(
        {
            "nixpg_backup_last_failure_timestamp_seconds": journal.ended(failed[-1]) if failed else None,
            "nixpg_verify_last_timestamp_seconds": journal.ended(last.verified) if last.verified else None,
            "nixpg_verify_last_ok": not last.verified.holes and not last.verified.broken
            if last.verified
            else None,
            "nixpg_archive_gaps": len(last.verified.holes) if last.verified else None,
            "nixpg_restorable_from_timestamp_seconds": seen.window and seen.window.start,
            "nixpg_restorable_to_timestamp_seconds": seen.window and seen.window.end,
        },
        _REPO,
    )
    yield from _known(
        {
            "nixpg_backup_running": last.running is not None,
            "nixpg_backup_next_timestamp_seconds": seen.next_backup,
        }
    )
    for kind in _KINDS:
        made = max(_made(seen, believed, kind), default=None, key=lambda each: each.at)
        kept = None if seen.backups is None else sum(each.kind == kind for each in seen.backups)
        yield from _known(
            {
                "nixpg_backup_last_success_timestamp_seconds": made and made.at,
                "nixpg_backup_last_duration_seconds": made and made.seconds,
                "nixpg_backup_last_size_bytes": made and made.bytes,
                "nixpg_backups": kept,
            },
            ("type", kind),
            _REPO,
        )


class _Made(NamedTuple):
    """A successful backup."""

    at: float
    """When it ended."""
    seconds: float
    bytes: int
    """Size in the archive."""


def _made(seen: Seen, believed: Sequence[Run], kind: str) -> Iterator[_Made]:
    """Yield the successful backups of a kind; after a restore, only the archive knows the earlier ones."""
    for run in believed:
        if run.succeeded and run.kind == kind:
            yield _Made(journal.ended(run), run.seconds, run.bytes)
    for each in seen.backups or ():
        began, ended = guest.moment(each.started, seen.at), guest.moment(each.finished, seen.at)
        if began is not None and ended is not None and each.kind == kind:
            yield _Made(ended, ended - began, each.stored_bytes)


def _drills(seen: Seen) -> Iterator[Sample]:
    believed = journal.believed(seen.drills, seen.at)
    success = drills.last(believed).success
    # A drill that was stopped or killed proves nothing.
    proved = [each for each in believed if each.outcome in (journal.OK, journal.FAILED)]
    yield from _known(
        {
            "nixpg_drill_last_success_timestamp_seconds": journal.ended(success) if success else None,
            "nixpg_drill_last_duration_seconds": success.seconds if success else None,
            "nixpg_drill_next_timestamp_seconds": seen.next_drill,
            "nixpg_drill_last_ok": proved[-1].outcome == journal.OK if proved else None,
        }
    )


def _watch(seen: Seen) -> Iterator[Sample]:
    yield from _known(
        {
            "nixpg_doctor_last_timestamp_seconds": seen.at,
            "nixpg_notify_waiting": seen.unsent,
            "nixpg_notify_failures_total": seen.failed_sends,
        }
    )
    for level in (WARNING, ERROR):
        count = sum(each.level == level for each in seen.conditions)
        yield Sample("nixpg_doctor_findings", (("level", level),), float(count))
    for each in seen.conditions:
        labels = ("check", each.check), ("level", each.level)
        yield Sample("nixpg_condition_since_timestamp_seconds", labels, each.since)
    for helper in seen.helpers:
        yield Sample("nixpg_helper_failures", (("helper", helper.role),), float(helper.failures))
