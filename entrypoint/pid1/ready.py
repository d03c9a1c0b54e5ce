"""`entrypoint ready`: does the server accept connections now? For health checks and probes.

It uses little of the standard library and nothing else, because it is started every few seconds.
"""

from __future__ import annotations

import os
import sys

from entrypoint.pid1 import lifecycle, status
from entrypoint.postgres.postmaster import parse_postmaster
from entrypoint.shown import inline
from entrypoint.system import small

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
else:
    import _socket as socket  # without the enumerations, like `signal` in `light`

READY = 0
"""The server accepts connections, as a primary or as a standby."""
NOT_READY = 1
"""It does not accept connections yet, or no longer: boot, init, restore, recovery, startdb, stopping."""
NO_SERVER = 2
"""No entrypoint is running here, or its server does not answer."""

SECONDS = 3.0  # for the server to answer
SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])
# A packet that a client may send first; every server answers it with one letter, before authentication.


def main() -> int:
    """Print one line and return the exit code."""
    step_down()
    code, word = look(os.environ.get("PGDATA", ""))
    print(inline(said(code, word)), file=sys.stdout if code == READY else sys.stderr)
    return code


def step_down() -> None:
    """If we are root, become the server's user, who wrote the files that are read and queried from here on.

    A root user without the right to change its uid stays root; it has no other rights either.
    """
    if os.getuid() != 0:
        return
    owners = (status.owner_of(folder) for folder in status.RUNTIME_FOLDERS)
    uid = next((uid for uid in owners if uid is not None), 0)
    if uid:
        from entrypoint.errors import Failure
        from entrypoint.system import identity

        try:
            identity.become(identity.resolve(str(uid)))
        except Failure:
            pass


def look(data_folder: str) -> tuple[int, str]:
    """Return the exit code, and a word about the server of a data folder.

    That word is the server's role if it is ready, its phase if it is not ready, and otherwise what is wrong.
    """
    known = status.read(status.RUNTIME_FOLDERS)
    return after_startdb(known, *accepts(data_folder, known))


def after_startdb(known: status.Known | None, code: int, word: str) -> tuple[int, str]:
    """Return what `look` does, from what `accepts` has returned."""
    starter = known and known.helpers.get(lifecycle.STARTDB)
    if code == READY and starter and starter.state != "ended":
        return NOT_READY, lifecycle.STARTDB
    return code, word


def said(code: int, word: str) -> str:
    """Return the result of `look` as one line."""
    return {READY: "ready: ", NOT_READY: "not ready: "}.get(code, "") + word


def accepts(data_folder: str, known: status.Known | None) -> tuple[int, str]:
    """Return what `look` does, but for the server alone; `known` is what PID 1 reports."""
    found = question(data_folder, known)
    return _ask(found) if isinstance(found, Question) else found


class Question:
    """The server to ask; not a named tuple, which would take longer to import than to read."""

    def __init__(self, address: str | tuple[str, int], role: str) -> None:
        """Store the values: a socket's path, or a host and a port; and the word for a server that answers."""
        self.address = address
        self.role = role


def question(data_folder: str, known: status.Known | None) -> tuple[int, str] | Question:
    """Return what `accepts` does if files alone answer that; if not, the server to ask."""
    if known is None:
        return NO_SERVER, "no server: the entrypoint is not running here"
    if known.phase != lifecycle.SERVING:
        return NOT_READY, known.phase or "unknown"
    try:
        text = small.read_text(f"{data_folder}/postmaster.pid")
    except PermissionError:
        # Root without its capabilities cannot look into the data folder; the server still answers.
        return Question(f"{status.SOCKET_FOLDER}/.s.PGSQL.{os.environ.get('PGPORT') or '5432'}", "serving")
    except OSError:
        return NOT_READY, status.RECOVERY
    found = parse_postmaster(text)
    # "standby" in this file means that the server recovers and lets nobody in (hot_standby=off). A killed
    # server leaves the file behind, and in a container the next one usually has the same pid.
    if found is None or found.pid != known.server or found.started < known.since or found.status != "ready":
        word = lifecycle.STOPPING if found and found.status == "stopping" else status.RECOVERY
        return NOT_READY, word
    lines = text.split("\n")
    port, folder = lines[3], lines[4]
    role = "standby" if status.in_recovery(data_folder) else "primary"
    if not port.isdecimal():
        return NOT_READY, "postmaster.pid has no port"
    if folder:
        return Question(f"{folder}/.s.PGSQL.{port}", role)
    return Question((lines[5].replace("*", "127.0.0.1"), int(port)), role)


def _ask(asked: Question) -> tuple[int, str]:
    family = socket.AF_UNIX if isinstance(asked.address, str) else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(SECONDS)
        connection.connect(asked.address)
        connection.sendall(SSL_REQUEST)
        answer = connection.recv(1)
    except OSError as error:
        return NO_SERVER, f"no answer: {error.strerror or error}"
    finally:
        connection.close()
    return judge(asked, answer)


def judge(asked: Question, answer: bytes) -> tuple[int, str]:
    """Return what `accepts` does, from the first byte of the server's answer."""
    return (READY, asked.role) if answer in (b"S", b"N") else (NO_SERVER, "no answer")
