"""What PID 1 tells about itself: one small file of lines, and how to read it.

`<runtime folder>/status` has a line `phase NAME SINCE DETAIL`, and while the server runs a line `server PID`
and for each helper with work left `helper ROLE STATE PID FAILURES LAST_CODE`. Standard library only,
and little of it: `entrypoint ready` is called every few seconds by health checks.
"""

from __future__ import annotations

import os
import stat
import time

from entrypoint.light import NamedTuple
from entrypoint.pid1 import lifecycle
from entrypoint.system import small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final, Literal

    Phase = Literal["boot", "init", "restore", "recovery"]
    """Of a start; the others are those of `lifecycle`."""
    HelperState = Literal["running", "waiting", "ended"]

SERVER_USER = "postgres"
"""Whom root becomes."""
SOCKET_FOLDER = "/var/run/postgresql"
RUNTIME_FOLDERS = ("/run/entrypoint", f"{SOCKET_FOLDER}/entrypoint", "/tmp/entrypoint")  # noqa: S108 - only taken when it is ours and closed

BOOT: Final = "boot"
INIT: Final = "init"
RESTORE: Final = "restore"
RECOVERY: Final = "recovery"


def enter(runtime_folder: str, phase: Phase) -> None:
    """Say that a phase of the start has begun."""
    _write(runtime_folder, f"phase {phase} {int(time.time())} -\n")


def publish(
    runtime_folder: str, state: lifecycle.State, server: int, pids: Mapping[int, str], since: int
) -> None:
    """Say where the supervisor is; `since` is when the phase began, in seconds since 1970."""
    phase = lifecycle.SERVING if state.phase == lifecycle.SERVING else lifecycle.STOPPING
    lines = [f"phase {phase} {since} {state.step or '-'}"]
    if state.server:
        lines.append(f"server {server}")
    running = {role: pid for pid, role in pids.items()}
    for helper in state.helpers.values():
        word: HelperState = "running" if helper.running else "waiting" if helper.due is not None else "ended"
        if helper.role in lifecycle.ON_DEMAND or (word, helper.last_code) == ("ended", 0):
            continue  # nobody has to know of what has done its work
        code = "-" if helper.last_code is None else helper.last_code
        pid = running.get(helper.role, 0)
        lines.append(f"helper {helper.role} {word} {pid} {helper.failures} {code}")
    _write(runtime_folder, "\n".join(lines) + "\n")


def _write(runtime_folder: str, text: str) -> None:
    """Replace the file; no fsync, since it is worth nothing after a crash."""
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
    """Return where a helper writes after how many seconds it wants to be started again."""
    return f"{runtime_folder}/next-{role}"


def asked_pause(runtime_folder: str, role: str) -> float | None:
    """Return after how many seconds a helper that has ended wants to be started again, if it said so."""
    path = pause_path(runtime_folder, role)
    try:
        seconds = int(small.read(path, most=32))
        os.unlink(path)
    except (OSError, ValueError):
        return None
    # The clock here stands still while the machine is suspended, so nobody sleeps longer than an hour.
    return float(min(max(seconds, 1), 3600))


def in_recovery(data_folder: str) -> bool:
    """Tell whether a server is a standby, replays an archive, or waits at its target.

    Either file stays until it is promoted.
    """
    return any(os.path.exists(f"{data_folder}/{name}") for name in ("standby.signal", "recovery.signal"))


class KnownHelper(NamedTuple):
    """What PID 1 tells of a helper that has work left, or has failed."""

    role: str
    state: HelperState
    """`waiting`: for its time."""
    pid: int
    """0: it does not run."""
    failures: int
    """How often in a row it ended by itself."""
    last_code: int | None
    """None: it has not ended yet."""


class Known(NamedTuple):
    """What PID 1 tells about itself."""

    phase: str
    """Empty where it is not told."""
    since: int
    """When it began, in seconds since 1970."""
    detail: str | None
    """The step of a shutdown."""
    server: int | None
    """The pid of the server, while it runs."""
    helpers: dict[str, KnownHelper]
    """By their roles."""


def read(runtime_folders: Sequence[str]) -> Known | None:
    """Return what PID 1 tells, or None where none of ours runs.

    Its file is in the first of these folders that is there and is ours.
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
    return Known(
        phase, int(since), None if detail == "-" else detail, int(server[1]) if server else None, helpers
    )


_NUMBERS = {"phase": (4, (2,)), "server": (2, (1,)), "helper": (6, (3, 4))}
"""How many words a line has, and which are numbers."""
_STATES: dict[str, HelperState] = {"running": "running", "waiting": "waiting", "ended": "ended"}


def _is_row(words: list[str]) -> bool:
    """Tell whether PID 1 writes such lines; the server's user can write others."""
    count, numbers = _NUMBERS.get(words[0], (0, ()))
    if len(words) != count or (words[0] == "helper" and words[2] not in _STATES):
        return False
    return all(words[each].isdecimal() for each in numbers)


def failing(runtime_folders: Sequence[str]) -> dict[str, int]:
    """Return the helpers that end by themselves again and again, and how often in a row they did."""
    known = read(runtime_folders)
    helpers = {} if known is None else known.helpers
    return {role: helper.failures for role, helper in helpers.items() if helper.failures > 1}


def own_folder(uid: int) -> str | None:
    """Return the runtime folder of a running server of this user."""
    return next((folder for folder in RUNTIME_FOLDERS if owner_of(folder) == uid), None)


def at_work() -> str | None:
    """Return the runtime folder of the PID 1 that is at work here, whoever it runs as."""
    for folder in RUNTIME_FOLDERS:
        if owner_of(folder) and os.path.lexists(f"{folder}/status"):
            return folder
    return None


def owner_of(folder: str) -> int | None:
    """Return whose a runtime folder is, or None where it is none or a stranger may have made it.

    In /tmp anybody can make one before us, and nobody is to believe what is in it.
    """
    try:
        found, above = os.lstat(folder), os.lstat(os.path.dirname(folder))
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        return None
    if found.st_uid == os.geteuid() or (above.st_uid == 0 and not above.st_mode & 0o022):
        return found.st_uid
    # The user of PID 1, or where that is still root, the one that it steps down to.
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
