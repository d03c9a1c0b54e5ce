"""The groups of commands: what their help looks like, and what an unknown command is answered."""

from __future__ import annotations

import click

from entrypoint.cli import pages
from entrypoint.cli.output import echo
from entrypoint.topics import PATHS, TOPICS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_WIDTH = max(map(len, PATHS))
"""All lists of commands have one column of this width."""
_ABOUT = (
    "Run a command in the server's container: docker exec CONTAINER entrypoint COMMAND. "
    "The help of a command: entrypoint help COMMAND."
)
_OTHERS = (
    "The image runs any other command as it is. Without a command, or with options of postgres, the "
    "container starts the server. The arguments --help and --version of the container itself go to postgres."
)


class UnknownCommand(click.UsageError):
    """A group has no command of this name."""

    def __init__(self, name: str, ctx: click.Context) -> None:
        super().__init__(f"no such command: {name}", ctx)
        self.name = name


class Commands(click.Group):
    """A group that lists the full paths of its commands."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.subcommand_metavar = "COMMAND"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Print the help if there are no arguments, with the exit code 0 in every version of click."""
        if not args and not ctx.resilient_parsing:
            echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command as a value that says which word is wrong."""
        if self.get_command(ctx, args[0]) is None:
            raise UnknownCommand(args[0], ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of this group with their full paths."""
        name = ctx.command_path.partition(" ")[2]
        with formatter.section("Commands"):
            formatter.write_dl(
                [_row(f"{name} {word}", each) for word, each in self.commands.items() if not each.hidden]
            )


class Everything(Commands):
    """The whole program: its commands by topic, and the how-to pages."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what `entrypoint help` prints."""
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS] [ARGUMENTS]")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(_ABOUT)
        for title, paths in TOPICS:
            with formatter.section(title):
                formatter.write_dl([_row(path, called(ctx, path.split()).command) for path in paths])
        found = pages.titles()
        if found:
            with formatter.section("How-to pages (entrypoint help PAGE)"):
                formatter.write_dl([*found.items()])
        formatter.write_paragraph()
        formatter.write_text(_OTHERS)


def called(top: click.Context, words: Iterable[str]) -> click.Context:
    """Return the context of the command with this path below a group; raises KeyError if there is none."""
    found = top
    for word in words:
        if not isinstance(found.command, click.Group):
            raise KeyError(word)
        command = found.command.commands[word]
        found = click.Context(command, parent=found, info_name=word, **command.context_settings)
    return found


def _row(path: str, command: click.Command) -> tuple[str, str]:
    return path.ljust(_WIDTH), command.get_short_help_str(200)
