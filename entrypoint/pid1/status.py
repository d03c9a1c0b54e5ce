"""What PID 1 reports about itself: one small file of lines, and how to read it.

`<runtime folder>/status` has a line `phase NAME SINCE DETAIL`. While the server runs it also has a line
`server PID`, a line `helper ROLE STATE PID FAILURES LAST_CODE` for each helper with work left, and a line
`disk LEVEL SINCE` while a disk is about to be full. The module
uses little of the standard library and nothing else: health checks call `entrypoint ready` every few seconds.
"""

from __future__ import annotations

import os
import stat
import time

from entrypoint.light import NamedTuple
from entrypoint.pid1 import lifecycle
from entrypoint.pid1.lifecycle import KnownHelper
from entrypoint.system import small
from entrypoint.volume import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final, Literal

    from entrypoint.pid1.lifecycle import HelperState
    from entrypoint.volume.room import Level

    Phase = Literal["boot", "upgrade", "init", "restore", "recovery"]
    """A phase of a start; the other phases are those of `lifecycle`."""

SERVER_USER = "postgres"
"""The user that root becomes."""
SOCKET_FOLDER = "/var/run/postgresql"
RUNTIME_FOLDERS = ("/run/entrypoint", f"{SOCKET_FOLDER}/entrypoint", "/tmp/entrypoint")  # noqa: S108 - only taken when it is ours and closed

BOOT: Final = "boot"
UPGRADE: Final = "upgrade"
INIT: Final = "init"
RESTORE: Final = "restore"
RECOVERY: Final = "recovery"


def enter(runtime_folder: str, phase: Phase) -> None:
    """Report that a phase of the start has begun."""
    _write(runtime_folder, f"phase {phase} {int(time.time())} -\n")


def publish(
    runtime_folder: str, state: lifecycle.State, server: int, pids: Mapping[int, str], since: int
) -> None:
    """Report the supervisor's state; `since` is when the phase began, in seconds since 1970."""
    phase = lifecycle.SERVING if state.phase == lifecycle.SERVING else lifecycle.STOPPING
    lines = [f"phase {phase} {since} {state.step or '-'}"]
    if state.server:
        lines.append(f"server {server}")
    if state.level != room.NORMAL:
        lines.append(f"disk {state.level} {state.level_since}")
    running = {role: pid for pid, role in pids.items()}
    for helper in state.helpers.values():
        word: HelperState = "running" if helper.running else "waiting" if helper.due is not None else "ended"
        calm = helper.role == lifecycle.FULL_DISK and state.level == room.NORMAL
        if helper.role in lifecycle.ON_DEMAND or calm or (word, helper.last_code or 0) == ("ended", 0):
            continue  # a helper that has done its work, or has none, is of no interest
        code = "-" if helper.last_code is None else helper.last_code
        pid = running.get(helper.role, 0)
        lines.append(f"helper {helper.role} {word} {pid} {helper.failures} {code}")
    _write(runtime_folder, "\n".join(lines) + "\n")


def _write(runtime_folder: str, text: str) -> None:
    """Replace the file, without fsync: it is worthless after a crash."""
    path = f"{runtime_folder}/status"
    try:
        descriptor = small.make(path + ".new", 0o644)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        os.replace(path + ".new", path)
    except OSError:
        pass  # a full or read-only /run must not stop a database


def pause_path(runtime_folder: str, role: str) -> str:
    """Return the file in which a helper writes after how many seconds to start it again."""
    return f"{runtime_folder}/next-{role}"


def asked_pause(runtime_folder: str, role: str) -> float | None:
    """Return after how many seconds to start a helper again that has ended; None: it has not said."""
    path = pause_path(runtime_folder, role)
    try:
        seconds = int(small.read(path, most=32))
        os.unlink(path)
    except (OSError, ValueError):
        return None
    # This clock stops while the machine is suspended, so no pause is longer than an hour.
    return float(min(max(seconds, 1), 3600))


FIRST_START = "first-start"
"""A file in the runtime folder from the begin of a first start or restore to its success: its exit code, or
`running`. Patroni runs it, and would serve what it leaves."""


def in_recovery(data_folder: str) -> bool:
    """Return whether a server is a standby, replays an archive, or waits at its recovery target.

    Either file stays until the server is promoted.
    """
    return any(os.path.exists(f"{data_folder}/{name}") for name in ("standby.signal", "recovery.signal"))


class Known(NamedTuple):
    """What PID 1 reports about itself."""

    phase: str
    """Empty: not reported."""
    since: int
    """When the phase began, in seconds since 1970."""
    detail: str | None
    """The step of a shutdown."""
    server: int | None
    """The server's pid while it runs."""
    helpers: dict[str, KnownHelper]
    """By their roles."""
    level: Level = room.NORMAL
    """How near a disk of the server is to being full."""
    level_since: int = 0
    """When this level began, in seconds since 1970."""


def read(runtime_folders: Sequence[str]) -> Known | None:
    """Return what PID 1 reports; None: our PID 1 is not running.

    The file is in the first of these folders that exists and is ours.
    """
    for folder in runtime_folders:
        if owner_of(folder) is None:
            continue
        try:
            lines = small.read_text(f"{folder}/status").split("\n")
        except OSError:
            continue
        return _parse([row for row in map(str.split, lines) if row and _is_row(row)])
    return None


def _parse(rows: list[list[str]]) -> Known | None:
    if not rows:
        return None
    found = {row[0]: row for row in rows}
    _, phase, since, detail = found.get("phase", ["", "", "0", "-"])
    server = found.get("server")
    helpers = {}
    for row in rows:
        if row[0] == "helper":
            _, role, word, pid, failures, code = row
            last_code = int(code) if code.isdecimal() else None
            helpers[role] = KnownHelper(role, _STATES[word], int(pid), int(failures), last_code)
    _, level, level_since = found.get("disk", ["", room.NORMAL, "0"])
    return Known(
        phase,
        int(since),
        None if detail == "-" else detail,
        int(server[1]) if server else None,
        helpers,
        next((each for each in room.LEVELS if each == level), room.NORMAL),
        int(level_since),
    )


_NUMBERS = {"phase": (4, (2,)), "server": (2, (1,)), "helper": (6, (3, 4)), "disk": (3, (2,))}
"""How many words a line has, and which of them are numbers."""
_STATES: dict[str, HelperState] = {"running": "running", "waiting": "waiting", "ended": "ended"}


def _is_row(words: list[str]) -> bool:
    """Return whether PID 1 can have written this line; the server's user can write other lines."""
    count, numbers = _NUMBERS.get(words[0], (0, ()))
    if len(words) != count or (words[0] == "helper" and words[2] not in _STATES):
        return False
    return all(words[each].isdecimal() for each in numbers)


def failing(runtime_folders: Sequence[str]) -> dict[str, int]:
    """Return the helpers that keep ending by themselves, and how many times in a row they have."""
    known = read(runtime_folders)
    helpers = {} if known is None else known.helpers
    return {role: helper.failures for role, helper in helpers.items() if helper.failures > 1}


def own_folder(uid: int) -> str | None:
    """Return the runtime folder of a running server of this user, or one that a start has left.

    A folder on a full filesystem is not used, but may still exist.
    """
    found = [folder for folder in RUNTIME_FOLDERS if owner_of(folder) == uid]
    used = (folder for folder in found if os.path.lexists(f"{folder}/status"))
    return next(used, found[0] if found else None)


def folder_in_use() -> str | None:
    """Return the runtime folder of the PID 1 that is running here, for whatever user it runs as."""
    for folder in RUNTIME_FOLDERS:
        if owner_of(folder) and os.path.lexists(f"{folder}/status"):
            return folder
    return None


def owner_of(folder: str) -> int | None:
    """Return the owner of a runtime folder; None: it does not exist, or a stranger may have made it.

    Anybody can make such a folder in /tmp before us; nothing in it can be trusted.
    """
    try:
        found, above = os.lstat(folder), os.lstat(os.path.dirname(folder))
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        return None
    if found.st_uid == os.geteuid() or (above.st_uid == 0 and not above.st_mode & 0o022):
        return found.st_uid
    # The user of PID 1, or if that is still root, the user that it is going to become.
    try:
        first = os.stat("/proc/1").st_uid
    except OSError:
        first = 0
    if first == 0:
        import pwd

        try:
            first = pwd.getpwnam(SERVER_USER).pw_uid
        except KeyError:
            return None
    return found.st_uid if found.st_uid == first else None
