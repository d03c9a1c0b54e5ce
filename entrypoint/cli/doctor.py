"""`entrypoint doctor`: what is wrong here, and what to do about it."""

import json
import sys
from collections.abc import Sequence

import click

from entrypoint import exits, log
from entrypoint.cli.output import echo
from entrypoint.doctor import checkup
from entrypoint.doctor.checkup import CHECKS, Told
from entrypoint.doctor.sight import SECONDS, Check, Sight
from entrypoint.finding import ERROR, OK, WARNING
from entrypoint.server import opening

_MARKS = {OK: "ok", WARNING: "WARN", ERROR: "ERROR"}
_COLOURS = {OK: "green", WARNING: "yellow", ERROR: "red"}
_WIDTH = max(len(check.name) for check in CHECKS)


@click.command()
@click.argument("names", nargs=-1, metavar="[CHECK]...")
@click.option("--json", "as_json", is_flag=True, help="Print an array of findings.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=SECONDS,
    show_default=True,
    help="For looking into the databases; what takes longer is told as not looked at.",
)
@click.option("--explain", is_flag=True, help="Tell what the checks look at and why, and make none.")
def doctor(names: Sequence[str], as_json: bool, seconds: float, explain: bool) -> int:
    """Look at everything that can hurt, change nothing, and say what to do.

    One check writes a small object to the archive, reads it back and removes it. Works in a running container
    (docker exec), or alone (docker run … doctor). CHECK is the name of one check, for example "free space";
    by default all are made. Exit codes: 0 all is well, 1 warnings, 2 errors.
    """
    known = [check.name for check in CHECKS]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name} is none of: {', '.join(known)}", param_hint="CHECK")
    if explain:
        return _explain([check for check in CHECKS if check.name in (names or known)], as_json=as_json)
    found: list[Told] = []
    for told in checkup.make(Sight(opening.environ(), _say, seconds), names):
        found.append(told)
        if not as_json:
            _print(told)
    _say("")
    if as_json:
        click.echo(json.dumps([_row(told) for told in found], indent=2))
    levels = {told.finding.level for told in found}
    if ERROR in levels:
        return exits.DOCTOR_ERRORS
    return exits.DOCTOR_WARNINGS if WARNING in levels else 0


def _row(told: Told) -> dict[str, str]:
    return {"check": told.check.name, **told.finding._asdict(), "why": told.check.why}


def _say(name: str) -> None:
    """Show what is being done, where somebody waits for it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{name and f'looking at: {name}'}\033[K")
        sys.stderr.flush()


def _print(told: Told) -> None:
    check, finding = told
    _say("")
    mark = click.style(_MARKS[finding.level].ljust(5), fg=_COLOURS[finding.level])
    lines = finding.found.split("\n")
    echo(f"  {check.name.ljust(_WIDTH)}  {lines[0]}", mark=mark)
    rest = lines[1:]
    if finding.level != OK:
        rest += [f"why: {check.why}", *log.advised("", finding.hint, finding.docs).split("\n")[1:]]
    for line in rest:
        echo(f"{' ' * (_WIDTH + 9)}{line}")


def _explain(checks: Sequence[Check], *, as_json: bool) -> int:
    if as_json:
        rows = [
            {"check": each.name, "why": each.why, "looks_at": each.looks_at, "docs": each.docs}
            for each in checks
        ]
        click.echo(json.dumps(rows, indent=2))
        return 0
    for check in checks:
        page = f"\n  docs: {check.docs}" if check.docs else ""
        echo(f"{check.name}\n  why: {check.why}\n  looks at: {check.looks_at}{page}")
    return 0
