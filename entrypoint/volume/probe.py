"""Collects the facts about the volume; changes nothing."""

from __future__ import annotations

import errno
import os
import stat

from entrypoint import own
from entrypoint.errors import Failure, Problem
from entrypoint.postgres import cluster
from entrypoint.postgres.cluster import CONTROL_BYTES, is_in_recovery
from entrypoint.settings.values import Settings
from entrypoint.system import files, identity, small, walk
from entrypoint.system.identity import Identity
from entrypoint.volume import notes, unfinished
from entrypoint.volume.facts import DataFolder, Facts, Unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.volume.facts import Place, Stage

INIT_FOLDER = "/docker-entrypoint-initdb.d"
STARTDB_FOLDER = "/docker-entrypoint-startdb.d"


def look(settings: Settings, who: Identity) -> Facts:
    """Return the facts that a start depends on, as the server's user sees them.

    Root looks itself only if that user may not, since root then corrects the permissions. Raises Failure for
    a link in the path that root does not follow, and for a folder or record that cannot be read.
    """
    if os.getuid() != 0:
        return _look(settings, None)
    try:
        with identity.Acting(who):
            return _look(settings, None)
    except PermissionError:
        pass
    try:
        opened = walk.open_folder(settings.data_folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return _look(settings, None)
    try:
        return _look(settings, f"/proc/self/fd/{opened}")
    finally:
        os.close(opened)


def _look(settings: Settings, opened: str | None) -> Facts:
    table = files.mounts()
    folder = data_folder(settings.data_folder, table, opened)
    major = settings.values.get("PG_MAJOR", "")
    return Facts(
        uid=os.getuid(),
        data_folder=folder,
        old_databases=() if folder.has_cluster else _old_databases(folder.path, major, table),
        stray_mounts=_stray_mounts(folder, table),
        init_files=init_files(),
    )


def data_folder(path: str, table: list[files.Mount], opened: str | None = None) -> DataFolder:
    """Return what a data folder holds and where it is.

    `opened` is a safe way to the folder, for a path in which somebody may replace a link.
    """
    seen = opened or path
    entries: list[str] = []
    exists = readable = has_cluster = False
    owner = None
    try:
        owner = os.stat(seen).st_uid
        exists = True
        entries = os.listdir(seen)
        has_cluster = _has_content(f"{seen}/PG_VERSION")
        readable = True
    except OSError as error:
        _leave_to_root(error)
    others = [name for name in sorted(entries) if not own.is_ours(name)]
    left = None
    record = unfinished.Unfinished(seen)
    if os.path.basename(record.folder) in entries:
        left = _unfinished(record, path, has_cluster)
        if not others:
            left = Unfinished("building", "")  # the rest was removed: nothing is left to continue
    # Entries that an interrupted start has moved into place are ours.
    made = record.made() if left else frozenset()
    foreign = [name for name in others if name not in made]
    mount = files.mount_of(os.path.realpath(seen), table)
    return DataFolder(
        path=path,
        exists=exists,
        readable=readable,
        has_cluster=has_cluster,
        unfinished=left,
        foreign=() if has_cluster and not left else tuple(foreign),
        owner=owner,
        place=place(mount),
        mount_point=mount.point if mount else "",
        filesystem=mount.filesystem if mount else "unknown",
        standby=has_cluster and "standby.signal" in entries,
    )


def _leave_to_root(error: OSError) -> None:
    """Raise the error if root must look itself instead of the user that it acts as."""
    if isinstance(error, PermissionError) and os.geteuid() != os.getuid():
        raise error


def _has_content(path: str) -> bool:
    """Return whether a file is not empty; raises PermissionError if we may not know."""
    try:
        return os.stat(path).st_size > 0
    except PermissionError:
        raise
    except OSError:
        return False


def _unfinished(record: unfinished.Unfinished, data_folder: str, has_cluster: bool) -> Unfinished:
    """Return how far an interrupted start came; raises Failure if that is unknown."""
    try:
        if not stat.S_ISDIR(os.lstat(record.folder).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is not a folder")
        noted, detail = record.noted()
    except FileNotFoundError:
        noted, detail = None, ""
    except OSError as error:
        _leave_to_root(error)
        work = f"{data_folder}/{os.path.basename(record.folder)}"
        what = f"cannot read {work}/state, which records how far an earlier start came: {error.strerror}"
        hint = (
            f"make {work}/state readable, or remove {work} if you know that no first start or restore was "
            "interrupted"
        )
        raise Failure(Problem(what, hint, docs="finish-a-first-start")) from error
    # Without a note the start was killed before its first one, with nothing else done; a cluster without a
    # note is somebody else's doing.
    stage: Stage = noted or ("unknown" if has_cluster else "building")
    # The server may have been promoted after it has waited at its target.
    if stage == "recovery" and has_cluster and _is_promoted(record.data_folder):
        stage = "promoted"
    elif has_cluster and detail != unfinished.DISCARDED and _is_of_others(record, stage):
        stage, detail = "unknown", ""
    return Unfinished(stage, detail)


def _is_of_others(record: unfinished.Unfinished, stage: Stage) -> bool:
    """Return whether a cluster next to the record is not, or no longer, only our work.

    The official image serves whatever cluster is there, and people copy another cluster over it.
    """
    moved, now = record.moved(), notes.cluster(record.data_folder)
    if stage == "building":
        return not moved or moved != now or record.is_served()
    return stage == "recovery" and moved not in ("", now)


def _is_promoted(data_folder: str) -> bool:
    """Return whether a server has ended its recovery.

    The server removes the signal file shortly before that. If it is killed in between, the next start would
    be a primary in the old timeline, and would replay all WAL in pg_wal, whatever the target was.
    """
    if os.path.exists(f"{data_folder}/recovery.signal"):
        return False
    try:
        return not is_in_recovery(small.read(f"{data_folder}/global/pg_control")[:CONTROL_BYTES])
    except OSError as error:
        _leave_to_root(error)
        return True


def place(mount: files.Mount | None) -> Place:
    """Return the kind of a mount: `volume`, `anonymous volume`, `container layer`, or `unknown`."""
    if mount is None:
        return "unknown"
    if mount.point == "/" or mount.filesystem == "overlay":
        return "container layer"
    # Docker and podman name an anonymous volume with 64 hexadecimal digits.
    for below in mount.root.split("/volumes/")[1:]:
        name, _, rest = below.partition("/")
        if len(name) == 64 and not name.strip("0123456789abcdef") and rest.startswith("_data"):
            return "anonymous volume"
    return "volume"


def _old_databases(path: str, major: str, table: list[files.Mount]) -> tuple[str, ...]:
    """Return the places of old data that the official image looks for (docker-library/postgres#1409)."""
    from entrypoint.volume import elsewhere  # only a start without a cluster looks for others

    if path != elsewhere.usual(major):
        return ()
    found = elsewhere.holding(_leave_to_root)
    unused = f"{cluster.HOME}/data"
    if not found and major.isdigit() and int(major) >= 18:
        found = [f"{unused} (unused mount/volume)" for mount in table if mount.point == unused][:1]
    return tuple(found)


def _stray_mounts(folder: DataFolder, table: list[files.Mount]) -> tuple[str, ...]:
    """Return the volumes that are mounted near the data folder but do not contain it."""
    if folder.place not in ("anonymous volume", "container layer"):
        return ()
    return tuple(
        mount.point
        for mount in table
        if mount.point != folder.mount_point
        and (mount.point == cluster.HOME or mount.point.startswith(f"{cluster.HOME}/"))
        and place(mount) == "volume"
    )


def asks_for_startdb(settings: Settings) -> bool:
    """Return whether this start must do anything before the server counts as ready."""
    asked = settings.every_start
    return bool(asked.extensions or asked.update_extensions or asked.update_password or has_start_files())


def has_start_files() -> bool:
    """Return whether there are start files, or the folder of start files cannot be listed."""
    try:
        return any(not name.startswith(".") for name in os.listdir(STARTDB_FOLDER))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def init_files() -> tuple[str, ...]:
    """Return the names in the folder of init files; empty if the folder cannot be listed."""
    try:
        return tuple(sorted(name for name in os.listdir(INIT_FOLDER) if not name.startswith(".")))
    except OSError:
        return ()
