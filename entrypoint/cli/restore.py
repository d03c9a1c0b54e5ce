"""`entrypoint restore`: a restore by options instead of RESTORE_* variables, and a preview of it."""

import json
import os

import click

from entrypoint.cli.output import echo
from entrypoint.settings.restoring import ACTIONS, TARGETS
from entrypoint.start import only_restore, startup

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
    "--from",
    "backup",
    metavar="NAME",
    show_default="RESTORE_FROM, else LATEST",
    help="Name of a backup, or LATEST: the newest one that fits.",
)
@click.option(
    "--target-time",
    "time",
    metavar="TIME",
    show_default="RESTORE_TARGET_TIME",
    help="ISO 8601, in UTC if it has no offset, or '10 minutes ago'.",
)
@click.option(
    "--target-name",
    "name",
    metavar="NAME",
    show_default="RESTORE_TARGET_NAME",
    help="A restore point that pg_create_restore_point() made.",
)
@click.option(
    "--target-lsn",
    "lsn",
    metavar="LSN",
    show_default="RESTORE_TARGET_LSN",
    help="A position in the WAL, for example 0/3000060.",
)
@click.option(
    "--target-xid",
    "xid",
    metavar="XID",
    show_default="RESTORE_TARGET_XID",
    help="The number of a transaction.",
)
@click.option("--immediate", is_flag=True, help="Stop at the end of the base backup.")
@click.option("--exclusive", is_flag=True, help="Stop right before the target instead of right after it.")
@click.option(
    "--target-timeline",
    "timeline",
    metavar="ID",
    show_default="RESTORE_TARGET_TIMELINE, else latest",
    help="The timeline to follow: latest, current, or a number.",
)
@click.option(
    "--target-action",
    "action",
    type=click.Choice(ACTIONS),
    show_default="RESTORE_TARGET_ACTION, else promote",
    help="What to do at the target.",
)
@click.option(
    "--archive-url",
    metavar="URL",
    show_default="RESTORE_ARCHIVE_URL, else ARCHIVE_URL",
    help="The archive to restore from.",
)
@click.option(
    "--archive-tool",
    metavar="TOOL",
    show_default="RESTORE_ARCHIVE_TOOL, else as for ARCHIVE_TOOL",
    help="The tool of that archive.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run, print a JSON object.")
def restore(immediate: bool, exclusive: bool, dry_run: bool, as_json: bool, **given: str | None) -> None:
    """Restore the archive into an empty volume.

    The next start of the container serves the restored database. The target is the end of the archive unless
    you give one, by an option or by a variable RESTORE_TARGET_*. At most one target can be given; a target in
    the options replaces a target in the variables.
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
        startup.start((), only="restore")
    plan = only_restore.planned(os.environ)
    from entrypoint.restore import planning

    if as_json:
        click.echo(json.dumps(planning.as_json(plan), indent=2))
        return
    for line in planning.describe(plan):
        echo(line)
