"""`entrypoint restore`: what RESTORE_* do at a start, by options; and what it would do."""

import json
import os

import click

from entrypoint.cli.output import echo
from entrypoint.settings.restoring import ACTIONS, TARGETS
from entrypoint.start import startup

_VARIABLES: dict[str, str] = {
    "backup": "RESTORE_FROM",
    **{kind: name for name, kind in TARGETS.items() if kind != "immediate"},
    "timeline": "RESTORE_TARGET_TIMELINE",
    "action": "RESTORE_TARGET_ACTION",
    "archive_url": "RESTORE_ARCHIVE_URL",
    "archive_tool": "RESTORE_ARCHIVE_TOOL",
}


@click.command()
@click.option(
    "--from", "backup", metavar="NAME", help="A backup's name, or LATEST: the newest that fits (default)."
)
@click.option(
    "--target-time", "time", metavar="TIME", help="ISO 8601, UTC without an offset; or '10 minutes ago'."
)
@click.option("--target-name", "name", metavar="NAME", help="A restore point of pg_create_restore_point().")
@click.option("--target-lsn", "lsn", metavar="LSN", help="For example 0/3000060.")
@click.option("--target-xid", "xid", metavar="XID", help="A transaction's number.")
@click.option("--immediate", is_flag=True, help="Up to the end of the base backup.")
@click.option("--exclusive", is_flag=True, help="Stop right before the target, not right after it (default).")
@click.option("--target-timeline", "timeline", metavar="ID", help="latest (default), current, or a number.")
@click.option(
    "--target-action", "action", type=click.Choice(ACTIONS), help="What to do there; default promote."
)
@click.option("--archive-url", metavar="URL", help="Restore from another archive than ARCHIVE_URL (default).")
@click.option("--archive-tool", metavar="TOOL", help="The tool of that archive; default as for ARCHIVE_TOOL.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print an object.")
def restore(immediate: bool, exclusive: bool, dry_run: bool, as_json: bool, **given: str | None) -> None:
    """Restore an empty volume from the archive; the next start of the container serves it.

    The target is the end of the archive unless one is given, by an option or by RESTORE_TARGET_*.
    """
    if immediate or any(given.get(kind) for kind in TARGETS.values()):
        for name in TARGETS:
            os.environ.pop(name, None)
    os.environ.update({_VARIABLES[option]: value for option, value in given.items() if value})
    if immediate:
        os.environ["RESTORE_TARGET"] = "immediate"
    if exclusive:
        os.environ["RESTORE_TARGET_INCLUSIVE"] = "off"
    os.environ.setdefault("RESTORE_FROM", "LATEST")
    if not dry_run:
        startup.start((), restore_only=True)
    plan = startup.plan_restore(os.environ)
    from entrypoint.restore import planning

    if as_json:
        click.echo(json.dumps(planning.as_json(plan), indent=2))
        return
    for line in planning.describe(plan):
        echo(line)
