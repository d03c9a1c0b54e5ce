"""The table of all checks, and the code that runs them.

To add a check, add an entry to the table CHECKS of its subject's module in look/, and a pure function that
judges the evidence to the module of the same name in judge/. `entrypoint doctor` runs all checks. The checks
of the next start call the functions that a start calls: `plan.decide`, `programs.check_shell`,
`objections.objections`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from entrypoint.doctor.look import archive, databases, memory, notifying, places, secrets, server
from entrypoint.doctor.sight import Check, NotLooked, Sight
from entrypoint.errors import Failure
from entrypoint.finding import ERROR, OK, WARNING, Finding, problem
from entrypoint.light import NamedTuple

CHECKS: tuple[Check, ...] = (
    *server.CHECKS,
    *places.CHECKS,
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


def make(sight: Sight, names: Sequence[str] = ()) -> Iterator[Told]:
    """Run all checks, or only the named ones, and yield their findings."""
    for check in CHECKS:
        if names and check.name not in names:
            continue
        sight.say(check.name)
        for finding in _findings(check, sight, asked_for=bool(names)):
            lacks_page = finding.level != OK and not finding.docs
            yield Told(check, finding._replace(docs=check.docs) if lacks_page else finding)


def _findings(check: Check, sight: Sight, *, asked_for: bool) -> list[Finding]:
    """Return the findings of a check; a check that fails must not hide the others."""
    try:
        if check.need.is_met(sight):
            return check.look(sight)
    except NotLooked as late:
        return [Finding(WARNING, late.problems[0].what, f"entrypoint doctor '{check.name}'")]
    except Failure as failure:
        return [problem(each) for each in failure.problems]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one check, the others run
        what = f"the check itself failed: {type(error).__name__}: {error}"
        return [Finding(ERROR, what, "report this as a bug of the entrypoint, and include this line")]
    if not asked_for:
        return []
    return [
        Finding(
            WARNING,
            f"not looked at: {check.need.otherwise}",
            "see the findings of the other checks: entrypoint doctor",
        )
    ]
