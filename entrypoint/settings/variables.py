"""Every variable that can be set, and what of them is secret; pure.

Each is declared once, in the module of its section. The page of variables, `doctor` and the check for
misspelt names derive from `table`; a plain start asks `find`, which loads no section that is not set.
"""

from __future__ import annotations

from entrypoint.archivers import tool_variables
from entrypoint.archivers.tool_variables import SOURCE_PREFIX
from entrypoint.settings import serving, starting
from entrypoint.settings.fields import OF_FEW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.settings.fields import Variable


_PLAIN = {each.name: each for each in starting.OFFICIAL + starting.OURS + serving.SERVER + serving.POLICIES}
"""Those of the sections that every start has."""


def _section(name: str) -> tuple[Variable, ...]:
    """Return the variables of the section that a name belongs to, of those that few starts have."""
    found: tuple[Variable, ...] = ()
    if name.startswith("ARCHIVE_"):
        from entrypoint.settings import archiving

        found = archiving.VARIABLES
    elif name.startswith("BACKUP_"):
        from entrypoint.settings import backing_up

        found = backing_up.VARIABLES
    elif name.startswith("DRILL_"):
        from entrypoint.settings import rehearsing

        found = rehearsing.VARIABLES
    elif name.startswith("RESTORE_"):
        from entrypoint.settings import restoring

        found = restoring.VARIABLES
    elif name.startswith("STANDBY"):
        from entrypoint.settings import following

        found = following.VARIABLES
    return found


def find(name: str) -> Variable | None:
    """Return the variable of this name, if it is one of ours."""
    return _PLAIN.get(name) or next((each for each in _section(name) if each.name == name), None)


def table() -> dict[str, Variable]:
    """Return all variables by name, in the order of the page of variables."""
    every = (
        *(*starting.OFFICIAL, *starting.OURS, *serving.SERVER),
        *(each for section in OF_FEW for each in _section(section)),
        *serving.POLICIES,
    )
    return {each.name: each for each in every}


def is_of_archiver(name: str, values: Mapping[str, str]) -> bool:
    """Tell whether an archiver reads this variable, for either archive, with these settings."""
    return tool_variables.is_own(name.removeprefix(SOURCE_PREFIX), values)


_SECRET_WORDS = ("KEY", "SECRET", "PASS", "TOKEN")
_HIDDEN_WORDS = (*_SECRET_WORDS, "CREDENTIALS", "SSE_C")


def is_withheld(name: str) -> bool:
    """Tell whether nobody is to see this variable in PID 1: what we declare as secret, the archivers' all."""
    declared = find(name)
    return (declared is not None and declared.secret) or is_of_archiver(name, {})


def is_secret_of_archiver(name: str) -> bool:
    """Tell whether an archiver's variable may hold a secret, so that it is not written down a second time.

    The names tell: no tool declares it.
    """
    return any(word in name for word in _HIDDEN_WORDS) and not name.endswith("_PATH")


def is_told_when_seen(name: str) -> bool:
    """Tell whether doctor warns where others can see a variable that `is_withheld`.

    Of the archivers' most are plain settings; what is a path itself is looked into, if it can be read.
    """
    return find(name) is not None or any(word in name for word in _SECRET_WORDS)
