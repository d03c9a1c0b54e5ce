"""What `doctor` finds: evidence in, findings out; pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from entrypoint.archivers import Backup
from entrypoint.drills import LastDrills
from entrypoint.errors import Problem
from entrypoint.facts import ArchiveState, Facts
from entrypoint.runs import LastRuns

OK = "ok"
WARNING = "warning"
ERROR = "error"


class Finding(NamedTuple):
    """One line of the report."""

    check: str
    level: str
    """`ok`, `warning` or `error`."""
    found: str
    mend: str = ""


class Evidence(NamedTuple):
    """What the checks judge."""

    problems: Sequence[Problem]
    """Mistakes in the environment and the settings."""
    doubts: Sequence[Problem]
    facts: Facts | None
    """None when the settings are too wrong to know where to look."""
    server_uid: int
    shell: Problem | None
    data_major: str | None
    binary_major: str | None
    server_status: str | None
    """Status in postmaster.pid, or None without a server."""
    failing_helpers: Mapping[str, int]
    """How often in a row each helper of PID 1 has ended by itself, if it did."""
    shared_memory_bytes: int
    full: Mapping[str, float]
    """How full the filesystems of the data, WAL and archive folders are, in percent."""
    archive_tool: str | None
    """None: archiving is off."""
    archive_url: str
    archive_problem: Problem | None
    archiving: ArchiveState | None
    """How archiving goes; None where it is off."""
    runs: LastRuns
    """How the last backups went."""
    drills: LastDrills
    drill_overdue: bool
    """A schedule is set, and the last good drill is older than two of its periods."""
    backups: Sequence[Backup] | Problem
    newest_backup_seconds: float


def examine(evidence: Evidence) -> list[Finding]:
    """Return all findings, in the order of a start."""
    findings = [*_settings(evidence), *_shell(evidence)]
    if evidence.facts is not None:
        findings += [*_data_folder(evidence, evidence.facts), *_versions(evidence)]
        findings += [*_server(evidence), *_helpers(evidence), *_shared_memory(evidence), *_space(evidence)]
        findings += _archive(evidence)
    return findings


def _settings(evidence: Evidence) -> list[Finding]:
    found = [Finding("settings", ERROR, each.what, each.mend) for each in evidence.problems]
    found += [Finding("settings", WARNING, each.what, each.mend) for each in evidence.doubts]
    return found or [Finding("settings", OK, "all variables are known and have good values")]


def _shell(evidence: Evidence) -> list[Finding]:
    if evidence.shell is None:
        return [Finding("shell", OK, f"/bin/sh works for uid {evidence.server_uid}")]
    return [Finding("shell", ERROR, evidence.shell.what, evidence.shell.mend)]


def _data_folder(evidence: Evidence, facts: Facts) -> list[Finding]:
    folder = facts.data_folder
    where = f"{folder.path} is on {folder.filesystem}, {folder.place} ({folder.mount_point})"
    found = []
    if folder.place == "container layer":
        mend = "mount a volume: see the README, “Where the data lies”"
        found.append(Finding("data folder", ERROR, f"{where}: it dies with the container", mend))
    elif folder.place == "anonymous volume":
        mend = f"mount a volume with a name: -v NAME:{folder.mount_point}"
        found.append(Finding("data folder", WARNING, where, mend))
    else:
        found.append(Finding("data folder", OK, where))
    if folder.unfinished is not None:
        what = f"a first start or a restore is not finished (stage {folder.unfinished.stage})"
        mend = "look at the log of the last start: it names the reason and the way out"
        found.append(Finding("data folder", ERROR, what, mend))
    if folder.owner is not None and folder.owner != evidence.server_uid:
        what = f"{folder.path} belongs to uid {folder.owner}, the server's is {evidence.server_uid}"
        mend = f"start as root once, or with --user {folder.owner}:{folder.owner}"
        found.append(Finding("data folder", WARNING, what, mend))
    for place in facts.old_databases:
        what = f"PostgreSQL data of another version or layout lies in {place}"
        found.append(Finding("data folder", WARNING, what, "move it with pg_upgrade"))
    for mount in facts.stray_mounts:
        what = f"a volume is mounted at {mount}, but the data folder is not on it"
        mend = f"mount it at {folder.mount_point} instead"
        found.append(Finding("data folder", WARNING, what, mend))
    return found


def _versions(evidence: Evidence) -> list[Finding]:
    data, binary = evidence.data_major, evidence.binary_major
    if data is None:
        return [Finding("version", OK, f"PostgreSQL {binary}; no database yet")]
    if data == binary:
        return [Finding("version", OK, f"PostgreSQL {binary}, and so is the data")]
    mend = f"use the image of major {data}, or move the data with pg_upgrade"
    what = f"the data is of PostgreSQL {data}, the image has {binary}: the server will not start"
    return [Finding("version", ERROR, what, mend)]


def _server(evidence: Evidence) -> list[Finding]:
    if evidence.server_status == "ready":
        return [Finding("server", OK, "accepts connections")]
    if evidence.server_status is None:
        return [Finding("server", WARNING, "no server runs here", "start the container")]
    return [Finding("server", WARNING, f"the server is {evidence.server_status}", "wait, and ask again")]


def _helpers(evidence: Evidence) -> list[Finding]:
    return [
        Finding(
            "helpers",
            WARNING,
            f"{role} keeps ending by itself, {failures} times in a row",
            f"look for lines that begin with “{role}:” in the log",
        )
        for role, failures in evidence.failing_helpers.items()
    ]


def _shared_memory(evidence: Evidence) -> list[Finding]:
    megabytes = evidence.shared_memory_bytes // 1024**2
    if megabytes > 64:
        return [Finding("shared memory", OK, f"{megabytes} MiB in /dev/shm")]
    what = f"{megabytes} MiB in /dev/shm, Docker's default: parallel queries can end with “could not resize”"
    return [Finding("shared memory", WARNING, what, "--shm-size=256m, or shm_size: 256m in compose")]


_TIGHT = 85
_FULL = 95


def _space(evidence: Evidence) -> list[Finding]:
    found = []
    for folder, percent in evidence.full.items():
        what = f"the filesystem of {folder} is {percent:.0f} % full"
        level = ERROR if percent >= _FULL else WARNING if percent >= _TIGHT else OK
        mend = "" if level == OK else "make room: a full disk stops the server or the archiving"
        found.append(Finding("free space", level, what, mend))
    return found


def _backlog(archiving: ArchiveState) -> Finding:
    waiting, age = archiving.backlog_segments, archiving.oldest_ready_seconds or 0
    what = f"{waiting} WAL files wait, {archiving.backlog_bytes / 1024**2:.0f} MiB"
    if archiving.failing_since is not None:
        what += f"; archiving fails since {archiving.failing_since}: {archiving.last_error}"
        if archiving.seconds_until_full is not None:
            what += (
                f"\nthe volume is full in {archiving.seconds_until_full / 3600:.1f} hours at the present rate"
            )
        mend = "mend the storage; what waits is archived by itself then, without a restart"
        return Finding("archive backlog", ERROR, what, mend)
    if waiting > 2 and age > 120:
        mend = "entrypoint archive status says whether it shrinks; the WAL fills the data volume meanwhile"
        return Finding("archive backlog", WARNING, f"{what}, the oldest for {age} s", mend)
    return Finding("archive backlog", OK, what)


def _archive(evidence: Evidence) -> list[Finding]:
    if evidence.archive_tool is None:
        what = "off: what is written after the last dump is lost with the volume"
        return [Finding("archive", WARNING, what, "set ARCHIVE_URL, for example file:///archive")]
    where = f"{evidence.archive_tool} to {evidence.archive_url}"
    if evidence.archive_problem is not None:
        problem = evidence.archive_problem
        return [Finding("archive", ERROR, problem.what, problem.mend)]
    found = [Finding("archive", OK, where)]
    archiving = evidence.archiving
    if archiving is not None and archiving.fork_refused is not None:
        what = f"nothing is archived: {archiving.fork_refused}"
        found.append(Finding("archive fork", ERROR, what, archiving.fork_mend or ""))
    elif archiving is not None:
        found.append(_backlog(archiving))
    backups = evidence.backups
    if isinstance(backups, Problem):
        found.append(Finding("backups", ERROR, backups.what, backups.mend))
    elif not backups:
        mend = "docker exec CONTAINER entrypoint backup push"
        found.append(Finding("backups", WARNING, "none: nothing could be restored", mend))
    else:
        hours = evidence.newest_backup_seconds / 3600
        what = f"{len(backups)}, the newest {backups[-1].name} is {hours:.1f} hours old"
        found.append(Finding("backups", OK, what))
    return [*found, *_runs(evidence.runs), *_drills(evidence)]


def _runs(last: LastRuns) -> list[Finding]:
    found = []
    if last.failure is not None:
        what = f"the backup of {last.failure.started} {last.failure.outcome}: {last.failure.words}"
        mend = "mend what it names, then: entrypoint backup push"
        found.append(Finding("backup runs", ERROR, what, mend))
    verified = last.verified
    if verified is not None and (verified.holes or verified.broken):
        holes = [f"WAL from {first} to {final} is missing" for first, final in verified.holes]
        broken = [f"{name} does not restore: {why}" for name, why in verified.broken.items()]
        mend = "a moment in there cannot be restored; it is reported until retention has removed it"
        found.append(Finding("backup runs", WARNING, "\n".join([*holes, *broken]), mend))
    return found


def _drills(evidence: Evidence) -> list[Finding]:
    last = evidence.drills
    good = f"the last good one was {last.success.started}" if last.success else "there was no good one yet"
    if last.failure is not None:
        what = f"the drill of {last.failure.started} {last.failure.outcome}; {good}: {last.failure.words}"
        mend = "mend what it names, then: entrypoint backup drill"
        return [Finding("drills", WARNING, what, mend)]
    if evidence.drill_overdue:
        mend = "look for lines that begin with “drills:” in the log, or: entrypoint backup drill"
        return [Finding("drills", WARNING, f"overdue by DRILL_SCHEDULE; {good}", mend)]
    return [Finding("drills", OK, good)] if last.success is not None else []
