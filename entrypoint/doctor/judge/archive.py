"""Whether the archive takes what the server writes, and gives it back; pure."""

from collections.abc import Sequence

from entrypoint.archive import given_up
from entrypoint.archive.given_up import Gap
from entrypoint.archivers.terms import Backup
from entrypoint.backup.runs import LastRuns, Run
from entrypoint.drill.drills import LastDrills
from entrypoint.errors import Problem
from entrypoint.finding import Finding, error, ok, warning
from entrypoint.settings.hiding import hide_secrets
from entrypoint.shown import iso, spell
from entrypoint.system import guest
from entrypoint.volume.facts import ArchiveState, OwnCommand

_MANY = 2
"""Files that may wait while all is well: one full segment and one timeline history."""
_LONG = 120
"""Seconds: time for one failed call of the archiver and for the next one."""
_OWN = "use-your-own-archive-command"
"""The page about a command of the user's own."""


def archive(where: str, problem: Problem | None) -> list[Finding]:
    """Judge whether there is an archive; `where` is empty if archiving is off."""
    if not where:
        what = "off: everything written after the last dump is lost with the volume"
        return [warning(what, "set ARCHIVE_URL, for example file:///archive", "set-up-archiving")]
    return [ok(where)] if problem is None else [error(problem.what, problem.hint, problem.docs)]


LOST = "it was emptied or is not mounted: nothing in it belongs to this cluster any more"


def lost(archiving: ArchiveState) -> list[Finding]:
    """Judge whether the archive still holds what this cluster has archived."""
    if not archiving.lost:
        return []
    hint = "mount it again; the next segment starts an emptied archive from scratch: entrypoint archive check"
    return [error(f"{archiving.url}: {LOST}", hint)]


def fork(archiving: ArchiveState) -> list[Finding]:
    """Judge whether a restored cluster may archive at all."""
    if archiving.fork_refused is None:
        return []
    what = f"nothing is archived: {archiving.fork_refused}"
    return [error(what, archiving.fork_hint or "", archiving.fork_docs or "")]


def backlog(archiving: ArchiveState) -> list[Finding]:
    """Judge the WAL that waits; there is nothing to say about a cluster that may not archive."""
    if archiving.fork_refused is not None:
        return []
    waiting, age = archiving.backlog_segments, archiving.oldest_ready_seconds or 0
    what = f"{waiting} WAL files wait, {spell(archiving.backlog_bytes)}"
    if archiving.failing_since is not None:
        what += f"; archiving has failed since {archiving.failing_since}: {archiving.last_error}"
        if archiving.seconds_until_full is not None:
            hours = archiving.seconds_until_full / 3600
            what += f"\nthe volume will be full in {hours:.1f} hours at the present rate"
        return [error(what, "fix the storage; the waiting WAL is then archived without a restart")]
    if waiting > _MANY and age > _LONG:
        hint = (
            "entrypoint archive status shows whether this shrinks; meanwhile, the WAL fills the data volume"
        )
        return [warning(f"{what}, the oldest has waited for {age} s", hint)]
    return [ok(what)]


def gaps(found: Sequence[Gap], *, dropping: bool) -> list[Finding]:
    """Judge the gaps that ARCHIVE_WHEN_FULL=drop has made; `dropping`: WAL is given up now."""
    told = []
    if dropping:
        what = "WAL is given up now: the disk is nearly full, and archiving fails"
        told.append(error(what, "fix the storage; a full backup is then taken by itself"))
    for gap in found:
        what = f"{given_up.in_words(gap)} ({spell(gap.bytes)})"
        if gap.is_open:
            what += f"; nothing after {iso(gap.reached)} can be restored until a full backup has been taken"
            hint = "it is taken by itself once archiving works; to take it now: entrypoint backup push"
            told.append(error(what, hint))
    ended = [each for each in found if not each.is_open]
    if ended and not told:
        last = ended[-1]
        count = "one gap" if len(ended) == 1 else f"{len(ended)} gaps"
        what = f"{count}; the last: {given_up.in_words(last)} ({spell(last.bytes)}); nothing between "
        told.append(ok(f"{what}{iso(last.reached)} and {iso(last.back)} can be restored"))
    return told


def backups(
    found: Sequence[Backup], newest_seconds: float, *, overdue: bool = False, taken: Run | None = None
) -> list[Finding]:
    """Judge the base backups.

    `newest_seconds` is the age of the newest one. `taken` is the last recorded run that made a backup there.
    """
    if not found:
        hint = "docker exec CONTAINER entrypoint backup push"
        if taken is not None:
            what = f"none, though {taken.name} was taken at {taken.started}: nothing can be restored"
            return [error(f"{what}; the archive was emptied", hint)]
        return [warning("none: nothing can be restored", hint)]
    if newest_seconds < -guest.AHEAD:
        what = f"{len(found)}; {found[-1].name} is dated {-newest_seconds / 3600:.1f} hours in the future"
        hint = "correct the clock (NTP), then: entrypoint backup push. Until then this backup does not count"
        return [warning(f"{what}: a clock was wrong", f"{hint}, and no WAL is removed")]
    what = f"{len(found)}, the newest {found[-1].name} is {newest_seconds / 3600:.1f} hours old"
    if overdue:
        hint = "look for lines that begin with “backups:” in the log, or: entrypoint backup push"
        return [warning(f"{what}: overdue according to BACKUP_SCHEDULE", hint)]
    return [ok(what)]


def runs(last: LastRuns) -> list[Finding]:
    """Judge the results of the last backups, and of their verification."""
    found = []
    if last.failure is not None:
        what = f"the backup of {last.failure.started} {last.failure.outcome}: {last.failure.words}"
        found.append(error(what, "fix the cause that it names, then: entrypoint backup push"))
    verified = last.verified
    if verified is not None and (verified.holes or verified.broken):
        holes = [f"WAL from {first} to {final} is missing" for first, final in verified.holes]
        broken = [f"{name} cannot be restored: {why}" for name, why in verified.broken.items()]
        hint = "no moment in a gap can be restored; doctor reports this until retention removes what it names"
        found.append(warning("\n".join([*holes, *broken]), hint))
    return found


def drills(last: LastDrills, *, overdue: bool) -> list[Finding]:
    """Judge the drills; `overdue` says whether one is, according to the schedule."""
    good = f"the last good one was {last.success.started}" if last.success else "there was no good one yet"
    if last.failure is not None:
        what = f"the drill of {last.failure.started} {last.failure.outcome}; {good}: {last.failure.words}"
        return [warning(what, "fix the cause that it names, then: entrypoint backup drill")]
    if overdue:
        hint = "look for lines that begin with “drills:” in the log, or: entrypoint backup drill"
        return [warning(f"overdue according to DRILL_SCHEDULE; {good}", hint)]
    return [ok(good)] if last.success is not None else []


_CALM = 60
"""Seconds beyond archive_timeout after which everything written must be in the archive."""


def running(*, mode: str, command: str, library: str, timeout: int, own: OwnCommand | None) -> list[Finding]:
    """Judge how the running server archives its WAL; `command` and `library` are its settings.

    `own` is the report on the user's own command. A value that ALTER SYSTEM sets while the server runs
    overrides the rendered one, and the command line overrides both.
    """
    hint = "ALTER SYSTEM RESET {0}, or remove -c {0}=… from the command line; then restart"
    if mode == "off":
        what = "the server runs with archive_mode=off: nothing is archived"
        return [error(what, hint.format("archive_mode"))]
    if library or "archive-segment" not in command:
        if own is not None and not own.lost:
            return own_command(own)
        shown = library or hide_secrets(command, "archive_command") or "(empty)"
        what = f"the server's archive_command is not the entrypoint's, but: {shown}"
        name = "archive_library" if library else "archive_command"
        if own is not None:
            return [error(f"{what}\n{own.what}", own.hint, _OWN)]
        return [error(what, hint.format(name))]
    found = own_command(own)
    if timeout == 0:
        what = "archive_timeout is 0: WAL is archived only when a segment is full"
        found.append(warning(what, hint.format("archive_timeout")))
    return found


def own_command(own: OwnCommand | None) -> list[Finding]:
    """Judge the user's own command, also one that the server does not use or does not use yet."""
    return [] if own is None else [warning(own.what, own.hint, _OWN)]


def last_segment(*, name: str, seconds: float, written: bool, timeout: int) -> list[Finding]:
    """Judge the age of the last archived segment.

    `written` says whether the server has got past the segment after that one.
    """
    age = f"{name} was archived {seconds / 60:.0f} minutes ago"
    if written and seconds > timeout + _CALM:
        hint = "entrypoint archive status shows why; entrypoint archive check tests the archive"
        return [error(f"{age}, and the server has written more since", hint)]
    return [ok(age)]


def round_trip(seconds: float, stays: str) -> list[Finding]:
    """Judge the round trip of a small object; `stays` says why it could not be removed from the archive."""
    done = f"a small object was written and read back in {seconds:.2f} s"
    if not stays:
        return [ok(f"{done}, and removed")]
    hint = "allow this user to delete objects there, since retention cannot remove anything either. If you "
    hint += "forbid it on purpose, remove old backups by other means"
    return [warning(f"{done}, but cannot be removed: {stays}", hint)]


def read_only(backups: int, why: str) -> list[Finding]:
    """Judge an archive that was read, but not written to."""
    return [ok(f"it can be read ({backups} backups); nothing is written: {why}")]


_PLAIN = {
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
}
"""The first bytes of compressed files; encrypted files begin with none of these."""


def encryption(name: str, head: bytes) -> list[Finding]:
    """Judge the first bytes of a segment that must be stored encrypted.

    The magic number (0xD1..) identifies uncompressed WAL.
    """
    plain = next((kind for magic, kind in _PLAIN.items() if head.startswith(magic)), None)
    if plain is None and head[1:2] == b"\xd1":
        plain = "uncompressed"
    if plain is not None:
        hint = "check which settings the server was started with; then: entrypoint backup push"
        return [error(f"{name} is stored without encryption ({plain}), although a key is set", hint)]
    return [ok(f"{name} is stored encrypted")]


_SKEW = 60
"""Seconds: a slow storage may take nearly as long between writing and answering."""
_REFUSED = 900
"""Seconds from which S3 refuses requests (RequestTimeTooSkewed)."""


def clock(seconds: float, where: str) -> list[Finding]:
    """Judge by how many seconds the storage's clock is ahead of this machine's."""
    if abs(seconds) < _SKEW:
        return [ok(f"within {max(1, abs(seconds)):.0f} s of the clock of {where}")]
    side = "ahead of" if seconds > 0 else "behind"
    what = f"the clock of {where} is {abs(seconds):.0f} s {side} this machine's"
    hint = "set the clocks by NTP: restores to a time, retention and schedules depend on them"
    judge = error if abs(seconds) >= _REFUSED else warning
    return [judge(what, hint)]
