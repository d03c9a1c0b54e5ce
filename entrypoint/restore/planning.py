"""What a restore will do: its backup, its target, and the space and time it needs; nothing is written yet."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime, timedelta

from entrypoint import exits, log
from entrypoint.archive import gap, given_up
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archive.source import source_of
from entrypoint.archive.storage import other_tool_at, storage_problem
from entrypoint.archivers.terms import Backup, brief
from entrypoint.archivers.tool_variables import SOURCE_PREFIX
from entrypoint.backup import retention
from entrypoint.config import ruling
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.postgres import segments
from entrypoint.restore import whereabouts
from entrypoint.restore.choose import SOUGHT, Choice, Refusal, Wal, choose, history_of, unreached, worded
from entrypoint.server import programs
from entrypoint.server.context import Context
from entrypoint.settings import restoring
from entrypoint.settings.restoring import Request
from entrypoint.shown import spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.archive.given_up import Gap

_FETCHED_A_SECOND = 100 * 1024**2
_REPLAYED_A_SECOND = 10
"""Bytes and segments per second on an average machine, for an estimate only."""
_HOLE_SECONDS = 5
"""Seconds to wait for a gap to close: segments that several processes send arrive in any order."""


class Plan(NamedTuple):
    """What a restore will do."""

    source: OpenedArchive
    """The archive to restore from."""
    request: Request
    choice: Choice
    bytes: int
    free_bytes: int

    @property
    def seconds(self) -> int:
        """The estimated duration."""
        return round(self.bytes / _FETCHED_A_SECOND + self.choice.segments / _REPLAYED_A_SECOND) + 1


def look(context: Context, request: Request) -> Plan:
    """Plan a restore; raises Failure, before a byte is written, if it cannot reach its target."""
    ruling.refuse_targets(context)
    source = source_of(context)
    own = source.context is context
    placed = whereabouts.settle(context, source, request)
    if placed is not context:
        context, source = placed, source_of(placed)
    plan = look_at(source, request, to_write=own, of_source=not own)
    if plan.free_bytes < plan.bytes:
        raise Failure(
            Problem(
                f"backup {plan.choice.backup.name} needs {spell(plan.bytes)}, but only "
                f"{spell(plan.free_bytes)} are free on {context.settings.data_folder}",
                "use a larger volume",
                exits.ARCHIVE_REFUSED,
                docs="restore-a-lost-volume",
            )
        )
    return plan


def look_at(
    source: OpenedArchive, request: Request, *, to_write: bool = False, of_source: bool = False
) -> Plan:
    """Plan a restore from this archive without regard to the free space.

    `to_write` means that the server also archives there; `of_source` means that the RESTORE_* variables name
    the archive.
    """
    problem = storage_problem(source.archive, to_write=to_write, of_source=of_source)
    if problem is not None:
        raise Failure(problem)
    backups = _candidates(source, request, of_source=of_source)
    if restoring.has_no_offset(request):
        log.info(f"RESTORE_TARGET_TIME={request.value} has no offset: taken as UTC")
    began = time.monotonic()
    while True:
        wal = _read_wal(source, request, backups)
        choice = choose(request, backups, wal, datetime.now(UTC))
        if choice.hole is None or time.monotonic() - began > _HOLE_SECONDS:
            break
        source.context.children.pause(1)
    if isinstance(choice, Refusal):
        raise Failure(worded(choice, request, wal))
    if choice.hole:
        first, last = choice.hole
        held = next((each for each in wal.gaps if each.holds(first)), None)
        what = given_up.in_words(held) if held else f"the archive lacks the WAL segments {first} to {last}"
        log.warning(
            f"{what}; the replay stops there unless it reaches the target before", docs="restore-to-a-moment"
        )
    need = max(each.size_bytes for each in _chain(choice.backup, backups))
    return Plan(source, request, choice, need, free(source.data_folder))


def missed(source: OpenedArchive, request: Request, failed: str = "") -> Problem | None:
    """Return why a replay on this backup has not found its target, if a gap can be the reason.

    `failed` is the segment that could not be fetched, if that has ended the replay. Only a target that is
    SOUGHT is worth questions to a storage that may not answer.
    """
    if request.kind not in SOUGHT:
        return None
    try:
        backups = _candidates(source, request)
        return unreached(request, backups, _read_wal(source, request, backups), failed)
    except Failure as failure:
        log.debug(failure.problems[0].what)
        return None


def _candidates(source: OpenedArchive, request: Request, *, of_source: bool = False) -> list[Backup]:
    """Return the backups that this server can run, oldest first, all of one cluster and one version."""
    found = source.list_backups()
    if not found:
        raise Failure(_empty(source, request, of_source=of_source))
    named = next((each for each in found if each.name == request.backup), None)
    if named is None and request.backup != restoring.LATEST:
        raise Failure(
            Problem(
                f"RESTORE_FROM={request.backup} is not a backup in {source.url}",
                f"use LATEST or one of {', '.join(each.name for each in found[-10:])}",
                exits.ARCHIVE_REFUSED,
                docs="restore-a-lost-volume",
            )
        )
    usable = _of_major(programs.binary_major(source.context), found, named)
    if not request.kind:
        whereabouts.warn_of_newer(usable, found)
    found = usable
    whole = retention.whole(found)
    if named is not None and named.name not in whole:
        raise Failure(
            Problem(
                f"backup {named.name} builds on backup {named.parent}, which is missing",
                "name another backup: entrypoint backup list",
                exits.ARCHIVE_REFUSED,
            )
        )
    found = [each for each in found if each.name in whole] or found
    wanted = named or found[-1]
    return [
        each
        for each in found
        if each.system_identifier == wanted.system_identifier and each.major == wanted.major
    ]


def _empty(source: OpenedArchive, request: Request, *, of_source: bool) -> Problem:
    """Return what is wrong with an archive that lists no backup."""
    other = other_tool_at(source, of_source=of_source)
    if other is not None:
        return other
    prefix = SOURCE_PREFIX if of_source else ""
    if request.action == restoring.FOLLOW:
        return Problem(
            f"STANDBY=on, but the archive {source.url} holds no backup to build the standby from",
            "take a backup on the primary (entrypoint backup push), or check "
            f"{prefix}ARCHIVE_URL and {prefix}ARCHIVE_TOOL",
            exits.ARCHIVE_REFUSED,
            docs="run-a-standby",
        )
    return Problem(
        f"RESTORE_FROM={request.backup}, but the archive {source.url} holds no backup",
        f"check {prefix}ARCHIVE_URL and {prefix}ARCHIVE_TOOL; without RESTORE_FROM a new database is created",
        exits.ARCHIVE_REFUSED,
        docs="restore-a-lost-volume",
    )


def _of_major(major: int, found: list[Backup], named: Backup | None) -> list[Backup]:
    """Return the backups that this PostgreSQL can run, if the newest or named one is of another version."""
    wanted = named or found[-1]
    if not major or wanted.major in (0, major):
        return found
    usable = [each for each in found if each.major in (0, major)]
    if named is not None or not usable:
        raise Failure(
            Problem(
                f"backup {wanted.name} is of PostgreSQL {wanted.major}, but this image has {major}",
                f"restore it with an image of PostgreSQL {wanted.major}",
                exits.ARCHIVE_REFUSED,
                docs="upgrade-to-a-newer-major",
            )
        )
    return usable


def _read_wal(source: OpenedArchive, request: Request, backups: list[Backup]) -> Wal:
    """Find out which WAL the archive has, and read one object of it, which needs the right key."""
    tool, what = source.tool, source.server
    answer = source.ask(tool.list_wal(what))
    if answer.code:
        raise Failure(unreadable(source, f"its WAL cannot be listed:\n{brief(answer.stderr.strip())}"))
    with source.understood():
        stored = {each.name: each for each in tool.parse_wal(answer.stdout, backups[-1].folders)}
    timeline = history_of(stored, request, backups)
    history = f"{timeline:08X}.history"
    forks: list[tuple[int, int]] = []
    if history in stored:
        forks = segments.parse_history(_read(source, stored[history].path))
    elif timeline > 1:
        raise Failure(
            unreadable(source, f"it has no timeline {timeline} ({history} is missing)")._replace(
                hint="set RESTORE_TARGET_TIMELINE to latest or to a timeline that the archive has"
            )
        )
    size = segments.size_by(backups[-1].first_segment, backups[-1].start_lsn)
    gaps = _read_gaps(source, backups, timeline, forks, size)
    # What arrived although it was given up may be torn: the server was free to overwrite it meanwhile.
    names = frozenset(
        name
        for name in stored
        if segments.NAME.fullmatch(name) and not any(each.holds(name) for each in gaps)
    )
    wal = Wal(timeline, tuple(forks), names, size, None, tuple(gaps))
    if wal.last is None:
        return wal
    if history not in stored:
        _read(source, stored[wal.last].path)
    # The tools report whole seconds.
    return wal._replace(archived_at=datetime.fromisoformat(stored[wal.last].modified) + timedelta(seconds=1))


def _read_gaps(
    source: OpenedArchive,
    backups: Sequence[Backup],
    timeline: int,
    forks: Sequence[tuple[int, int]],
    size: int,
) -> list[Gap]:
    """Return the gaps on the way to a timeline that are recorded in the archive."""
    try:
        found = gap.stored(source)
    except Failure as failure:
        log.problem(failure.problems[0])
        log.warning("the archive's gaps are not known; a restore still stops at the first missing segment")
        return []
    clusters = {each.system_identifier for each in backups} - {None}
    ours = [each for each in found if not clusters or each.cluster in clusters]
    return given_up.on_the_way(ours, timeline, forks, size)


def _read(source: OpenedArchive, path: str) -> str:
    answer = source.ask(source.tool.read_object(source.server, path))
    if answer.code:
        words = brief(answer.stderr.strip())
        raise Failure(unreadable(source, f"{path} cannot be read (a wrong key?):\n{words}"))
    return answer.stdout


def unreadable(source: OpenedArchive, what: str) -> Problem:
    """Return the problem of an archive in which something cannot be read."""
    return Problem(
        f"cannot restore from the archive {source.url}: {what}",
        "check that the storage can be reached and that the archive's key is right",
        exits.ARCHIVE_REFUSED,
        docs="restore-a-lost-volume",
    )


def _chain(backup: Backup, backups: list[Backup]) -> list[Backup]:
    """Return a backup and all backups that it builds on."""
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
    """Return the plan as lines for people."""
    choice = plan.choice
    backup = choice.backup
    end = f" ({choice.value})" if choice.kind == "time" else ""
    free = spell(plan.free_bytes)
    lines = [
        f"restoring from {plan.source.url}, which covers {choice.earliest} to {choice.latest}",
        f"base backup {backup.name} ({backup.kind}, of {backup.finished}): {choice.why}",
        f"target: {plan.request.words}{end}, on timeline {choice.timeline}; then {plan.request.action}",
        f"{spell(plan.bytes)} and up to {choice.segments} WAL segments, about {plan.seconds} s",
        f"{free} are free on the volume",
    ]
    if backup.damaged:
        lines.append("the archiver found damaged pages in the database when it took this backup")
    if choice.kind in ("name", "xid") and plan.request.backup == restoring.LATEST:
        lines.append(f"if the {choice.kind} is older than this backup, name an older one: RESTORE_FROM=NAME")
    return lines


def as_json(plan: Plan) -> dict[str, object]:
    """Return the plan for machines."""
    choice = plan.choice
    return {
        "url": plan.source.url,
        "tool": plan.source.tool.name,
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
