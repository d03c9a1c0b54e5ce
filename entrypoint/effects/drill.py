"""A drill: the newest backup restored beside the running server, checked, and thrown away.

`rehearse` is the table of contents. The scratch server archives nothing, cannot be reached but by its own
socket, and reaches nothing itself once it takes sessions; what a drill starts ends with it, and what a killed
one leaves the next start or drill removes.
"""

import json
import os
import secrets
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from entrypoint import drills, exits, guest, log, own, recovery, runs, segments, shares, sql, wal_commands
from entrypoint.configfile import conf_value
from entrypoint.drills import Drill
from entrypoint.effects import (
    access,
    backups,
    calls,
    capacity,
    confine,
    control_file,
    ending,
    fetching,
    files,
    history,
    locks,
    planning,
    progress,
    sessions,
    status,
    temporary,
)
from entrypoint.effects.calls import describe_server
from entrypoint.effects.context import Context, tool_path, write_down_settings
from entrypoint.effects.data_folder import forget_original, is_postmaster_of, live_postmaster
from entrypoint.effects.fetch import not_fetched
from entrypoint.errors import Failure, Problem
from entrypoint.private_server import ACCESS
from entrypoint.recovery import Request
from entrypoint.schedule import ASK_AGAIN, Schedule, due
from entrypoint.settings import Archive, drill_folder_problem
from entrypoint.units import spell

SQL_FOLDER = "/docker-entrypoint-drill.d"
"""The user's own checks, `*.sql`."""
_RUNTIME = "drill"
"""Below the runtime folder: the sockets, and the archiver's settings with its secrets."""
_LOG = "log"
_MARGIN = 10
"""One part in so many that the database may have grown since the backup."""
_MOST_WAL = 1024**3
"""What the replayed WAL takes at most between two restartpoints."""
_SOON = 60


def rehearse(context: Context, archive: Archive, *, why: str, lock: int) -> Drill:
    """Restore, check and throw away; raises Failure where that fails, after it was noted."""
    wanted = context.settings
    problem = drill_folder_problem(wanted.drill.folder, wanted.data_folder)
    if problem is not None:
        raise Failure(problem)
    access.make_own(wanted.drill.folder, context.who)
    clear(context)
    drill = Drill(datetime.now(UTC).isoformat(), why, url=archive.storage.url)
    history.note_drill(wanted.data_folder, drill)
    context.children.tied = True
    backups.be_modest()
    began = time.monotonic()
    try:
        plan = _plan(context, archive)
        drill = drill._replace(backup=plan.choice.backup.name, segments=plan.choice.segments)
        with _scratch(context, archive) as scratch:
            drill = _restored(scratch, plan, drill, lock)
        drill = drill._replace(outcome=runs.OK)
    except BaseException as error:
        outcome, words = runs.ended_by(error)
        drill = drill._replace(outcome=outcome, words=words)
        raise
    finally:
        drill = drill._replace(seconds=_since(began))
        history.note_drill(wanted.data_folder, drill)
        context.children.tied = False
    log.info(f"drill: {drills.describe(drill)}")
    return drill


def _restored(scratch: Context, plan: planning.Plan, drill: Drill, lock: int) -> Drill:
    """Fetch, replay and check; return the drill with its figures."""
    deadline = time.monotonic() + scratch.settings.backup.timeout
    log.info(f"drill: restoring {drill.backup} and up to {drill.segments} WAL segments")
    began = time.monotonic()
    _fetch(scratch, plan, deadline, lock)
    fetched = time.monotonic()
    drill = drill._replace(fetch_seconds=_since(began))
    pid = _start(scratch, plan)
    try:
        _wait(scratch, pid, deadline, plan.choice.last_segment)
        drill = drill._replace(
            replay_seconds=_since(fetched),
            last_transaction=drills.last_transaction(_words(scratch)),
            bytes=progress.size_of(scratch.settings.data_folder),
        )
        replayed = time.monotonic()
        pid = _keep_in(scratch, pid, deadline)
        checks = _check(scratch, deadline)
        return drill._replace(checks=checks, check_seconds=_since(replayed))
    finally:
        _end_server(scratch, pid)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)


@contextmanager
def _scratch(context: Context, archive: Archive) -> Iterator[Context]:
    """Yield the context of a cluster in the folder of drills; all of it is removed afterwards."""
    folder = _folder(context)
    runtime = f"{context.runtime_folder}/{_RUNTIME}"
    lock = _take(folder)
    try:
        for each in (runtime, f"{folder}/cluster"):
            files.ensure_folder(each, 0o700)
        made = context._replace(
            settings=context.settings._replace(data_folder=f"{folder}/cluster"),
            runtime_folder=runtime,
            # No password of the real server, and no wish of the user for a server elsewhere.
            environment={"PATH": tool_path(context), "LC_ALL": "C.UTF-8", "HOME": runtime},
        )
        name = archive.tool.config_name
        text = files.read_text(f"{context.runtime_folder}/{name}")
        moved = archive.tool.moved(text, describe_server(context), describe_server(made))
        files.write_atomically(f"{runtime}/{name}", moved)
        yield made
    finally:
        _remove(context)
        os.close(lock)


def _folder(context: Context) -> str:
    return f"{context.settings.drill.folder}/{own.DRILL_SCRATCH}"


def _take(folder: str) -> int:
    """Hold the scratch folder, also against containers that share the volume."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if locks.take(descriptor):
        return descriptor
    os.close(descriptor)
    raise Failure(
        Problem(
            f"another drill is at work in {folder}",
            "wait for its end, or give each container a DRILL_FOLDER of its own",
        )
    )


def clear(context: Context) -> None:
    """Remove what a killed drill has left; nothing of one that lives, here or in another container."""
    folder = _folder(context)
    if os.path.isdir(folder):
        try:
            lock = _take(folder)
        except Failure:
            return
        data = f"{folder}/cluster"
        found = live_postmaster(data)
        if found is not None and is_postmaster_of(found.pid, data):
            log.info(f"ending the server that a killed drill has left (pid {found.pid})")
            _kill(context, found.pid)
        log.info(f"removing what a killed drill has left in {folder}")
        _remove(context)
        history.settle_drills(context.settings.data_folder)
        os.close(lock)
    elif os.path.isdir(f"{context.runtime_folder}/{_RUNTIME}"):
        files.remove_tree(f"{context.runtime_folder}/{_RUNTIME}")


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


def _plan(context: Context, archive: Archive) -> planning.Plan:
    """Choose what to restore; raises Failure, before a byte is written, if it cannot work here."""
    plan = planning.look_at(context, archive, Request(recovery.LATEST))
    # After the plan: what it lets replay was archived before, so its tablespaces are known by now.
    _refuse_tablespaces(context.settings.data_folder)
    size = segments.size_by(plan.choice.backup.first_segment, plan.choice.backup.start_lsn)
    need = plan.bytes + plan.bytes // _MARGIN + min(plan.choice.segments * size, _MOST_WAL)
    free = planning.free(context.settings.drill.folder)
    if free < need:
        raise Failure(
            Problem(
                f"a drill needs {spell(need)} for backup {plan.choice.backup.name} and its WAL, "
                f"and only {spell(free)} are free on {context.settings.drill.folder}",
                "set DRILL_FOLDER to a folder with more room, for example on a volume of its own",
                exits.ARCHIVE_REFUSED,
            )
        )
    return plan


def _refuse_tablespaces(data_folder: str) -> None:
    """Raise Failure for a cluster with tablespaces: replayed WAL writes to their real places."""
    try:
        found = os.listdir(f"{data_folder}/pg_tblspc")
    except OSError:
        return
    if found:
        raise Failure(
            Problem(
                "the cluster has tablespaces outside of its data folder, where a drill would write as well",
                "rehearse a restore in a container without the tablespaces' volumes: docker run … restore",
            )
        )


def _fetch(scratch: Context, plan: planning.Plan, deadline: float, lock: int) -> None:
    folder = scratch.settings.data_folder
    tool = plan.archive.tool
    shown = progress.Progress("drill", plan.bytes, lambda: 0)

    def counter(_: int) -> Callable[[], int]:
        return lambda: progress.size_of(folder)

    resources = shares.backup(capacity.processors(), capacity.memory_limit(), None)
    command = tool.fetch(describe_server(scratch), plan.choice.backup.name, folder, resources=resources)
    code, words = backups.run_tool(
        scratch, command, lock, seconds=deadline - time.monotonic(), shown=shown, counter=counter
    )
    if code or not os.path.exists(f"{folder}/PG_VERSION"):
        mend = "see its own words; if the backup is damaged take a new one: entrypoint backup push"
        raise not_fetched(plan, f"(exit code {code}):\n{words}", mend)


def _start(scratch: Context, plan: planning.Plan) -> int:
    """Start the server on the fetched cluster with settings of its own, and nothing of the original's."""
    data, runtime = scratch.settings.data_folder, scratch.runtime_folder
    _refuse_tablespaces(data)
    forget_original(data)
    if os.path.islink(f"{data}/pg_wal"):
        os.unlink(f"{data}/pg_wal")
    os.makedirs(f"{data}/pg_wal", mode=0o700, exist_ok=True)
    write_down_settings(scratch)
    fetching.prepare(scratch)
    last = plan.choice.last_segment
    fetch = wal_commands.restore_command(
        plan.archive,
        describe_server(scratch),
        tool_path(scratch),
        proof=segments.proof(plan.choice.timeline, last) if last else "",
    )
    limited = f"{_limit(last, runtime)}; {fetch}" if last else fetch
    wanted = drills.server_settings(
        control_file.read_control(scratch), runtime, limited, plan.choice.timeline
    )
    lines = "".join(f"{name} = {conf_value(value)}\n" for name, value in wanted.items())
    for path, text in (
        (f"{data}/postgresql.conf", lines),
        (f"{data}/postgresql.auto.conf", ""),
        (f"{data}/recovery.signal", ""),
        *((f"{runtime}/{name}", text) for name, text in ACCESS.items()),
    ):
        files.write_atomically(path, text)
    return _spawn(scratch)


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


def _keep_in(scratch: Context, pid: int, deadline: float) -> int:
    """Start the server anew for the checks, out of reach of everything else; return its pid.

    Until here nobody had a session. From here on what the database's users have written may run: the
    deployer's SQL reads their views. So the archive's settings are gone, and the kernel keeps the server in.
    """
    data, runtime = scratch.settings.data_folder, scratch.runtime_folder
    temporary.stop(scratch, pid)
    for name in os.listdir(runtime):
        if name not in (*ACCESS, _LOG):
            files.remove_tree(f"{runtime}/{name}")
    reached = confine.missing()
    if reached:
        log.info(f"drill: this kernel cannot keep its server from {reached}")
    pid = _spawn(scratch, (data, runtime))
    try:
        temporary.wait_until_ready(scratch, pid, seconds=deadline - time.monotonic())
    except Failure as failure:
        _end_server(scratch, pid)
        words = "\n".join(_words(scratch).split("\n")[-9:])
        raise Failure(
            Problem(
                f"the restored copy did not start again: {failure.problems[0].what}:\n{words}",
                "see the server's own words",
            )
        ) from failure
    return pid


def _limit(last: str, runtime: str) -> str:
    """Return a piece of sh that says of what is behind a segment that it is not archived.

    What is archived meanwhile is not replayed: it has not been looked at. The names of timelines' histories
    are not behind any segment.
    """
    note = shlex.quote(f"{runtime}/{calls.READ_TO_END}").replace("%", "%%")
    return f'n="%f"; [ "${{n#????????}}" \\> {last[8:]} ] && {{ : >{note}; exit 1; }}'


def _words(scratch: Context) -> str:
    return files.read_text(f"{scratch.runtime_folder}/{_LOG}")


def _wait(scratch: Context, pid: int, deadline: float, last: str) -> None:
    """Wait until the archive is replayed to its last segment and the server promoted."""
    try:
        temporary.wait_until_ready(scratch, pid, seconds=deadline - time.monotonic())
    except Failure as failure:
        words = "\n".join(_words(scratch).splitlines()[-8:])
        early = ending.early(scratch, last)
        why = failure.problems[0].what if early is None else early.what
        raise Failure(
            Problem(
                f"the archive could not be replayed: {why}:\n{words}",
                "see the server's own words; entrypoint backup verify looks for damaged segments",
                exits.ARCHIVE_REFUSED,
            )
        ) from failure


_DATABASES = "SELECT to_json(datname) FROM pg_database WHERE datallowconn AND datconnlimit > -2"


def _own_amcheck(scratch: Context) -> None:
    """Have amcheck in a schema of its own in all databases.

    pg_amcheck calls it by its schema, and not by its exact types: where others may write there, a function of
    theirs can be nearer.
    """
    schema = f"entrypoint_{secrets.token_hex(16)}"
    body = f"""BEGIN
        IF EXISTS (SELECT FROM pg_extension WHERE extname = 'amcheck') THEN
            ALTER EXTENSION amcheck SET SCHEMA {schema};
        ELSE
            CREATE EXTENSION amcheck SCHEMA {schema};
        END IF;
    END"""
    text = f"CREATE SCHEMA {schema}; DO {sql.literal(body)}"
    for line in sql.lines(sessions.query(scratch, _DATABASES)):
        sessions.query(scratch, text, database=json.loads(line), writes=True)


def _check(scratch: Context, deadline: float) -> tuple[str, ...]:
    """Run pg_amcheck and the user's SQL; return what was run."""
    _own_amcheck(scratch)
    done = []
    for name in (sessions.AMCHECK, *_sql_files()):
        left = max(1, deadline - time.monotonic())
        if name == sessions.AMCHECK:
            code, said = sessions.amcheck(scratch, seconds=left)
        else:
            database = scratch.settings.init.database
            code, said = sessions.file(scratch, f"{SQL_FOLDER}/{name}", database, seconds=left)
        done.append(name)
        if code == sessions.TOO_LATE or (name == sessions.AMCHECK and "due to statement timeout" in said):
            raise Failure(
                Problem(
                    f"the restored copy was not looked at to its end: {name} was ended after {left:.0f} s",
                    "give backups and drills more time: BACKUP_TIMEOUT",
                )
            )
        if code:
            words = "\n".join(said.strip().splitlines()[-8:])
            raise Failure(
                Problem(
                    f"the restored copy does not stand {name} (exit code {code}):\n{words}",
                    "see its own words: damaged is the backup or the database itself, or the check is wrong",
                )
            )
    return tuple(done)


def _sql_files() -> list[str]:
    try:
        return sorted(name for name in os.listdir(SQL_FOLDER) if name.endswith(".sql"))
    except FileNotFoundError:
        return []


def _end_server(scratch: Context, pid: int) -> None:
    if scratch.children.poll(pid) is None:
        _kill(scratch, pid)


def _kill(context: Context, pid: int) -> None:
    """End a scratch server at once: what it has is thrown away."""
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


def scheduled(context: Context, archive: Archive) -> int:
    """Rehearse, if the schedule says so; return the seconds until the next look."""
    wanted = context.settings
    data = wanted.data_folder
    while not backups.is_up(data):
        context.children.pause(0.5)
    plan = _schedule(context)
    if plan is None:
        return ASK_AGAIN
    least = 1
    try:
        with backups.alone(context, "the scheduled drill", wait=False) as lock:
            clear(context)
            if _due(data, plan) <= time.time() and not status.in_recovery(data):
                if not calls.list_backups(context, archive):
                    return _SOON  # the first backup is still to come
                rehearse(context, archive, why=backups.SCHEDULE, lock=lock)
    except backups.Busy as busy:
        log.info(f"the scheduled drill waits for its turn: {busy}")
        return _SOON
    except Failure as failure:
        for problem in failure.problems:
            log.problem(problem)
        least = _SOON
    return max(least, min(ASK_AGAIN, int(_due(data, plan) - time.time()) + 1))


def _schedule(context: Context) -> Schedule | None:
    wanted = context.settings
    if wanted.drill.schedule is None:
        return None
    identifier = control_file.read_control(context).get("Database system identifier", "")
    return Schedule(wanted.drill.schedule, wanted.backup.timezone, wanted.backup.jitter, identifier)


def _due(data_folder: str, schedule: Schedule) -> float:
    """Return when the next drill is due.

    A failed one has answered its question, so only one that was killed or stopped is tried again.
    """
    now = time.time()
    known = drills.settled(history.read_drills(data_folder))
    found = [each for each in known if guest.moment(each.started, now) is not None]
    done = [_ended(each) for each in found if each.outcome in (runs.OK, runs.FAILED)]
    broken = drills.interrupted_in_a_row(found)
    last = _ended(found[-1]) if broken else None
    return due(schedule, now, done[-1] if done else _made(data_folder), last, broken)


def overdue(context: Context) -> bool:
    """Tell whether a schedule is set and the last good drill is older than two of its periods."""
    schedule = _schedule(context)
    data = context.settings.data_folder
    if schedule is None or not os.path.exists(f"{data}/PG_VERSION"):
        return False
    now = time.time()
    known = [each for each in history.read_drills(data) if guest.moment(each.started, now) is not None]
    good = drills.last(known).success
    return drills.overdue(_ended(good) if good else _made(data), schedule.passed(now, 2))


def _made(data_folder: str) -> float:
    """Return when the cluster was made; a schedule begins to count then."""
    made = os.stat(f"{data_folder}/PG_VERSION").st_mtime
    return made if made <= time.time() else 0.0


def _ended(drill: Drill) -> float:
    return datetime.fromisoformat(drill.started).timestamp() + drill.seconds
