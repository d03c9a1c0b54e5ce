"""The commands for people; `click` is loaded only here."""

import os
from collections.abc import Sequence

import click

from entrypoint import __version__, log
from entrypoint.cli import (
    archive,
    backup,
    collation,
    config,
    doctor,
    internal,
    mistakes,
    notify,
    promote,
    restore,
    status,
    upgrade,
)
from entrypoint.cli.grouping import Everything
from entrypoint.cli.help import show_help
from entrypoint.cli.output import echo

__all__ = ["cli"]


def _print_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print our version, and the major version of PostgreSQL if the image names it."""
    if asked and not ctx.resilient_parsing:
        major = os.environ.get("PG_MAJOR")
        echo(f"entrypoint {__version__}" + (f" (PostgreSQL {major})" if major else ""))
        ctx.exit()


@click.group(cls=Everything, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version)
def group() -> None:
    """PID 1 of a PostgreSQL container, and its tools."""


group.add_command(archive.group)
group.add_command(backup.group)
group.add_command(collation.group)
group.add_command(config.group)
group.add_command(config.render)
group.add_command(doctor.doctor)
group.add_command(show_help)
group.add_command(notify.group)
group.add_command(promote.promote)
group.add_command(status.ready_)
group.add_command(restore.restore)
group.add_command(status.show)
group.add_command(upgrade.group)
group.add_command(internal.group)


def cli(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    given = ["--help"] if list(arguments) == ["-?"] else list(arguments)
    try:
        result = group.main(given, prog_name="entrypoint", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        log.problem(mistakes.explain(error, arguments))
        return error.exit_code
    except click.Abort:
        return 130
    return result if isinstance(result, int) else 0
