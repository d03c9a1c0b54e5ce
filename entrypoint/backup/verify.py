"""What is wrong with an archive: missing WAL, and backups that do not restore."""

from __future__ import annotations

from collections.abc import Sequence

from entrypoint import log
from entrypoint.archive import calls
from entrypoint.archive.calls import describe_server
from entrypoint.archivers.terms import Backup, Check, Verification
from entrypoint.backup import contents, retention
from entrypoint.backup.catalog import LONG, decide, known_broken, own_backups
from entrypoint.backup.reading import Tally
from entrypoint.backup.runs import Run
from entrypoint.errors import Failure
from entrypoint.light import NamedTuple
from entrypoint.postgres import segments
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.server.data_folder import live_postmaster
from entrypoint.settings.archiving import Archive
from entrypoint.system import files


def _first(path: str) -> str:
    try:
        return files.read_text(path).strip()
    except OSError:
        return ""


class Verified(NamedTuple):
    """What a verification has found, and how much it has read."""

    found: Verification
    tally: Tally | None = None


def verify(
    context: Context, archive: Archive, backups: Sequence[Backup], *, made: str | None = None
) -> Verified:
    """Return what is wrong with the archive of this cluster, by the tool's words and not by its exit code.

    After the backup `made` only a part of it is read, see `reading`. Raises Failure where it cannot be told.
    """
    if not backups:
        return Verified(Verification())
    read = None
    if context.settings.backup.contents:
        listed = {each.name for each in calls.list_backups(context, archive)}
        read = contents.read(context, archive, listed, made=made, seconds=LONG)
    what = describe_server(context)
    found = live_postmaster(what.data_folder)
    live = found is not None and found.status == "ready"
    control = control_file.read_control(context)
    timeline = int(control.get("Latest checkpoint's TimeLineID") or backups[-1].timeline)
    if not live:
        timeline = max(each.timeline for each in backups)
    root = decide(context, backups, known_broken(context)).root or backups[0]
    check = Check(
        backups=backups,
        root=root,
        timeline=timeline,
        forks=segments.parse_history(_first(f"{what.data_folder}/pg_wal/{timeline:08X}.history")),
        segment_bytes=what.segment_bytes,
        live=live,
        damaged=read.damaged if read else {},
    )
    answers = [calls.ask(context, command, seconds=LONG) for command in archive.tool.verify(what, check)]
    try:
        seen = archive.tool.parse_verification(check, answers)
        gone = dict.fromkeys(read.gone, "nothing of it is in the archive") if read else {}
        return Verified(seen._replace(broken=gone | dict(seen.broken)), read.tally if read else None)
    except ValueError as error:
        raise calls.not_verified(archive, error) from error


def verified(context: Context, archive: Archive, run: Run) -> Run:
    """Verify after a backup; return the run with what was found, which is also said."""
    try:
        found, read = verify(context, archive, own_backups(context, archive), made=run.name)
    except Failure as failure:
        log.problem(failure.problems[0])
        return run._replace(words="not verified: " + failure.problems[0].what)
    report(found)
    if read is not None:
        contents.say(read, context.settings.backup.verify_days, whole=False)
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


def hole_is_open(context: Context, archive: Archive, run: Run) -> bool:
    """Tell whether no full backup that restores was begun after the last hole."""
    if not run.holes and not run.broken:
        return False
    backups = own_backups(context, archive)
    new = [each for each in backups if each.name == run.name]
    # pgBackRest from 2.55 on calls an incremental backup valid although what it builds on is broken.
    unsound = retention.unsound(backups, run.broken)
    sound = all(each.name not in unsound for each in new)
    if not run.holes and sound:
        return False
    good = [each for each in backups if each.kind == "full" and each.name not in unsound]
    if not good or not sound:
        return True
    size = describe_server(context).segment_bytes
    first = segments.number(segments.of_lsn(good[-1].timeline, good[-1].start_lsn, size), size)
    return any(segments.number(last, size) >= first for _, last in run.holes)
