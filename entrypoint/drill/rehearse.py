"""A drill: the newest backup is restored next to the running server, checked, and thrown away.

`rehearse` is the table of contents.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from entrypoint import exits, log
from entrypoint.archive import shares
from entrypoint.archive.opened import OpenedArchive
from entrypoint.backup import journal
from entrypoint.backup.schedule import ASK_AGAIN
from entrypoint.backup.scheduled import Job, attempt, schedule_of, until_it_leads
from entrypoint.backup.turn import be_modest, run_tool
from entrypoint.config import when_full
from entrypoint.drill import drills
from entrypoint.drill.drills import Drill
from entrypoint.drill.rehearsals import due_by, note
from entrypoint.drill.scratch import (
    clear,
    end_server,
    keep_in,
    prepared,
    refuse_tablespaces,
    start,
    wait,
    words_of,
)
from entrypoint.errors import Failure, Problem
from entrypoint.postgres import segments, sql
from entrypoint.restore import planning
from entrypoint.restore.fetch import not_fetched
from entrypoint.server import sessions
from entrypoint.server.context import Context
from entrypoint.settings import restoring
from entrypoint.settings.rehearsing import drill_folder_problem
from entrypoint.settings.restoring import Request
from entrypoint.shown import spell
from entrypoint.system import access, capacity, progress, space
from entrypoint.volume import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.backup.journal import Why

SQL_FOLDER = "/docker-entrypoint-drill.d"
"""The user's own checks, `*.sql`."""
MARGIN = 10
"""The database may have grown since the backup by one part in this many."""
_MOST_WAL = 1024**3
"""The most bytes that the replayed WAL takes between two restartpoints."""


def rehearse(opened: OpenedArchive, *, why: Why, lock: int) -> Drill:
    """Restore, check and throw away; raises Failure if that fails, after noting it."""
    wanted = opened.settings
    problem = drill_folder_problem(wanted.drill.folder, wanted.data_folder)
    if problem is not None:
        raise Failure(problem)
    access.make_own(wanted.drill.folder, opened.context.who)
    clear(opened.context)
    drill = Drill(datetime.now(UTC).isoformat(), why, url=opened.url)
    note(wanted.data_folder, drill)
    opened.context.children.tied = True
    be_modest()
    began = time.monotonic()
    try:
        plan = plan_for(opened)
        drill = drill._replace(backup=plan.choice.backup.name, segments=plan.choice.segments)
        with prepared(opened) as scratch:
            drill = _restored(scratch, plan, drill, lock)
        drill = drill._replace(outcome=journal.OK)
    except BaseException as error:
        outcome, words = journal.ended_by(error)
        drill = drill._replace(outcome=outcome, words=words)
        raise
    finally:
        drill = drill._replace(seconds=_since(began))
        note(wanted.data_folder, drill)
        opened.context.children.tied = False
    log.info(f"drill: {drills.describe(drill)}")
    return drill


def _restored(scratch: Context, plan: planning.Plan, drill: Drill, lock: int) -> Drill:
    """Fetch, replay and check; return the drill with its figures."""
    deadline = time.monotonic() + scratch.settings.backup.timeout
    log.info(f"drill: restoring {drill.backup} and up to {drill.segments} WAL segments")
    began = time.monotonic()
    fetch(scratch, plan, deadline, lock)
    fetched = time.monotonic()
    drill = drill._replace(fetch_seconds=_since(began))
    pid = start(scratch, plan)
    try:
        wait(scratch, pid, deadline, plan.choice.last_segment)
        drill = drill._replace(
            replay_seconds=_since(fetched),
            last_transaction=drills.last_transaction(words_of(scratch)),
            bytes=progress.size_of(scratch.settings.data_folder),
        )
        replayed = time.monotonic()
        pid = keep_in(scratch, pid, deadline)
        checks = check(scratch, deadline)
        return drill._replace(checks=checks, check_seconds=_since(replayed))
    finally:
        end_server(scratch, pid)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)


def plan_for(opened: OpenedArchive) -> planning.Plan:
    """Choose what to restore; raises Failure, before a byte is written, if it cannot work here."""
    plan = planning.look_at(opened, Request(restoring.LATEST))
    # After the plan: the WAL that it replays is archived by now, so its tablespaces are visible here.
    refuse_tablespaces(opened.data_folder)
    size = segments.size_by(plan.choice.backup.first_segment, plan.choice.backup.start_lsn)
    need = plan.bytes + plan.bytes // MARGIN + min(plan.choice.segments * size, _MOST_WAL)
    refuse_without_room(opened.context, need, f"backup {plan.choice.backup.name} and its WAL", size)
    return plan


def refuse_without_room(context: Context, need: int, what: str, segment_bytes: int) -> None:
    """Raise Failure if the drill folder has not this much room, next to what the server needs there."""
    folder = context.settings.drill.folder
    free = planning.free(folder) - _for_server(context, segment_bytes)
    if free < need:
        raise Failure(
            Problem(
                f"a drill needs {spell(need)} for {what}, "
                f"but only {spell(max(0, free))} are free for it on {folder}",
                "set DRILL_FOLDER to a folder with more room, for example on a separate volume",
                exits.ARCHIVE_REFUSED,
                docs="rehearse-restores",
            )
        )


def _for_server(context: Context, segment_bytes: int) -> int:
    """Return the bytes that the server needs on the drill folder's filesystem; 0: it needs none there."""
    data, folder = context.settings.data_folder, context.settings.drill.folder
    if not os.path.isdir(f"{data}/pg_wal"):
        return 0  # this container has no server
    if space.identity(folder) not in map(space.identity, when_full.disks(data)):
        return 0
    return room.marks(space.look(folder).size, segment_bytes).normal


def fetch(scratch: Context, plan: planning.Plan, deadline: float, lock: int) -> None:
    """Fetch the backup of a plan to the scratch folder; raises Failure."""
    folder = scratch.settings.data_folder
    source = plan.source.with_context(scratch)
    shown = progress.Progress("drill", plan.bytes, lambda: 0)

    def counter(_: int) -> Callable[[], int]:
        return lambda: progress.size_of(folder)

    resources = shares.backup(capacity.processors(), capacity.memory_limit(), None)
    command = source.tool.fetch(source.server, plan.choice.backup.name, folder, resources=resources)
    code, words = run_tool(
        source, command, lock, seconds=deadline - time.monotonic(), shown=shown, counter=counter
    )
    if code or not os.path.exists(f"{folder}/PG_VERSION"):
        hint = "see its output above; if the backup is damaged, take a new one: entrypoint backup push"
        raise not_fetched(plan, f"(exit code {code}):\n{words}", hint)


_DATABASES = "SELECT to_json(datname) FROM pg_database WHERE datallowconn AND datconnlimit > -2"


def _own_amcheck(scratch: Context) -> None:
    """Give amcheck its own schema in all databases.

    pg_amcheck names the schema, but not the exact argument types: if other users may write to that schema,
    PostgreSQL can prefer one of their functions.
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


def check(scratch: Context, deadline: float) -> tuple[str, ...]:
    """Run pg_amcheck and the user's SQL files; return the names of these checks."""
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
                    f"the restored copy was not checked completely: {name} was ended after {left:.0f} s",
                    "give backups and drills more time: BACKUP_TIMEOUT",
                    docs="rehearse-restores",
                )
            )
        if code:
            words = "\n".join(said.strip().splitlines()[-8:])
            raise Failure(
                Problem(
                    f"the restored copy failed {name} (exit code {code}):\n{words}",
                    "see its output above: the backup or the database is damaged, or the check is wrong",
                    docs="rehearse-restores",
                )
            )
    return tuple(done)


def _sql_files() -> list[str]:
    try:
        return sorted(name for name in os.listdir(SQL_FOLDER) if name.endswith(".sql"))
    except FileNotFoundError:
        return []


def scheduled(opened: OpenedArchive) -> int | None:
    """Rehearse, if the schedule says so; return the seconds until the next look."""
    data = opened.data_folder
    if (pause := until_it_leads(opened)) is not None:
        return pause
    if opened.settings.drill.schedule is None:
        return ASK_AGAIN
    schedule = schedule_of(opened.context, opened.settings.drill.schedule)

    def rehearse_if_due(lock: int) -> bool:
        clear(opened.context)
        if due_by(data, schedule) <= time.time():
            if not opened.list_backups():
                return False  # there is no backup yet
            rehearse(opened, why=journal.SCHEDULE, lock=lock)
        return True

    job = Job("the scheduled drill", rehearse_if_due, lambda: due_by(data, schedule), ASK_AGAIN)
    return attempt(opened.context, job)
