"""The scratch folder of drills, and the server that a drill starts there.

The server archives nothing and can be reached only through its own socket. Once it accepts sessions, it can
reach nothing itself. Whatever a drill starts ends with the drill. The next start or drill removes what a
killed drill leaves.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from entrypoint import exits, log, own
from entrypoint.archive import calls, fetching, wal_commands
from entrypoint.archive.calls import describe_server
from entrypoint.archive.opened import OpenedArchive
from entrypoint.drill import drills
from entrypoint.drill.rehearsals import DRILLS
from entrypoint.errors import Failure, Problem
from entrypoint.postgres import segments
from entrypoint.postgres.sql import conf_value
from entrypoint.restore import planning, replay
from entrypoint.server import control_file, temporary
from entrypoint.server.context import Context, tool_path, write_down_settings
from entrypoint.server.data_folder import forget_original, is_postmaster_of, live_postmaster
from entrypoint.server.private_server import ACCESS
from entrypoint.system import confine, files, leash, locks

_RUNTIME = "drill"
"""In the runtime folder: the sockets, and the archiver's settings with its secrets."""
_LOG = "log"
_LEASH = "leash"
"""In the scratch folder: the file whose lock everything holds that a drill starts."""


@contextmanager
def prepared(opened: OpenedArchive) -> Iterator[Context]:
    """Yield the context of a cluster in the drill folder, which may read the archive."""
    with emptied(opened.context) as made:
        name = opened.tool.config_name
        text = files.read_text(f"{opened.runtime_folder}/{name}")
        moved = opened.tool.moved(text, opened.server, describe_server(made))
        files.write_atomically(f"{made.runtime_folder}/{name}", moved)
        yield made


@contextmanager
def emptied(context: Context) -> Iterator[Context]:
    """Yield the context of a cluster in the drill folder; everything there is removed afterwards."""
    folder = _folder(context)
    runtime = f"{context.runtime_folder}/{_RUNTIME}"
    lock = _take(folder)
    try:
        leash.hold(context.children, f"{folder}/{_LEASH}")
    except Failure:
        os.close(lock)
        raise
    try:
        for each in (runtime, f"{folder}/cluster"):
            files.ensure_folder(each, 0o700)
        yield context._replace(
            settings=context.settings._replace(data_folder=f"{folder}/cluster"),
            runtime_folder=runtime,
            # Neither the real server's password nor the user's variables for another server.
            environment={"PATH": tool_path(context), "LC_ALL": "C.UTF-8", "HOME": runtime},
        )
    finally:
        leash.drop(context.children, f"{folder}/{_LEASH}")
        leash.end_all(f"{folder}/{_LEASH}")
        _remove(context)
        os.close(lock)


def _folder(context: Context) -> str:
    return f"{context.settings.drill.folder}/{own.DRILL_SCRATCH}"


def _take(folder: str) -> int:
    """Lock the scratch folder, also against containers that share the volume."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if locks.take(descriptor):
        return descriptor
    os.close(descriptor)
    raise Failure(
        Problem(
            f"another drill is running in {folder}",
            "wait until it ends, or give each container its own DRILL_FOLDER",
            docs="rehearse-restores",
        )
    )


def clear(context: Context) -> None:
    """Remove what a killed drill has left, but nothing of a running one, here or in another container."""
    folder = _folder(context)
    if os.path.isdir(folder):
        try:
            lock = _take(folder)
        except Failure:
            return
        try:
            _end_left(context, folder)
        except Failure as failure:
            os.close(lock)
            log.problem(failure.problems[0])
            return
        log.info(f"removing what a killed drill has left in {folder}")
        _remove(context)
        DRILLS.settle(context.settings.data_folder)
        os.close(lock)
    elif os.path.isdir(f"{context.runtime_folder}/{_RUNTIME}"):
        files.remove_tree(f"{context.runtime_folder}/{_RUNTIME}")


def _end_left(context: Context, folder: str) -> None:
    """End what a killed drill has left running; raises Failure if some of it runs in another container."""
    data = f"{folder}/cluster"
    found = live_postmaster(data)
    if found is not None and is_postmaster_of(found.pid, data):
        log.info(f"ending the server that a killed drill has left (pid {found.pid})")
        _kill(context, found.pid)
    leash.end_all(f"{folder}/{_LEASH}")


def _remove(context: Context) -> None:
    for path in (f"{context.runtime_folder}/{_RUNTIME}", _folder(context)):
        try:
            if os.path.lexists(path):
                files.remove_tree(path)
        except OSError as error:
            log.warning(
                f"{path} cannot be removed: {error.strerror}",
                "remove it; the next drill or start tries again",
            )


def refuse_tablespaces(data_folder: str) -> None:
    """Raise Failure for a cluster with tablespaces: replayed WAL would write to their real locations."""
    try:
        found = os.listdir(f"{data_folder}/pg_tblspc")
    except OSError:
        return
    if found:
        raise Failure(
            Problem(
                "the cluster has tablespaces outside its data folder, and a drill would write to them",
                "rehearse a restore in a container without the tablespaces' volumes: docker run … restore",
                docs="rehearse-restores",
            )
        )


def start(scratch: Context, plan: planning.Plan) -> int:
    """Start the server on the fetched cluster, with its own settings and none of the original's."""
    data, runtime = scratch.settings.data_folder, scratch.runtime_folder
    refuse_tablespaces(data)
    forget_original(data)
    if os.path.islink(f"{data}/pg_wal"):
        os.unlink(f"{data}/pg_wal")
    os.makedirs(f"{data}/pg_wal", mode=0o700, exist_ok=True)
    write_down_settings(scratch)
    fetching.prepare(scratch)
    last = plan.choice.last_segment
    fetch = wal_commands.restore_command(
        plan.source.archive,
        describe_server(scratch),
        tool_path(scratch),
        proof=segments.proof(plan.choice.timeline, last) if last else "",
    )
    limited = f"{_limit(last, runtime)}; {fetch}" if last else fetch
    configure(scratch, limited, plan.choice.timeline)
    files.write_atomically(f"{data}/recovery.signal", "")
    return _spawn(scratch)


def configure(scratch: Context, restore_command: str = "", timeline: int = 1) -> None:
    """Give the cluster in the scratch folder our own settings, and none of the original's."""
    data, runtime = scratch.settings.data_folder, scratch.runtime_folder
    wanted = drills.server_settings(control_file.read_control(scratch), runtime, restore_command, timeline)
    lines = "".join(f"{name} = {conf_value(value)}\n" for name, value in wanted.items())
    for path, text in (
        (f"{data}/postgresql.conf", lines),
        (f"{data}/postgresql.auto.conf", ""),
        *((f"{runtime}/{name}", text) for name, text in ACCESS.items()),
    ):
        files.write_atomically(path, text)


def _spawn(scratch: Context, kept_in: Sequence[str] | None = None) -> int:
    data = scratch.settings.data_folder
    log_file = os.open(
        f"{scratch.runtime_folder}/{_LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    try:
        argv = ["postgres", "-D", data]
        environment = {**scratch.environment, "LC_ALL": "C", "PGDATA": data}
        outputs = {1: log_file, 2: log_file}
        return scratch.children.spawn(argv, environment, descriptors=outputs, kept_in=kept_in)
    finally:
        os.close(log_file)


def keep_in(scratch: Context, pid: int, deadline: float) -> int:
    """Restart the server for the checks, isolated from everything else; return its pid.

    Until now, nobody had a session. From now on, code of the database's users may run: the deployer's SQL
    reads their views. So the archive's settings are removed, and the kernel confines the server.
    """
    temporary.stop(scratch, pid)
    return begin_kept_in(scratch, deadline)


def begin_kept_in(scratch: Context, deadline: float) -> int:
    """Start the server for the checks, as `keep_in` does; return its pid."""
    data, runtime = scratch.settings.data_folder, scratch.runtime_folder
    for name in os.listdir(runtime):
        if name not in (*ACCESS, _LOG):
            files.remove_tree(f"{runtime}/{name}")
    reached = confine.missing()
    if reached:
        log.info(f"drill: this kernel cannot keep the drill's server from {reached}")
    pid = _spawn(scratch, (os.path.dirname(data), runtime))  # its tablespaces, if any, are next to it
    try:
        temporary.wait_until_ready(scratch, pid, seconds=deadline - time.monotonic())
    except Failure as failure:
        end_server(scratch, pid)
        words = "\n".join(words_of(scratch).split("\n")[-9:])
        raise Failure(
            Problem(
                f"the restored copy did not start again: {failure.problems[0].what}:\n{words}",
                "see the server's output above",
                docs="rehearse-restores",
            )
        ) from failure
    return pid


def _limit(last: str, runtime: str) -> str:
    """Return a piece of sh that reports all segments after `last` as not archived.

    Segments that are archived meanwhile are not replayed: they have not been checked. The name of a
    timeline's history is never after a segment.
    """
    note = shlex.quote(f"{runtime}/{calls.READ_TO_END}").replace("%", "%%")
    return f'n="%f"; [ "${{n#????????}}" \\> {last[8:]} ] && {{ : >{note}; exit 1; }}'


def words_of(scratch: Context) -> str:
    """Return the scratch server's output."""
    return files.read_text(f"{scratch.runtime_folder}/{_LOG}")


def wait(scratch: Context, pid: int, deadline: float, last: str) -> None:
    """Wait until the archive is replayed to its last segment and the server is promoted."""
    try:
        temporary.wait_until_ready(scratch, pid, seconds=deadline - time.monotonic())
    except Failure as failure:
        words = "\n".join(words_of(scratch).splitlines()[-8:])
        early = replay.ended_early(scratch, last)
        why = failure.problems[0].what if early is None else early.what
        raise Failure(
            Problem(
                f"the archive could not be replayed: {why}:\n{words}",
                "see the server's output above; look for damaged segments: entrypoint backup verify",
                exits.ARCHIVE_REFUSED,
                docs="rehearse-restores",
            )
        ) from failure


def end_server(scratch: Context, pid: int) -> None:
    """End the scratch server, if it is running."""
    if scratch.children.poll(pid) is None:
        _kill(scratch, pid)


def _kill(context: Context, pid: int) -> None:
    """End a scratch server at once: its data is thrown away."""
    for number in (signal.SIGQUIT, signal.SIGKILL):
        deadline = time.monotonic() + 2
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        while time.monotonic() < deadline:
            context.children.reap()
            if not os.path.exists(f"/proc/{pid}"):
                return
            context.children.pause(0.02, stoppable=False)
