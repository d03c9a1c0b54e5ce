"""A restore on an empty volume: plan it, fetch a base backup, replay the archive to the target, promote."""

import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from entrypoint import exits, log, recovery, retention, ruled, segments
from entrypoint.archivers import Backup, brief, lsn_text
from entrypoint.effects import archive as archives
from entrypoint.effects import (
    ending,
    fetching,
    files,
    fork,
    history,
    progress,
    ruling,
    server,
    status,
    temporary,
)
from entrypoint.effects.context import Context, tool_path, write_down_settings
from entrypoint.effects.unfinished import Unfinished
from entrypoint.effects.words import Words
from entrypoint.errors import Ended, Failure, Problem, Stopped
from entrypoint.recovery import Choice, Recorded, Request, Wal
from entrypoint.settings import SOURCE_PREFIX, Archive
from entrypoint.units import spell

_FETCHED_A_SECOND = 100 * 1024**2
_REPLAYED_A_SECOND = 10
"""Bytes and segments, of a middling machine: for an estimate only."""
_HOLE_SECONDS = 5
"""What several processes send arrives in any order; a gap that stays is one."""


class Plan(NamedTuple):
    """What a restore will do."""

    source: Context
    """As the archive to restore from wants it."""
    archive: Archive
    request: Request
    choice: Choice
    bytes: int
    free_bytes: int

    @property
    def seconds(self) -> int:
        """About how long it takes."""
        return round(self.bytes / _FETCHED_A_SECOND + self.choice.segments / _REPLAYED_A_SECOND) + 1


def source_of(context: Context) -> tuple[Context, Archive]:
    """Return the archive to restore from, and the context in which it is used; renders its settings."""
    own = context.runtime_folder
    context, archive = find_source(context)
    if context.runtime_folder != own:
        files.ensure_folder(context.runtime_folder, 0o700)
    archives.render(context, archive)
    write_down_settings(context)
    return context, archive


def find_source(context: Context) -> tuple[Context, Archive]:
    """Return the same, without writing anything."""
    wanted = context.settings
    if wanted.source is None:
        raise AssertionError("the plan refuses a restore without an archive")
    if wanted.source_values == wanted.values and wanted.archive is not None:
        return context, wanted.source
    settings = wanted._replace(values=wanted.source_values, archive=wanted.source)
    folder = f"{context.runtime_folder}/source"
    return context._replace(settings=settings, runtime_folder=folder), wanted.source


def look(context: Context, request: Request) -> Plan:
    """Plan a restore; raises Failure, before a byte is written, if it cannot reach its target."""
    ruling.refuse_targets(context)
    source, archive = source_of(context)
    plan = look_at(source, archive, request, to_write=source is context, of_source=source is not context)
    if plan.free_bytes < plan.bytes:
        raise Failure(
            Problem(
                f"backup {plan.choice.backup.name} needs {spell(plan.bytes)}, and only "
                f"{spell(plan.free_bytes)} are free on {context.settings.data_folder}",
                "give it a larger volume",
                exits.ARCHIVE_REFUSED,
            )
        )
    return plan


def look_at(
    source: Context, archive: Archive, request: Request, *, to_write: bool = False, of_source: bool = False
) -> Plan:
    """Plan a restore from this archive, whatever room there is; `to_write`: it is archived to as well.

    `of_source`: it is set by the RESTORE_* variables.
    """
    problem = archives.storage_problem(archive, to_write=to_write, of_source=of_source)
    if problem is not None:
        raise Failure(problem)
    backups = _candidates(source, archive, request, of_source=of_source)
    if recovery.has_no_offset(request):
        log.info(f"RESTORE_TARGET_TIME={request.value} has no offset: taken as UTC")
    began = time.monotonic()
    while True:
        wal = _read_wal(source, archive, request, backups)
        choice = recovery.choose(request, backups, wal, datetime.now(UTC))
        hole = choice.hole if isinstance(choice, Choice) else "misses the WAL" in choice.what
        if not hole or time.monotonic() - began > _HOLE_SECONDS:
            break
        source.children.pause(1)
    if isinstance(choice, Problem):
        raise Failure(choice)
    if choice.hole:
        log.warning(
            f"the archive misses the WAL segments {choice.hole[0]} to {choice.hole[1]}: the replay stops "
            "there unless the target comes before",
        )
    need = max(each.size_bytes for each in _chain(choice.backup, backups))
    return Plan(source, archive, request, choice, need, free(source.settings.data_folder))


def _candidates(
    source: Context, archive: Archive, request: Request, *, of_source: bool = False
) -> list[Backup]:
    """Return the backups that this server can run, oldest first."""
    found = archives.list_backups(source, archive)
    if not found and (other := archives.other_tool_at(source, archive, of_source=of_source)) is not None:
        raise Failure(other)
    prefix = SOURCE_PREFIX if of_source else ""
    if not found and request.action == recovery.FOLLOW:
        raise Failure(
            Problem(
                f"STANDBY=on, but the archive {archive.storage.url} holds no backup to build it from",
                "take one of the primary (entrypoint backup push), or check "
                f"{prefix}ARCHIVE_URL and {prefix}ARCHIVE_TOOL",
                exits.ARCHIVE_REFUSED,
            )
        )
    if not found:
        raise Failure(
            Problem(
                f"RESTORE_FROM={request.backup}, but the archive {archive.storage.url} holds no backup",
                f"check {prefix}ARCHIVE_URL and {prefix}ARCHIVE_TOOL; without RESTORE_FROM a new database "
                "is made",
                exits.ARCHIVE_REFUSED,
            )
        )
    named = next((each for each in found if each.name == request.backup), None)
    if named is None and request.backup != recovery.LATEST:
        raise Failure(
            Problem(
                f"RESTORE_FROM={request.backup} is no backup in {archive.storage.url}",
                f"use LATEST or one of {', '.join(each.name for each in found[-10:])}",
                exits.ARCHIVE_REFUSED,
            )
        )
    major = server.binary_major(source)
    if major and (named or found[-1]).major not in (0, major):
        usable = [each for each in found if each.major in (0, major)]
        if named is not None or not usable:
            wrong = named or found[-1]
            raise Failure(
                Problem(
                    f"backup {wrong.name} is of PostgreSQL {wrong.major}, this image has {major}",
                    f"restore it with an image of PostgreSQL {wrong.major}",
                    exits.ARCHIVE_REFUSED,
                )
            )
        found = usable
    whole = retention.whole(found)
    if named is not None and named.name not in whole:
        raise Failure(
            Problem(
                f"backup {named.name} builds on one that is not there ({named.parent})",
                "name another one: entrypoint backup list",
                exits.ARCHIVE_REFUSED,
            )
        )
    found = [each for each in found if each.name in whole] or found
    owner = (named or found[-1]).system_identifier
    return [
        each for each in found if each.system_identifier == owner and each.major == (named or found[-1]).major
    ]


def _read_wal(source: Context, archive: Archive, request: Request, backups: list[Backup]) -> Wal:
    """Look what WAL the archive has, and read one object of it, which takes the right key."""
    tool, what = archive.tool, server.describe(source)
    answer = archives.ask(source, tool.list_wal(what))
    if answer.code:
        raise Failure(_unreadable(archive, f"its WAL cannot be listed:\n{brief(answer.stderr.strip())}"))
    with archives.understood(archive):
        stored = {each.name: each for each in tool.parse_wal(answer.stdout, backups[-1].major)}
    timeline = recovery.history_of(stored, request, backups)
    history = f"{timeline:08X}.history"
    forks: list[tuple[int, int]] = []
    if history in stored:
        forks = segments.parse_history(_read(source, archive, stored[history].path))
    elif timeline > 1:
        raise Failure(
            _unreadable(archive, f"it has no timeline {timeline} ({history} is missing)").but(
                mend="set RESTORE_TARGET_TIMELINE to latest or to a timeline that is there"
            )
        )
    size = segments.size_by(backups[-1].first_segment, backups[-1].start_lsn)
    names = frozenset(name for name in stored if segments.NAME.fullmatch(name))
    wal = Wal(timeline, tuple(forks), names, size, None)
    if wal.last is None:
        return wal
    if history not in stored:
        _read(source, archive, stored[wal.last].path)
    # Told in whole seconds.
    return wal._replace(archived_at=datetime.fromisoformat(stored[wal.last].modified) + timedelta(seconds=1))


def _read(source: Context, archive: Archive, path: str) -> str:
    answer = archives.ask(source, archive.tool.read_object(server.describe(source), path))
    if answer.code:
        words = brief(answer.stderr.strip())
        raise Failure(_unreadable(archive, f"{path} cannot be read (a wrong key?):\n{words}"))
    return answer.stdout


def _unreadable(archive: Archive, what: str) -> Problem:
    return Problem(
        f"the archive {archive.storage.url} cannot be restored from: {what}",
        "check that the storage can be reached, and the key of the archive",
        exits.ARCHIVE_REFUSED,
    )


def _chain(backup: Backup, backups: list[Backup]) -> list[Backup]:
    """Return a backup and all that it builds on."""
    by_name = {each.name: each for each in backups}
    chain = {backup.name: backup}
    while (parent := by_name.get(backup.parent or "")) is not None and parent.name not in chain:
        backup = chain[parent.name] = parent
    return list(chain.values())


def free(folder: str) -> int:
    """Return the free bytes where a folder is or will be."""
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def describe(plan: Plan) -> list[str]:
    """Return the plan for people."""
    choice = plan.choice
    backup = choice.backup
    end = f" ({choice.value})" if choice.kind == "time" else ""
    free = spell(plan.free_bytes)
    lines = [
        f"restoring from {plan.archive.storage.url}; it restores from {choice.earliest} to {choice.latest}",
        f"base backup {backup.name} ({backup.kind}, of {backup.finished}): {choice.why}",
        f"target: {plan.request.words}{end}, on timeline {choice.timeline}; then {plan.request.action}",
        f"{spell(plan.bytes)} and up to {choice.segments} WAL segments, about {plan.seconds} s",
        f"{free} are free on the volume",
    ]
    if backup.damaged:
        lines.append("the archiver saw damaged pages of the database when it took this backup")
    if choice.kind in ("name", "xid") and plan.request.backup == recovery.LATEST:
        lines.append(f"if the {choice.kind} is older than this backup, name an older one: RESTORE_FROM=NAME")
    return lines


def as_json(plan: Plan) -> dict[str, object]:
    """Return the plan for machines."""
    choice = plan.choice
    return {
        "url": plan.archive.storage.url,
        "tool": plan.archive.tool.name,
        "backup": choice.backup.name,
        "why": choice.why,
        "target": choice.kind or "end",
        "value": choice.value,
        "inclusive": choice.inclusive,
        "timeline": choice.timeline,
        "action": plan.request.action,
        "earliest": choice.earliest,
        "latest": choice.latest,
        "bytes": plan.bytes,
        "segments": choice.segments,
        "seconds": plan.seconds,
        "free_bytes": plan.free_bytes,
    }


def restore(context: Context, plan: Plan, given: list[str]) -> list[str]:
    """Fetch a backup into the work folder, move it into place, and recover; see `recover`.

    A standby is left to the real server, which recovers as long as standby.signal is there; the record of
    what is not finished ends with it in place.
    """
    follows = plan.request.action == recovery.FOLLOW
    unfinished = Unfinished(context.settings.data_folder)
    unfinished.begin()
    chosen = plan.choice.backup.name
    log.info(f"fetching backup {chosen} from {plan.archive.storage.url}")
    code = _fetch(plan, unfinished.cluster)
    if code or not os.path.exists(f"{unfinished.cluster}/PG_VERSION"):
        mend = "see its own words above; the next start tries again from the beginning"
        raise not_fetched(plan, f"(exit code {code})", mend)
    _move_wal(context, unfinished)
    server.forget_original(unfinished.cluster)
    history.forget_running(unfinished.cluster)
    history.forget_contents(unfinished.cluster)
    # Its presence makes the server recover from the archive; PostgreSQL removes it when it is promoted.
    if follows:
        files.write_atomically(f"{unfinished.cluster}/standby.signal", server.OURS)
    else:
        files.write_atomically(f"{unfinished.cluster}/recovery.signal", "")
    unfinished.move_into_place()
    if follows:
        fork.begin(context, fork.STANDBY)
        unfinished.finish()
        log.info(f"the standby is built from backup {chosen}; the server follows from there on")
        return []
    unfinished.enter("recovery", recovery.record(plan.choice, plan.request))
    return recover(context, given)


def not_fetched(plan: Plan, why: str, mend: str) -> Failure:
    """Return what is raised where the archiver has not fetched the backup."""
    what = f"{plan.archive.tool.name} could not fetch backup {plan.choice.backup.name} {why}"
    return Failure(Problem(what, mend, exits.ARCHIVE_REFUSED))


def _fetch(plan: Plan, folder: str) -> int:
    """Run the archiver, with progress; return its exit code."""
    source = plan.source
    tool, what, name = plan.archive.tool, server.describe(source), plan.choice.backup.name
    command = tool.fetch(what, name, folder, plan=_plan_tablespaces(plan, folder))
    said = Words(tool.name)
    shown = progress.Progress("restore", plan.bytes, lambda: progress.size_of(folder))
    try:
        made = archives.environment(source, command)
        pid = source.children.spawn(command.argv, made, descriptors={1: said.writing, 2: said.writing})
        said.begin()
        while True:
            try:
                return source.children.wait(pid, seconds=shown.step, words=said)
            except TimeoutError:
                shown.look()
    except Stopped:
        source.children.end_group(pid, words=said)
        raise
    finally:
        shown.close()
        said.end()


def _plan_tablespaces(plan: Plan, folder: str) -> str:
    """Write down where the tablespaces go, for a tool that wants to be told; return the path, or nothing."""
    source, tool = plan.source, plan.archive.tool
    command = tool.describe_backup(server.describe(source), plan.choice.backup.name)
    if command is None:
        return ""
    answer = archives.ask(source, command)
    if answer.code:
        raise Failure(_unreadable(plan.archive, brief(answer.stderr.strip())))
    with archives.understood(plan.archive):
        text, locations = tool.plan_tablespaces(answer.stdout, folder)
    for location in locations:
        if os.path.isdir(location) and os.listdir(location):
            raise Failure(
                Problem(
                    f"the tablespace's location {location} is not empty",
                    "mount an empty folder there that uid "
                    f"{source.who.uid} may write to; what is in it stays as it is",
                    exits.ARCHIVE_REFUSED,
                )
            )
    if not text:
        return ""
    path = f"{source.runtime_folder}/tablespaces.json"
    files.write_atomically(path, text)
    return path


def _move_wal(context: Context, unfinished: Unfinished) -> None:
    """Put pg_wal where POSTGRES_INITDB_WALDIR wants it."""
    target = context.settings.init.wal_folder
    wal = f"{unfinished.cluster}/pg_wal"
    if not os.path.lexists(wal):
        os.mkdir(wal, 0o700)  # wal-g leaves it out where it was a link
    if target is None or os.path.islink(wal):
        return
    if os.listdir(target):
        raise Failure(
            Problem(
                f"POSTGRES_INITDB_WALDIR={target} is not empty",
                "give the restored cluster an empty folder for its WAL",
                exits.UNFINISHED_RESTORE,
            )
        )
    # The link comes first, so that the next start finds and empties what an interrupted move has left.
    moving = f"{wal}.moving"
    os.rename(wal, moving)
    os.symlink(target, wal)
    for name in os.listdir(moving):
        shutil.move(f"{moving}/{name}", f"{target}/{name}")
    os.rmdir(moving)


def recover(context: Context, given: list[str]) -> list[str]:
    """Replay the archive to the target and promote, closed to all clients.

    archive_command is empty meanwhile, so that the promoted cluster's first segments and its timeline
    history wait for the real start. hot_standby is off: nobody is to see an old state, and settings
    smaller than the original's do not stop the replay. "Ready" then means: promoted.

    With the action `pause` nothing is replayed here: the settings with which the real server recovers and
    waits at the target are returned.
    """
    from entrypoint import conf

    source, archive = source_of(context)
    wanted = _recorded(context)
    if not os.path.exists(f"{context.settings.data_folder}/recovery.signal"):
        if _is_in_new_timeline(context, wanted):
            complete(context)
            return []
        log.warning("the promotion at the end of the restore was interrupted: it begins again")
        files.write_atomically(f"{context.settings.data_folder}/recovery.signal", "")
    fork.begin(context)  # before anything is promoted
    action = context.settings.restore.action if context.settings.restore and wanted.kind else "promote"
    command = conf.restore_command(archive, server.describe(source), tool_path(context), proof=wanted.proof)
    recovering = ruling.for_restore(
        context,
        {
            "restore_command": command,
            **wanted.options,
            "recovery_target_action": action,
            "hot_standby": "on" if action == "pause" else "off",
        },
    )
    if wanted.kind == "immediate" and server.binary_major(context) >= 15:
        # It would want the segment behind the backup before it is consistent, which may be missing for good.
        recovering["recovery_prefetch"] = "off"
    if action == "pause":
        fetching.prepare(source)
        log.info(f"the server replays up to {_target(wanted)} and waits there: promote it, or stop it")
        return ruled.words(recovering)
    closed = {"listen_addresses": "", "archive_mode": "on", "archive_command": "", **recovering}
    if server.data_major(context.settings.data_folder) >= 15:
        closed["archive_library"] = ""
    log.info(f"replaying the archive up to {_target(wanted)}")
    status.enter(context.runtime_folder, status.RECOVERY)
    shown = progress.Progress("replay", wanted.segments, _replayed(context), unit="segments")
    try:
        with (
            fetching.fetching(source, archive),
            temporary.serve(
                context,
                [*given, *ruled.words(closed), "-p", context.settings.port],
                seconds=None,
                look=shown.tick,
            ),
        ):
            pass
    except Failure as failure:
        shown.close()
        problem = failure.problems[0]
        if action == "shutdown" and "code 0" in problem.what:
            log.info(
                f"the server has shut down at its target ({_target(wanted)}), as RESTORE_TARGET_ACTION says; "
                "start again with promote to go on, or with pause to look at it"
            )
            raise Ended(0) from failure
        raise Failure(_ended(source, wanted, problem)) from failure
    finally:
        shown.close()
    if os.path.exists(f"{context.settings.data_folder}/recovery.signal"):
        raise Failure(
            Problem(
                "the server ended its recovery without a promotion",
                "see its own words above; the next start goes on with the replay",
                exits.UNFINISHED_RESTORE,
            )
        )
    complete(context)
    return []


def _is_in_new_timeline(context: Context, wanted: Recorded) -> bool:
    """Tell whether an interrupted promotion has got so far that the server itself ends it."""
    control = server.read_control(context)
    old = wanted.timeline or int(control["Latest checkpoint's TimeLineID"])
    return int(control["Min recovery ending loc's timeline"]) > old


def complete(context: Context) -> None:
    """Make the promoted cluster an ordinary one."""
    Unfinished(context.settings.data_folder).finish()
    log.info(f"the restore is complete{_end(context)}")


def _end(context: Context) -> str:
    """Return where the recovery ended, for people; nothing where that cannot be told."""
    control = server.read_control(context)
    # The second one is ahead of the first where the promotion was killed in its last checkpoint.
    names = ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")
    timeline = max(int(control.get(name, 0)) for name in names)
    try:
        text = files.read_text(f"{context.settings.data_folder}/pg_wal/{timeline:08X}.history")
        old, lsn = segments.parse_history(text)[-1]
    except (OSError, IndexError):
        return ""
    return f": it ended at {lsn_text(lsn)} of timeline {old}, and goes on in timeline {timeline}"


def _recorded(context: Context) -> Recorded:
    from entrypoint.effects import probe

    left = probe.look(context.settings, context.who).data_folder.unfinished
    return recovery.recorded(left.detail if left else "")


def _target(wanted: Recorded) -> str:
    return Request(wanted.backup, wanted.kind, wanted.value).words


def _replayed(context: Context) -> Callable[[], int]:
    """Return what counts the segments that the startup process has taken up."""
    import re

    data = context.settings.data_folder
    seen: list[str] = []

    def count() -> int:
        found = server.read_postmaster(data)
        if found is None:
            return 0
        try:
            children = files.read_text(f"/proc/{found.pid}/task/{found.pid}/children").split()
            titles = [files.read_text(f"/proc/{pid}/cmdline") for pid in children]
        except OSError:
            return len(seen)
        found_name = re.search("recovering ([0-9A-F]{24})", " ".join(titles))
        name = found_name[1] if found_name else ""
        if name and name not in seen:
            seen.append(name)
        if len(seen) < 2:
            return len(seen)
        size = server.segment_bytes(context)
        return segments.number(seen[-1], size) - segments.number(seen[0], size) + 1

    return count


def _ended(source: Context, wanted: Recorded, problem: Problem) -> Problem:
    """Return what it means that the server ended before it was promoted."""
    early = ending.early(source, wanted.last_segment)
    if early is not None:
        return Problem(
            f"the restore is not complete: {early.what}; nothing was promoted", early.mend, early.code
        )
    if os.path.exists(f"{source.runtime_folder}/{archives.FETCH_FAILED}"):
        return problem.but(
            what=f"{problem.what}, since WAL cannot be fetched from the archive",
            mend="see the archiver's words above; the next start goes on with the replay",
            code=exits.UNFINISHED_RESTORE,
        )
    if wanted.kind in ("", "immediate"):
        return problem.but(code=exits.UNFINISHED_RESTORE)
    return Problem(
        f"the recovery has not reached its target ({_target(wanted)}): the archive does not hold it behind "
        f"backup {wanted.backup}, or the server's own words above say why; nothing was promoted",
        "correct the target, or name an older backup that was taken before it (RESTORE_FROM=NAME); the next "
        "start then begins anew",
        exits.UNFINISHED_RESTORE,
    )
