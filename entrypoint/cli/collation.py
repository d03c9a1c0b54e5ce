"""`entrypoint collation`: find and fix what depends on collations whose library has changed."""

import json
import os
from collections.abc import Sequence

import click

from entrypoint import exits
from entrypoint.archive.opened import OpenedArchive
from entrypoint.backup import journal
from entrypoint.backup.take import push
from entrypoint.backup.turn import alone
from entrypoint.cli.grouping import Commands
from entrypoint.cli.output import echo, echo_lines
from entrypoint.collation import dependents, examine, policy, rebuild, remembered
from entrypoint.collation.asking import Session
from entrypoint.collation.dependents import Finding, Report
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import status
from entrypoint.server import opening
from entrypoint.server.context import SETTINGS_VARIABLE, Context
from entrypoint.server.data_folder import live_postmaster

_ALL = click.option(
    "--all", "everything", is_flag=True, help="Include what depends on collations whose version matches."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")


@click.group("collation", cls=Commands)
def group() -> None:
    """Show, check and fix what depends on changed collations.

    Run these commands in the server's container: docker exec CONTAINER entrypoint collation show.
    """


@group.command()
@_ALL
@_JSON
def show(everything: bool, as_json: bool) -> None:
    """List changed collations and what depends on them.

    The list has indexes and other objects, with their sizes.
    """
    report = _look(_session(), everything=everything)
    if as_json:
        click.echo(json.dumps(dependents.as_json(report), indent=2))
    else:
        echo_lines(_lines(report))


@group.command()
@_ALL
@click.option(
    "--amcheck", is_flag=True, help="Also read the B-tree indexes, and compare them with their tables."
)
@_JSON
def check(everything: bool, amcheck: bool, as_json: bool) -> int:
    """Find what changed collations have really broken.

    The command reads whole tables and changes nothing. It finds duplicates in unique indexes, rows that
    violate a CHECK constraint or are in the wrong partition, and ranges that end before they begin. With
    --amcheck it also finds broken B-tree indexes. The exit code is 1 if something is broken.
    """
    session = _session()
    report = _look(session, everything=everything)
    findings = examine.check(session, report, amcheck=amcheck)
    if as_json:
        click.echo(json.dumps({**dependents.as_json(report), "findings": _rows(findings)}, indent=2))
    else:
        echo_lines([*_lines(report), *_told(findings)])
        if not findings and not report.matches:
            read = "" if amcheck else "; --amcheck also reads the indexes themselves"
            echo(f"nothing is broken{read}")
    return exits.FAILURE if findings else 0


@group.command()
@_ALL
@click.option("--accept", is_flag=True, help="Record the new versions even if rows are in the wrong place.")
@click.option("--no-backup", is_flag=True, help="Continue without a base backup of the last two days.")
@_JSON
def fix(everything: bool, accept: bool, no_backup: bool, as_json: bool) -> int:
    """Rebuild indexes that depend on changed collations.

    Clients can work meanwhile. If the command is killed, run it again: it resumes where it stopped. It
    records the new versions in a database (REFRESH VERSION) once all indexes of the database are rebuilt and
    no row is in the wrong place. With an archive, it first takes a base backup, unless there is one of the
    last two days. The exit code is 1 if something is left to fix.
    """
    session = _session()
    context = session.context
    if status.in_recovery(context.settings.data_folder):
        raise Failure(
            Problem(
                "this server is in recovery, so its indexes come from the primary",
                "run this command on the primary, or promote this server first: entrypoint promote",
            )
        )
    with rebuild.alone(context):
        mark = remembered.fingerprint(context)
        memory = remembered.read(context.settings.data_folder)
        report = _look(session, everything=everything)
        if report.matches:
            remembered.remember_match(context)
        elif not no_backup and not policy.has_recent_backup(context):
            _back_up(context)
        outcome = rebuild.fix(session, report, memory, mark, accept=accept) if not report.matches else None
    rebuilt = [each.words for each in outcome.rebuilt] if outcome else []
    refreshed = list(outcome.refreshed) if outcome else []
    findings = outcome.findings if outcome else ()
    if as_json:
        echo(json.dumps({"rebuilt": rebuilt, "refreshed": refreshed, "findings": _rows(findings)}, indent=2))
    else:
        words = f"rebuilt: {len(rebuilt)}; versions recorded in: {', '.join(refreshed) or 'no database'}"
        echo_lines([words if outcome else "nothing needs fixing", *_told(findings)])
        for each in report.others:
            if each.kind == dependents.VIEW:
                old = "may contain results of the old order"
                echo(f"{each.words} {old}: REFRESH MATERIALIZED VIEW {each.name}")
    return exits.FAILURE if findings else 0


def _session() -> Session:
    # Other mistakes in the variables do not prevent a look.
    wanted, _, _ = opening.read_settings(opening.environ(), ())
    found = live_postmaster(wanted.data_folder)
    if found is None or found.status not in ("ready", "standby"):
        raise Failure(
            Problem(
                f"no server accepts connections on {wanted.data_folder}",
                "run this in the server's container: docker exec CONTAINER entrypoint collation show; "
                "to rebuild the indexes before the server accepts connections: COLLATION_POLICY=reindex",
            )
        )
    return Session(opening.command_context(wanted))


def _look(session: Session, *, everything: bool) -> Report:
    context = session.context
    mixed = remembered.read(context.settings.data_folder).mixed(remembered.fingerprint(context))
    return examine.look(session, mixed, everything=everything)


def _back_up(context: Context) -> None:
    archive = context.settings.archive
    if archive is None:
        return
    opened = OpenedArchive(context, archive)
    if SETTINGS_VARIABLE not in os.environ:
        opened.render()
    with alone(context, "the backup before a collation fix", wait=True) as lock:
        push(opened, incremental=False, why=journal.COMMAND, lock=lock)


def _lines(report: Report) -> list[str]:
    if report.matches:
        return [f"all collations match ({remembered.libraries()})"]
    return dependents.describe(
        report,
        most=len(report.changes) + len(report.dependents) + len(report.unseen) + len(report.unlooked) + 1,
    )


def _told(findings: Sequence[Finding]) -> list[str]:
    return [
        line
        for each in findings
        for line in (f"{'BROKEN' if each.broken else 'UNKNOWN'} {each.words}", f"       hint: {each.hint}")
    ]


def _rows(findings: Sequence[Finding]) -> list[dict[str, str | bool]]:
    return [
        {
            "database": each.database,
            "kind": each.kind,
            "name": each.name,
            "found": each.words,
            "hint": each.hint,
            "broken": each.broken,
        }
        for each in findings
    ]
