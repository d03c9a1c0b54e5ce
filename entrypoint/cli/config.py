"""`entrypoint config` and `entrypoint render`: where each setting of the server comes from."""

import json

import click

from entrypoint.archive import shares
from entrypoint.archive.calls import describe_server
from entrypoint.archivers.known import IN_GO
from entrypoint.archivers.terms import Server
from entrypoint.cli.grouping import Commands
from entrypoint.cli.output import echo, echo_dim
from entrypoint.config import chosen, follow, memory, reload, rendered, sources, tune
from entrypoint.config.render import rendered_text
from entrypoint.config.sources import Running, Source
from entrypoint.errors import Failure, Problem
from entrypoint.server import opening
from entrypoint.server.context import Context
from entrypoint.settings.hiding import hide_secrets

_ARGUMENTS = {"ignore_unknown_options": True}


@click.group("config", cls=Commands)
def group() -> None:
    """Show where each setting of the server comes from.

    The commands also work without a server, and before there is a database, except for diff.
    """


@group.command("show", context_settings=_ARGUMENTS)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def show(as_json: bool, arguments: tuple[str, ...]) -> None:
    """Show each setting, its value, and where it comes from.

    The output has the settings that something sets, and the values that each of them hides. If the server is
    running with a different value, the output says so. If no server is running yet, give the arguments of
    postgres as ARGUMENTS.
    """
    context = _context(arguments)
    known = reload.running(context)
    found = chosen.all_sources(context)
    rows = _rows(context, found, known)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(str(row["name"])) for row in rows), default=0)
    for row in rows:
        echo(f"{str(row['name']).ljust(width)}  {row['value']}")
        for line in _details(row):
            echo_dim(f"{' ' * width}  {line}")
    if context.settings.serving.tune:
        for line in _budget(memory.machine(context)):
            echo(line)


@group.command("diff")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def diff(as_json: bool) -> None:
    """Show what a start would change in the running server.

    The output also says which of the changes need a restart.
    """
    context = _context(())
    known = reload.running(context)
    if known is None:
        raise Failure(
            Problem(
                "no server is running here to compare with",
                "run this command in the server's container: docker exec CONTAINER entrypoint config diff; "
                "without a server, use entrypoint config show",
            )
        )
    found = reload.changes(context, chosen.all_sources(context), known)
    if as_json:
        click.echo(json.dumps([each._asdict() for each in found], indent=2))
        return
    for each in found:
        echo(reload.describe(each))
    echo(reload.count(found))


@click.command("render", context_settings=_ARGUMENTS)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def render(arguments: tuple[str, ...]) -> None:
    """Print the configuration that a start would render.

    The output contains no secrets, and nothing is written to disk. ARGUMENTS are those of postgres.
    """
    context = _context(arguments)
    following = _without_secrets(follow.following(context))
    if not following and not rendered.renders(context):
        echo("# Nothing is rendered: no archive, standby, POSTGRES_CONF_*, POSTGRES_TUNE or conf folder.")
        return
    settings = context.settings
    context = context._replace(settings=settings._replace(conf=_without_secrets(settings.conf)))
    described: Server = describe_server(context)
    text = rendered_text(
        context,
        context.settings.our_archive,
        described,
        following,
    )
    echo(f"# {described.runtime_folder}/postgresql.conf")
    click.echo(text, nl=False)
    echo(f"\n# {described.runtime_folder}/{rendered.CHOSEN_FILE}")
    click.echo(chosen.chosen_text(context), nl=False)


def _without_secrets(values: dict[str, str]) -> dict[str, str]:
    return {name: hide_secrets(value, name) for name, value in values.items()}


def _context(arguments: tuple[str, ...]) -> Context:
    given = arguments[1:] if arguments[:1] == ("postgres",) else arguments
    wanted = opening.load_settings(opening.environ(), given)
    return chosen.beside(opening.command_context(wanted))


def _rows(context: Context, found: list[Source], known: dict[str, Running] | None) -> list[dict[str, object]]:
    different = {} if known is None else {each.name: each for each in reload.changes(context, found, known)}
    rows: list[dict[str, object]] = []
    named = sources.by_name(found)
    for name in sorted({*named, *different}):
        gone = [Source(name, different[name].new, sources.DEFAULT, "")] if name not in named else []
        first, *rest = [*named.get(name, gone)]
        running = None if known is None or name not in known else known[name]
        rows.append(
            {
                "name": name,
                "value": hide_secrets(first.value, name),
                "origin": first.origin,
                "where": first.where,
                "reason": first.reason,
                "running": running and hide_secrets(running.shown, name),
                "differs": name in different,
                "needs_restart": running is not None
                and (running.pending_restart or (name in different and different[name].restart)),
                "hides": [
                    {
                        "value": hide_secrets(each.value, name),
                        "origin": each.origin,
                        "where": each.where,
                    }
                    for each in rest
                ],
            }
        )
    return rows


def _details(row: dict[str, object]) -> list[str]:
    lines = [f"{row['origin']}: {row['where']}" if row["where"] else str(row["origin"])]
    if row["reason"]:
        lines.append(f"because: {row['reason']}")
    if row["differs"]:
        when = "a restart" if row["needs_restart"] else "a reload"
        lines.append(f"the server runs with {row['running'] or '(empty)'} until {when}")
    elif row["needs_restart"]:
        lines.append("takes effect at a restart")
    hidden = row["hides"]
    assert isinstance(hidden, list)
    lines += [f"hides {each['value']} of {each['origin']}: {each['where']}" for each in hidden]
    return lines


def _budget(machine: tune.Machine) -> list[str]:
    whole = "the container's limit" if machine.limited else "the machine's: the container has no limit"
    rows = [("memory", machine.memory, whole), ("server", tune.server(machine), "")]
    if machine.archives:
        sent = shares.push(machine.memory).memory_bytes or 0
        taken = shares.backup(machine.processors, machine.memory, None).memory_bytes or 0
        rows += [("archiving", sent, f"also Go's memory limit of {IN_GO}"), ("backups", taken, "at most")]
    lines = [f"{name.ljust(10)} {tune.size(count).rjust(8)}  {why}".rstrip() for name, count, why in rows]
    return ["", *lines, f"{'processors'.ljust(10)} {str(machine.processors).rjust(8)}"]
