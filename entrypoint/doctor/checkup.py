"""The table of all checks, and the code that runs them.

To add a check, add an entry to the table CHECKS of its subject's module in look/, and a pure function that
judges the evidence to the module of the same name in judge/. `entrypoint doctor` runs all checks. The checks
of the next start call the functions that a start calls: `plan.decide`, `programs.check_shell`,
`objections.objections`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from entrypoint.doctor.look import archive, databases, disk, memory, nodes, notifying, places, secrets, server
from entrypoint.doctor.sight import Check, NotLooked, Sight, Unanswered
from entrypoint.errors import Failure
from entrypoint.finding import ERROR, OK, WARNING, Finding, problem
from entrypoint.light import NamedTuple

CHECKS: tuple[Check, ...] = (
    *server.CHECKS,
    *nodes.CHECKS,
    *places.CHECKS,
    *disk.CHECKS,
    *memory.CHECKS,
    *archive.CHECKS,
    *databases.CHECKS,
    *secrets.CHECKS,
    *notifying.CHECKS,
)


class Told(NamedTuple):
    """A finding, with the check that made it."""

    check: Check
    finding: Finding


class Outcome(NamedTuple):
    """The result of one check."""

    check: Check
    findings: list[Finding]
    """Empty if there is nothing to say: all is well."""
    looked: bool
    """False: the check could not look, so nothing is known."""


def make(sight: Sight, names: Sequence[str] = ()) -> Iterator[Told]:
    """Run all checks, or only the named ones, and yield their findings."""
    for check, findings, looked in run(sight, [each for each in CHECKS if not names or each.name in names]):
        if names and not looked and not findings:
            what = f"not looked at: {check.need.otherwise}"
            findings.append(Finding(WARNING, what, "see the findings of the other checks: entrypoint doctor"))
        for finding in findings:
            yield Told(check, finding)


def run(sight: Sight, checks: Sequence[Check]) -> Iterator[Outcome]:
    """Run these checks, and yield the result of each."""
    for check in checks:
        sight.say(check.name)
        findings, looked = _findings(check, sight)
        docs = [check.docs if each.level != OK and not each.docs else each.docs for each in findings]
        findings = [each._replace(docs=page) for each, page in zip(findings, docs, strict=True)]
        yield Outcome(check, findings, looked)


def _findings(check: Check, sight: Sight) -> tuple[list[Finding], bool]:
    """Return the findings of a check, and whether it has looked; a failure must not hide other checks."""
    try:
        if check.need.is_met(sight):
            return check.look(sight), True
    except NotLooked as late:
        return [Finding(WARNING, late.problems[0].what, f"entrypoint doctor '{check.name}'")], False
    except Unanswered as unanswered:
        return [problem(each) for each in unanswered.problems], False
    except Failure as failure:
        return [problem(each) for each in failure.problems], True
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one check, the others run
        what = f"the check itself failed: {type(error).__name__}: {error}"
        return [Finding(ERROR, what, "report this as a bug of the entrypoint, and include this line")], True
    return [], False
