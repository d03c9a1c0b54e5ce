"""Verifies an archive: finds missing WAL, and backups that cannot be restored."""

from __future__ import annotations

from collections.abc import Sequence

from entrypoint import log
from entrypoint.archive import given_up, known_gaps
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup, Check, Verification
from entrypoint.backup import contents, history, retention, window
from entrypoint.backup.catalog import LONG, decide, known_broken, own_backups
from entrypoint.backup.reading import Tally
from entrypoint.backup.runs import Run
from entrypoint.errors import Failure
from entrypoint.light import NamedTuple
from entrypoint.postgres import segments
from entrypoint.server import control_file
from entrypoint.server.data_folder import live_postmaster


class Verified(NamedTuple):
    """What a verification found, and how much it read."""

    found: Verification
    tally: Tally | None = None


def verify(opened: OpenedArchive, backups: Sequence[Backup], *, made: str | None = None) -> Verified:
    """Return what is wrong with this cluster's archive, from the tool's output, not from its exit code.

    A gap that was made on purpose is not wrong: archive/gap.py has recorded it.

    After the backup `made`, only a part of the archive is read, see `reading`. Raises Failure if the archive
    cannot be verified.
    """
    if not backups:
        return Verified(Verification())
    read = None
    if opened.settings.backup.contents:
        listed = {each.name for each in opened.list_backups()}
        read = contents.read(opened, listed, made=made, seconds=LONG)
    what = opened.server
    found = live_postmaster(what.data_folder)
    live = found is not None and found.status == "ready"
    control = control_file.read_control(opened.context)
    timeline = int(control.get("Latest checkpoint's TimeLineID") or backups[-1].timeline)
    if not live:
        timeline = max(each.timeline for each in backups)
    root = decide(opened.context, backups, known_broken(opened.context)).root or backups[0]
    check = Check(
        backups=backups,
        root=root,
        timeline=timeline,
        forks=segments.parse_history(control_file.history(opened.context, timeline)),
        segment_bytes=what.segment_bytes,
        live=live,
        damaged=read.damaged if read else {},
    )
    answers = [opened.ask(command, seconds=LONG) for command in opened.tool.verify(what, check)]
    try:
        seen = opened.tool.parse_verification(check, answers)
        recorded = known_gaps.here(opened.context, opened.url)
        seen = seen._replace(holes=tuple(given_up.unrecorded(seen.holes, recorded)))
        gone = dict.fromkeys(read.gone, "the archive has no object of it") if read else {}
        return Verified(seen._replace(broken=gone | dict(seen.broken)), read.tally if read else None)
    except ValueError as error:
        raise opened.not_verified(error) from error


def verified(opened: OpenedArchive, run: Run) -> Run:
    """Verify the archive after a backup; log the result and return the run with it."""
    try:
        backups = own_backups(opened)
        found, read = verify(opened, backups, made=run.name)
    except Failure as failure:
        log.problem(failure.problems[0])
        return run._replace(words="not verified: " + failure.problems[0].what)
    report(found)
    history.write_coverage(opened.data_folder, window.cover(opened.url, backups, found))
    if read is not None:
        contents.say(read, opened.settings.backup.verify_days, whole=False)
        run = run._replace(read_files=read.files, read_bytes=read.bytes, archive_bytes=read.all_bytes)
    words = run.words if found.sound else "; ".join(wrong(found))
    return run._replace(verified=True, holes=found.holes, broken=dict(found.broken), words=words)


def wrong(found: Verification) -> list[str]:
    """Return the faults that a verification found, one line each."""
    lines = [
        f"missing from the archive: {first}" + (f" to {last}" if last != first else "")
        for first, last in found.holes
    ]
    return lines + [f"backup {name} cannot be restored: {reason}" for name, reason in found.broken.items()]


def report(found: Verification) -> None:
    """Log the faults that a verification found."""
    for line in wrong(found._replace(broken={})):
        log.warning(
            line,
            "no restore gets past a missing segment; a newer backup does not need it: entrypoint backup push",
            "schedule-backups",
        )
    for line in wrong(found._replace(holes=())):
        log.warning(
            line,
            "backups that build on it cannot be restored either; a newer full backup does not need it: "
            "entrypoint backup push",
            "schedule-backups",
        )


def hole_is_open(opened: OpenedArchive, run: Run) -> bool:
    """Return whether no full backup that restores has begun since the last hole."""
    if not run.holes and not run.broken:
        return False
    backups = own_backups(opened)
    new = [each for each in backups if each.name == run.name]
    # From 2.55 on, pgBackRest calls an incremental backup valid even if its parent is broken.
    unsound = retention.unsound(backups, run.broken)
    sound = all(each.name not in unsound for each in new)
    if not run.holes and sound:
        return False
    good = [each for each in backups if each.kind == "full" and each.name not in unsound]
    if not good or not sound:
        return True
    size = opened.server.segment_bytes
    first = segments.number(segments.of_lsn(good[-1].timeline, good[-1].start_lsn, size), size)
    return any(segments.number(last, size) >= first for _, last in run.holes)
