"""`entrypoint status` and `entrypoint ready`: what PID 1 is doing."""

from __future__ import annotations

import functools
import json
import os
import time
from contextlib import suppress

import click

from entrypoint import exits
from entrypoint.archive import backlog, known_gaps
from entrypoint.backup import history, journal
from entrypoint.cli import archive, restorable
from entrypoint.cli.output import echo, echo_rows, on_terminal
from entrypoint.drill import drills, rehearsals
from entrypoint.errors import Failure, Problem, Stopped
from entrypoint.light import NamedTuple
from entrypoint.noted import reachable
from entrypoint.pid1 import ready, status
from entrypoint.server import opening
from entrypoint.shown import iso, spell
from entrypoint.standby import promotion
from entrypoint.system import processes
from entrypoint.volume import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from entrypoint.backup.runs import LastRuns
    from entrypoint.backup.window import Window
    from entrypoint.drill.drills import LastDrills
    from entrypoint.failover.member import Member
    from entrypoint.pid1.status import Known
    from entrypoint.server.context import Context
    from entrypoint.settings.serving import WhenFull
    from entrypoint.settings.values import Settings
    from entrypoint.volume.facts import ArchiveState, Following

_LASTING = ("Patroni", "node", "leader", "paused", "settings")
"""What is said about a cluster under Patroni that does not change all the time."""
_EVERY = 2.0
"""Seconds between two looks of `status --follow`."""


@click.command("ready")
def ready_() -> int:
    """Report whether the server accepts connections.

    The command is made for health checks: it is small and quick, and any user may run it. Exit codes: 0 the
    server accepts connections, 1 it does not accept them yet or is stopping, 2 no entrypoint runs here or its
    server does not answer.
    """
    return ready.main()


class Seen(NamedTuple):
    """What `entrypoint status` sees at one moment."""

    server: dict[str, object]
    helpers: list[dict[str, object]]
    following: Following | None
    """None: the server is no standby."""
    archive: ArchiveState | None
    """None: there is no archive, or the variables have mistakes. Then what follows is empty as well."""
    backups: LastRuns | None
    drills: LastDrills | None
    restorable: Window | str
    """As `reachable.known` returns it."""
    member: Member | None = None
    """None: the server is not under Patroni."""
    disk: str = ""
    """Whether writes are refused or soon will be, in words; empty: there is room."""


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option(
    "--follow",
    is_flag=True,
    help="Look every 2 seconds. Draw again on a terminal, otherwise print one line for each change.",
)
def show(as_json: bool, follow: bool) -> None:
    """Show the phase, the server, archiving, and backups.

    Phases: boot, init, restore, recovery, startdb, serving, stopping. The output also has the sessions, the
    helpers of PID 1, what can be restored, and on a standby how it follows. Ctrl-C ends --follow.
    """
    wanted, problems, _ = opening.read_settings(opening.environ(), ())
    _known()
    ready.step_down()
    context = functools.cache(lambda: opening.command_context(wanted))
    if follow:
        with suppress(Stopped):
            _follow(context, valid=not problems, as_json=as_json)
        return
    seen = _look(context, wanted, valid=not problems)
    if as_json:
        click.echo(json.dumps(_as_json(seen), indent=2))
    else:
        _echo(seen)


def _look(context: Callable[[], Context], wanted: Settings, *, valid: bool) -> Seen:
    known = _known()
    facts = _server(known)
    following = promotion.look(context()) if facts["role"] == "standby" else None
    disk = _disk(known, wanted.serving.when_full)
    seen = Seen(
        facts, helpers(known), following, None, None, None, "", _member(wanted) if valid else None, disk
    )
    if not valid or wanted.archive is None:
        return seen
    folder = status.own_folder(os.stat(wanted.data_folder).st_uid) or ""
    state = backlog.look(wanted.archive, wanted.data_folder, folder)
    state = known_gaps.tell(archive.with_own_command(state, context()), context())
    data = os.environ.get("PGDATA", "")
    return seen._replace(
        archive=state,
        backups=history.last_runs(data),
        drills=rehearsals.last_drills(data),
        restorable=reachable.known(wanted.archive, context(), state),
    )


def _member(wanted: Settings) -> Member | None:
    """Return what Patroni on this node says."""
    if wanted.failover is None:
        return None
    from entrypoint.failover import rest  # only under Patroni

    return rest.look(wanted.failover)


def _node_as_json(found: Member | None) -> dict[str, object] | None:
    if found is None:
        return None
    from entrypoint.failover import member

    return member.as_json(found, time.time())


def _describe_node(found: Member | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    from entrypoint.failover import member

    return member.rows(found, time.time())


def _as_json(seen: Seen) -> dict[str, object]:
    def entries(last: LastRuns | LastDrills | None) -> dict[str, object] | None:
        return last and {name: run and run._asdict() for name, run in last._asdict().items()}

    return {
        **seen.server,
        "helpers": seen.helpers,
        "patroni": _node_as_json(seen.member),
        "archive": seen.archive and seen.archive._asdict(),
        "following": seen.following and seen.following._asdict(),
        "backups": entries(seen.backups),
        "drills": entries(seen.drills),
        "restorable": restorable.as_json(seen.restorable),
    }


def _echo(seen: Seen) -> None:
    shown = {name: value for name, value in seen.server.items() if not name.startswith("disk_")}
    echo_rows((name, "-" if value is None else f"{value}") for name, value in shown.items())
    if seen.disk:
        echo_rows([("disk", seen.disk)])
    echo_rows(_describe_node(seen.member))
    if seen.following:
        echo_rows(_describe_following(seen.following))
    if seen.archive is not None and seen.backups is not None and seen.drills is not None:
        echo_rows(archive.describe(seen.archive))
        echo_rows([*_describe_runs(seen.backups), *_describe_drills(seen.drills)])
    for helper in seen.helpers:
        failures = f", failed {helper['failures']} times" if helper["failures"] else ""
        echo_rows([("helper", f"{helper['role']}: {helper['state']}{failures}")])
    restorable.echo(seen.restorable)


def _follow(context: Callable[[], Context], *, valid: bool, as_json: bool) -> NoReturn:
    """Look every two seconds; raises Stopped at Ctrl-C or another stop signal."""
    before = None
    children = context().children
    while True:
        seen = _look(context, context().settings, valid=valid)
        if on_terminal() and not as_json:
            click.echo("\033[H\033[J", nl=False)
            _echo(seen)
        elif (line := _line(seen)) != before:
            before = line
            now = iso(time.time())
            echo(json.dumps({"time": now, **_as_json(seen)}) if as_json else f"{now}  {line}")
        children.pause(_EVERY)


def _line(seen: Seen) -> str:
    """Return what is worth a new line when it changes: not the numbers that change all the time."""
    found = [f"{seen.server['phase']}"]
    found += [f"{seen.server[name]}" for name in ("shutdown", "role") if seen.server[name]]
    found += [seen.disk] if seen.disk else []
    found += [f"{name}: {text}" for name, text in _describe_node(seen.member) if name in _LASTING]
    if seen.following:
        found.append(f"follows by {seen.following.by}")
    state = seen.archive
    if state is not None:
        found.append(f"{state.backlog_segments} WAL files waiting")
        found.append(f"last archived: {state.last_archived or 'nothing yet'}")
        wrong = state.fork_refused or (state.failing_since and state.last_error)
        found += [f"archiving fails: {wrong}"] if wrong else []
    if seen.backups is not None and seen.drills is not None:
        rows = [*_describe_runs(seen.backups), *_describe_drills(seen.drills)]
        found += [f"{name}: {text}" for name, text in rows]
    found += [f"helper {each['role']}: {each['state']}" for each in seen.helpers]
    return "; ".join(found)


def _known() -> Known:
    """Return what PID 1 reports; raises Failure if no entrypoint is running."""
    known = status.read(status.RUNTIME_FOLDERS)
    if known is None:
        raise Failure(
            Problem(
                "the entrypoint does not run here",
                "run this command in the server's container: docker exec CONTAINER entrypoint status",
                exits.FAILURE,
            )
        )
    return known


def _server(known: Known) -> dict[str, object]:
    code, word = ready.look(os.environ.get("PGDATA", ""))
    return {
        "phase": word if code == ready.NOT_READY else known.phase,
        "since": iso(known.since),
        "shutdown": known.detail,
        "ready": code == ready.READY,
        "role": word if code == ready.READY else None,
        "server_pid": known.server,
        "sessions": processes.sessions(known.server) if known.server else 0,
        "disk_level": known.level,
        "disk_level_since": None if known.level == room.NORMAL else iso(known.level_since),
    }


def _disk(known: Known, when_full: WhenFull) -> str:
    """Return whether writes are refused, since when, and where to see why; empty: there is room."""
    if known.level == room.NORMAL:
        return ""
    what = "it is filling up"
    if known.level == room.FULL:
        what = "writes are refused" if when_full != "wait" else "it is nearly full"
    return f"{what}, since {iso(known.level_since)}; see: entrypoint doctor 'full disk'"


def _describe_following(following: Following) -> list[tuple[str, str]]:
    seconds = following.seconds_since_transaction
    return [
        ("follows by", following.by),
        ("replayed", following.replayed_lsn or "nothing yet"),
        ("last commit", "none yet" if seconds is None else f"{seconds} s ago on the primary"),
    ]


def _describe_runs(last: LastRuns) -> list[tuple[str, str]]:
    rows = []
    if last.running is not None:
        rows.append(
            ("backup", f"a backup ({last.running.kind}) has been running since {last.running.started}")
        )
    if last.success is not None:
        run = last.success
        size = f"{spell(run.bytes)} in {run.seconds:.0f} s"
        rows.append(("last backup", f"{run.name} ({run.kind}), started {run.started}, {size}: {run.outcome}"))
    if last.failure is not None:
        rows.append(("backup failed", f"{last.failure.started}: {_why(last.failure.words)}"))
    if last.verified is not None and (last.verified.holes or last.verified.broken):
        ranges = ", ".join(f"{first} to {final}" for first, final in last.verified.holes)
        rows.append(("missing WAL", ranges or ", ".join(last.verified.broken)))
    return rows


def _describe_drills(last: LastDrills) -> list[tuple[str, str]]:
    rows = []
    if last.running is not None:
        rows.append(("drill", f"a drill has been running since {last.running.started}"))
    if last.success is not None:
        rows.append(("last drill", f"{last.success.started}: {drills.describe(last.success)}"))
    if last.failure is not None:
        rows.append(("drill failed", f"{last.failure.started}: {_why(last.failure.words)}"))
    return rows


def _why(words: str) -> str:
    """Return what has failed and why, on one line."""
    what, gist = words.partition("\n")[0], journal.gist(words)
    return what if what.endswith(gist) else f"{what} {gist}"


def helpers(known: Known) -> list[dict[str, object]]:
    """Return the helpers of PID 1."""
    return [{**helper._asdict(), "pid": helper.pid or None} for helper in known.helpers.values()]
