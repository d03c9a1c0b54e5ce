"""What commands print for people; text from elsewhere cannot control the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import time

import click

from entrypoint.cli.picture import with_ages
from entrypoint.finding import ERROR, OK, WARNING
from entrypoint.shown import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from entrypoint.finding import Level

_COLORS = {OK: "green", WARNING: "yellow", ERROR: "red"}


def on_terminal() -> bool:
    """Return whether a person reads what we print."""
    return sys.stdout.isatty()


def paint(text: str, level: Level | None) -> str:
    """Return a text in the color of its level, unless NO_COLOR is set; click removes colors in a pipe."""
    text = printable(text)
    return text if level is None or os.environ.get("NO_COLOR") else click.style(text, fg=_COLORS[level])


def echo(text: str = "", *, mark: str = "", err: bool = False) -> None:
    """Print one or more lines after a mark of our own, which may have colors."""
    click.echo(mark + printable(text), err=err)


def echo_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print rows of a name and a text, which may have several lines; on a terminal with colors and ages."""
    for name, text in rows:
        words = with_ages(text, time.time()) if on_terminal() else text
        click.echo(f"{name.ljust(16)}{paint(words, _level(name, text))}")


_LEVELS: dict[str, Level] = {
    **dict.fromkeys(("last backup", "last drill", "restorable"), OK),
    **dict.fromkeys(("own command", "not prepared", "volume full in", "given up"), WARNING),
    **dict.fromkeys(("refused", "emptied", "fails since", "backup failed", "drill failed"), ERROR),
    **dict.fromkeys(("missing WAL", "gap", "giving up"), ERROR),
}


def _level(name: str, text: str) -> Level | None:
    """Return whether a row is good or bad news; most are neither."""
    if name == "ready":
        return OK if text == "True" else WARNING
    return _LEVELS.get(name)


def echo_table(rows: Sequence[Sequence[str]], level: Callable[[str, str], Level | None]) -> None:
    """Print a table with a row of headings; `level` takes a heading and a cell. Ages as in `echo_rows`."""
    if on_terminal():
        rows = [[with_ages(cell, time.time()) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        end = max((place for place, cell in enumerate(row) if cell.strip()), default=0)
        line = ""
        for place, (head, cell, width) in enumerate(zip(rows[0], row, widths, strict=True)):
            if place <= end:
                line += paint(cell, level(head, cell)) + (
                    " " * (width - len(cell) + 2) if place < end else ""
                )
        click.echo(line)


def echo_lines(lines: Iterable[str]) -> None:
    """Print lines; a line break within one of them is escaped."""
    for line in lines:
        click.echo(printable(line, "\t"))


def echo_dim(text: str) -> None:
    """Print a line that is less important."""
    click.echo(click.style(printable(text), dim=True))


def echo_page(text: str) -> None:
    """Print a text of many lines, through a pager if stdout is a terminal and the image has a pager."""
    if on_terminal() and shutil.which("less"):
        # End at once if all of it fits, and leave it on the screen: people copy commands from it.
        os.environ.setdefault("LESS", "FRX")
        click.echo_via_pager(printable(text))
    else:
        echo(text.rstrip("\n"))
