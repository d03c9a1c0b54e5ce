"""What commands print for people; text from elsewhere cannot control the terminal."""

import os
import shutil
import sys
from collections.abc import Iterable

import click

from entrypoint.shown import printable


def echo(text: str = "", *, mark: str = "", err: bool = False) -> None:
    """Print one or more lines after a mark of our own, which may have colors."""
    click.echo(mark + printable(text), err=err)


def echo_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print rows of a name and a text, which may have several lines."""
    for name, text in rows:
        echo(f"{name.ljust(16)}{text}")


def echo_lines(lines: Iterable[str]) -> None:
    """Print lines; a line break within one of them is escaped."""
    for line in lines:
        click.echo(printable(line, "\t"))


def echo_dim(text: str) -> None:
    """Print a line that is less important."""
    click.echo(click.style(printable(text), dim=True))


def echo_page(text: str) -> None:
    """Print a text of many lines, through a pager if stdout is a terminal and the image has a pager."""
    if sys.stdout.isatty() and shutil.which("less"):
        # End at once if all of it fits, and leave it on the screen: people copy commands from it.
        os.environ.setdefault("LESS", "FRX")
        click.echo_via_pager(printable(text))
    else:
        echo(text.rstrip("\n"))
