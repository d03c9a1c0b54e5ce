"""The rehearsal of an upgrade: a copy of the cluster is upgraded in the drill folder, and checked.

The copy is the newest backup, or one of the running server, or of a stopped one's files. Nothing of the
served cluster is touched, nor is anything written to the archive. `rehearse` and `rehearse_copy` are the
tables of contents.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

from entrypoint import exits, log
from entrypoint.archive.opened import OpenedArchive
from entrypoint.drill.rehearse import check, fetch, plan_for
from entrypoint.drill.scratch import (
    begin_kept_in,
    clear,
    configure,
    emptied,
    end_server,
    prepared,
    start,
    wait,
)
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.server import programs, temporary
from entrypoint.server.data_folder import data_version
from entrypoint.settings.rehearsing import drill_folder_problem
from entrypoint.settings.upgrading import Upgrade
from entrypoint.shown import spell
from entrypoint.standby import peer
from entrypoint.system import access, progress
from entrypoint.upgrade import build, convert, copied, hurdles, older, underway
from entrypoint.volume import holder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from entrypoint.server.context import Context


class Rehearsal(NamedTuple):
    """What a rehearsal has found."""

    backup: str
    """The backup; empty: it was a copy of the cluster."""
    before: str
    """The major version of the copy."""
    after: str
    restore_seconds: float
    """How long the copy took."""
    mode: str = ""
    bytes: int = 0
    downtime_seconds: float = 0.0
    """From the stopped old server to the new one that accepts connections."""
    check_seconds: float = 0.0
    checks: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The rehearsal, for people."""
        copy = f"backup {self.backup}" if self.backup else "a copy of the cluster"
        return (
            f"rehearsed on {copy} ({spell(self.bytes)}, made in "
            f"{self.restore_seconds:.1f} s): from PostgreSQL {self.before} to {self.after} with mode "
            f"{self.mode}, a downtime of "
            f"{self.downtime_seconds:.1f} s; passed in {self.check_seconds:.1f} s: {', '.join(self.checks)}"
        )


def rehearse(opened: OpenedArchive, lock: int) -> Rehearsal:
    """Restore the newest backup, upgrade, check and throw away; raises Failure if any of it fails."""
    context = opened.context
    before, after = _majors(opened)
    old = opened.with_context(older.with_programs(context, before))
    copied.refuse_tablespaces(opened.data_folder)
    with _room(context) as deadline:
        plan = plan_for(old)
        began = time.monotonic()
        with prepared(old) as scratch:
            log.info(f"rehearsal: restoring {plan.choice.backup.name}")
            fetch(scratch, plan, deadline, lock)
            with copied.own_configuration(scratch.settings.data_folder):
                pid = start(scratch, plan)
                try:
                    wait(scratch, pid, deadline, plan.choice.last_segment)
                finally:
                    temporary.stop(scratch, pid)
            made = Rehearsal(plan.choice.backup.name, before, after, time.monotonic() - began)
            return _tried(context, scratch, made, deadline)


def rehearse_copy(context: Context, conninfo: str) -> Rehearsal:
    """Copy the server of a connection string, or without one the stopped cluster; then as `rehearse`."""
    after = programs.binary_major(context)
    with _room(context) as deadline:
        if not conninfo:
            before = data_version(context.settings.data_folder)
            copied.refuse_in_use(context.settings.data_folder)
            old = _older(context, before, after)
            with emptied(old) as scratch:
                began = time.monotonic()
                with _locked(context.settings.data_folder):
                    copied.of_folder(old, before, scratch)
                made = Rehearsal("", before, str(after), time.monotonic() - began)
                return _tried(context, scratch, made, deadline)
        options = peer.parse(conninfo)
        if options is None:
            raise Failure(
                Problem(
                    "--server is no connection string that can be used here",
                    "give host, port and user of one server, for example --server 'host=db user=postgres'",
                    docs=underway.PAGE,
                )
            )
        with peer.reached(context, options, context.environment.get("PGPASSWORD")) as environment:
            found = copied.ask(context, environment)
            old = _older(context, found.major, after)
            with emptied(old) as scratch:
                began = time.monotonic()
                copied.of_server(old, environment, found, scratch, deadline)
                made = Rehearsal("", found.major, str(after), time.monotonic() - began)
                return _tried(context, scratch, made, deadline)


@contextmanager
def _room(context: Context) -> Iterator[float]:
    """Have an empty drill folder for a block, whose children end with us; yields its deadline."""
    wanted = context.settings
    problem = drill_folder_problem(wanted.drill.folder, wanted.data_folder)
    if problem is not None:
        raise Failure(problem)
    access.make_own(wanted.drill.folder, context.who)
    clear(context)
    context.children.tied = True
    try:
        yield time.monotonic() + wanted.backup.timeout
    finally:
        context.children.tied = False


@contextmanager
def _locked(data: str) -> Iterator[None]:
    """Keep every other start away from the data folder during a block."""
    try:
        lock = holder.lock_folder(data)
    except Failure as failure:
        if failure.code != exits.VOLUME_IN_USE:
            raise
        raise Failure(copied.in_use(data)) from failure
    try:
        yield
    finally:
        os.close(lock)


def _older(context: Context, before: str, after: int) -> Context:
    """Return the context with the older server's programs; raises Failure if there is no upgrade."""
    if int(before) >= after:
        raise Failure(
            Problem(
                f"the cluster is of PostgreSQL {before}, and the image has {after}: no upgrade is possible",
                "use an image of a newer major version",
                docs=underway.PAGE,
            )
        )
    return copied.with_programs(context, before)


def _tried(context: Context, scratch: Context, begun: Rehearsal, deadline: float) -> Rehearsal:
    """Upgrade the copy, check it, and return the rehearsal with its figures."""
    size, began = progress.size_of(scratch.settings.data_folder), time.monotonic()
    new = _new(context, scratch, begun.after)
    mode, pid = _upgraded(new, begun.before, begun.after, deadline)
    upgraded = time.monotonic()
    try:
        checks = check(new, deadline)
    finally:
        end_server(new, pid)
    return begun._replace(
        mode=mode,
        bytes=size,
        downtime_seconds=upgraded - began,
        check_seconds=time.monotonic() - upgraded,
        checks=checks,
    )


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
