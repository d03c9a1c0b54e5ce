"""`entrypoint archive`: how archiving goes, a proof that it works, and a push of what waits."""

import json

import click

from entrypoint.archive import backlog, pending
from entrypoint.archive.opened import open_archive
from entrypoint.cli.grouping import Commands
from entrypoint.cli.output import echo, echo_rows
from entrypoint.config import charge_now
from entrypoint.doctor.judge.archive import LOST
from entrypoint.server.context import Context
from entrypoint.shown import spell
from entrypoint.volume.facts import ArchiveState


@click.group("archive", cls=Commands)
def group() -> None:
    """See, check and push WAL archiving; works in a running container by `docker exec`."""


@group.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
def show(as_json: bool) -> None:
    """Show what waits to be archived, the last success, and an outage with the archiver's own words."""
    opened = open_archive()
    state = backlog.look(opened.archive, opened.data_folder, opened.runtime_folder)
    state = with_own_command(state, opened.context)
    if as_json:
        click.echo(json.dumps(state._asdict(), indent=2))
        return
    echo_rows(describe(state))


def with_own_command(state: ArchiveState, context: Context) -> ArchiveState:
    """Return the state with what there is to say of an archive_command of the user's own."""
    told = charge_now.look(context)
    return state if told is None else state._replace(own_command=told.what, own_command_hint=told.hint)


def describe(state: ArchiveState) -> list[tuple[str, str]]:
    """Return the state as rows for people."""
    rows = [("archive", f"{state.tool} to {state.url}")]
    if state.fork_refused is not None:
        rows.append(("refused", f"{state.fork_refused}; nothing is archived, backed up or removed"))
        rows.append(("hint", f"{state.fork_hint}"))
    if state.own_command is not None:
        first, *rest = f"{state.own_command}\nhint: {state.own_command_hint}".split("\n")
        rows += [("own command", first), *(("", line) for line in rest)]
    if state.lost:
        rows.append(("emptied", LOST))
    if state.failing_since is not None:
        rows.append(("fails since", f"{state.failing_since}: {state.last_error}"))
    if not state.prepared:
        rows.append(("not prepared", "the storage was away at the start; the next segment tries again"))
    waiting = f"{state.backlog_segments} WAL files, {spell(state.backlog_bytes)}"
    if state.oldest_ready_seconds is not None:
        waiting += f", the oldest ({state.oldest_ready}) for {state.oldest_ready_seconds} s"
    rows.append(("waiting", waiting))
    if state.seconds_until_full is not None:
        rows.append(("volume full in", f"{state.seconds_until_full / 3600:.1f} hours at the present rate"))
    last = (
        "nothing yet" if state.last_archived is None else f"{state.last_archived} at {state.last_archived_at}"
    )
    rows.append(("last archived", last))
    rows.append(("rate", f"{state.archived_per_minute} a minute over the last ten minutes"))
    return rows


def _say(text: str) -> None:
    echo(text, err=True)


@group.command()
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for the segment.")
def check(as_json: bool, timeout: float) -> None:
    """Archive the present segment of the running server, read it back, and compare it.

    Before that a small object is written, read back and removed, so that what does not work is told at once.
    """
    opened = open_archive()
    proof = pending.check(opened, timeout, _say)
    if as_json:
        click.echo(json.dumps(proof._asdict(), indent=2))
        return
    same = "identical" if proof.compared else "of which the server has no copy to compare any more"
    echo(
        f"{proof.segment} was archived within {proof.archived_seconds} s and came back in "
        f"{proof.fetched_seconds} s: {same}"
    )
    if proof.object_seconds is not None:
        removed = f"not removed: {proof.object_stays}" if proof.object_stays else "removed"
        echo(f"a small object was written, read back and {removed} in {proof.object_seconds} s")


@group.command("push-pending")
@click.option("--json", "as_json", is_flag=True, help="Print an array of names.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait for a running server.")
def push_pending(as_json: bool, timeout: float) -> None:
    """Archive everything that waits now, also without a server: before a volume is moved or given up."""
    opened = open_archive()
    names = pending.push(opened, timeout, _say)
    if as_json:
        click.echo(json.dumps(names, indent=2))
    else:
        echo(f"{len(names)} WAL files were waiting; all are archived")
