"""`entrypoint backup`: take, list, verify, keep and remove base backups."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

from entrypoint import exits
from entrypoint.archive import below, fork, given_up, known_gaps
from entrypoint.archive.opened import OpenedArchive, open_archive
from entrypoint.archivers.known import KEEPING_PARENTS
from entrypoint.archivers.terms import Backup
from entrypoint.backup import contents, history, journal
from entrypoint.backup.catalog import decide, known_broken, own_backups, own_of
from entrypoint.backup.expire import expire
from entrypoint.backup.runs import Run
from entrypoint.backup.take import obstacle, push
from entrypoint.backup.turn import alone
from entrypoint.backup.verify import verify, wrong
from entrypoint.cli import archive, restorable
from entrypoint.cli.grouping import Commands
from entrypoint.cli.output import echo, echo_table
from entrypoint.drill import drills
from entrypoint.drill.rehearsals import DRILLS
from entrypoint.drill.rehearse import rehearse
from entrypoint.errors import Failure, Problem
from entrypoint.failover import rest
from entrypoint.finding import ERROR, OK, WARNING
from entrypoint.noted import reachable
from entrypoint.pid1 import status
from entrypoint.server import opening, programs
from entrypoint.shown import spell
from entrypoint.system import access

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.finding import Level

_SHOWN = 10
_LONG = 100
"""How many runs and drills `list` shows."""


@click.group("backup", cls=Commands)
def group() -> None:
    """Take, list, verify, keep and remove base backups.

    Run these commands in the server's container: docker exec CONTAINER entrypoint backup list.
    """


@group.command("push")
@click.option("--incremental", is_flag=True, help="Store only what has changed since the last backup.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array with the new backup.")
def push_(incremental: bool, as_json: bool) -> None:
    """Take a base backup of the running server now.

    The backup is full unless you give --incremental. If another backup, a drill or a retention run is in
    progress, the command waits for it to finish.
    """
    opened = open_archive()
    problem = _elsewhere(opened) or obstacle(opened)
    if problem is not None:
        raise Failure(problem)
    what = f"a manual backup ({'incremental' if incremental else 'full'})"
    with alone(opened.context, what, wait=True) as lock:
        run = push(opened, incremental=incremental, why=journal.COMMAND, lock=lock)
    made = [each for each in opened.list_backups() if each.name == run.name]
    _show(opened, made, as_json=as_json)


def _elsewhere(opened: OpenedArchive) -> Problem | None:
    """Return where backups are taken instead if this is a standby under Patroni."""
    node = opened.settings.failover
    if node is None or not status.in_recovery(opened.data_folder):
        return None
    known = rest.look(node).leader
    where = f"{known} is the leader" if known else "no leader is known (patronictl list)"
    return Problem(
        f"this node is a standby: backups are taken on the leader, and {where}",
        f"on that node: docker exec {known or 'CONTAINER'} entrypoint backup push",
        docs="fail-over",
    )


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, oldest first.")
def list_(as_json: bool) -> None:
    """List the base backups, the last runs, and the drills.

    The oldest backup comes first. Backups of other major versions, from before or after an upgrade, are
    listed as well. The runs show how each backup ended. The last line says what can be
    restored.
    """
    opened = open_archive()
    backups = opened.list_backups()
    _show(opened, backups, below.readable_backups(opened), as_json=as_json)
    if as_json:
        return
    found = history.RUNS.read(opened.data_folder)
    if found:
        echo()
        _show_runs(found[-_SHOWN:])
    rehearsed = DRILLS.read(opened.data_folder)
    if rehearsed:
        echo()
        for each in rehearsed[-_SHOWN:]:
            echo(f"drill {each.started[:19]}  {each.why}  {drills.describe(each)}")
    if backups:
        echo()
        restorable.echo(reachable.listed(opened, own_of(opened, backups), archive.look))


@group.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def show(name: str, as_json: bool) -> None:
    """Show one backup, why it is kept, and how it was taken.

    The output also names the backup that it builds on, and those that build on it. NAME is the name in the
    output of entrypoint backup list.
    """
    opened = open_archive()
    backups = opened.list_backups()
    backup = _find(name, backups, opened)
    broken = known_broken(opened.context)
    decision = decide(opened.context, own_backups(opened), broken)
    taken = [run for run in history.RUNS.read(opened.data_folder) if run.name == name]
    shown: dict[str, object] = {
        **_fields(backup, opened.archive.storage.below, broken),
        "kept": {each.name: why for each, why in decision.keep}.get(name),
        "built_on_it": [each.name for each in backups if each.parent == name],
        "run": taken[-1]._asdict() if taken else None,
    }
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    shown["run"] = _words(taken[-1]) if taken else None
    shown["built_on_it"] = ", ".join(each.name for each in backups if each.parent == name)
    for field, value in shown.items():
        echo(f"{field.ljust(20)}{'-' if value in (None, '') else value}")


@group.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def verify_(as_json: bool) -> int:
    """Find missing or damaged WAL segments and backups.

    With BACKUP_VERIFY=content the command reads the whole archive, even what was read before. The exit code
    is 1 if something is wrong.
    """
    opened = open_archive()
    backups = own_backups(opened)
    found, read = verify(opened, backups)
    lines = wrong(found)
    if read is not None:
        contents.say(read, opened.settings.backup.verify_days, whole=True)
    gaps = known_gaps.here(opened.context, opened.url)
    if as_json:
        shown = {"sound": found.sound, "holes": found.holes, "broken": found.broken, "backups": len(backups)}
        shown["given_up"] = [(each.first, each.last) for each in gaps]
        if read is not None:
            shown |= {"read_files": read.files, "read_bytes": read.bytes}
        click.echo(json.dumps(shown, indent=2))
    else:
        echo("\n".join(lines) if lines else f"{len(backups)} backups and their WAL: nothing is wrong")
        for each in gaps:
            echo(f"a gap that is known: {given_up.in_words(each)}")
        if not found.sound:
            echo("hint: entrypoint backup push")
    return 0 if found.sound else exits.FAILURE


@group.command("drill")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def drill_(as_json: bool) -> None:
    """Rehearse a restore of the newest backup.

    The command restores the backup into DRILL_FOLDER, checks it, and removes it again. It runs pg_amcheck on
    all databases, then your own SQL files: /docker-entrypoint-drill.d/*.sql. The server keeps running
    meanwhile; the command also works in a container without a server. If a backup is in progress, the drill
    waits for it to finish.
    """
    wanted = opening.load_settings(opening.beside(opening.in_force()), ())
    if wanted.archive is not None:
        access.make_own(wanted.drill.folder, opening.server_identity())  # root may
    opened = open_archive()
    if not opened.list_backups():
        raise Failure(
            Problem(
                f"{opened.url} holds no backup to restore",
                "take one: docker exec CONTAINER entrypoint backup push",
                exits.ARCHIVE_REFUSED,
            )
        )
    with alone(opened.context, "a manual drill", wait=True) as lock:
        made = rehearse(opened, why=journal.COMMAND, lock=lock)
    click.echo(json.dumps(made._asdict(), indent=2) if as_json else drills.describe(made))


@group.command()
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let retention remove the backup again.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array with the backup.")
def mark(name: str, undo: bool, as_json: bool) -> None:
    """Keep a backup permanently, or with --undo no longer.

    Retention never removes a permanent backup, nor the backups that it builds on.
    """
    opened = open_archive()
    objection = fork.objection(opened.data_folder)
    if objection is not None:
        raise Failure(objection)
    _find(name, opened.list_backups(), opened)
    with alone(opened.context, f"a change of the mark of {name}", wait=True):
        command = opened.tool.mark(opened.server, name, permanent=not undo)
        code, words = opened.run_quietly(command)
    made = _find(name, opened.list_backups(), opened)
    if code or made.permanent == undo:
        raise Failure(
            Problem(
                f"{opened.tool.name} could not mark {name} (exit code {code}):\n{words.strip()}",
                f"check that the storage is reachable; with {KEEPING_PARENTS}, what a permanent backup "
                "builds on stays permanent",
                exits.ARCHIVE_REFUSED,
            )
        )
    _show(opened, [made], as_json=as_json)


@group.command("expire")
@click.option("--dry-run", is_flag=True, help="Only print what would go and what would stay.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def expire_(dry_run: bool, as_json: bool) -> None:
    """Remove backups that retention no longer keeps.

    Retention is set by BACKUP_RETAIN_FULL and BACKUP_RETAIN_DAYS. The WAL that only the removed backups
    needed is removed too.
    """
    opened = open_archive()
    if not opened.settings.backup.retains:
        raise Failure(
            Problem(
                "nothing is ever removed: neither BACKUP_RETAIN_FULL nor BACKUP_RETAIN_DAYS is set",
                "set one of them and recreate the container, or set it for this call only: docker exec -e "
                "BACKUP_RETAIN_FULL=7 CONTAINER entrypoint backup expire --dry-run",
                docs="schedule-backups",
            )
        )
    with alone(opened.context, "a manual retention run", wait=True):
        found = expire(opened, dry_run=dry_run)
    kept = {each.name: why for each, why in found.decision.keep}
    removed = [each.name for each in found.decision.remove]
    if as_json:
        shown = {"dry_run": dry_run, "removed": removed, "kept": kept, "removed_wal": list(found.segments)}
        click.echo(json.dumps(shown, indent=2))
        return
    word = "would go" if dry_run else "went"
    for name in removed:
        echo(f"{word.ljust(9)} {name}")
    if found.segments:
        echo(f"{word.ljust(9)} WAL from {found.segments[0]} to {found.segments[-1]}")
    for name, why in kept.items():
        echo(f"{'stays'.ljust(9)} {name}: {why}")


def _find(name: str, backups: Sequence[Backup], opened: OpenedArchive) -> Backup:
    for backup in backups:
        if backup.name == name:
            return backup
    raise Failure(
        Problem(
            f"{opened.url} has no backup named {name}",
            f"use one of {', '.join(each.name for each in backups[-10:])}"
            if backups
            else "the archive has no backups; take one: entrypoint backup push",
            exits.ARCHIVE_REFUSED,
        )
    )


def _fields(backup: Backup, place: str, broken: Mapping[str, str]) -> dict[str, object]:
    return {**backup._asdict(), "problem": broken.get(backup.name), "place": place}


def _show(
    opened: OpenedArchive,
    backups: Sequence[Backup],
    others: Sequence[tuple[str, Backup]] = (),
    *,
    as_json: bool,
) -> None:
    """Show the backups of an archive; `others` are those of its other places, whose names may be the same."""
    here, broken = opened.archive.storage.below, known_broken(opened.context)
    listed = sorted([*((here, each) for each in backups), *others], key=lambda each: each[1].finished)
    if as_json:
        rows = [_fields(backup, place, broken if place == here else {}) for place, backup in listed]
        click.echo(json.dumps(rows, indent=2))
        return
    if not listed:
        echo("no backups")
        return
    major = programs.binary_major(opened.context)
    shown = [("NAME", "KIND", "FINISHED", "SIZE", "STORED", "LSN", "NOTE")] + [
        (
            backup.name,
            backup.kind,
            backup.finished,
            spell(backup.size_bytes),
            spell(backup.stored_bytes),
            f"{backup.start_lsn} - {backup.stop_lsn}",
            (place == here and broken.get(backup.name)) or _note(backup, major),
        )
        for place, backup in listed
    ]
    echo_table(shown, _level)


def _note(backup: Backup, major: int) -> str:
    words = ["damaged pages" if backup.damaged else "permanent" if backup.permanent else ""]
    if backup.major not in (0, major):
        words.append(f"PostgreSQL {backup.major}")
    return ", ".join(word for word in words if word)


def _show_runs(found: Sequence[Run]) -> None:
    rows = [("RUN", "WHY", "KIND", "SECONDS", "STORED", "OUTCOME", "LAST OUTPUT")]
    for run in found:
        seconds = "" if run.outcome == journal.RUNNING else f"{run.seconds:.0f}"
        words = journal.gist(run.words)
        if len(words) > _LONG:
            words = f"{words[: _LONG // 2]}…{words[-_LONG // 2 :]}"  # the cause is often at the end
        stored = spell(run.bytes) if run.bytes else ""
        rows.append((run.started[:19], run.why, run.kind, seconds, stored, run.outcome, words))
    echo_table(rows, _level)


_LEVELS: dict[str, Level] = {
    journal.OK: OK,
    journal.DAMAGED: WARNING,
    **dict.fromkeys((journal.FAILED, journal.INTERRUPTED), ERROR),
}
"""By outcome."""


def _level(heading: str, cell: str) -> Level | None:
    if heading == "OUTCOME":
        return _LEVELS.get(cell)
    warns = heading == "NOTE" and cell not in ("NOTE", "permanent", "")
    return WARNING if warns and "PostgreSQL" not in cell else None


def _words(run: Run) -> str:
    return f"{run.outcome} in {run.seconds:.0f} s, by {run.why}: {run.words}"
