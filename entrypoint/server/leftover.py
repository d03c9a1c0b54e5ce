"""Clears what a killed server leaves in the way of the next one: postmaster.pid and its sockets' lock files.

PostgreSQL takes a lock file for stale if its pid is dead, its own, its parent's or that of PG_GRANDPARENT_PID
(CreateLockFile in postgres/postgres:src/backend/utils/init/miscinit.c). In a container the same low pids are
used again at each start, usually for another process.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from entrypoint import exits, log
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import status
from entrypoint.postgres.argv import parse_server
from entrypoint.postgres.postmaster import parse_postmaster, pid_in, split_folders
from entrypoint.server import programs
from entrypoint.server.data_folder import is_postmaster_of
from entrypoint.shown import inline
from entrypoint.system import files, processes, small

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from entrypoint.server.context import Context
else:
    import _socket as socket  # without the enumerations, as `light` has the signals

_USUAL = (status.SOCKET_FOLDER, "/run/postgresql", "/tmp")  # noqa: S108 - only looked at
"""The folders where servers of all distributions have their sockets by default."""
_YOUNG = 1.0
"""Seconds after which a server that has created its lock file surely listens, even on a busy machine."""


def clear(context: Context, given: Sequence[str]) -> dict[str, str]:
    """Make way for a server with these arguments; return the variables that it needs to start.

    Raises Failure if a server is alive on the data folder or at the same socket.
    """
    environment = _judge_postmaster(context.settings.data_folder)
    _judge_sockets(context, given)
    return environment


def _judge_postmaster(data_folder: str) -> dict[str, str]:
    """Deal with a leftover postmaster.pid; return the variable that lets postgres start in spite of it.

    The variable passes the leftover pid to postgres; patroni/patroni#681 found that removing the file is a
    race. A dead pid is passed as well, since a helper that starts next to the server may get that pid. An
    empty file, which contains no pid, is removed.
    """
    try:
        text = files.read_text(f"{data_folder}/postmaster.pid")
    except OSError:
        return {}
    pid = pid_in(text)
    if not pid:
        if not text.strip("\0"):
            _remove_empty(data_folder)
        return {}
    if pid == os.getpid():
        return {}
    stale = {"PG_GRANDPARENT_PID": str(pid)}
    if not os.path.exists(f"/proc/{pid}"):
        return stale
    if is_postmaster_of(pid, data_folder):
        raise _already_runs(pid, data_folder)
    log.info(f"postmaster.pid is left over from an unclean stop: its pid {pid} is another process now")
    return stale


def _remove_empty(data_folder: str) -> None:
    """Remove an empty postmaster.pid, left by a server that was killed while it started.

    postgres refuses to start with such a file. A server that is just starting fills the file within a moment,
    so the file must stay empty (or full of zeros, as a power cut leaves it), and no server may run on the
    folder. No server can start there as long as the file exists.
    """
    path = f"{data_folder}/postmaster.pid"
    for _ in range(20):
        try:
            if files.read_text(path).strip("\0"):
                return
        except OSError:
            return
        time.sleep(0.05)
    at_work = [pid for pid in processes.pids() if is_postmaster_of(pid, data_folder)]
    for pid in at_work:
        if processes.parent_of(pid) not in at_work:
            raise _already_runs(pid, data_folder)
    os.unlink(path)
    log.info("removed an empty postmaster.pid, left by a server that was killed while it started")


def _already_runs(pid: int, data_folder: str) -> Failure:
    return Failure(
        Problem(
            f"a server (pid {pid}) is already running on {data_folder}",
            f"stop it first: docker exec CONTAINER sh -c 'kill -INT {pid}'",
            exits.VOLUME_IN_USE,
            docs="mount-the-volume",
        )
    )


def _judge_sockets(context: Context, given: Sequence[str]) -> None:
    """Deal with the lock files in the folders where the server will have its sockets.

    The server's own binary reports these folders. It is run only if that can matter: not if there is no lock
    file in the usual folders and no configuration file names other folders.
    """
    data = context.settings.data_folder
    known = parse_server(given).settings
    told = known.get("unix_socket_directories")
    if told is None:
        texts = (known.get("config_file") or f"{data}/postgresql.conf", f"{data}/postgresql.auto.conf")
        if not any(map(_has_lock, _USUAL)) and not any(map(_may_name_folders, texts)):
            return
        told = _ask(context, "unix_socket_directories", given)
    folders = [os.path.join(data, folder) for folder in split_folders(told) if folder[0] != "@"]
    folders = [folder for folder in folders if _has_lock(folder)]
    if folders:
        port = _ask(context, "port", given)
        for folder in folders:
            _judge_socket(folder, f".s.PGSQL.{port}")


def _ask(context: Context, setting: str, given: Sequence[str]) -> str:
    code, text = programs.ask(context, setting, given, context.settings.data_folder)
    return "" if code else text.rpartition("\n")[2]  # with such settings no server starts anyway


def _has_lock(folder: str) -> bool:
    try:
        return any(name.startswith(".s.PGSQL.") and name.endswith(".lock") for name in os.listdir(folder))
    except OSError:
        return False


def _may_name_folders(path: str) -> bool:
    """Return whether a configuration file sets where sockets are, or includes others that may."""
    try:
        lines = files.read_text(path).lower().split("\n")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(line.lstrip(" \t\r").startswith(("unix_socket_directories", "include")) for line in lines)


def _judge_socket(folder: str, name: str) -> None:
    """Remove a socket's lock file if it belongs to no running server; raises Failure if it does.

    Containers may share the folder, and a pid of one container means nothing in another, so the socket itself
    is tried first. The socket is left there: the next server replaces it.
    """
    lock = f"{name}.lock"
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while (seen := _see(lock, place)) is not None:
            text = _read(lock, place)
            listens = _listens(f"/proc/self/fd/{place}/{name}")
            if listens is None:
                return  # it cannot be decided here; the server decides and logs the reason
            pid = pid_in(text)
            found = parse_postmaster(text)
            data = found.data_folder if found else ""
            if listens or (pid and data and is_postmaster_of(pid, data)):
                raise _is_taken(f"{folder}/{name}", pid, data)
            if 0 <= time.time() - seen.st_mtime < _YOUNG:
                time.sleep(0.05)
                continue  # its server may be about to listen
            if _is_same(seen, _see(lock, place)):
                os.unlink(lock, dir_fd=place)
                reason = f"its pid {pid} is not a server" if pid else "it contains no pid"
                log.info(f"removed {folder}/{lock}, left over from an unclean stop: {reason}")
                return
    except OSError as error:
        log.warning(
            f"cannot remove {folder}/{lock}, left over from an unclean stop: {error.strerror}",
            f"remove it: docker exec -u 0 CONTAINER rm {folder}/{lock}",
        )
    finally:
        os.close(place)


def _see(lock: str, place: int) -> os.stat_result | None:
    """Return a lock file's status; None if it is missing or no regular file, which the server handles."""
    try:
        found = os.stat(lock, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _read(lock: str, place: int) -> str:
    try:
        return small.read_text(lock, dir_fd=place)
    except OSError:
        return ""  # another user's file; the socket is tried in any case


def _is_same(one: os.stat_result, other: os.stat_result | None) -> bool:
    """Return whether the file is still the one that was examined, with the same content."""
    return other is not None and all(
        getattr(one, name) == getattr(other, name)
        for name in ("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    )


def _listens(path: str) -> bool | None:
    """Return whether a process in any container listens at a socket; None if we may not connect to it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        connection.connect(path)
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            return False
        # EAGAIN: the queue of waiting clients is full.
        return True if error.errno == errno.EAGAIN else None
    finally:
        connection.close()
    return True


def _is_taken(path: str, pid: int, data: str) -> Failure:
    whose = f" (pid {pid}, data folder {inline(data)}, as its lock file says)" if pid and data else ""
    return Failure(
        Problem(
            f"another server{whose} is listening at {path}, and only one server can use a socket",
            "stop that server, or use another socket for this one: -c unix_socket_directories=FOLDER "
            "or -c port=NUMBER",
            docs="mount-the-volume",
        )
    )
