"""What a server that was killed leaves in the way of the next one: postmaster.pid, lock files of its sockets.

PostgreSQL takes a lock file for stale if its pid is dead, its own, its parent's or that of PG_GRANDPARENT_PID
(CreateLockFile in postgres/postgres:src/backend/utils/init/miscinit.c). In a container the same low pids come
again at each start, and mostly belong to something else by then.
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
"""Where servers have their sockets by default, whoever has built them."""
_YOUNG = 1.0
"""Seconds within which a server that has made its lock file listens, on a busy machine too."""


def clear(context: Context, given: Sequence[str]) -> dict[str, str]:
    """Make way for a server with these arguments; return what it must know to start over what is left.

    Raises Failure where a server is alive, on the data folder or at the same socket.
    """
    environment = _judge_postmaster(context.settings.data_folder)
    _judge_sockets(context, given)
    return environment


def _judge_postmaster(data_folder: str) -> dict[str, str]:
    """Judge a leftover postmaster.pid.

    Its pid is named to postgres by the variable that is meant for this: patroni/patroni#681 found that
    removing the file is a race. One that is dead now is named too: a helper that starts beside the server may
    get it. An empty file, which names nobody, is removed.
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
    log.info(f"postmaster.pid is left from an unclean stop: its pid {pid} is another process now")
    return stale


def _remove_empty(data_folder: str) -> None:
    """Remove a postmaster.pid that a server left empty, which was killed while it started.

    postgres refuses such a file. A server that starts now fills it within a moment, so it must stay empty (or
    full of zeros, as a power cut leaves it), and no server may be at work on the folder; none begins there
    while the file is in its way.
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
    log.info("postmaster.pid was left empty by a server that was killed while it started: removed")


def _already_runs(pid: int, data_folder: str) -> Failure:
    return Failure(
        Problem(
            f"a server (pid {pid}) already runs on {data_folder}",
            f"stop it first: kill -INT {pid}",
            exits.VOLUME_IN_USE,
        )
    )


def _judge_sockets(context: Context, given: Sequence[str]) -> None:
    """Judge the lock files where the server will have its sockets.

    The server's own binary says where that is, but only where it can matter: a start that finds no lock file
    in the usual places, and no word of others, does not ask.
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
    """Tell whether a configuration file sets where sockets are, or includes others that may."""
    try:
        lines = files.read_text(path).lower().split("\n")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(line.lstrip(" \t\r").startswith(("unix_socket_directories", "include")) for line in lines)


def _judge_socket(folder: str, name: str) -> None:
    """Remove a socket's lock file if no server is behind it; raises Failure if one is.

    The folder may be shared by containers, to whom each other's pids mean nothing, so the socket itself is
    asked first. The socket is left: the next server puts its own there.
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
                return  # nobody can tell, and the server says what it thinks of it
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
                words = f"its pid {pid} is no server" if pid else "it names nobody"
                log.info(f"{folder}/{lock} is left from an unclean stop: {words}; removed")
                return
    except OSError as error:
        log.warning(
            f"{folder}/{lock} is left from an unclean stop, and cannot be removed: {error.strerror}",
            f"remove it: docker exec -u 0 CONTAINER rm {folder}/{lock}",
        )
    finally:
        os.close(place)


def _see(lock: str, place: int) -> os.stat_result | None:
    """Return what a lock file is; None where there is none. What is no file is left to the server."""
    try:
        found = os.stat(lock, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _read(lock: str, place: int) -> str:
    try:
        return small.read_text(lock, dir_fd=place)
    except OSError:
        return ""  # another user's; the socket is asked all the same


def _is_same(one: os.stat_result, other: os.stat_result | None) -> bool:
    """Tell whether it still is the file that was judged, and with the same content."""
    return other is not None and all(
        getattr(one, name) == getattr(other, name)
        for name in ("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    )


def _listens(path: str) -> bool | None:
    """Tell whether a process listens at a socket, in whichever container; None where we may not ask."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        connection.connect(path)
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            return False
        # EAGAIN: more clients wait there already than it takes.
        return True if error.errno == errno.EAGAIN else None
    finally:
        connection.close()
    return True


def _is_taken(path: str, pid: int, data: str) -> Failure:
    whose = f" (pid {pid}, data folder {inline(data)}, by its lock file)" if pid and data else ""
    return Failure(
        Problem(
            f"another server{whose} is alive at {path}, and a socket is for one server",
            "stop that one, or give this one another place: -c unix_socket_directories=FOLDER "
            "or -c port=NUMBER",
        )
    )
