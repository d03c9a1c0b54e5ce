"""`entrypoint notify`: try the targets of messages."""

import json

import click

from entrypoint import exits
from entrypoint.cli.grouping import Commands
from entrypoint.cli.output import echo
from entrypoint.errors import Failure, Problem
from entrypoint.notify import notifier, pings, targets, wording
from entrypoint.notify.flights import Flight
from entrypoint.server import opening
from entrypoint.server.context import Context


@click.group("notify", cls=Commands)
def group() -> None:
    """Try the targets of messages.

    Run this in the server's container: docker exec CONTAINER entrypoint notify test.
    """


@group.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object for each target.")
def test(as_json: bool) -> int:
    """Send a message to each target now.

    The command prints what each target of NOTIFY_URLS answered. It sends nothing to the ping URLs, since a
    service would take that for a real report. The exit code is 1 if a target has failed.
    """
    # The start has reported the other mistakes in the variables, and PID 1 keeps no secrets.
    wanted, problems, _ = opening.read_settings(opening.beside(opening.in_force()), ())
    own = [each for each in problems if "NOTIFY_" in each.what]
    if own:
        raise Failure(*own)
    urls = () if wanted.watching is None else wanted.watching.urls
    if not urls:
        raise Failure(
            Problem(
                "neither NOTIFY_URLS nor a file NOTIFY_URLS_FILE that can be read is set: nothing is sent",
                "set NOTIFY_URLS or NOTIFY_URLS_FILE for the container, then recreate it",
                docs="get-notified",
            )
        )
    context = opening.command_context(wanted)
    message = wording.sample(notifier.origin(context))
    rows = []
    for name, url in zip(targets.names(urls), urls, strict=True):
        words = _send(context, url, message)
        rows.append({"target": name, "sent": not words, "answer": words})
        if not as_json:
            echo(f"{'sent  ' if not words else 'FAILED'}  {name}{words and ': '}{words}")
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    asked = [name for name in pings.VARIABLES if wanted.values.get(name)]
    if asked and not as_json:
        echo(f"not tried: {', '.join(asked)}")
    return 0 if all(row["sent"] for row in rows) else exits.FAILURE


def _send(context: Context, url: str, message: wording.Message) -> str:
    """Send a message and return why that failed; empty: the target has taken it."""
    flight = Flight(context, {"url": url, "messages": [{"number": 1, **message._asdict()}]})
    found = []
    is_done = False
    while not is_done:
        context.children.pause(0.1)
        results, is_done = flight.poll()
        found += results
    return found[0].words
