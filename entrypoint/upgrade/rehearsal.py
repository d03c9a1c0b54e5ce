"""The rehearsal of an upgrade: a copy of the newest backup is upgraded in the drill folder, and checked.

Nothing of the served cluster is touched, nor is anything written to the archive. `rehearse` is the table of
contents.
"""

from __future__ import annotations

import os
import time

from entrypoint import exits, log
from entrypoint.archive.opened import OpenedArchive
from entrypoint.drill.rehearse import check, fetch, plan_for
from entrypoint.drill.scratch import begin_kept_in, clear, configure, end_server, prepared, start, wait
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.server import programs, temporary
from entrypoint.settings.rehearsing import drill_folder_problem
from entrypoint.settings.upgrading import Upgrade
from entrypoint.shown import spell
from entrypoint.system import access, files, progress
from entrypoint.upgrade import build, convert, hurdles, older, underway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context

_CONFIGURATION = ("postgresql.conf", "postgresql.auto.conf")


class Rehearsal(NamedTuple):
    """What a rehearsal has found."""

    backup: str
    before: str
    """The major version of the backup."""
    after: str
    mode: str
    bytes: int
    restore_seconds: float
    downtime_seconds: float
    """From the stopped old server to the new one that accepts connections."""
    check_seconds: float
    checks: tuple[str, ...]

    @property
    def words(self) -> str:
        """The rehearsal, for people."""
        return (
            f"rehearsed on backup {self.backup} ({spell(self.bytes)}, restored in "
            f"{self.restore_seconds:.1f} s): from PostgreSQL {self.before} to {self.after} with mode "
            f"{self.mode}, a downtime of "
            f"{self.downtime_seconds:.1f} s; passed in {self.check_seconds:.1f} s: {', '.join(self.checks)}"
        )


def rehearse(opened: OpenedArchive, lock: int) -> Rehearsal:
    """Restore, upgrade, check and throw away; raises Failure if any of it fails."""
    context, wanted = opened.context, opened.settings
    before, after = _majors(opened)
    problem = drill_folder_problem(wanted.drill.folder, wanted.data_folder)
    if problem is not None:
        raise Failure(problem)
    access.make_own(wanted.drill.folder, context.who)
    clear(context)
    old = opened.with_context(older.with_programs(context, before))
    deadline = time.monotonic() + wanted.backup.timeout
    context.children.tied = True
    try:
        plan = plan_for(old)
        began = time.monotonic()
        with prepared(old) as scratch:
            log.info(f"rehearsal: restoring {plan.choice.backup.name}")
            fetch(scratch, plan, deadline, lock)
            configuration = {name: _text(f"{scratch.settings.data_folder}/{name}") for name in _CONFIGURATION}
            pid = start(scratch, plan)
            try:
                wait(scratch, pid, deadline, plan.choice.last_segment)
            finally:
                temporary.stop(scratch, pid)
            restored = time.monotonic()
            for name, text in configuration.items():
                files.write_atomically(f"{scratch.settings.data_folder}/{name}", text)
            size = progress.size_of(scratch.settings.data_folder)
            new = _new(context, scratch, after)
            mode, pid = _upgraded(new, before, after, deadline)
            upgraded = time.monotonic()
            try:
                checks = check(new, deadline)
            finally:
                end_server(new, pid)
            return Rehearsal(
                *(plan.choice.backup.name, before, after, mode, size),
                *(restored - began, upgraded - restored, time.monotonic() - upgraded),
                checks,
            )
    finally:
        context.children.tied = False


def _majors(opened: OpenedArchive) -> tuple[str, str]:
    """Return the major versions of the newest backup and of the image; raises Failure if there is no way."""
    after = programs.binary_major(opened.context)
    backups = opened.list_backups()
    if not backups:
        raise Failure(
            Problem(
                f"{opened.url} holds no backup to rehearse with",
                "take one with the old image: entrypoint backup push",
                exits.ARCHIVE_REFUSED,
                docs=underway.PAGE,
            )
        )
    before = backups[-1].major
    if before >= after:
        raise Failure(
            Problem(
                f"the newest backup in {opened.url} is of PostgreSQL {before}, and the image has {after}: "
                "nothing is to be upgraded",
                "entrypoint backup drill rehearses a restore",
                docs=underway.PAGE,
            )
        )
    return str(before), str(after)


def _text(path: str) -> str:
    return files.read_text(path) if os.path.isfile(path) else ""


def _new(context: Context, scratch: Context, after: str) -> Context:
    """Return the context of the copy for the new server, which archives nothing."""
    mode = build.wanted(context).mode
    wanted = context.settings._replace(
        data_folder=scratch.settings.data_folder,
        archive=None,
        source=None,
        upgrade=Upgrade(asked=True, mode=mode, without_backup=True),
    )
    path = context.environment.get("PATH", "")
    return scratch._replace(
        settings=wanted, environment={**scratch.environment, "PATH": path, "PG_MAJOR": after}
    )


def _upgraded(new: Context, before: str, after: str, deadline: float) -> tuple[str, int]:
    """Upgrade the copy, and start the new server on it; return the mode, and the server's pid."""
    found = hurdles.files(new, before, after)
    build.refuse(found)
    mode = convert.convert(new, before, after, found)
    configure(new)
    return mode, begin_kept_in(new, deadline)
