"""`entrypoint doctor`: what is wrong here, and what to do about it."""

import json
import sys
from collections.abc import Sequence

import click

from entrypoint import exits, log, topics
from entrypoint.cli import mistakes
from entrypoint.cli.output import echo, paint
from entrypoint.doctor import checkup
from entrypoint.doctor.checkup import CHECKS, Told
from entrypoint.doctor.sight import SECONDS, Check, Sight
from entrypoint.errors import Failure, Problem
from entrypoint.finding import ERROR, OK, WARNING
from entrypoint.server import opening

_MARKS = {OK: "ok", WARNING: "WARN", ERROR: "ERROR"}
_WIDTH = max(len(check.name) for check in CHECKS)


@click.command()
@click.argument("names", nargs=-1, metavar="[CHECK]...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of findings.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=SECONDS,
    metavar="SECONDS",
    show_default=True,
    help="Time for the databases; doctor reports what it had no time for.",
)
@click.option("--explain", is_flag=True, help="Print what the checks look at and why, without making them.")
def doctor(names: Sequence[str], as_json: bool, seconds: float, explain: bool) -> int:
    """Find what is wrong, and say what to do about it.

    Doctor changes nothing, except that one check writes a small object to the archive, reads it back and
    removes it. It works in a running container (docker exec) and in a container of its own (docker run).
    CHECK is the name of a check, for example "free space"; by default doctor makes all checks. Exit codes: 0
    all is well, 1 there are warnings, 2 there are errors.
    """
    known = [check.name for check in CHECKS]
    for name in names:
        if name not in known:
            raise Failure(_unknown(name, known))
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
    else:
        echo(_summary(found))
    levels = {told.finding.level for told in found}
    if ERROR in levels:
        return exits.DOCTOR_ERRORS
    return exits.DOCTOR_WARNINGS if WARNING in levels else 0


def _unknown(name: str, known: Sequence[str]) -> Problem:
    near = topics.alike(name, known)
    use = f'use "{near}", or one' if near else "use one"
    return Problem(f"doctor has no check named {name}", f"{use} of: {', '.join(known)}", mistakes.CODE)


def _row(told: Told) -> dict[str, str]:
    return {"check": told.check.name, **told.finding._asdict(), "why": told.check.why}


def _say(name: str) -> None:
    """Show the progress to a person who waits at a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{name and f'looking at: {name}'}\033[K")
        sys.stderr.flush()


def _print(told: Told) -> None:
    check, finding = told
    _say("")
    mark = paint(_MARKS[finding.level].ljust(5), finding.level)
    lines = finding.found.split("\n")
    echo(f"  {check.name.ljust(_WIDTH)}  {lines[0]}", mark=mark)
    rest = lines[1:]
    if finding.level != OK:
        rest += log.advised(f"why: {check.why}", finding.hint, finding.docs).split("\n")
    for line in rest:
        echo(f"{' ' * (_WIDTH + 9)}{line}")


def _summary(found: Sequence[Told]) -> str:
    """Return the number of checks, and of what they found."""
    if not found:
        return "there is nothing to report"
    counts = [
        f"{count} {level}{'' if count == 1 else 's'}"
        for level in (ERROR, WARNING)
        if (count := sum(told.finding.level == level for told in found))
    ]
    checks = len({told.check.name for told in found})
    return f"{checks} check{'' if checks == 1 else 's'}: {', '.join(counts) or 'all is well'}"


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
