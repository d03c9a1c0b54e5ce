"""What is wrong with an archive: missing WAL, and backups that do not restore."""

from __future__ import annotations

from collections.abc import Sequence

from entrypoint import log
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup, Check, Verification
from entrypoint.backup import contents, retention
from entrypoint.backup.catalog import LONG, decide, known_broken, own_backups
from entrypoint.backup.reading import Tally
from entrypoint.backup.runs import Run
from entrypoint.errors import Failure
from entrypoint.light import NamedTuple
from entrypoint.postgres import segments
from entrypoint.server import control_file
from entrypoint.server.data_folder import live_postmaster


class Verified(NamedTuple):
    """What a verification has found, and how much it has read."""

    found: Verification
    tally: Tally | None = None


def verify(opened: OpenedArchive, backups: Sequence[Backup], *, made: str | None = None) -> Verified:
    """Return what is wrong with the archive of this cluster, by the tool's words and not by its exit code.

    After the backup `made` only a part of it is read, see `reading`. Raises Failure where it cannot be told.
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
        gone = dict.fromkeys(read.gone, "nothing of it is in the archive") if read else {}
        return Verified(seen._replace(broken=gone | dict(seen.broken)), read.tally if read else None)
    except ValueError as error:
        raise opened.not_verified(error) from error


def verified(opened: OpenedArchive, run: Run) -> Run:
    """Verify after a backup; return the run with what was found, which is also said."""
    try:
        found, read = verify(opened, own_backups(opened), made=run.name)
    except Failure as failure:
        log.problem(failure.problems[0])
        return run._replace(words="not verified: " + failure.problems[0].what)
    report(found)
    if read is not None:
        contents.say(read, opened.settings.backup.verify_days, whole=False)
        run = run._replace(read_files=read.files, read_bytes=read.bytes, archive_bytes=read.all_bytes)
    words = run.words if found.sound else "; ".join(wrong(found))
    return run._replace(verified=True, holes=found.holes, broken=dict(found.broken), words=words)


def wrong(found: Verification) -> list[str]:
    """Return what a verification found, a line each."""
    lines = [
        f"missing in the archive: {first}" + (f" to {last}" if last != first else "")
        for first, last in found.holes
    ]
    return lines + [f"backup {name} does not restore: {reason}" for name, reason in found.broken.items()]


def report(found: Verification) -> None:
    """Say what is wrong."""
    for line in wrong(found._replace(broken={})):
        log.warning(line, "no restore gets past a missing segment; a newer backup does not need it")
    for line in wrong(found._replace(holes=())):
        log.warning(line, "a newer full backup does not need it; what builds on it does not restore either")


def hole_is_open(opened: OpenedArchive, run: Run) -> bool:
    """Tell whether no full backup that restores was begun after the last hole."""
    if not run.holes and not run.broken:
        return False
    backups = own_backups(opened)
    new = [each for each in backups if each.name == run.name]
    # pgBackRest from 2.55 on calls an incremental backup valid although what it builds on is broken.
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
