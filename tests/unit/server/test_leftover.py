"""Leftovers of a killed server that are in the way, and files of a live server that must not be removed."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from entrypoint.errors import Failure
from entrypoint.server import leftover, programs
from entrypoint.server.context import Context
from entrypoint.system.children import Children
from entrypoint.system.identity import current
from unit import made

LOCK = ".s.PGSQL.5433.lock"
OLD = time.time() - 60


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data folder; the sockets of its server are in the folder next to it, on port 5433."""
    answers = {"unix_socket_directories": f"@abstract, {tmp_path}/sockets, {tmp_path}/none", "port": "5433"}
    monkeypatch.setattr(programs, "ask", lambda _, name, *__: (0, f"LOG:  something\n{answers[name]}"))
    monkeypatch.setattr(leftover, "_USUAL", ())
    (tmp_path / "sockets").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "postgresql.conf").write_text(" Unix_Socket_Directories='/x'\n")
    return tmp_path / "data"


def _clear(data: Path) -> dict[str, str]:
    wanted = made.settings({"PGDATA": str(data)})
    return leftover.clear(Context(wanted, cast("Children", None), current(), "/nowhere", {}), [])


def _stale(data: Path, pid: int) -> dict[str, str]:
    (data / "postmaster.pid").write_text(f"{pid}\n{data}\n1795372501\n5432\n")
    return _clear(data)


def _lock(data: Path, text: str, *, when: float = OLD) -> Path:
    path = data.parent / "sockets" / LOCK
    path.write_text(text)
    os.utime(path, (when, when))
    return path


@pytest.fixture
def listening(data: Path) -> Iterator[socket.socket]:
    """Bind the server's socket, for a test that listens on it."""
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(data.parent / "sockets" / LOCK.removesuffix(".lock")))
        yield found


# postmaster.pid


def test_a_stale_postmaster_pid(data: Path) -> None:
    """PostgreSQL itself takes our own pid for stale; a dead pid may be used again.

    Our parent's pid is not stale for PostgreSQL: it is only the server's grandparent, as with `docker run
    --init`.
    """
    assert {} == _clear(data)
    assert {} == _stale(data, os.getpid())
    expected = {"PG_GRANDPARENT_PID": str(os.getppid())}
    assert expected == _stale(data, os.getppid())
    assert {"PG_GRANDPARENT_PID": "4194304"} == _stale(data, 2**22)


def test_a_pid_that_is_another_process_now(data: Path) -> None:
    """The pid is passed to PostgreSQL, which would else take the process for a server; the file stays."""
    assert {"PG_GRANDPARENT_PID": "1"} == _stale(data, 1)
    assert (data / "postmaster.pid").exists()


@pytest.mark.parametrize("text", ["1", "1\n/da", "-1\n", " 1\n\0\0"])
def test_half_a_file_still_names_a_pid(data: Path, text: str) -> None:
    """PostgreSQL takes the number at the beginning, whatever follows it."""
    (data / "postmaster.pid").write_text(text)
    assert {"PG_GRANDPARENT_PID": "1"} == _clear(data)


def test_an_empty_lock_file_that_is_filled_late_stays(data: Path) -> None:
    """A server that is just starting has created it, and is about to fill it."""
    path = data / "postmaster.pid"
    path.touch()
    late = threading.Timer(0.2, path.write_text, ("1\n",))
    late.start()
    assert {} == _clear(data)
    late.join()
    assert "1\n" == path.read_text()
    for text in ("", "\0\0\0"):
        path.write_text(text)
        assert {} == _clear(data)
        assert not path.exists()


def test_a_running_server_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No start replaces a process that is a server on this very folder."""
    real = os.readlink
    answers = {"/proc/1/exe": "/usr/lib/postgresql/15/bin/postgres", "/proc/1/cwd": str(data)}
    monkeypatch.setattr(os, "readlink", lambda path: answers[path] if path in answers else real(path))
    with pytest.raises(Failure) as refused:
        _stale(data, 1)
    assert "a server (pid 1) is already running" in refused.value.problems[0].what
    answers["/proc/1/exe"] = "/usr/bin/bash"
    assert {"PG_GRANDPARENT_PID": "1"} == _stale(data, 1)
    answers |= {"/proc/1/exe": "/usr/lib/postgresql/15/bin/postgres", "/proc/1/cwd": "/"}
    assert {"PG_GRANDPARENT_PID": "1"} == _stale(data, 1)


# The lock files of sockets


@pytest.mark.parametrize("pid", [*range(1, 201), 2**22])
def test_no_pid_in_a_sockets_lock_file_is_in_the_way(data: Path, pid: int) -> None:
    """If nobody listens, the file is removed, whatever process now has the pid."""
    lock = _lock(data, f"{pid}\n{data}\n1795372501\n5433\n{data.parent}/sockets\n")
    assert {} == _clear(data)
    assert not lock.exists()


@pytest.mark.parametrize("text", ["", "\0\0", "no number\n", "7", "7\n/da"])
def test_half_a_lock_file_is_removed(data: Path, text: str) -> None:
    """A server that was killed while it created the file left it so; PostgreSQL refuses some of these."""
    lock = _lock(data, text)
    _clear(data)
    assert not lock.exists()


def test_both_lock_files_name_processes(data: Path, listening: socket.socket) -> None:
    """PostgreSQL can ignore only one of two pids, so the lock file of the unused socket is removed."""
    lock = _lock(data, f"{os.getpid()}\n/other\n1795372501\n5433\n")
    assert {"PG_GRANDPARENT_PID": "1"} == _stale(data, 1)
    assert not lock.exists()
    assert listening.fileno() >= 0


@pytest.mark.parametrize("waiting", [0, 3])
@pytest.mark.parametrize("text", ["", "4194304\n/other\n1795372501\n5433\n"])
def test_a_live_servers_socket_is_not_taken(
    data: Path, listening: socket.socket, text: str, waiting: int
) -> None:
    """Whatever its lock file says, a listening server is alive, even in another container or very busy."""
    listening.listen(0)
    lock = _lock(data, text)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
    for client in clients:
        client.settimeout(0)
        client.connect_ex(listening.getsockname())
    with pytest.raises(Failure) as refused:
        _clear(data)
    for client in clients:
        client.close()
    assert f"listening at {listening.getsockname()}" in refused.value.problems[0].what
    assert lock.exists()


def test_a_server_that_is_about_to_listen_keeps_its_lock_file(data: Path, listening: socket.socket) -> None:
    """A server creates the file shortly before it listens, so a young file is given some time."""
    lock = _lock(data, "", when=time.time())
    late = threading.Timer(0.2, listening.listen)
    late.start()
    with pytest.raises(Failure):
        _clear(data)
    late.join()
    assert lock.exists()


def test_a_server_without_its_socket_keeps_its_lock_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has removed the socket of a live server."""
    monkeypatch.setattr(leftover, "is_postmaster_of", lambda pid, folder: (pid, folder) == (7, "/other"))
    lock = _lock(data, "7\n/other\n1795372501\n5433\n")
    with pytest.raises(Failure) as refused:
        _clear(data)
    assert "(pid 7, data folder /other, as its lock file says)" in refused.value.problems[0].what
    assert lock.exists()


def test_a_lock_file_that_changes_meanwhile_is_examined_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server has put its own file there before the removal."""
    lock = _lock(data, "7\n")
    answers = [False, True]
    monkeypatch.setattr(leftover, "_listens", lambda _: (_lock(data, "8\n/x\n1\n1\n"), answers.pop(0))[1])
    with pytest.raises(Failure):
        _clear(data)
    assert lock.exists()


def test_unrelated_lock_files_stay(data: Path) -> None:
    """These are a link, another port's lock file, and one in a folder where this server has no socket."""
    lock = _lock(data, "7\n")
    other = lock.with_name(".s.PGSQL.5432.lock")
    lock.rename(other)
    target = data / "target"
    target.write_text("7\n")
    lock.symlink_to(target)
    _clear(data)
    assert other.exists()
    assert lock.is_symlink()
    assert target.exists()


def test_without_lock_files_the_server_is_not_run(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A usual start without a lock file in the usual folders starts no process for this."""
    asked: list[str] = []

    def ask(_: Context, name: str, *__: object) -> tuple[int, str]:
        asked.append(name)
        return 0, ""

    monkeypatch.setattr(programs, "ask", ask)
    (data / "postgresql.conf").write_text("#unix_socket_directories = '/x'\n#include = 'x'\nport = 1\n")
    _clear(data)
    assert [] == asked
    monkeypatch.setattr(leftover, "_USUAL", (str(data.parent / "sockets"),))
    _clear(data)
    assert [] == asked
    _lock(data, "7\n")
    _clear(data)
    assert ["unix_socket_directories"] == asked
    (data / "postgresql.auto.conf").write_text("include 'x'\n")
    monkeypatch.setattr(leftover, "_USUAL", ())
    _clear(data)
    assert ["unix_socket_directories"] * 2 == asked
