"""The commands for people; `click` is loaded only here."""

from collections.abc import Sequence

import click

from entrypoint.cli import archive, backup, collation, config, doctor, internal, promote, restore, status

__all__ = ["cli"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Any other command is run as it is; without one, or with options of postgres, the server starts.",
)
def group() -> None:
    """PID 1 of a PostgreSQL container, and its tools."""


group.add_command(archive.group)
group.add_command(backup.group)
group.add_command(collation.group)
group.add_command(config.group)
group.add_command(config.render)
group.add_command(doctor.doctor)
group.add_command(promote.promote)
group.add_command(restore.restore)
group.add_command(status.show)
group.add_command(internal.group)


def cli(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    try:
        result = group.main(list(arguments) or ["--help"], prog_name="entrypoint", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    return result if isinstance(result, int) else 0
