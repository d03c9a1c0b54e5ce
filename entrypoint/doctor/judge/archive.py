"""The archive: that it takes what is written, and that it gives back what it took; pure."""

from collections.abc import Sequence

from entrypoint.archivers.terms import Backup
from entrypoint.backup.runs import LastRuns, Run
from entrypoint.drill.drills import LastDrills
from entrypoint.errors import Problem
from entrypoint.finding import Finding, error, ok, warning
from entrypoint.settings.hiding import hide_secrets
from entrypoint.shown import spell
from entrypoint.system import guest
from entrypoint.volume.facts import ArchiveState, OwnCommand

_MANY = 2
"""More WAL files than that do not wait while all is well: one that is full, and a history."""
_LONG = 120
"""Seconds: one call of the archiver, and a second one after it failed."""


def archive(where: str, problem: Problem | None) -> list[Finding]:
    """Judge whether there is an archive; `where` is empty where archiving is off."""
    if not where:
        what = "off: what is written after the last dump is lost with the volume"
        return [warning(what, "set ARCHIVE_URL, for example file:///archive")]
    return [ok(where)] if problem is None else [error(problem.what, problem.hint)]


LOST = "it was emptied or is not mounted: nothing in it belongs to this cluster any more"


def lost(archiving: ArchiveState) -> list[Finding]:
    """Judge whether the archive still is what it was."""
    if not archiving.lost:
        return []
    hint = "mount it again; one that was emptied begins anew with the next segment: entrypoint archive check"
    return [error(f"{archiving.url}: {LOST}", hint)]


def fork(archiving: ArchiveState) -> list[Finding]:
    """Judge whether a restored cluster may archive at all."""
    if archiving.fork_refused is None:
        return []
    return [error(f"nothing is archived: {archiving.fork_refused}", archiving.fork_hint or "")]


def backlog(archiving: ArchiveState) -> list[Finding]:
    """Judge what waits; of a cluster that may not archive that is no matter."""
    if archiving.fork_refused is not None:
        return []
    waiting, age = archiving.backlog_segments, archiving.oldest_ready_seconds or 0
    what = f"{waiting} WAL files wait, {spell(archiving.backlog_bytes)}"
    if archiving.failing_since is not None:
        what += f"; archiving fails since {archiving.failing_since}: {archiving.last_error}"
        if archiving.seconds_until_full is not None:
            what += (
                f"\nthe volume is full in {archiving.seconds_until_full / 3600:.1f} hours at the present rate"
            )
        return [error(what, "mend the storage; what waits is archived by itself then, without a restart")]
    if waiting > _MANY and age > _LONG:
        hint = "entrypoint archive status says whether it shrinks; the WAL fills the data volume meanwhile"
        return [warning(f"{what}, the oldest for {age} s", hint)]
    return [ok(what)]


def backups(
    found: Sequence[Backup], newest_seconds: float, *, overdue: bool = False, taken: Run | None = None
) -> list[Finding]:
    """Judge the base backups.

    `newest_seconds` is the age of the newest one, `taken` the last run that is noted to have made one there.
    """
    if not found:
        hint = "docker exec CONTAINER entrypoint backup push"
        if taken is not None:
            what = f"none, though {taken.name} was taken at {taken.started}: nothing can be restored"
            return [error(f"{what}; the archive was emptied", hint)]
        return [warning("none: nothing could be restored", hint)]
    if newest_seconds < -guest.AHEAD:
        what = f"{len(found)}; {found[-1].name} is dated {-newest_seconds / 3600:.1f} hours in the future"
        hint = "set the clock right (NTP), then: entrypoint backup push. Until then it counts for nothing"
        return [warning(f"{what}: a clock was wrong", f"{hint}, and no WAL is removed")]
    what = f"{len(found)}, the newest {found[-1].name} is {newest_seconds / 3600:.1f} hours old"
    if overdue:
        hint = "look for lines that begin with “backups:” in the log, or: entrypoint backup push"
        return [warning(f"{what}: overdue by BACKUP_SCHEDULE", hint)]
    return [ok(what)]


def runs(last: LastRuns) -> list[Finding]:
    """Judge how the last backups went, and what their verification found."""
    found = []
    if last.failure is not None:
        what = f"the backup of {last.failure.started} {last.failure.outcome}: {last.failure.words}"
        found.append(error(what, "mend what it names, then: entrypoint backup push"))
    verified = last.verified
    if verified is not None and (verified.holes or verified.broken):
        holes = [f"WAL from {first} to {final} is missing" for first, final in verified.holes]
        broken = [f"{name} does not restore: {why}" for name, why in verified.broken.items()]
        hint = "a moment in there cannot be restored; it is reported until retention has removed it"
        found.append(warning("\n".join([*holes, *broken]), hint))
    return found


def drills(last: LastDrills, *, overdue: bool) -> list[Finding]:
    """Judge the rehearsals; `overdue` is by their schedule."""
    good = f"the last good one was {last.success.started}" if last.success else "there was no good one yet"
    if last.failure is not None:
        what = f"the drill of {last.failure.started} {last.failure.outcome}; {good}: {last.failure.words}"
        return [warning(what, "mend what it names, then: entrypoint backup drill")]
    if overdue:
        hint = "look for lines that begin with “drills:” in the log, or: entrypoint backup drill"
        return [warning(f"overdue by DRILL_SCHEDULE; {good}", hint)]
    return [ok(good)] if last.success is not None else []


_CALM = 60
"""Seconds over archive_timeout after which what was written must be in the archive."""


def running(*, mode: str, command: str, library: str, timeout: int, own: OwnCommand | None) -> list[Finding]:
    """Judge what the running server does with its WAL; `command` and `library` are its settings.

    `own` is what there is to say of a command of the user's own. What ALTER SYSTEM sets while the server runs
    outranks what the start has rendered, and the command line outranks all.
    """
    hint = "ALTER SYSTEM RESET {0}; where it is on the command line remove -c {0}=…; then restart"
    if mode == "off":
        what = "the server runs with archive_mode=off: nothing is archived"
        return [error(what, hint.format("archive_mode"))]
    if library or "archive-segment" not in command:
        if own is not None and not own.lost:
            return [warning(own.what, own.hint)]
        shown = library or hide_secrets(command, "archive_command") or "(empty)"
        what = f"the server's archive_command is not the entrypoint's, but: {shown}"
        name = "archive_library" if library else "archive_command"
        return [error(f"{what}\n{own.what}", own.hint) if own is not None else error(what, hint.format(name))]
    found = own_command(own)
    if timeout == 0:
        what = "archive_timeout is 0: what is written is archived only when a segment of WAL is full"
        found.append(warning(what, hint.format("archive_timeout")))
    return found


def own_command(own: OwnCommand | None) -> list[Finding]:
    """Judge a command of the user's own that is not the server's, or not yet."""
    return [] if own is None else [warning(own.what, own.hint)]


def last_segment(*, name: str, seconds: float, written: bool, timeout: int) -> list[Finding]:
    """Judge the age of the last archived segment.

    `written` tells whether a later segment than the one behind it is being written.
    """
    age = f"{name} was archived {seconds / 60:.0f} minutes ago"
    if written and seconds > timeout + _CALM:
        hint = "entrypoint archive status tells why; entrypoint archive check proves the way"
        return [error(f"{age}, and the server has written more since", hint)]
    return [ok(age)]


def round_trip(seconds: float, stays: str) -> list[Finding]:
    """Judge how a small object went to the archive and came back; `stays` is why it could not be removed."""
    done = f"a small object was written and read back in {seconds:.2f} s"
    if not stays:
        return [ok(f"{done}, and removed")]
    hint = "allow this user to delete there: retention cannot remove anything either. Where that is on "
    hint += "purpose, remove old backups by other means"
    return [warning(f"{done}, but cannot be removed: {stays}", hint)]


def read_only(backups: int, why: str) -> list[Finding]:
    """Judge an archive that could be read, and was not written to."""
    return [ok(f"it can be read ({backups} backups); nothing is written: {why}")]


_PLAIN = {
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
}
"""What compressed files begin with; encrypted ones begin with none of these."""


def encryption(name: str, head: bytes) -> list[Finding]:
    """Judge the first bytes of a segment that is to be stored encrypted.

    Uncompressed WAL is known by its magic number (0xD1..).
    """
    plain = next((kind for magic, kind in _PLAIN.items() if head.startswith(magic)), None)
    if plain is None and head[1:2] == b"\xd1":
        plain = "uncompressed"
    if plain is not None:
        hint = "find out which settings the server was started with; then: entrypoint backup push"
        return [error(f"{name} is stored without encryption ({plain}), although a key is set", hint)]
    return [ok(f"{name} is stored encrypted")]


_SKEW = 60
"""Seconds: less is what a slow storage takes between writing and answering."""
_REFUSED = 900
"""Seconds from which on S3 refuses requests (RequestTimeTooSkewed)."""


def clock(seconds: float, where: str) -> list[Finding]:
    """Judge by how much the storage's clock is ahead of ours."""
    if abs(seconds) < _SKEW:
        return [ok(f"within {max(1, abs(seconds)):.0f} s of the clock of {where}")]
    what = f"the clock of {where} is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} ours"
    hint = "set the clocks by NTP: restores to a time, retention and schedules go by them"
    judge = error if abs(seconds) >= _REFUSED else warning
    return [judge(what, hint)]
