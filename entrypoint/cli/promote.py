"""`entrypoint promote`: a standby takes over."""

import click

from entrypoint.archive.opened import OpenedArchive
from entrypoint.cli.output import echo
from entrypoint.server import opening
from entrypoint.standby import promotion


@click.command()
@click.option(
    "--timeout", default=60, show_default=True, type=click.IntRange(1), help="Seconds to wait for it."
)
@click.option("--force", is_flag=True, help="Also where the archive tells that another one was promoted.")
def promote(timeout: int, force: bool) -> None:
    """Make the running standby a primary, and wait until it takes writes.

    Make sure before that the old primary takes none any more.
    """
    # Whatever else may be wrong with the variables, it is no reason not to take over.
    wanted, _, _ = opening.read_settings(opening.environ(), ())
    context = opening.command_context(wanted)
    archive = wanted.our_archive
    if archive is not None and not force:
        promotion.check(OpenedArchive(context, archive))
    promotion.promote(context, timeout)
    echo("promoted: this server is the primary now")
    if archive is not None:
        echo(promotion.wait(context))
    if wanted.archive is not None:
        # A standby does not archive what it has received by streaming.
        echo(
            "WAL that the old primary had not archived is missing in the archive: take a backup now "
            "(entrypoint backup push), or leave it to the schedule"
        )
