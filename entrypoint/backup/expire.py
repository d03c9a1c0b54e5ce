"""Retention: removes what is too old, each step only after a dry run has named nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from entrypoint import exits, log
from entrypoint.archive import below, fork, gap
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup, Command, brief
from entrypoint.backup import history, retention
from entrypoint.backup.catalog import LONG, coverage, decide, known_broken, own_of
from entrypoint.backup.retention import Decision
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.pid1 import status
from entrypoint.postgres import segments
from entrypoint.settings.values import Backups

_TORN = 86400
"""Seconds after which a half-written file counts as abandoned."""


class Expired(NamedTuple):
    """What retention has removed or would remove, and what stays."""

    decision: Decision
    segments: tuple[str, ...]
    """Names of WAL segments; of each range, the first and the last."""

    def joined(self, other: Expired) -> Expired:
        """Return both as one; only the first one's root counts."""
        one, two = self.decision, other.decision
        decision = one._replace(remove=(*two.remove, *one.remove), keep=(*two.keep, *one.keep))
        return Expired(decision, (*other.segments, *self.segments))


def _against_removal(data_folder: str) -> Problem | None:
    if status.in_recovery(data_folder):
        return Problem(
            "this server is in recovery, and the archive belongs to its primary: nothing is removed",
            "remove old backups on the primary, or here after the promotion",
            docs="schedule-backups",
        )
    return fork.objection(data_folder)


def expire(opened: OpenedArchive, *, dry_run: bool) -> Expired:
    """Remove what retention no longer keeps, each step only after a dry run has named nothing else.

    Raises Failure if the tool would remove something that was not chosen.
    """
    problem = _against_removal(opened.data_folder)
    if problem is not None and not dry_run:
        raise Failure(problem)
    everything = opened.list_backups()
    backups = own_of(opened, everything)
    decision = decide(opened.context, backups, known_broken(opened.context))
    if not dry_run:  # before the removal, so that the note never names what is gone
        kept = coverage(opened, [each for each, _ in decision.keep])
        history.write_coverage(opened.data_folder, kept)
    _remove_backups(opened, decision, dry_run=dry_run)
    now = datetime.now(UTC)
    # Only an archive that can be handed over has backups of other clusters: those of one that was upgraded.
    groups = clusters(everything, backups) if opened.can.upgrading is not None else []
    others = [of_others(opened.settings.backup, group, backups, now) for group in groups]
    for decided in others:
        _remove_backups(opened, decided, dry_run=dry_run)
    gone = {each.name for decided in others for each in decided.remove}
    there = [each for each in everything if dry_run or each.name not in gone]
    made = Expired(decision, _expire_wal(opened, there, decision, dry_run=dry_run))
    if not dry_run:
        gap.prune(opened, [each for each, _ in decision.keep])
    for decided in others:
        made = made.joined(Expired(decided, ()))
    for other, listed in below.backups(opened):
        decided = of_others(opened.settings.backup, listed, backups, now)
        _remove_backups(other, decided, dry_run=dry_run)
        made = made.joined(Expired(decided, _expire_wal(other, listed, decided, dry_run=dry_run)))
    return made


def clusters(everything: Sequence[Backup], own: Sequence[Backup]) -> list[list[Backup]]:
    """Return the backups of other clusters in the same place, from before or after an upgrade, by cluster."""
    ours = {each.name for each in own}
    found: dict[str | None, list[Backup]] = {}
    for each in everything:
        if each.name not in ours:
            found.setdefault(each.system_identifier, []).append(each)
    return list(found.values())


def of_others(
    wanted: Backups, listed: Sequence[Backup], backups: Sequence[Backup], now: datetime
) -> Decision:
    """Return what retention decides about the backups of another major version, `listed`.

    The full backups taken since then, which are in `backups`, count as well. Names may be the same in both.
    """
    newest = max(each.finished for each in listed)
    since = sum(each.kind == "full" and each.finished > newest for each in backups)
    full = wanted.retain_full and max(1, wanted.retain_full - since)
    return retention.decide(listed, full=full, days=wanted.retain_days, now=now)


def _remove_backups(opened: OpenedArchive, decision: Decision, *, dry_run: bool) -> None:
    """Remove the chosen backups."""
    tool, what = opened.tool, opened.server
    chosen = {each.name for each in decision.remove}
    for each in retention.roots(decision.remove):
        named = tool.parse_removal(_told(opened, tool.expire(what, each.name, dry_run=True)))
        if each.name not in named.backups or not named.backups <= chosen or named.segments:
            raise _other(opened, each.name, named.backups - chosen, ())
        if not dry_run:
            _told(opened, tool.expire(what, each.name, dry_run=False))
            log.info(f"removed {', '.join(sorted(named.backups))}")


def _expire_wal(
    opened: OpenedArchive, backups: Sequence[Backup], decision: Decision, *, dry_run: bool
) -> tuple[str, ...]:
    """Remove the WAL that no backup needs any longer; return the names of its segments.

    `backups` are all in this place, also those of other clusters: the tool counts them.
    """
    tool, what = opened.tool, opened.server
    if decision.root is None or decision.root.kind != "full":
        return ()
    early = [each.name for each in decision.ahead]
    if early:
        # The date of such a backup does not show where its WAL is in the sequence.
        log.warning(
            f"no WAL is removed, because backups are dated in the future: {', '.join(early)}",
            "correct the clock (NTP); WAL is removed again once that date has passed, or once you have "
            "removed these backups",
            "schedule-backups",
        )
        return ()
    chosen = {each.name for each in decision.remove}
    left = [each for each in backups if each.name not in chosen]
    command = tool.expire_wal(what, decision.root, backups if dry_run else left, dry_run=True)
    named = tool.parse_removal(_told(opened, command), decision.root.major)
    needed = [name for name in named.segments if _is_needed(name, decision, what.segment_bytes)]
    # Backups that are not in the list are left over from killed runs, and may be removed.
    kept = named.backups & {each.name for each in left}
    if kept or needed:
        raise _other(opened, f"WAL before {decision.root.name}", kept, needed)
    if not dry_run:
        _told(opened, tool.expire_wal(what, decision.root, left, dry_run=False))
        if named.segments:
            log.info(f"removed WAL that no backup needs: {named.segments[0]} to {named.segments[-1]}")
        _remove_torn(opened)
        _remove_remains(opened, {each.name for each in left})
    return named.segments


def _remove_remains(opened: OpenedArchive, listed: Collection[str]) -> None:
    """Remove the files that killed backups left; none of them is in the list of backups."""
    what = opened.server
    leaving = opened.can.leaving
    if leaving is None:
        return
    answer = opened.ask(leaving.expire_remains(what, dry_run=True), seconds=LONG)
    named = opened.tool.parse_removal(f"{answer.stdout}\n{answer.stderr}")
    if answer.code or not named.backups:
        # wal-g gives up if the oldest backup is an increment on a permanent one; such files only take space.
        return
    if named.segments or not named.backups.isdisjoint(listed):
        raise _other(opened, "remains of killed backups", named.backups & set(listed), named.segments)
    _told(opened, leaving.expire_remains(what, dry_run=False))
    log.info(f"removed files that killed backups left: {', '.join(sorted(named.backups))}")


def _remove_torn(opened: OpenedArchive) -> None:
    """Remove files that a killed call left half-written, once nobody has written to them for a day."""
    torn, folder = opened.can.torn, opened.folder
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
        log.info(f"removed {count} incomplete files of killed calls")


def _is_needed(segment: str, decision: Decision, size: int) -> bool:
    """Return whether a kept backup needs a segment.

    The root of the decision needs all WAL since its start, any other backup only the WAL written during it.
    """
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


def _other(opened: OpenedArchive, what: str, names: Collection[str], needed: Sequence[str]) -> Failure:
    others = ", ".join([*sorted(names), *needed][:10]) or "nothing"
    return Failure(
        Problem(
            f"a dry run of {opened.tool.name} for {what} would also or instead remove {others}: nothing more "
            "is removed",
            "report this as a bug, with the output of: entrypoint backup list --json",
            exits.ARCHIVE_REFUSED,
        )
    )


def _told(opened: OpenedArchive, command: Command) -> str:
    """Run a removal command and return its output; raises Failure if it fails."""
    answer = opened.ask(command, seconds=LONG)
    text = f"{answer.stdout}\n{answer.stderr}"
    if answer.code:
        raise Failure(
            Problem(
                f"{opened.tool.name} could not remove old backups (exit code {answer.code}):\n"
                + brief("\n".join(text.strip().splitlines()[-8:])),
                "check that the storage can be reached: entrypoint doctor; the next run tries again",
                exits.ARCHIVE_REFUSED,
            )
        )
    return text
