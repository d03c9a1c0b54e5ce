"""`entrypoint promote`: make a standby the primary."""

import click

from entrypoint.archive.opened import OpenedArchive
from entrypoint.cli.output import echo
from entrypoint.errors import Failure, Problem
from entrypoint.server import opening
from entrypoint.standby import promotion


@click.command()
@click.option(
    "--timeout",
    default=60,
    show_default=True,
    type=click.IntRange(1),
    metavar="SECONDS",
    help="Seconds to wait for the promotion.",
)
@click.option(
    "--force", is_flag=True, help="Promote even if the archive shows that another server was promoted."
)
def promote(timeout: int, force: bool) -> None:
    """Promote this standby, and wait until it takes writes.

    First make sure that the old primary no longer takes writes.
    """
    # Other mistakes in the variables do not prevent a promotion.
    wanted, _, _ = opening.read_settings(opening.environ(), ())
    if wanted.failover is not None:
        raise Failure(
            Problem(
                "Patroni chooses the leader among the nodes, so this command cannot promote this one",
                "patronictl switchover; if the leader is lost and no node takes over: patronictl failover",
                docs="fail-over",
            )
        )
    context = opening.command_context(wanted)
    archive = wanted.our_archive
    if archive is not None and not force:
        promotion.check(OpenedArchive(context, archive))
    promotion.promote(context, timeout)
    echo("promoted: this server is the primary now")
    if archive is not None:
        echo(promotion.wait(context))
    if wanted.archive is not None:
        # A standby does not archive the WAL that it receives by streaming.
        echo(
            "the archive lacks the WAL that the old primary had not archived: take a backup now (entrypoint "
            "backup push), or leave that to the schedule"
        )
