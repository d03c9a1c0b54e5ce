"""An upgrade: the new cluster is built next to the old one, and takes its place by one rename."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from entrypoint import log, own
from entrypoint.archive import fork
from entrypoint.collation import remembered
from entrypoint.errors import Failure, Problem
from entrypoint.finding import ERROR, OK, Finding, problem, several
from entrypoint.server import control_file, programs
from entrypoint.server.data_folder import data_version
from entrypoint.system import leash, progress
from entrypoint.upgrade import (
    afoot,
    build,
    carry,
    first_backup,
    hurdles,
    means,
    moves,
    older,
    parameters,
    pgupgrade,
    settle,
    stored,
    underway,
    view,
)
from entrypoint.upgrade.moves import MOVE, Coming, Leaving, Step, Wal
from entrypoint.upgrade.underway import Record
from entrypoint.volume import past, reserve
from entrypoint.volume.past import Past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context


def is_due(context: Context) -> bool:
    """Return whether the data folder holds a cluster of an older major version than the image's server."""
    before = data_version(context.settings.data_folder)
    return before.isdigit() and int(before) < programs.binary_major(context)


def check(context: Context) -> list[Finding]:
    """Return all findings about an upgrade; the old cluster is as before, and none of our servers runs on it.

    Where one was killed, or where another program's server may run, only the files are looked at.
    """
    before = data_version(context.settings.data_folder)
    after = str(programs.binary_major(context))
    found = hurdles.served(context, before, after)
    if any(each.level == ERROR for each in found):
        return found
    try:
        found += means.way_back(context, before, without_backup=build.wanted(context).without_backup)
    except Failure as failure:
        found += [problem(each) for each in failure.problems]
    data = context.settings.data_folder
    control = control_file.read_control(older.context_of(context, before, data))
    if not build.was_stopped(control) or os.path.lexists(f"{data}/postmaster.pid") or afoot.written(data):
        return [*found, *hurdles.shape(control, after), hurdles.UNASKED]
    try:
        with build.built(context, before, after, checks=True) as built:
            found += built.findings
            settle.back(data, built.record)
    except Failure as failure:
        found += [problem(each) for each in failure.problems]
    return found


def upgrade(context: Context) -> None:
    """Upgrade the cluster in the data folder; raises Failure with the reasons, if nothing is to change."""
    data = context.settings.data_folder
    before, after = data_version(data), str(programs.binary_major(context))
    began = time.monotonic()
    found = hurdles.served(context, before, after) + afoot.servers(data)
    build.refuse(found)
    without_backup = build.wanted(context).without_backup
    found += means.way_back(
        context,
        before,
        without_backup=without_backup,
        first=lambda: first_backup.take(context, before),
    )
    build.refuse(found)
    convert(context, before, after, found)
    log.info(
        f"upgraded from PostgreSQL {before} to {after} in {time.monotonic() - began:.1f} s; the old "
        f"cluster is kept in {_aside(data, before)} until: entrypoint upgrade finish"
    )


def convert(context: Context, before: str, after: str, found: list[Finding]) -> str:
    """Build the new cluster, let it take the old one's place, and return the mode; raises Failure.

    `found` has nothing against it, and is logged together with what is found now.
    """
    data = context.settings.data_folder
    with build.built(context, before, after, checks=False) as built:
        build.refuse(built.findings)
        for each in (*found, *built.findings):
            if each.level == OK:
                log.info(each.found)
            else:
                log.warning(each.found, each.hint, each.docs)
        assert built.mode is not None
        log.info(f"upgrading from PostgreSQL {before} to {after}, mode {built.mode}")
        words = [] if built.mode == "copy" else [f"--{built.mode}"]
        if built.mode == "swap":
            view.separate(data, underway.view(data))
        folders = [f"{underway.cluster(data)}/base", *built.record.made]
        shown = progress.Progress(
            "upgrade", built.bytes, lambda: sum(progress.size_of(each) for each in folders)
        )
        for each in pgupgrade.run(context, before, built.old.superuser, words, shown):
            log.warning(each.found, each.hint, each.docs)
        shared = view.shared(underway.cluster(data))
        if shared:
            raise Failure(
                Problem(
                    f"pg_upgrade made links instead of copies: {', '.join(shared)}",
                    "report this; the old cluster was not changed",
                    docs=underway.PAGE,
                )
            )
        stored.repeat(context, underway.cluster(data), built.old.superuser, built.stored)
        carry.carry(context, data, underway.cluster(data), carry.refused(context, data))
        if built.memory is not None:
            remembered.write(underway.cluster(data), built.memory)
        ready = _ready(context, built, after)
        refuse_obstacles(data, ready)
        if not build.wanted(context).without_backup and (left := means.waiting(data)):
            raise Failure(
                Problem(
                    f"{len(left)} segments are not archived, although all were before: {several(left)}",
                    "upgrade again; the old cluster was not changed",
                    docs=underway.PAGE,
                )
            )
        os.sync()
        underway.write(data, ready)
        leash.drop(context.children, underway.leash(data))  # all have ended
        underway.commit(data, ready)
        settle.forward(data, ready)
    return str(built.mode)


def refuse_obstacles(data: str, record: Record) -> None:
    """Raise Failure if the steps after the commit are not possible."""
    found = settle.obstacles(data, record)
    if found:
        raise Failure(
            *(Problem(each, "move it elsewhere, and upgrade again", docs=underway.PAGE) for each in found)
        )


def _aside(data: str, before: str) -> str:
    return f"{data}/{own.KEPT}/old-{before}"


def _ready(context: Context, built: build.Built, after: str) -> Record:
    """Return the record with everything that remains to do after the commit."""
    data, before = context.settings.data_folder, built.record.before
    aside, source = _aside(data, before), underway.cluster(data)
    reserve.give_up(data)  # the new cluster gets one of its own
    outside = build.wal_folder(data)
    wal = None
    if outside:
        coming = sorted(os.listdir(f"{outside}/{own.UPGRADE}"))
        leaving = sorted(
            name for name in os.listdir(outside) if name not in (own.UPGRADE, f"old-{before}", "lost+found")
        )
        wal = Wal(
            outside, f"{outside}/old-{before}", f"{outside}/{own.UPGRADE}", tuple(leaving), tuple(coming)
        )
    coming = [
        name for name in sorted(os.listdir(source)) if name not in ("postmaster.opts", "postmaster.pid")
    ]
    out = Leaving(aside, before, moves.leaving(os.listdir(data)))
    steps = moves.steps(data, out, Coming(source, tuple(coming)), wal)
    if built.mode in parameters.SHARING:
        # The files of both clusters are the same, so the old one must never be started again.
        steps = (*steps, Step(MOVE, f"{aside}/global/pg_control", f"{aside}/global/pg_control.old"))
    number = built.control["Catalog version number"]
    archive = context.settings.archive
    divided = archive is not None and archive.tool.capabilities.dividing is not None
    ours = build.control_of(context, source)["Database system identifier"]
    note = Past(
        before=before,
        after=after,
        # A restored copy does not inherit the archive of its original.
        identifier=built.old.identifier if fork.objection(data) is None else "",
        mode=str(built.mode),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        kept=aside,
        folders=tuple(f"{each}/PG_{before}_{number}" for each in built.spaces),
        wal=wal.aside if wal else "",
        place=past.place_of(after, ours) if divided else "",
        place_before=past.place(data),
        statistics=False,
        extensions=False,
        backup=context.settings.our_archive is None,
    )
    return built.record._replace(steps=steps, note=past.text(note))
