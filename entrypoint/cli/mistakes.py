"""What is wrong with a command line, and which command or option was probably meant."""

from __future__ import annotations

from collections.abc import Sequence

import click

from entrypoint import topics
from entrypoint.cli.grouping import UnknownCommand
from entrypoint.errors import Problem

CODE = 2
"""The exit code for a wrong command line."""


def explain(error: click.ClickException, arguments: Sequence[str]) -> Problem:
    """Return what is wrong with the arguments of one of our commands."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    path = ctx.command_path if ctx else _path(arguments)
    help_of = f"entrypoint help {path.partition(' ')[2]}".rstrip()
    if isinstance(error, UnknownCommand) and ctx:
        return _unknown_command(error, ctx, help_of)
    if isinstance(error, click.NoSuchOption) and ctx:
        return _unknown_option(error, ctx, help_of)
    return Problem(f"{path}: {_sentence(error)}", f"see how to call it: {help_of}", error.exit_code)


def _path(arguments: Sequence[str]) -> str:
    """Return which command was called: click does not say so if an option lacks its value."""
    called = next((path for path in topics.PATHS if [*arguments[: path.count(" ") + 1]] == path.split()), "")
    return f"entrypoint {called}".rstrip()


def _unknown_command(error: UnknownCommand, ctx: click.Context, help_of: str) -> Problem:
    assert isinstance(ctx.command, click.Group)
    word = topics.alike(error.name, ctx.command.commands)
    near = f"{ctx.command_path} {word}" if word else topics.spoken(topics.nearest([error.name]))
    return Problem(
        f"{ctx.command_path} has no command {error.name}",
        f"run {near}, or see the commands: {help_of}" if near else f"see the commands: {help_of}",
        CODE,
    )


def _unknown_option(error: click.NoSuchOption, ctx: click.Context, help_of: str) -> Problem:
    known = [name for each in ctx.command.get_params(ctx) for name in each.opts if name.startswith("--")]
    near = topics.alike(error.option_name, known)
    return Problem(
        f"{ctx.command_path} has no option {error.option_name}",
        f"use {near}, or see the options: {help_of}" if near else f"see the options: {help_of}",
        CODE,
    )


def _sentence(error: click.ClickException) -> str:
    """Return click's sentence as our messages are: in lower case and without a full stop."""
    text = error.format_message().strip().removesuffix(".")
    return text[:1].lower() + text[1:]
