"""Commands for the functions of docker-entrypoint.sh, for PID 1 and for the shims; not for people."""

import os

import click

from entrypoint import exits
from entrypoint.archive import claim, fetching, rotation
from entrypoint.archive.opened import open_archive
from entrypoint.backup import scheduled
from entrypoint.config import reload
from entrypoint.drill import rehearse
from entrypoint.failover import copying, first, leading
from entrypoint.first_start import copy, initdb, initialize
from entrypoint.full_disk import guard
from entrypoint.pid1 import lifecycle, status
from entrypoint.server import opening
from entrypoint.server.context import Context
from entrypoint.start import folders, objections, startup
from entrypoint.system import files, identity
from entrypoint.system.children import Children
from entrypoint.system.signals import Signals
from entrypoint.upgrade import afterwards
from entrypoint.volume import holder, notes
from entrypoint.volume.unfinished import Unfinished

_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@click.group(hidden=True)
def group() -> None:
    """Commands for the functions of docker-entrypoint.sh, for PID 1 and for the shims; not for people."""


group.name = "internal"


def _context(arguments: tuple[str, ...]) -> Context:
    given = arguments[1:] if arguments[:1] == ("postgres",) else arguments
    wanted = opening.load_settings(os.environ, given)
    return opening.make_context(wanted, Children(Signals()))


@group.command("create-directories")
def create_directories() -> None:
    """Create the folders of the server, and set their owner."""
    context = _context(())
    folders.prepare(context.settings, context.who, context.children)


@group.command("old-databases")
def old_databases() -> None:
    """Print the places that contain data of other versions, one per line."""
    facts = objections.look(_context(()).settings)
    for place in facts.old_databases:
        click.echo(place)


@group.command("init-database-dir", context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def init_database_dir(arguments: tuple[str, ...]) -> None:
    """Run initdb: create a complete cluster or none. The script that calls this does the rest."""
    context = _context(())
    words = initdb.evaluate_arguments(context, *arguments)
    identity.become(context.who)
    os.makedirs(context.settings.data_folder, mode=0o700, exist_ok=True)
    lock = holder.lock_folder(context.settings.data_folder)
    found = objections.look(context.settings).data_folder
    notes.migrate(context.settings.data_folder)
    unfinished = Unfinished(context.settings.data_folder)
    if found.unfinished and found.unfinished.stage == "building":
        unfinished.discard()
    if not (found.has_cluster or found.unfinished or found.foreign):
        notes.clear(context.settings.data_folder)
    unfinished.begin()
    source = initdb.make_cluster(context, unfinished, words)
    unfinished.move_into_place()
    if initdb.syncs_late(source, words):
        initdb.make_durable(context)
    unfinished.finish()
    os.close(lock)


@group.command("template")
@click.option("--locales", default=copy.LOCALES, help="Archive of locales in another place.")
@click.option("--icu", default="", help="Folder of ICU's libraries in another place.")
@click.argument("folder", default=copy.FOLDER)
def make_template(locales: str, icu: str, folder: str) -> None:
    """Create the cluster that first starts copy; called when the image is built."""
    copy.make(folder, os.environ, Children(Signals()), opening.server_identity(), locales=locales, icu=icu)


@group.command(lifecycle.BACKUPS)
def backups() -> None:
    """Take a backup if the schedule or a restore requires it, and report to PID 1 when to call again."""
    opened = open_archive()
    _call_again(status.pause_path(opened.runtime_folder, lifecycle.BACKUPS), scheduled.scheduled(opened))


@group.command(lifecycle.DRILLS)
def drills() -> None:
    """Rehearse a restore if one is due by the schedule, and report to PID 1 when to call again."""
    opened = open_archive()
    _call_again(status.pause_path(opened.runtime_folder, lifecycle.DRILLS), rehearse.scheduled(opened))


def _call_again(path: str, seconds: int | None) -> None:
    """Report to PID 1 after how many seconds to call a helper again; None: never."""
    if seconds is not None:
        files.write_atomically(path, str(seconds), 0o644)


@group.command(lifecycle.UPGRADED)
def upgraded() -> None:
    """Do what remains after an upgrade: extensions and statistics."""
    afterwards.run(opening.command_context(opening.load_settings(opening.environ(), ())))


@group.command(lifecycle.FULL_DISK)
def full_disk() -> None:
    """Do what needs sessions while a disk of the server is about to be full."""
    guard.run(opening.command_context(opening.load_settings(opening.environ(), ())))


@group.command(lifecycle.RELOAD)
def reload_() -> None:
    """Look at what has changed, and let the server reload its files if every change is valid."""
    context = opening.command_context(opening.load_settings(opening.environ(), ()))
    rotation.take_over(context)
    reload.reload(context)


@group.command("patroni-first-start", context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def patroni_first_start(arguments: tuple[str, ...]) -> None:
    """Create the cluster of several nodes; Patroni calls this on one of them."""
    first.run(arguments)


@group.command("patroni-copy", context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def patroni_copy(arguments: tuple[str, ...]) -> None:
    """Make a standby from the archive; Patroni calls this, and asks the leader for a copy if it fails."""
    copying.run(arguments)


@group.command("patroni-may-lead")
def patroni_may_lead() -> None:
    """Check before a promotion whether this node may lead; Patroni calls this, and heeds the exit code."""
    leading.check()


@group.command("prepare-archive")
def prepare_archive() -> None:
    """Do what a start could not do while the storage was unavailable; called before a segment is archived."""
    opened = open_archive()
    claim.prepare(opened, must_work=True)


@group.command("later-segment")
@click.argument("missing")
def later_segment(missing: str) -> None:
    """Print the first later segment of the same timeline, if any; called when a segment is missing."""
    opened = open_archive()
    later = fetching.later_segment(opened, missing)
    if later:
        click.echo(later)


@group.command("stored-files")
@click.argument("segment")
def stored_files(segment: str) -> None:
    """Print sh code that sets `file` to the stored name of `name`, for the files around a segment."""
    opened = open_archive()
    click.echo("case $name in")  # for sh this is cheaper than starting a program that searches a list
    for name, file in fetching.stored_files(opened, segment).items():
        click.echo(f"{name}) file={file} ;;")
    click.echo("esac")


@group.command("ensure-initdb", context_settings=_PASS_ON)
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def ensure_initdb(name: str, arguments: tuple[str, ...]) -> int:
    """Create the database if there is none, then end."""
    if name not in ("docker-ensure-initdb.sh", "docker-enforce-initdb.sh"):
        click.echo(f"{name}: error: unknown file name: {name}", err=True)
        return 99
    context = _context(arguments)
    path = context.settings.data_folder
    if _make_if_missing(context):
        return 0
    if name == "docker-ensure-initdb.sh":
        click.echo(f"{name}: note: database already initialized in '{path}'!", err=True)
        return 0
    click.echo(f"{name}: error: (unexpected) database found in '{path}'!", err=True)
    return exits.FAILURE


@group.command("init", context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def init(arguments: tuple[str, ...]) -> None:
    """Create the database if there is none; the changed script that calls this does the rest."""
    if _make_if_missing(_context(arguments)):
        initialize.say_complete()


def _make_if_missing(context: Context) -> bool:
    """Create or restore the database if there is none, and return whether; gives up root."""
    facts = objections.look(context.settings)
    if facts.data_folder.has_cluster and facts.data_folder.unfinished is None:
        return False
    decided = objections.check(context, facts)
    folders.prepare(context.settings, context.who, context.children)
    identity.become(context.who)
    lock = holder.lock_folder(context.settings.data_folder)
    decided = objections.refuse_if_changed(context, decided)
    notes.migrate(context.settings.data_folder)
    startup.act(context, decided, facts)
    os.close(lock)
    return True
