"""What PID 1 tells about itself: one small file of lines, and how to read it.

`<runtime folder>/status` has a line `phase NAME SINCE DETAIL`, and while the server runs a line `server PID`
and for each helper with work left `helper ROLE STATE PID FAILURES LAST_CODE`. Standard library only,
and little of it: `entrypoint ready` is called every few seconds by health checks.
"""

from __future__ import annotations

import os
import stat
import time

from entrypoint import lifecycle, log
from entrypoint.effects import small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SERVER_USER = "postgres"
"""Whom root becomes."""
SOCKET_FOLDER = "/var/run/postgresql"
RUNTIME_FOLDERS = ("/run/entrypoint", f"{SOCKET_FOLDER}/entrypoint", "/tmp/entrypoint")  # noqa: S108 - only taken when it is ours and closed

BOOT = "boot"
INIT = "init"
RESTORE = "restore"
RECOVERY = "recovery"
PHASES = (BOOT, INIT, RESTORE, RECOVERY, lifecycle.STARTDB, lifecycle.SERVING, lifecycle.STOPPING)


def enter(runtime_folder: str, phase: str, detail: str = "-") -> None:
    """Say that a phase of the start has begun."""
    _write(runtime_folder, f"phase {phase} {int(time.time())} {detail}\n")


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
        word = "running" if helper.running else "waiting" if helper.due is not None else "ended"
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


def describe(state: lifecycle.State, server: int) -> str:
    """Return one line about what goes on, for the log."""
    if state.phase == lifecycle.SERVING:
        return f"serving; {_count(sessions(server))}"
    if state.phase == lifecycle.STOPPING and not state.asked:
        names = ", ".join(helper.role for helper in state.helpers.values() if helper.running)
        return f"stopping; waiting for {names} before the server is asked to"
    if _checkpoint_runs(server):
        return f"{state.step} shutdown; waiting for the shutdown's checkpoint"
    if child_of(server, "archiver") and not sessions(server):
        return f"{state.step} shutdown; waiting for the last segments to be archived"
    return f"{state.step} shutdown; waiting for {_count(sessions(server))}"


def _checkpoint_runs(server: int) -> bool:
    return any("checkpoint" in title and "performing" in title for title in _titles(server).values())


def child_of(server: int, duty: str) -> int | None:
    """Return the pid of the server's process with this duty, as its title names it."""
    found = (pid for pid, title in _titles(server).items() if title.startswith(f"postgres: {duty}"))
    return next(found, None)


def archiver_calls(server: int) -> list[int]:
    """Return the processes of the archive_command, if a shutdown waits for nothing else."""
    archiver = child_of(server, "archiver")
    if archiver is None or _checkpoint_runs(server) or sessions(server):
        return []
    found = [archiver]
    for pid in found:
        found += _children_of(pid)
    return found[1:]


def say_backlog(folder: str) -> None:
    """Say what a server that has ended leaves unarchived; `folder` is pg_wal/archive_status."""
    try:
        waiting = sorted(
            name.removesuffix(".ready") for name in os.listdir(folder) if name.endswith(".ready")
        )
    except OSError:
        return
    if waiting:
        log.warning(
            f"not archived yet: {len(waiting)} of the WAL files, from {waiting[0]} on; they wait in pg_wal",
            "keep the volume; they are archived after the next start, or by: entrypoint archive push-pending",
        )


def asked_pause(runtime_folder: str, role: str) -> float | None:
    """Return after how many seconds a helper that has ended wants to be started again, if it said so."""
    try:
        seconds = int(small.read(f"{runtime_folder}/next-{role}", most=32))
        os.unlink(f"{runtime_folder}/next-{role}")
    except (OSError, ValueError):
        return None
    # The clock here stands still while the machine is suspended, so nobody sleeps longer than an hour.
    return float(min(max(seconds, 1), 3600))


def _count(number: int) -> str:
    return f"{number} session{'' if number == 1 else 's'}"


def sessions(server: int) -> int:
    """Return how many client sessions a server has, by the titles of its processes."""
    # postgres: USER DATABASE HOST ACTIVITY; every other process has the name of its duty there.
    duties = (
        "archiver", "autovacuum", "background", "bgworker", "checkpointer", "checksum", "io worker",
        "logger", "logical replication", "parallel", "slotsync", "startup", "stats", "walreceiver",
        "walsender", "walsummarizer", "walwriter",
    )  # fmt: skip
    return sum(
        1
        for title in _titles(server).values()
        if title.startswith("postgres: ") and not title.removeprefix("postgres: ").startswith(duties)
    )


def _titles(parent: int) -> dict[int, str]:
    """Return how the children of a process call themselves, by pid."""
    titles = {}
    for pid in _children_of(parent):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                titles[pid] = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
    # A cluster_name stands before every duty; the checkpointer is the one that is always there.
    for title in titles.values():
        name, found, _ = title.removeprefix("postgres: ").partition(": checkpointer")
        if found:
            return {pid: each.replace(f"postgres: {name}: ", "postgres: ", 1) for pid, each in titles.items()}
    return titles


def _children_of(parent: int) -> list[int]:
    return [pid for pid in pids() if parent_of(pid) == parent]


def pids() -> list[int]:
    """Return the processes of this container."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parent_of(pid: int) -> int:
    """Return the parent of a process, or -1 where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


def others() -> list[int]:
    """Return what else runs in this container, or, if we are not its PID 1, below us."""
    me = os.getpid()
    if me == 1:
        return [pid for pid in pids() if pid != 1]
    return _children_of(me)


def say_if_out_of_memory(code: int) -> None:
    """Explain a server killed by SIGKILL, if the container's own memory limit did it."""
    if code != 128 + 9:
        return
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path, encoding="ascii") as file:
                counts = dict(line.split()[:2] for line in file if " " in line)
        except (OSError, ValueError):
            continue
        kills = int(counts.get("oom_kill", 0))
        log.warning(
            f"the server was killed by SIGKILL; the kernel counts {kills} out-of-memory kills in this "
            "container",
            "give it more memory (docker run --memory), or lower shared_buffers and work_mem"
            if kills
            else "nothing in this container did it: look at the host's log (dmesg)",
        )
        return


def failing(runtime_folders: Sequence[str]) -> dict[str, int]:
    """Return the helpers that end by themselves again and again, and how often in a row they did."""
    rows = [row for name, row in read(runtime_folders).items() if name.startswith("helper ")]
    return {row[0]: int(row[3]) for row in rows if int(row[3]) > 1}


def in_recovery(data_folder: str) -> bool:
    """Tell whether a server is a standby, replays an archive, or waits at its target.

    Either file stays until it is promoted.
    """
    return any(os.path.exists(f"{data_folder}/{name}") for name in ("standby.signal", "recovery.signal"))


def read(runtime_folders: Sequence[str]) -> dict[str, list[str]]:
    """Return the lines of the status file of PID 1, by their first word (`helper ROLE` for helpers).

    It is in the first of these folders that is there and is ours.
    """
    for folder in runtime_folders:
        if owner_of(folder) is None:
            continue
        try:
            lines = small.read_text(f"{folder}/status").split("\n")
        except OSError:
            continue
        rows = [row for row in map(str.split, lines) if row and _is_row(row)]
        return {f"helper {row[1]}" if row[0] == "helper" else row[0]: row[1:] for row in rows}
    return {}


_NUMBERS = {"phase": (4, (2,)), "server": (2, (1,)), "helper": (6, (3, 4))}
"""How many words a line has, and which are numbers."""


def _is_row(words: list[str]) -> bool:
    """Tell whether PID 1 writes such lines; the server's user can write others."""
    count, numbers = _NUMBERS.get(words[0], (0, ()))
    return len(words) == count and all(words[each].isdecimal() for each in numbers)


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
