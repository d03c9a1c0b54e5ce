"""`entrypoint help`: the list of the commands, the help of one of them, or a how-to page."""

from __future__ import annotations

from collections.abc import Sequence

import click

from entrypoint import topics
from entrypoint.cli import grouping, mistakes, pages
from entrypoint.cli.output import echo, echo_page
from entrypoint.errors import Failure, Problem


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND | PAGE]")
@click.pass_context
def show_help(ctx: click.Context, words: Sequence[str]) -> None:
    """Show this list, a command's help, or a how-to page.

    A message that ends with "docs: PAGE" names such a page. The image contains the pages, so you need no
    network to read them.
    """
    top = ctx.find_root()
    titles = pages.titles()
    name = "-".join(words).removesuffix(".md")
    if words and name in titles:
        echo_page(pages.text(name))
        return
    try:
        context = grouping.called(top, words)
    except KeyError:
        raise Failure(_unknown(words, titles)) from None
    echo(context.get_help())


def _unknown(words: Sequence[str], titles: dict[str, str]) -> Problem:
    typed = " ".join(words)
    name = "-".join(words)
    pages_like = [each for each in titles if "-" in name and each.startswith(name)]
    page = topics.alike(name, titles)
    near = pages_like or topics.nearest(words) or ([page] if page else [])
    return Problem(
        f"no command or page is named {typed}",
        (f"run {topics.spoken(near, 'help ')}, or " if near else "") + "see the whole list: entrypoint help",
        mistakes.CODE,
    )
