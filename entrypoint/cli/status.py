"""`entrypoint status` and `entrypoint ready`: what PID 1 is doing."""

import json
import os
import time

import click

from entrypoint import exits
from entrypoint.archive import backlog
from entrypoint.backup import history, journal
from entrypoint.backup.runs import LastRuns
from entrypoint.cli import archive
from entrypoint.cli.output import echo_rows
from entrypoint.drill import drills, rehearsals
from entrypoint.drill.drills import LastDrills
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import ready, status
from entrypoint.pid1.status import Known
from entrypoint.server import opening
from entrypoint.settings.values import Settings
from entrypoint.shown import spell
from entrypoint.standby import promotion
from entrypoint.system import processes
from entrypoint.volume.facts import ArchiveState, Following


@click.command("ready")
def ready_() -> int:
    """Report whether the server accepts connections.

    The command is made for health checks: it is small and quick, and any user may run it. Exit codes: 0 the
    server accepts connections, 1 it does not accept them yet or is stopping, 2 no entrypoint runs here or its
    server does not answer.
    """
    return ready.main()


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def show(as_json: bool) -> None:
    """Show the phase, the server, archiving, and backups.

    Phases: boot, init, restore, recovery, startdb, serving, stopping. The output also has the sessions, the
    helpers of PID 1, and on a standby how it follows.
    """
    wanted, problems, _ = opening.read_settings(opening.environ(), ())
    known = _known()
    ready.step_down()
    facts, found = _server(known), helpers(known)
    state = None if problems else archive_state(wanted)
    following = promotion.look(opening.command_context(wanted)) if facts["role"] == "standby" else None
    last = None if state is None else history.last_runs(os.environ.get("PGDATA", ""))
    rehearsed = None if state is None else rehearsals.last_drills(os.environ.get("PGDATA", ""))
    if as_json:
        shown: dict[str, object] = {**facts, "helpers": found, "archive": state and state._asdict()}
        shown["following"] = following and following._asdict()
        shown["backups"] = last and {name: run and run._asdict() for name, run in last._asdict().items()}
        shown["drills"] = rehearsed and {
            name: run and run._asdict() for name, run in rehearsed._asdict().items()
        }
        click.echo(json.dumps(shown, indent=2))
        return
    echo_rows((name, "-" if value is None else f"{value}") for name, value in facts.items())
    if following:
        echo_rows(_describe_following(following))
    if state is not None and last is not None and rehearsed is not None:
        echo_rows([*archive.describe(state), *_describe_runs(last), *_describe_drills(rehearsed)])
    for helper in found:
        failures = f", failed {helper['failures']} times" if helper["failures"] else ""
        echo_rows([("helper", f"{helper['role']}: {helper['state']}{failures}")])


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
        "since": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(known.since)),
        "shutdown": known.detail,
        "ready": code == ready.READY,
        "role": word if code == ready.READY else None,
        "server_pid": known.server,
        "sessions": processes.sessions(known.server) if known.server else 0,
    }


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


def archive_state(wanted: Settings) -> ArchiveState | None:
    """Return the state of archiving, or None if it is off."""
    if wanted.archive is None:
        return None
    folder = status.own_folder(os.stat(wanted.data_folder).st_uid) or ""
    state = backlog.look(wanted.archive, wanted.data_folder, folder)
    return archive.with_own_command(state, opening.command_context(wanted))


def helpers(known: Known) -> list[dict[str, object]]:
    """Return the helpers of PID 1."""
    return [{**helper._asdict(), "pid": helper.pid or None} for helper in known.helpers.values()]
