"""Base backups: taken one at a time, verified, and removed when they are too old.

Used by the commands of people and by the schedule. `push` is the table of contents.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from entrypoint import drills, exits, guest, log, retention, runs, segments, shares
from entrypoint.archivers.terms import Backup, Check, Command, Verification, brief
from entrypoint.effects import (
    calls,
    capacity,
    claim,
    contents,
    control_file,
    files,
    fork,
    history,
    progress,
    sessions,
    status,
)
from entrypoint.effects.calls import describe_server
from entrypoint.effects.context import Context
from entrypoint.effects.data_folder import live_postmaster, read_postmaster
from entrypoint.effects.locks import Alone
from entrypoint.effects.words import Words
from entrypoint.errors import Failure, Problem, Stopped
from entrypoint.light import NamedTuple
from entrypoint.reading import Tally
from entrypoint.retention import Decision
from entrypoint.runs import Run
from entrypoint.schedule import ASK_AGAIN, Schedule, at_once, due
from entrypoint.settings import Archive
from entrypoint.units import spell

SCHEDULE = "schedule"
COMMAND = "command"
HOLE = "hole"
RESTORE = "restore"
"""Why a backup is taken."""

LOCK = "backup.lock"
"""Below the runtime folder. The archiver inherits it, so that it lasts as long as anything still works."""

_VERIFY = 6 * 3600
"""Seconds for the reading of a verification, and for one call of it."""
_TORN = 86400
"""Seconds after which a half written file is one that nobody writes any more."""
_GRACE = 3.0
"""Seconds that the archiver gets at a stop; PID 1 gives us five, and the run is to be noted."""
_LOOK = 300
"""Seconds after which it is looked again, at the latest, whether the archive is what it was."""
_SOON = 60
"""Seconds until the schedule looks again when a backup could not be taken now."""


class Busy(Exception):
    """Somebody else holds the lock."""


@contextmanager
def alone(context: Context, what: str, *, wait: bool) -> Iterator[int]:
    """Hold the lock on backups during a block, which gets its descriptor.

    Raises Busy without `wait`; who waits is told once for whom.
    """
    path = f"{context.runtime_folder}/{LOCK}"
    told = False

    def wait_or_raise() -> None:
        nonlocal told
        who = files.read_text(path).strip() or "another backup"
        if not wait:
            raise Busy(who)
        if not told:
            log.info(f"waiting for its end: {who}")
            told = True
        context.children.pause(0.2)

    with Alone(path, wait_or_raise) as descriptor:
        os.truncate(descriptor, 0)
        with suppress(OSError):  # a full /run: the lock holds all the same
            os.pwrite(descriptor, f"{what} since {_now().isoformat()} (pid {os.getpid()})\n".encode(), 0)
        yield descriptor


def obstacle(context: Context, archive: Archive) -> Problem | None:
    """Return why no backup can be taken now."""
    data = context.settings.data_folder
    found = live_postmaster(data)
    if found is None or not found.status:
        return Problem(
            f"no server accepts connections on {data}, so nothing can be backed up",
            "run this in the server's container: docker exec CONTAINER entrypoint backup push",
        )
    if status.in_recovery(data) or found.status == "standby":
        return Problem(
            "the server is in recovery: a backup of it would need WAL that another server archives",
            "take backups of the primary, or come again after the promotion",
        )
    if found.status != "ready":
        return Problem(f"the server is {found.status}", "come again when it is ready")
    refused = fork.refusal(data)
    if refused is not None:
        return refused
    failing, _ = calls.outage(context.runtime_folder, data)
    if not failing:
        return None
    return Problem(
        f"archiving to {archive.storage.url} fails, so a backup would wait for its WAL for ever: "
        f"{failing[0] or 'see the log'}",
        "mend the archive first (entrypoint doctor); the backlog is then archived by itself",
        exits.ARCHIVE_REFUSED,
    )


def push(context: Context, archive: Archive, *, incremental: bool, why: str, lock: int) -> Run:
    """Take a backup, verify the archive, mend a hole by a new full backup, and remove what is too old.

    Raises Failure where it cannot be taken or fails, after that was noted.
    """
    problem = obstacle(context, archive)
    if problem is not None:
        raise Failure(problem)
    unknown = fork.objection(context.settings.data_folder) is not None
    if unknown or os.path.exists(f"{context.runtime_folder}/{calls.PREPARE}"):
        claim.prepare(context, archive, must_work=True)
    if fork.awaits_backup(context.settings.data_folder):
        if incremental:
            log.info("taking a full backup: none is on this timeline since the restore")
        # The newest one in the archive may be of a history that is not this cluster's.
        incremental = False
    run = _push(context, archive, incremental=incremental, why=why, lock=lock)
    if run.verified and _hole_is_open(context, archive, run):
        log.warning("no full backup is newer than what is missing in the archive: taking a new one")
        run = _push(context, archive, incremental=False, why=HOLE, lock=lock)
    if context.settings.backup.retains:
        try:
            expire(context, archive, dry_run=False)
        except Failure as failure:
            # The backup itself is good, and what is too much is only a matter of space.
            for each in failure.problems:
                log.problem(each)
    return run


def _push(context: Context, archive: Archive, *, incremental: bool, why: str, lock: int) -> Run:
    data = context.settings.data_folder
    before = own_backups(context, archive)
    parent = choose_parent(context, archive, before) if incremental else None
    if incremental and parent is None:
        log.info("no backup is there that an incremental one could build on: taking a full one")
    run = Run(
        kind="full" if parent is None else "incremental",
        started=_now().isoformat(),
        why=why,
        url=archive.storage.url,
    )
    history.begin(data, run)
    began = time.monotonic()
    try:
        log.info(f"taking {'a full' if parent is None else 'an incremental'} backup to {archive.storage.url}")
        run = _take(context, archive, run, parent=parent, before=before, lock=lock)
        run = run._replace(seconds=round(time.monotonic() - began, 1))
        log.info(f"backup {run.name} ({run.kind}): {spell(run.bytes)} stored in {run.seconds:.0f} s")
        run = _verified(context, archive, run)
    except BaseException as error:
        outcome, words = runs.ended_by(error)
        run = run._replace(outcome=outcome, words=words)
        raise
    finally:
        history.end(data, run._replace(seconds=run.seconds or round(time.monotonic() - began, 1)))
    return run


def _take(
    context: Context,
    archive: Archive,
    run: Run,
    *,
    parent: Backup | None,
    before: Sequence[Backup],
    lock: int,
) -> Run:
    """Run the archiver and find the new backup in the archive."""
    wanted = context.settings.backup
    tool = archive.tool
    if wanted.rate_limit and (told := tool.capabilities.no_rate) is not None:
        log.warning(told.what, told.mend)
    be_modest()
    resources = shares.backup(capacity.processors(), capacity.memory_limit(), wanted.rate_limit)
    what = describe_server(context)._replace(database=sessions.database(context))
    command = tool.push(what, parent, resources)
    shown = progress.Progress("backup", progress.size_of(context.settings.data_folder), lambda: 0)
    code, words = run_tool(
        context, command, lock, seconds=wanted.timeout, shown=shown, counter=progress.read_by
    )
    if code:
        raise Failure(
            Problem(
                f"{tool.name} could not take the backup (exit code {code}):\n{words}",
                "see its own words; entrypoint doctor looks for the reason",
                exits.ARCHIVE_REFUSED,
            )
        )
    known = {each.name for each in before}
    new = [each for each in own_backups(context, archive) if each.name not in known]
    if not new:
        raise Failure(
            Problem(
                f"{tool.name} ended well, but the archive lists no new backup:\n{words}",
                "look at the archive: entrypoint backup list, entrypoint doctor",
                exits.ARCHIVE_REFUSED,
            )
        )
    made = new[-1]
    fork.end(context, made.kind, made.timeline)
    if made.kind != run.kind:
        log.warning(f"{tool.name} took a {made.kind} backup instead of the {run.kind} one that was asked for")
    outcome = runs.OK
    if made.damaged:
        outcome = runs.DAMAGED
        words = "the database has damaged pages, which are in this backup as well"
        log.warning(
            f"{words}: {made.name}",
            "older backups stay; find the pages (pg_amcheck, or the log), and restore from before the damage",
        )
    return run._replace(
        kind=made.kind, name=made.name, bytes=made.stored_bytes, outcome=outcome, words=words.split("\n")[-1]
    )


def run_tool(
    context: Context,
    command: Command,
    lock: int,
    *,
    seconds: float,
    shown: progress.Progress,
    counter: Callable[[int], Callable[[], int]],
) -> tuple[int, str]:
    """Run the archiver under its deadline, with progress; return its exit code and its last words.

    `counter` gives what counts the progress, by the archiver's pid.
    """
    said = Words()
    deadline = time.monotonic() + seconds
    late = ""
    try:
        pid = context.children.spawn(
            command.argv,
            calls.environment(context, command),
            descriptors={1: said.writing, 2: said.writing, lock: lock},
        )
        said.begin()
        shown.count = counter(pid)
        while True:
            left = deadline - time.monotonic()
            try:
                code = context.children.wait(pid, seconds=max(0, min(left, shown.step)), words=said)
                break
            except TimeoutError:
                if left <= 0:
                    context.children.end_group(pid, words=said)
                    code = exits.SIGNAL_BASE
                    late = f"\nit was ended after {seconds:.0f} seconds (BACKUP_TIMEOUT)"
                    break
            shown.look()
    except Stopped:
        context.children.end_group(pid, _GRACE, words=said)
        raise
    finally:
        shown.close()
        text = said.end()
    words = [line for line in brief(text + late).splitlines() if line.strip()]
    return code, "\n".join(words[-8:] if code else words[-1:])


def be_modest() -> None:
    """Leave the processor and the disk to the server; children inherit it."""
    import psutil

    me = psutil.Process()
    try:
        me.nice(max(me.nice(), 10))
        me.ionice(psutil.IOPRIO_CLASS_BE, 7)
    except (psutil.Error, OSError) as error:
        log.debug(f"the priority stays as it is: {error}")


def _first(path: str) -> str:
    try:
        return files.read_text(path).strip()
    except OSError:
        return ""


def own_backups(context: Context, archive: Archive) -> list[Backup]:
    """Return this cluster's backups, oldest first; all of them where there is no cluster here."""
    found = calls.list_backups(context, archive)
    identifier = control_file.read_control(context).get("Database system identifier")
    if identifier is None:
        return found
    return [each for each in found if each.system_identifier in (None, identifier)]


def known_broken(context: Context) -> dict[str, str]:
    """Return the backups that the last verification found broken, and why."""
    found = history.last_runs(context.settings.data_folder).verified
    return dict(found.broken) if found else {}


def choose_parent(context: Context, archive: Archive, backups: Sequence[Backup]) -> Backup | None:
    """Return what the next incremental backup builds on."""
    return archive.tool.parent(backups, retention.unsound(backups, known_broken(context)))


def decide(context: Context, backups: Sequence[Backup], broken: dict[str, str]) -> Decision:
    """Return what retention would do now."""
    wanted = context.settings.backup
    return retention.decide(
        backups, full=wanted.retain_full, days=wanted.retain_days, now=_now(), broken=broken
    )


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
        read = contents.read(context, archive, listed, made=made, seconds=_VERIFY)
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
    answers = [calls.ask(context, command, seconds=_VERIFY) for command in archive.tool.verify(what, check)]
    try:
        seen = archive.tool.parse_verification(check, answers)
        gone = dict.fromkeys(read.gone, "nothing of it is in the archive") if read else {}
        return Verified(seen._replace(broken=gone | dict(seen.broken)), read.tally if read else None)
    except ValueError as error:
        raise calls.not_verified(archive, error) from error


def _verified(context: Context, archive: Archive, run: Run) -> Run:
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


def _hole_is_open(context: Context, archive: Archive, run: Run) -> bool:
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


class Expired(NamedTuple):
    """What retention has removed, or would remove, and what stays."""

    decision: Decision
    segments: tuple[str, ...]
    """Names of WAL segments; of ranges the first and the last."""


def _against_removal(data_folder: str) -> Problem | None:
    if status.in_recovery(data_folder):
        return Problem(
            "this server is in recovery, and the archive belongs to its primary: nothing is removed",
            "remove old backups from the primary, or here after the promotion",
        )
    return fork.objection(data_folder)


def expire(context: Context, archive: Archive, *, dry_run: bool) -> Expired:
    """Remove what retention lets go, each step only after a dry run has named nothing else.

    Raises Failure where the tool would remove something that was not chosen.
    """
    problem = _against_removal(context.settings.data_folder)
    if problem is not None and not dry_run:
        raise Failure(problem)
    tool = archive.tool
    what = describe_server(context)
    backups = own_backups(context, archive)
    decision = decide(context, backups, known_broken(context))
    chosen = {each.name for each in decision.remove}
    for each in retention.roots(decision.remove):
        named = tool.parse_removal(_told(context, archive, tool.expire(what, each.name, dry_run=True)))
        if each.name not in named.backups or not named.backups <= chosen or named.segments:
            raise _other(archive, each.name, named.backups - chosen, ())
        if not dry_run:
            _told(context, archive, tool.expire(what, each.name, dry_run=False))
            log.info(f"removed {', '.join(sorted(named.backups))}")
    return Expired(decision, _expire_wal(context, archive, backups, decision, dry_run=dry_run))


def _expire_wal(
    context: Context, archive: Archive, backups: Sequence[Backup], decision: Decision, *, dry_run: bool
) -> tuple[str, ...]:
    """Remove the WAL that no backup needs any more; return the names of its segments."""
    tool, what = archive.tool, describe_server(context)
    if decision.root is None or decision.root.kind != "full":
        return ()
    early = [each.name for each, why in decision.keep if why == retention.AHEAD]
    if early:
        # Where its WAL stands among that of the others is not told by its date.
        log.warning(
            f"no WAL is removed, since backups are dated in the future: {', '.join(early)}",
            "set the clock right (NTP); it is removed when that date has come, or they are removed by hand",
        )
        return ()
    chosen = {each.name for each in decision.remove}
    left = [each for each in backups if each.name not in chosen]
    command = tool.expire_wal(what, decision.root, backups if dry_run else left, dry_run=True)
    named = tool.parse_removal(_told(context, archive, command))
    needed = [name for name in named.segments if _is_needed(name, decision, what.segment_bytes)]
    # Backups that are not in the list are remains of killed ones, and may go.
    kept = named.backups & {each.name for each in left}
    if kept or needed:
        raise _other(archive, f"WAL before {decision.root.name}", kept, needed)
    if not dry_run:
        _told(context, archive, tool.expire_wal(what, decision.root, left, dry_run=False))
        if named.segments:
            log.info(f"removed WAL that no backup needs: {named.segments[0]} to {named.segments[-1]}")
    if not dry_run:
        _remove_torn(archive)
        _remove_remains(context, archive, {each.name for each in left})
    return named.segments


def _remove_remains(context: Context, archive: Archive, listed: Collection[str]) -> None:
    """Remove what killed backups have left; none of it is in the list of backups."""
    what = describe_server(context)
    leaving = archive.tool.capabilities.leaving
    if leaving is None:
        return
    answer = calls.ask(context, leaving.expire_remains(what, dry_run=True), seconds=_VERIFY)
    named = archive.tool.parse_removal(f"{answer.stdout}\n{answer.stderr}")
    if answer.code or not named.backups:
        # wal-g gives up where the oldest backup is an increment on a permanent one; remains only take space.
        return
    if named.segments or not named.backups.isdisjoint(listed):
        raise _other(archive, "remains of killed backups", named.backups & set(listed), named.segments)
    _told(context, archive, leaving.expire_remains(what, dry_run=False))
    log.info(f"removed what is left of killed backups: {', '.join(sorted(named.backups))}")


def _remove_torn(archive: Archive) -> None:
    """Remove files that a killed call left half written, once nobody has written to them for a day."""
    torn, folder = archive.tool.capabilities.torn, archive.storage.folder
    if torn is None or folder is None:
        return
    count = 0
    for place, _, names in os.walk(folder):
        for path in (f"{place}/{name}" for name in names if torn.fullmatch(name)):
            try:
                if time.time() - os.lstat(path).st_mtime > _TORN:
                    os.unlink(path)
                    count += 1
            except OSError:
                continue
    if count:
        log.info(f"removed {count} files that were never written to their end")


def _is_needed(segment: str, decision: Decision, size: int) -> bool:
    """Tell whether a kept backup needs a segment: since the oldest of the window all, of others their own."""
    if len(segment) != 24 or decision.root is None:
        return False
    count, timeline = segments.number(segment, size), int(segment[:8], 16)
    for each, _ in decision.keep:
        first = segments.number(segments.of_lsn(each.timeline, each.start_lsn, size), size)
        last = segments.number(segments.of_lsn(each.timeline, each.stop_lsn, size, end=True), size)
        if each.timeline == timeline and first <= count <= last:
            return True
        if each == decision.root and timeline >= each.timeline and count >= first:
            return True
    return False


def _other(archive: Archive, what: str, names: Collection[str], needed: Sequence[str]) -> Failure:
    others = ", ".join([*sorted(names), *needed][:10]) or "nothing"
    return Failure(
        Problem(
            f"{archive.tool.name} was asked what it would remove for {what}, and named {others} beside it or "
            "instead; nothing more is removed",
            "please report this, with the output of entrypoint backup list --json",
            exits.ARCHIVE_REFUSED,
        )
    )


def _told(context: Context, archive: Archive, command: Command) -> str:
    """Run a command of removal and return its words."""
    answer = calls.ask(context, command, seconds=_VERIFY)
    text = f"{answer.stdout}\n{answer.stderr}"
    if answer.code:
        raise Failure(
            Problem(
                f"{archive.tool.name} could not remove old backups (exit code {answer.code}):\n"
                + brief("\n".join(text.strip().splitlines()[-8:])),
                "check that the storage can be reached; the next run tries again",
                exits.ARCHIVE_REFUSED,
            )
        )
    return text


def scheduled(context: Context, archive: Archive) -> int | None:
    """Take the backup that the schedule or a restore asks for, if one is due.

    Return the seconds until the next look, None for never.
    """
    data = context.settings.data_folder
    while not is_up(data):
        context.children.pause(0.5)
    if status.in_recovery(data):
        return _SOON
    try:
        when = _due(context, archive)
    except Failure:
        return _SOON  # the storage is away, which is told elsewhere
    if when is None:
        return None
    least = 1
    if when <= time.time():
        if obstacle(context, archive) is not None:
            return _SOON  # archiving fails, which is told elsewhere
        try:
            why = RESTORE if fork.awaits_backup(data) else SCHEDULE
            with alone(context, f"the backup of a {why}", wait=False) as lock:
                kind = why == SCHEDULE and next_is_incremental(
                    context, archive, own_backups(context, archive)
                )
                push(context, archive, incremental=kind, why=why, lock=lock)
        except Busy as busy:
            log.info(f"the backup of a {why} waits for its turn: {busy}")
            return _SOON
        except Failure as failure:
            for problem in failure.problems:
                log.problem(problem)
            least = _SOON
        when = _due(context, archive)
    return None if when is None else max(least, min(_LOOK, int(when - time.time()) + 1))


def is_up(data_folder: str) -> bool:
    """Tell whether the server accepts connections."""
    found = read_postmaster(data_folder)
    return found is not None and found.status in ("ready", "standby")


def _due(context: Context, archive: Archive) -> float | None:
    """Return when the next backup is due, in seconds since 1970; None: never."""
    wanted = context.settings.backup
    data = context.settings.data_folder
    now = time.time()
    # What a clock that was ahead has noted does not tell when anything is due.
    found = [
        each for each in history.settled(history.read(data)) if guest.moment(each.started, now) is not None
    ]
    awaited = fork.awaits_backup_since(data)
    if awaited is not None:
        # What is noted from before is of the original, the run of the very backup that was restored too.
        found = [each for each in found if _seconds(each.started) >= awaited]
    failed = runs.last(found).failure
    failed_at = _seconds(failed.started) + failed.seconds if failed else None
    if awaited is not None:
        own_backups(context, archive)  # raises Failure where the storage is away
        return at_once(now, failed_at, runs.failures_in_a_row(found))
    if wanted.schedule is None:
        return None
    if fork.refusal(data) is not None:
        return now + ASK_AGAIN
    schedule = _schedule(context, wanted.schedule)
    good = [each for each in found if each.succeeded and each.url == archive.storage.url]
    if good and _is_emptied(context, archive):
        good = []
    if good:
        ended = [_seconds(good[-1].started) + good[-1].seconds]
    else:
        ended = _moments(own_backups(context, archive), now)[-1:]
    return due(
        schedule,
        now,
        ended[0] if ended else None,
        failed_at,
        runs.failures_in_a_row(found),
    )


def _is_emptied(context: Context, archive: Archive) -> bool:
    """Tell whether the archive holds no backup any more, and claim it anew where it has lost its mark, too.

    While the storage is away nothing is told.
    """
    try:
        if own_backups(context, archive):
            return False
        if claim.owner(context, archive, calls.QUICK) is None:
            claim.prepare(context, archive, must_work=True)
    except ValueError:
        return False
    except Failure as failure:
        log.problem(failure.problems[0])
        return False
    log.warning(f"{archive.storage.url} holds no backup any more, though some were taken: a full one is due")
    return True


def _schedule(context: Context, text: str) -> Schedule:
    wanted = context.settings.backup
    identifier = control_file.read_control(context).get("Database system identifier", "")
    return Schedule(text, wanted.timezone, wanted.jitter, identifier)


def overdue(context: Context, found: Sequence[Backup]) -> bool:
    """Tell whether a schedule is set and the newest backup is older than two of its periods."""
    text = context.settings.backup.schedule
    if text is None or not found:
        return False
    now = time.time()
    newest = max(_moments(found, now), default=0.0)
    return drills.overdue(newest, _schedule(context, text).passed(now, 2))


def _moments(found: Sequence[Backup], now: float) -> list[float]:
    """Return when backups ended, in seconds since 1970, but for those by a clock that was ahead."""
    moments = (guest.moment(each.finished, now) for each in found)
    return [each for each in moments if each is not None]


def next_is_incremental(context: Context, archive: Archive, backups: Sequence[Backup]) -> bool:
    """Tell whether the schedule's next backup is incremental: so many of them follow each full one."""
    parent = choose_parent(context, archive, backups)
    needed = retention.chain(parent, backups) if parent else None
    return needed is not None and len(needed) <= context.settings.backup.incrementals


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _now() -> datetime:
    return datetime.now(UTC)
