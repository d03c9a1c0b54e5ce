"""`entrypoint doctor`: what is wrong here, and what to do about it."""

import os
import time

import click
import psutil

from entrypoint import checks, exits, plan
from entrypoint.archivers import Backup
from entrypoint.checks import Evidence, Finding
from entrypoint.effects import archive as archives
from entrypoint.effects import backlog, drill, files, folders, history, probe, server, startup, status
from entrypoint.effects.server import Context
from entrypoint.errors import Failure, Problem
from entrypoint.settings import Settings

_MARKS = {checks.OK: "ok", checks.WARNING: "WARN", checks.ERROR: "ERROR"}
_COLOURS = {checks.OK: "green", checks.WARNING: "yellow", checks.ERROR: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print an array of findings.")
def doctor(as_json: bool) -> int:
    """Look at everything that can hurt, change nothing, and say what to do.

    Works in a running container (docker exec), or alone (docker run … doctor). Exit codes: 0 all is
    well, 1 warnings, 2 errors.
    """
    findings = checks.examine(gather())
    if as_json:
        import json

        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        _print(findings)
    levels = {finding.level for finding in findings}
    if checks.ERROR in levels:
        return exits.DOCTOR_ERRORS
    return exits.DOCTOR_WARNINGS if checks.WARNING in levels else 0


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark = click.style(_MARKS[finding.level].ljust(5), fg=_COLOURS[finding.level])
        lines = finding.found.splitlines() or [""]
        click.echo(f"{mark}  {finding.check.ljust(width)}  {lines[0]}")
        for line in lines[1:]:
            click.echo(f"{' ' * (width + 9)}{line}")
        if finding.mend:
            click.echo(f"{' ' * (width + 9)}mend: {finding.mend}")


def gather() -> Evidence:
    """Look at the container, as the server's user where we may become it."""
    wanted, problems, warnings = startup.read_settings(os.environ, ())
    facts = probe.look(wanted) if wanted.values.get("PGDATA") else None
    doubts = list(warnings)
    if facts is not None and not facts.data_folder.has_cluster:
        decided = plan.decide(wanted, facts)
        doubts += decided.refusals
    context = startup.command_context(wanted)
    found = server.live_postmaster(wanted.data_folder)
    storage_problem, backups = _archive(context, usable=not problems)
    newest = backups[-1].finished if not isinstance(backups, Problem) and backups else None
    archiving = None
    if wanted.archive is not None and not wanted.archive.by_user:
        archiving = backlog.look(wanted.archive, wanted.data_folder, context.runtime_folder)
    return Evidence(
        problems=problems,
        doubts=doubts,
        facts=facts,
        server_uid=context.who.uid,
        shell=server.check_shell(context),
        data_major=_first_line(f"{wanted.data_folder}/PG_VERSION"),
        binary_major=_binary_major(context),
        server_status=(found.status or "starting") if found else None,
        failing_helpers=status.failing(folders.RUNTIME_FOLDERS),
        shared_memory_bytes=psutil.disk_usage("/dev/shm").total,  # noqa: S108 - only looked at
        full=_full(wanted),
        archive_tool=wanted.archive.tool.name if wanted.archive else None,
        archive_url=wanted.archive.storage.url if wanted.archive else "",
        archive_problem=storage_problem,
        archiving=archiving,
        runs=history.last_runs(wanted.data_folder),
        drills=history.last_drills(wanted.data_folder),
        drill_overdue=not problems and drill.overdue(context),
        backups=backups,
        newest_backup_seconds=_age(newest) if newest else 0,
    )


def _archive(context: Context, *, usable: bool) -> tuple[Problem | None, list[Backup] | Problem]:
    archive = context.settings.archive
    if archive is None or not usable:
        return None, []
    problem = archives.storage_problem(archive)
    if problem is not None:
        return problem, []
    try:
        archives.render(context, archive)
        return None, archives.list_backups(context, archive)
    except Failure as failure:
        return None, failure.problems[0]


def _age(time_text: str) -> float:
    from datetime import datetime

    return time.time() - datetime.fromisoformat(time_text).timestamp()


def _binary_major(context: Context) -> str | None:
    code, text = context.children.output(["postgres", "--version"], context.environment)
    words = text.split()
    return words[2].split(".")[0] if code == 0 and len(words) > 2 else None


def _first_line(path: str) -> str | None:
    try:
        return files.read_text(path).split("\n")[0] or None
    except OSError:
        return None


def _full(wanted: Settings) -> dict[str, float]:
    folders_used = [wanted.data_folder, f"{wanted.data_folder}/pg_wal"]
    if wanted.archive is not None and wanted.archive.storage.folder:
        folders_used.append(wanted.archive.storage.folder)
    found = {}
    devices = set()
    for folder in folders_used:
        try:
            device = os.stat(folder).st_dev
            if device not in devices:
                devices.add(device)
                found[folder] = float(psutil.disk_usage(folder).percent)
        except OSError:
            continue
    return found
