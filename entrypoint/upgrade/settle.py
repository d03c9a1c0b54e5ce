"""Finishes an upgrade that was interrupted: goes back before its commit, and forward after it."""

from __future__ import annotations

import os
import signal
import time

from entrypoint import exits, log, own
from entrypoint.errors import Failure, Problem
from entrypoint.finding import several
from entrypoint.server.data_folder import data_version, is_postmaster_of, live_postmaster
from entrypoint.system import files, leash, locks
from entrypoint.upgrade import moves, underway
from entrypoint.upgrade.moves import FOLDER, LINK, MOVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from entrypoint.upgrade.moves import Step
    from entrypoint.upgrade.underway import Record

_GRACE = 10.0
"""Seconds for a server of pg_upgrade to end after SIGQUIT."""


def settle(data: str) -> None:
    """Finish what an interrupted upgrade, or its undoing, has left; raises Failure if that is impossible."""
    end_servers(data)
    leash.end_all(underway.leash(data))
    record = underway.read(data)
    if record is None:
        _remove_unbegun(underway.folder(data))
        return
    version = data_version(data)
    if record.steps and version == record.after:
        if record.data != data:
            raise Failure(
                Problem(
                    f"a change from PostgreSQL {record.before} to {record.after} was interrupted while the "
                    f"data folder was {record.data}, and now it is {data}",
                    f"mount the volumes as before, with PGDATA={record.data}, and start again",
                    docs=underway.PAGE,
                )
            )
        log.info(f"finishing the change from PostgreSQL {record.before} to {record.after}")
        forward(data, record)
    elif version == record.before:
        log.info(
            f"a change from PostgreSQL {record.before} to {record.after} was interrupted before it counted: "
            f"the cluster of {record.before} is as it was"
        )
        back(data, record)
    else:
        raise Failure(
            Problem(
                f"{underway.folder(data)} is about an upgrade from PostgreSQL {record.before} to "
                f"{record.after}, but {data} holds a cluster of {version or 'no version'}",
                "if another cluster was copied there on purpose, remove that folder",
                docs=underway.PAGE,
            )
        )


def obstacles(data: str, record: Record) -> list[str]:
    """Return why the steps of a record cannot be done; asked before the commit."""
    found = moves.impossible(record.steps, os.path.lexists)
    leaving = [step.path for step in record.steps if step.kind == MOVE and os.path.lexists(step.path)]
    return [*found, *immovable(data, leaving), *crossing(record.steps)]


def crossing(steps: Iterable[Step]) -> list[str]:
    """Return which moves of steps would leave a filesystem, where a rename is impossible."""
    found = [f"{each.path} is a link" for each in steps if each.kind == FOLDER and os.path.islink(each.path)]
    for step in steps:
        if step.kind == MOVE and os.path.lexists(step.path):
            place = os.path.dirname(step.other)
            while not os.path.lexists(place):
                place = os.path.dirname(place)
            if os.stat(place).st_dev != os.lstat(step.path).st_dev:
                found.append(f"{step.path} and {place} are on different filesystems")
    return found


def immovable(data: str, paths: Iterable[str]) -> list[str]:
    """Return which files and folders cannot be renamed, and why; `data` is the data folder."""
    points = [each.point for each in files.mounts()]
    found = []
    for path in paths:
        real = f"{os.path.realpath(os.path.dirname(path))}/{os.path.basename(path)}"
        mounted = [each for each in points if each == real or each.startswith(f"{real}/")]
        if mounted:
            found.append(f"{mounted[0]} is a mount of its own below {data}")
        elif os.path.isdir(real) and not os.path.islink(real) and not os.access(real, os.W_OK):
            found.append(f"{path} belongs to another user, so it cannot be moved")
    return found


def is_layered(data: str) -> bool:
    """Return whether the data folder is in the container itself: folders of its image cannot be renamed."""
    mount = files.mount_of(os.path.realpath(data), files.mounts())
    return mount is not None and mount.point == "/" and "overlay" in mount.filesystem


def end_servers(data: str) -> None:
    """End the servers of a pg_upgrade that was ended: they are in sessions of their own."""
    for folder in (underway.view(data), underway.cluster(data)):
        found = live_postmaster(folder)
        if found is None or not is_postmaster_of(found.pid, folder):
            continue
        for number in (signal.SIGQUIT, signal.SIGKILL):
            deadline = time.monotonic() + _GRACE
            try:
                os.kill(found.pid, number)
            except ProcessLookupError:
                break
            while os.path.exists(f"/proc/{found.pid}") and time.monotonic() < deadline:
                time.sleep(0.05)


def _remove_unbegun(folder: str) -> None:
    """Remove a folder in which nothing was begun; raises Failure if it holds anything that is not ours."""
    if set(os.listdir(folder)) - {f"state{own.HALF}"}:
        raise Failure(
            Problem(
                f"{folder} holds no record of an upgrade, but other files",
                "move them elsewhere, and remove the folder",
                docs=underway.PAGE,
            )
        )
    files.remove_tree(folder)


def back(data: str, record: Record) -> None:
    """Remove everything that was built; the cluster in the data folder was never touched.

    In a copy of a data folder, what was made outside it is the original's, which may use it by now.
    """
    there = [path for path in record.made if os.path.lexists(path)]
    if there and record.data != data:
        log.warning(
            f"{several(there)} may belong to {record.data}, of which {data} is a copy: left there",
            "remove it if no cluster uses it",
            underway.PAGE,
        )
        there = []
    for path in there:
        files.remove_tree(path)
    underway.remove(data)


def forward(data: str, record: Record) -> None:
    """Do all steps, some of which may be done already; then write the note, and remove the record.

    The record is locked meanwhile: where folders cannot be, the lock was on the PG_VERSION that the commit
    has replaced, and another start may have locked the new one.
    """
    descriptor = os.open(f"{underway.folder(data)}/state", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _lock(descriptor, data)
        _forward(data, record)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data: str) -> None:
    try:
        taken = locks.take(descriptor)
    except OSError:
        return  # no locks at all, which the start has warned of
    if not taken:
        raise Failure(
            Problem(
                f"another process finishes the upgrade in {data}",
                "wait until it has ended",
                exits.VOLUME_IN_USE,
                docs="mount-the-volume",
            )
        )


def _forward(data: str, record: Record) -> None:
    files.sync_folder(data)  # the commit, if a kill came before it was durable
    room = f"{underway.folder(data)}/{underway.ROOM}"
    if os.path.lexists(room):
        os.unlink(room)
    touched = {data}
    followers = {step.other: step.path for step in record.steps if step.kind == MOVE}
    for step in record.steps:
        touched |= _do(step, followers.get(step.path))
    if record.note:
        files.write_atomically(f"{data}/{own.UPGRADED}", record.note)
    elif os.path.lexists(f"{data}/{own.UPGRADED}"):
        files.remove_tree(f"{data}/{own.UPGRADED}")
    for folder in sorted(touched):
        if os.path.isdir(folder):
            files.sync_folder(folder)
    underway.remove(data)


def _do(step: Step, follower: str | None) -> set[str]:
    """Do one step, unless it is done; return the folders that changed.

    `follower` is what moves to the place that a move has left: once it is there, the move is done, although
    its first name exists again.
    """
    parent = os.path.dirname(step.path)
    if step.kind == FOLDER:
        if not os.path.isdir(step.path):
            os.mkdir(step.path, 0o700)
        return {parent}
    if step.kind == MOVE:
        if os.path.lexists(step.path) and not os.path.lexists(step.other):
            os.rename(step.path, step.other)
        elif os.path.lexists(step.path) and (follower is None or os.path.lexists(follower)):
            raise Failure(
                Problem(
                    f"both {step.path} and {step.other} exist: somebody else has changed the data folder "
                    "since the upgrade was interrupted",
                    "move aside the one that does not belong there, and start again",
                    docs=underway.PAGE,
                )
            )
        elif not os.path.lexists(step.path) and not os.path.lexists(step.other):
            raise Failure(
                Problem(
                    f"neither {step.path} nor {step.other} exists: a volume is missing, or somebody else has "
                    "changed the data folder since the upgrade was interrupted",
                    "mount the volumes as before, and start again",
                    docs=underway.PAGE,
                )
            )
        return {parent, os.path.dirname(step.other)}
    if step.kind == LINK:
        if not os.path.islink(step.path) or os.readlink(step.path) != step.other:
            half = f"{step.path}{own.HALF}"
            if os.path.lexists(half):
                os.unlink(half)
            os.symlink(step.other, half)
            os.rename(half, step.path)
        return {parent}
    files.write_atomically(step.path, f"{step.other}\n")
    return {parent}
