"""`entrypoint upgrade`: check, do, undo and finish an upgrade to a newer major version."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from entrypoint import exits, log
from entrypoint.archive.opened import open_archive
from entrypoint.backup.turn import alone
from entrypoint.cli.grouping import Commands
from entrypoint.cli.output import echo, paint
from entrypoint.errors import Failure, Problem
from entrypoint.finding import ERROR, OK, WARNING, Finding
from entrypoint.pid1 import lifecycle
from entrypoint.pid1.status import read as read_status
from entrypoint.server import opening
from entrypoint.server.context import Context
from entrypoint.server.data_folder import data_version
from entrypoint.settings.rehearsing import drill_folder_problem
from entrypoint.start import startup
from entrypoint.system import access
from entrypoint.upgrade import convert, hurdles, previous, rehearsal, settle, underway
from entrypoint.volume import elsewhere, holder, past

_MARKS = {OK: "ok", WARNING: "WARN", ERROR: "ERROR"}
_JSON = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")


@click.group("upgrade", cls=Commands)
def group() -> None:
    """Upgrade a cluster to the major version of this image.

    Run these commands in a container of their own, with the volumes of the stopped old one: docker run --rm
    --volumes-from CONTAINER IMAGE entrypoint upgrade check. The image must have the programs of both major
    versions.
    """


@group.command()
@_JSON
def check(as_json: bool) -> int:
    """Find what speaks against an upgrade.

    It also says what the upgrade would change. The command changes nothing that the old server would notice.
    While a server uses the volume, and after a crash, it looks only at the files. Exit codes: 0 all is well,
    1 there are warnings, 2 there are errors.
    """
    context = _context()
    found: list[Finding]
    try:
        with _alone(context):
            found = convert.check(context)
    except Failure as failure:
        if failure.code != exits.VOLUME_IN_USE:
            raise
        before, after = data_version(context.settings.data_folder), context.environment.get("PG_MAJOR", "")
        found = hurdles.served(context, before, after)
        found.append(hurdles.UNASKED)
    if as_json:
        click.echo(json.dumps([each._asdict() for each in found], indent=2))
    else:
        for each in found:
            _print(each)
    levels = {each.level for each in found}
    if ERROR in levels:
        return exits.DOCTOR_ERRORS
    return exits.DOCTOR_WARNINGS if WARNING in levels else 0


@group.command()
@click.option(
    "--server",
    default="",
    metavar="CONNINFO",
    show_default="the newest backup, or the files of the stopped cluster",
    help="Copy this running server instead.",
)
@_JSON
def rehearse(server: str, as_json: bool) -> None:
    """Upgrade a copy, and tell how long it takes.

    The command restores the newest backup into DRILL_FOLDER, upgrades it there, runs pg_amcheck and your own
    SQL files (/docker-entrypoint-drill.d/*.sql) with the new server, and removes it again. The old server may
    keep running meanwhile: neither its cluster nor the archive is changed.

    Without an archive, or with tablespaces, name the running server: pg_basebackup copies it. PGPASSWORD has
    its password. Without an archive and without --server, the files of the stopped cluster are copied.
    """
    _ask()
    wanted, what = opening.load_settings(opening.environ(), ()), "a rehearsal of an upgrade"
    if drill_folder_problem(wanted.drill.folder, wanted.data_folder) is None:
        # While we are root, to whom a new volume belongs.
        access.make_own(wanted.drill.folder, opening.user_beside())
    if server or wanted.archive is None:
        context = opening.command_context(wanted)
        with alone(context, what, wait=True):
            made = rehearsal.rehearse_copy(context, server)
    else:
        opened = open_archive()
        with alone(opened.context, what, wait=True) as lock:
            made = rehearsal.rehearse(opened, lock)
    click.echo(json.dumps(made._asdict(), indent=2) if as_json else made.words)


@group.command()
def run() -> None:
    """Upgrade the cluster, and end.

    Until one rename at the end, the old cluster is as it was, and starts with its old image, also if this
    command is killed. The old cluster is kept until entrypoint upgrade finish. The variables UPGRADE_MODE and
    UPGRADE_WITHOUT_BACKUP apply.
    """
    _ask()
    startup.start((), only="upgrade")


@group.command()
def undo() -> None:
    """Put the old cluster back, as it was.

    What was written since is kept aside. After an upgrade with UPGRADE_MODE=link or swap, the way back is a
    restore of the base backup.
    """
    context = _context()
    with _alone(context):
        previous.undo(context)


@group.command()
def finish() -> None:
    """Remove the old cluster, which was kept.

    The upgrade cannot be undone any more. The new server may run meanwhile.
    """
    context = _context()
    try:
        with _alone(context):
            previous.finish(context)
    except Failure as failure:
        # The server of this container holds the lock, so nobody upgrades or undoes anything meanwhile.
        if failure.code != exits.VOLUME_IN_USE or not _is_serving(context):
            raise
        previous.finish(context)


@group.command()
@_JSON
def status(as_json: bool) -> None:
    """Show what was upgraded here, and what is kept."""
    context = _context()
    data = context.settings.data_folder
    known, unfinished = past.read(data), underway.exists(data)
    version = data_version(data)
    if as_json:
        found = {"major": version, "unfinished": unfinished, "upgrade": known and known._asdict()}
        click.echo(json.dumps(found, indent=2))
        return
    echo(f"{data} holds a cluster of PostgreSQL {version or 'no version'}")
    if unfinished:
        echo("an upgrade was interrupted: the next start, or the next of these commands, settles it")
    if known is None:
        echo("it was not upgraded here")
        return
    word = "undone" if known.undone else "done"
    echo(f"the upgrade from {known.before} to {known.after} ({known.mode}) was {word}; it began {known.at}")
    if known.kept:
        echo(f"kept: {known.kept}, until: entrypoint upgrade finish")


def _ask() -> None:
    """Let the settings be those of an upgrade: else UPGRADE_MODE belongs to another program."""
    os.environ["POSTGRES_UPGRADE"] = "on"
    elsewhere.follow(os.environ)


def _context() -> Context:
    _ask()
    return opening.command_context(opening.load_settings(opening.environ(), ()))


def _is_serving(context: Context) -> bool:
    known = read_status([context.runtime_folder])
    return known is not None and known.phase == lifecycle.SERVING


@contextmanager
def _alone(context: Context) -> Iterator[None]:
    """Hold the lock of the data folder during a block; settle what was interrupted."""
    data = context.settings.data_folder
    if not data_version(data):
        raise Failure(
            Problem(
                f"{data} holds no cluster",
                "set PGDATA, or mount the volume that has it",
                docs="mount-the-volume",
            )
        )
    lock = holder.lock_folder(data)
    try:
        if underway.exists(data):
            settle.settle(data)
        yield
    finally:
        os.close(lock)


def _print(each: Finding) -> None:
    lines = each.found.split("\n")
    echo(f"  {lines[0]}", mark=paint(_MARKS[each.level].ljust(5), each.level))
    rest = lines[1:]
    if each.level != OK:
        rest += log.advised("", each.hint, each.docs).strip("\n").split("\n")
    for line in rest:
        echo(f"{' ' * 7}{line}")
