"""`entrypoint archive`: the state of archiving, a test of it, and a push of the pending WAL."""

import json

import click

from entrypoint import log
from entrypoint.archive import backlog, known_gaps, pending
from entrypoint.archive.opened import OpenedArchive, open_archive
from entrypoint.cli import restorable
from entrypoint.cli.grouping import Commands
from entrypoint.cli.output import echo, echo_rows
from entrypoint.config import charge_now
from entrypoint.doctor.judge.archive import LOST
from entrypoint.noted import reachable
from entrypoint.server.context import Context
from entrypoint.shown import spell
from entrypoint.volume.facts import ArchiveState


@click.group("archive", cls=Commands)
def group() -> None:
    """Show and check the archiving of WAL, and push pending WAL.

    Run these commands in the server's container: docker exec CONTAINER entrypoint archive status.
    """


@group.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def show(as_json: bool) -> None:
    """Show pending WAL, the last success, and any outage.

    During an outage the output contains the archiver's own message. The last line says what can be restored.
    """
    opened = open_archive()
    state = look(opened)
    found = reachable.known(opened.archive, opened.context, state)
    if as_json:
        click.echo(json.dumps({**state._asdict(), "restorable": restorable.as_json(found)}, indent=2))
        return
    echo_rows(describe(state))
    restorable.echo(found)


def look(opened: OpenedArchive) -> ArchiveState:
    """Return the state of archiving."""
    state = backlog.look(opened.archive, opened.data_folder, opened.runtime_folder)
    return known_gaps.tell(with_own_command(state, opened.context), opened.context)


def with_own_command(state: ArchiveState, context: Context) -> ArchiveState:
    """Return the state with what a user's own archive_command means for it, if there is one."""
    told = charge_now.look(context)
    return state if told is None else state._replace(own_command=told.what, own_command_hint=told.hint)


def describe(state: ArchiveState) -> list[tuple[str, str]]:
    """Return the state as rows for people."""
    rows = [("archive", f"{state.tool} to {state.url}")]
    if state.fork_refused is not None:
        rows.append(("refused", f"{state.fork_refused}; nothing is archived, backed up or removed"))
        rows += [("hint", f"{state.fork_hint}"), ("docs", f"{state.fork_docs}")]
    if state.own_command is not None:
        first, *rest = log.advised(f"{state.own_command}", f"{state.own_command_hint}", "").split("\n")
        rows += [("own command", first), *(("", line) for line in rest)]
    if state.lost:
        rows.append(("emptied", LOST))
    if state.failing_since is not None:
        rows.append(("fails since", f"{state.failing_since}: {state.last_error}"))
    if not state.prepared:
        why = "the storage was unavailable at the start, or the server was in recovery"
        rows.append(("not prepared", f"{why}; the next segment prepares it"))
    waiting = f"{state.backlog_segments} WAL files, {spell(state.backlog_bytes)}"
    if state.oldest_ready_seconds is not None:
        waiting += f", the oldest ({state.oldest_ready}) for {state.oldest_ready_seconds} s"
    rows.append(("waiting", waiting))
    if state.seconds_until_full is not None:
        rows.append(("volume full in", f"{state.seconds_until_full / 3600:.1f} hours at the current rate"))
    if state.dropping:
        rows.append(("giving up", "the disk is nearly full: WAL that cannot be archived is given up"))
    if state.gap is not None:
        until = "; a full backup is taken once archiving works" if state.gap_open else ""
        rows.append(("given up", f"{state.gap}{until}"))
    last = (
        "nothing yet" if state.last_archived is None else f"{state.last_archived} at {state.last_archived_at}"
    )
    rows.append(("last archived", last))
    rows.append(("rate", f"{state.archived_per_minute} a minute over the last ten minutes"))
    return rows


def _say(text: str) -> None:
    echo(text, err=True)


@group.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option(
    "--timeout", default=120.0, metavar="SECONDS", show_default=True, help="Seconds to wait for the segment."
)
def check(as_json: bool, timeout: float) -> None:
    """Archive a WAL segment and read it back.

    The segment is the current one of the running server, and the copy is compared with it. Before that, the
    command writes a small object, reads it back and removes it, so that an error shows at once.
    """
    opened = open_archive()
    proof = pending.check(opened, timeout, _say)
    if as_json:
        click.echo(json.dumps(proof._asdict(), indent=2))
        return
    same = "identical" if proof.compared else "but the server no longer has a copy to compare it with"
    echo(
        f"{proof.segment} was archived within {proof.archived_seconds} s and came back in "
        f"{proof.fetched_seconds} s: {same}"
    )
    if proof.object_seconds is not None:
        removed = f"not removed: {proof.object_stays}" if proof.object_stays else "removed"
        echo(f"a small object was written, read back and {removed} in {proof.object_seconds} s")


@group.command("push-pending")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of names.")
@click.option(
    "--timeout",
    default=600.0,
    metavar="SECONDS",
    show_default=True,
    help="Seconds to wait for a running server.",
)
def push_pending(as_json: bool, timeout: float) -> None:
    """Archive all pending WAL now, even without a server.

    Run it before you move or give up a volume.
    """
    opened = open_archive()
    names = pending.push(opened, timeout, _say)
    if as_json:
        click.echo(json.dumps(names, indent=2))
    else:
        echo(f"{len(names)} WAL files were waiting; all of them are archived now")
