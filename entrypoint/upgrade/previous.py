"""The cluster that is kept after an upgrade: back to it, or remove it."""

from __future__ import annotations

import os

from entrypoint import log, own
from entrypoint.archive import fork
from entrypoint.errors import Failure, Problem
from entrypoint.postgres import segments
from entrypoint.server import control_file
from entrypoint.server.data_folder import data_version, is_postmaster_of, live_postmaster
from entrypoint.system import files
from entrypoint.upgrade import convert, moves, parameters, settle, underway
from entrypoint.upgrade.moves import Coming, Leaving, Wal
from entrypoint.upgrade.underway import Record
from entrypoint.volume import notes, past, reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.server.context import Context
    from entrypoint.volume.past import Past


def undo(context: Context) -> None:
    """Put the old cluster back in its place, as it was, and keep the new one aside; raises Failure."""
    data = context.settings.data_folder
    known = _known(data)
    objection = _against_undo(data, known)
    if objection is not None:
        raise Failure(objection)
    control = control_file.read_control(context)
    if "Database system identifier" not in control:
        raise Failure(
            Problem(
                f"this image's pg_controldata cannot read the cluster of PostgreSQL {known.after} in {data}",
                f"use an image that has the programs of {known.after}",
                docs=underway.PAGE,
            )
        )
    aside = f"{data}/{own.KEPT}/new-{known.after}"
    wal = None
    if known.wal:
        outside = os.path.dirname(known.wal)
        stays = (os.path.basename(known.wal), os.path.basename(aside), "lost+found")
        leaving = [name for name in os.listdir(outside) if name not in stays]
        wal = Wal(
            outside,
            f"{outside}/new-{known.after}",
            known.wal,
            tuple(sorted(leaving)),
            tuple(sorted(os.listdir(known.wal))),
        )
    out, coming = moves.leaving(os.listdir(data)), tuple(sorted(os.listdir(known.kept)))
    steps = moves.steps(data, Leaving(aside, known.after, out), Coming(known.kept, coming), wal)
    note = known._replace(
        undone=True,
        successor=control["Database system identifier"],
        newest=newest(data, control),
        kept=aside,
        folders=tuple(_of_tablespaces(data)),
        wal=wal.aside if wal else "",
        statistics=True,
        extensions=True,
        backup=False,
    )
    made = Record(known.after, known.before, (), steps, data, past.text(note))
    convert.refuse_obstacles(data, made)
    reserve.give_up(data)
    os.sync()
    underway.begin(data, made)
    underway.commit(data, made)
    settle.forward(data, made)
    for left in (known.kept, known.wal):
        if left and os.path.isdir(left) and not [name for name in os.listdir(left) if name != "PG_VERSION"]:
            files.remove_tree(left)
    log.info(
        f"the cluster of PostgreSQL {known.before} is back as it was at {known.at}: start it with an "
        "image of "
        f"{known.before}. What was written since is in {aside}, until: entrypoint upgrade finish"
    )


def newest(data: str, control: Mapping[str, str]) -> str:
    """Return a cluster's last segment: that of its last checkpoint, or one after it that was archived.

    Not the last name in pg_wal: recycled segments are ahead.
    """
    try:
        names = os.listdir(f"{data}/pg_wal/archive_status")
    except OSError:
        names = []
    archived = (name.partition(".")[0] for name in names)
    return max(
        control.get("Latest checkpoint's REDO WAL file", ""),
        *(each for each in archived if segments.NAME.fullmatch(each)),
        "",
    )


def finish(context: Context) -> None:
    """Remove the cluster that is kept; raises Failure if there is none, or nothing else yet to go back to.

    Its PG_VERSION goes first: from then on, nothing takes what is left of it for a cluster. A restored copy
    of the data folder has the note, but not what is kept; then nothing outside the folder is its own either.
    """
    data = context.settings.data_folder
    known = _known(data)
    if not known.undone and not known.backup and context.settings.our_archive is not None:
        raise Failure(
            Problem(
                f"the archive has no full backup of the upgraded cluster yet, so {known.kept} is the only "
                "other copy of the data",
                "start the server, which takes one by itself; entrypoint backup list shows it",
                docs=underway.PAGE,
            )
        )
    if os.path.lexists(f"{known.kept}/PG_VERSION"):
        os.unlink(f"{known.kept}/PG_VERSION")
        files.sync_folder(known.kept)
    if os.path.isdir(known.kept):
        for path in (*_beside(known), known.kept):
            if os.path.lexists(path):
                files.remove_tree(path)
    parent = os.path.dirname(known.kept)
    if os.path.isdir(parent) and not os.listdir(parent):
        os.rmdir(parent)
    now = past.read(data) or known  # a helper of the server may have noted something meanwhile
    notes.write(data, own.UPGRADED, past.text(now._replace(kept="", folders=(), wal="")))
    end = "cannot be undone any more" if not known.undone else "is undone for good"
    log.info(f"removed {known.kept}: the upgrade from PostgreSQL {known.before} to {known.after} {end}")


def _beside(known: Past) -> list[str]:
    """Return the folders of the kept cluster outside it, as far as its own links lead there."""
    name = os.path.basename(known.kept)
    major = name.partition("-")[2]
    tablespaces = f"{known.kept}/pg_tblspc"
    links = os.listdir(tablespaces) if os.path.isdir(tablespaces) else []
    places = {os.path.realpath(f"{tablespaces}/{each}") for each in links}
    found = [
        each
        for each in known.folders
        if os.path.dirname(each) in places and os.path.basename(each).startswith(f"PG_{major}_")
    ]
    wal = f"{known.kept}/pg_wal"
    if (
        known.wal
        and os.path.basename(known.wal) == name
        and os.path.realpath(wal) == os.path.realpath(known.wal)
    ):
        found.append(known.wal)
    return found


def _known(data: str) -> Past:
    known = past.read(data)
    names = () if known is None else (f"old-{known.before}", f"new-{known.after}")
    if known is not None and known.kept and known.kept not in {f"{data}/{own.KEPT}/{each}" for each in names}:
        raise Failure(
            Problem(
                f"{data}/{own.UPGRADED} says that a cluster is kept in {known.kept}, which is not in {data}",
                "mount the volume where it was during the upgrade",
                docs=underway.PAGE,
            )
        )
    if known is None or not known.kept:
        raise Failure(
            Problem(
                f"no cluster is kept next to the one in {data}",
                "nothing is to be done: there was no upgrade here, or it was finished",
                docs=underway.PAGE,
            )
        )
    return known


def _against_undo(data: str, known: Past) -> Problem | None:
    running = live_postmaster(data)
    if running is not None and is_postmaster_of(running.pid, data):
        return Problem(
            f"a server runs on {data}",
            "stop the container, and undo in a container of its own: docker run --rm --volumes-from "
            "CONTAINER "
            "IMAGE entrypoint upgrade undo",
            docs=underway.PAGE,
        )
    if known.undone:
        return Problem(
            f"the upgrade to PostgreSQL {known.after} is undone already",
            f"start the image of {known.before}; entrypoint upgrade finish removes {known.kept}",
            docs=underway.PAGE,
        )
    if fork.is_superseded(data):
        return fork.refusal(data)
    if known.mode in parameters.SHARING:
        return Problem(
            f"the upgrade ({known.mode}) kept the files of the old cluster, which the new server has changed "
            "since",
            f"restore the base backup from before the upgrade, with an image of {known.before}, onto an "
            "empty volume",
            docs="restore-to-a-moment",
        )
    if not data_version(known.kept):
        return Problem(
            f"{known.kept} holds no cluster any more: it was removed, or this is a restored copy",
            f"restore the base backup from before the upgrade, with an image of {known.before}, onto an "
            "empty volume; entrypoint upgrade finish removes what is left",
            docs="restore-to-a-moment",
        )
    if data_version(data) != known.after or data_version(known.kept) != known.before:
        return Problem(
            f"{data} or {known.kept} holds another cluster than the note of the upgrade says",
            f"look at PG_VERSION in both: {known.after} and {known.before} are expected",
            docs=underway.PAGE,
        )
    return None


def _of_tablespaces(data: str) -> list[str]:
    """Return the folders of the present cluster in its tablespaces."""
    found = []
    for name in os.listdir(f"{data}/pg_tblspc"):
        location = os.path.realpath(f"{data}/pg_tblspc/{name}")
        version = data_version(data)
        found += [f"{location}/{each}" for each in os.listdir(location) if each.startswith(f"PG_{version}_")]
    return sorted(found)
