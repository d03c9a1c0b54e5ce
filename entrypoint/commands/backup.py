"""`entrypoint backup`: take and list base backups."""

import os

import click

from entrypoint import exits
from entrypoint.archivers import Backup
from entrypoint.effects import archive as archives
from entrypoint.effects import claim, folders, identity, server, startup
from entrypoint.effects.children import Children
from entrypoint.effects.server import Context
from entrypoint.effects.signals import Signals
from entrypoint.errors import Failure, Problem
from entrypoint.settings import Archive


@click.group("backup")
def group() -> None:
    """Take and list base backups; works in a running container by `docker exec`."""


@group.command()
@click.option("--json", "as_json", is_flag=True, help="Print the new backup as JSON.")
def push(as_json: bool) -> None:
    """Take a full base backup of the running server now."""
    context, archive = open_archive()
    found = server.read_postmaster(context.settings.data_folder)
    if found is None or found.status != "ready":
        raise Failure(
            Problem(
                f"no server accepts connections on {context.settings.data_folder}, so nothing can be "
                "backed up",
                "run this in the server's container: docker exec CONTAINER entrypoint backup push",
            )
        )
    if os.path.exists(f"{context.runtime_folder}/{claim.PREPARE}"):
        claim.prepare(context, archive, must_work=True)
    code = archives.run(context, archive.tool.push(server.describe(context)))
    if code:
        raise Failure(
            Problem(
                f"{archive.tool.name} could not take the backup (exit code {code})",
                "see its own words above; entrypoint doctor looks for the reason",
                exits.ARCHIVE_REFUSED,
            )
        )
    newest = archives.list_backups(context, archive)[-1:]
    _show(newest, as_json=as_json)


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print an array, oldest first.")
def list_(as_json: bool) -> None:
    """List the base backups, oldest first."""
    context, archive = open_archive()
    _show(archives.list_backups(context, archive), as_json=as_json)


def open_archive() -> tuple[Context, Archive]:
    """Return the archive of this container, with the archiver's settings file in place.

    As root the rights are given up first: what the archiver writes belongs to the server's user.
    """
    wanted = startup.load_settings(startup.environ(), ())
    if wanted.archive is None:
        raise Failure(
            Problem(
                "no archive is set, so there are no backups",
                "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive, and start anew",
            )
        )
    who = startup.server_identity()
    children = Children(Signals())
    folder = folders.find_runtime_folder(who.uid) or folders.make_runtime_folder(who, children)
    context = Context(
        settings=wanted,
        children=children,
        who=who,
        runtime_folder=folder,
        environment=server.helper_environment(wanted, who, stepped_down=os.getuid() == 0),
    )
    identity.become(who)
    archives.render(context, wanted.archive)
    return context, wanted.archive


def _show(backups: list[Backup], *, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps([backup._asdict() for backup in backups], indent=2))
        return
    if not backups:
        click.echo("no backups")
        return
    rows = [("NAME", "KIND", "FINISHED", "SIZE", "LSN")] + [
        (
            backup.name,
            backup.kind,
            backup.finished,
            f"{backup.size_bytes / 1024**2:.1f} MiB",
            f"{backup.start_lsn} - {backup.stop_lsn}",
        )
        for backup in backups
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
