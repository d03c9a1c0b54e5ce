"""The recovery of a restored cluster: replay the archive to the target and promote, even after a kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from entrypoint import exits, log
from entrypoint.archive import calls, fetching, fork
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archive.source import source_of
from entrypoint.config import ruling
from entrypoint.errors import Ended, Failure, Problem
from entrypoint.light import re
from entrypoint.pid1 import status
from entrypoint.postgres import ruled, segments
from entrypoint.postgres.segments import lsn_text
from entrypoint.restore import planning
from entrypoint.restore.record import Recorded, recorded
from entrypoint.server import control_file, private_server, programs, temporary
from entrypoint.server.context import Context, tool_path
from entrypoint.server.data_folder import data_major, read_postmaster
from entrypoint.system import files, progress
from entrypoint.volume.unfinished import Unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.settings.restoring import AtTheEnd


def recover(context: Context, given: list[str]) -> list[str]:
    """Replay the archive to the target and promote, closed to all clients.

    archive_command is empty meanwhile, so that the promoted cluster's first segments and its timeline
    history wait for the real start. hot_standby is off: nobody must see an old state, and settings smaller
    than the original's do not stop the replay. "Ready" then means: promoted.

    With the action `pause`, nothing is replayed here. The result is the settings with which the real server
    recovers and waits at the target.
    """
    source = source_of(context)
    wanted = _recorded(context)
    if not _resume(context, wanted):
        complete(context)
        return []
    fork.begin(context)  # before anything is promoted
    action = context.settings.restore.action if context.settings.restore and wanted.kind else "promote"
    recovering = _settings(context, source, wanted, action)
    if action == "pause":
        fetching.prepare(source.context)
        log.info(f"the server replays up to {wanted.words} and waits there: promote it, or stop it")
        return ruled.words(recovering)
    log.info(f"replaying the archive up to {wanted.words}")
    status.enter(context.runtime_folder, status.RECOVERY)
    major = data_major(context.settings.data_folder)
    arguments = [*given, *private_server.recovering(recovering, context.settings.port, major)]
    _replay(context, source, wanted, action=action, arguments=arguments)
    if os.path.exists(f"{context.settings.data_folder}/recovery.signal"):
        raise Failure(
            Problem(
                "the server ended its recovery without a promotion",
                "see its output above; the next start continues the replay",
                exits.UNFINISHED_RESTORE,
            )
        )
    complete(context)
    return []


def _resume(context: Context, wanted: Recorded) -> bool:
    """Return whether there is anything left to replay; restart an interrupted promotion."""
    signal = f"{context.settings.data_folder}/recovery.signal"
    if not os.path.exists(signal):
        if _is_in_new_timeline(context, wanted):
            return False
        log.warning("the promotion at the end of the restore was interrupted: it starts again")
        files.write_atomically(signal, "")
    return True


def _settings(context: Context, source: OpenedArchive, wanted: Recorded, action: AtTheEnd) -> dict[str, str]:
    """Return the server's settings for the recovery; no setting in the backup overrides them."""
    from entrypoint.archive import wal_commands

    command = wal_commands.restore_command(
        source.archive, source.server, tool_path(context), proof=wanted.proof
    )
    recovering = ruling.for_restore(
        context,
        {
            "restore_command": command,
            **wanted.options,
            "recovery_target_action": action,
            "hot_standby": "on" if action == "pause" else "off",
        },
    )
    if wanted.kind and programs.binary_major(context) >= 15:
        # Prefetching needs the segment after the target before the target is reached. That segment may be
        # missing for good.
        recovering["recovery_prefetch"] = "off"
    return recovering


def _replay(
    context: Context,
    source: OpenedArchive,
    wanted: Recorded,
    *,
    action: AtTheEnd,
    arguments: Sequence[str],
) -> None:
    """Run the server until it is promoted; raises Ended if it has shut down at its target as requested."""
    shown = progress.Progress("replay", wanted.segments, _replayed(context), unit="segments")
    try:
        with (
            fetching.fetching(source),
            temporary.serve(context, arguments, seconds=None, look=shown.tick),
        ):
            pass
    except Failure as failure:
        shown.close()
        if action == "shutdown" and isinstance(failure, temporary.EarlyEnd) and failure.server_code == 0:
            log.info(
                f"the server has shut down at its target ({wanted.words}), as RESTORE_TARGET_ACTION says; "
                "start again with promote to continue, or with pause to look at the data"
            )
            raise Ended(0) from failure
        raise Failure(_ended(source, wanted, failure.problems[0])) from failure
    finally:
        shown.close()


def _is_in_new_timeline(context: Context, wanted: Recorded) -> bool:
    """Return whether an interrupted promotion got so far that the server completes it itself."""
    control = control_file.read_control(context)
    old = wanted.timeline or int(control["Latest checkpoint's TimeLineID"])
    return int(control["Min recovery ending loc's timeline"]) > old


def complete(context: Context) -> None:
    """Turn the promoted cluster into an ordinary one."""
    Unfinished(context.settings.data_folder).finish()
    log.info(f"the restore is complete{_end(context)}")


def _end(context: Context) -> str:
    """Return where the recovery ended, for people; empty if that is unknown."""
    control = control_file.read_control(context)
    # The second name is ahead of the first if the promotion was killed during its last checkpoint.
    names = ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")
    timeline = max(int(control.get(name, 0)) for name in names)
    try:
        text = files.read_text(f"{context.settings.data_folder}/pg_wal/{timeline:08X}.history")
        old, lsn = segments.parse_history(text)[-1]
    except (OSError, IndexError):
        return ""
    return f": it ended at {lsn_text(lsn)} of timeline {old}, and continues on timeline {timeline}"


def _recorded(context: Context) -> Recorded:
    return recorded(Unfinished(context.settings.data_folder).noted()[1])


def _replayed(context: Context) -> Callable[[], int]:
    """Return a function that counts the segments that the startup process has begun to replay."""
    data = context.settings.data_folder
    seen: list[str] = []

    def count() -> int:
        found = read_postmaster(data)
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
        size = control_file.segment_bytes(context)
        return segments.number(seen[-1], size) - segments.number(seen[0], size) + 1

    return count


def _ended(source: OpenedArchive, wanted: Recorded, problem: Problem) -> Problem:
    """Return the problem of a server that ended before it was promoted."""
    early = ended_early(source.context, wanted.last_segment)
    if early is not None:
        return Problem(
            f"the restore is not complete: {early.what}; nothing was promoted",
            early.hint,
            early.code,
            early.docs,
        )
    path = f"{source.context.runtime_folder}/{calls.FETCH_FAILED}"
    failed, has_failed = calls.lines(path), os.path.exists(path)
    if failed or not has_failed:
        missed = planning.missed(source, wanted.request, *failed[:1])
        if missed is not None:
            return missed._replace(what=f"{missed.what}; nothing was promoted", code=exits.UNFINISHED_RESTORE)
    if has_failed:  # also if the note is empty, because the runtime folder was full
        return problem._replace(
            what=f"{problem.what}, since WAL cannot be fetched from the archive",
            hint="see the archiver's output above; the next start continues the replay",
            code=exits.UNFINISHED_RESTORE,
            docs="restore-a-lost-volume",
        )
    if wanted.kind in ("", "immediate"):
        return problem._replace(code=exits.UNFINISHED_RESTORE)
    return Problem(
        f"the recovery has not reached its target ({wanted.words}): the archive does not hold the target "
        f"after backup {wanted.backup}, or the server's output above says why; nothing was promoted",
        "correct the target, or name an older backup that was taken before it (RESTORE_FROM=NAME); the next "
        "start then begins from scratch",
        exits.UNFINISHED_RESTORE,
        docs="restore-to-a-moment",
    )


def ended_early(context: Context, last: str) -> Problem | None:
    """Return where a recovery ended, if too early; `last` was the archive's last segment when it started.

    PostgreSQL takes the first record that it cannot read for the end of the WAL, even in the middle of an
    archive. In that case shims/fetch-segment has refused the promotion.
    """
    if not os.path.exists(f"{context.runtime_folder}/{calls.ENDED_EARLY}"):
        return None
    try:
        # At the end, the server has fetched the segment with the last record again.
        segment = files.read_text(f"{context.runtime_folder}/{calls.FETCHED}").strip()
    except OSError:
        segment = ""
    lsn = _last_record(context, segment) if segment else ""
    size = control_file.segment_bytes(context)
    end = lsn_text((segments.number(last, size) + 1) * size)
    where = f"at {lsn} in {segment}" if lsn else f"in {segment}" if segment else "too early"
    target = f", or restore what comes before it: RESTORE_TARGET_LSN={lsn}" if lsn else ""
    return Problem(
        f"the replay ended {where}, but the archive continues to {end} ({last})",
        "see in the server's output above what it could not read; put a good copy of that segment into the "
        f"archive (entrypoint backup verify looks for damage){target}",
        exits.UNFINISHED_RESTORE,
        docs="restore-to-a-moment",
    )


def _last_record(context: Context, segment: str) -> str:
    """Return the LSN of the last readable record from a segment on; empty if that is unknown."""
    folder = f"{context.settings.data_folder}/pg_wal"
    size = control_file.segment_bytes(context)
    following = segments.name(int(segment[:8], 16), segments.number(segment, size) + 1, size)
    names = [segment, *([following] if os.path.exists(f"{folder}/{following}") else [])]
    argv = ["pg_waldump", "--quiet", f"--path={folder}", *names]
    environment = {"PATH": tool_path(context), "LC_ALL": "C"}
    try:
        _, words = context.children.output(argv, environment, seconds=60, errors=True)
    except (Failure, TimeoutError):
        return ""
    found = re.search("error in WAL record at ([0-9A-F]+/[0-9A-F]+)", words)
    return found[1] if found else ""
