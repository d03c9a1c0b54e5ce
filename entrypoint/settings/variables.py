"""All variables, and which of them are secret; pure.

Each variable is declared once, in the module of its section. The page of variables, `doctor` and the check
for misspelt names use `table`. A plain start uses `find`, which loads a section only if it is needed.
"""

from __future__ import annotations

from entrypoint.archivers import tool_variables
from entrypoint.archivers.tool_variables import SOURCE_PREFIX
from entrypoint.settings import serving, starting
from entrypoint.settings.fields import OF_FEW, PATRONI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.settings.fields import Variable


PLAIN = {each.name: each for each in starting.OFFICIAL + starting.OURS + serving.SERVER + serving.POLICIES}
"""The variables of the sections that every start loads."""


WATCHING = ("WATCH_", "NOTIFY_", "STATUS_")
"""The beginnings of the names in the section of the watch; STATUS_LOG_LEVEL belongs to every start."""


def _section(name: str) -> tuple[Variable, ...]:
    """Return the variables of the section that a name belongs to, if it is one that few starts use."""
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
    elif name.startswith("UPGRADE_"):
        from entrypoint.settings import upgrading

        found = upgrading.VARIABLES
    elif name.startswith(WATCHING):
        from entrypoint.settings import watching

        found = watching.VARIABLES
    elif name.startswith(PATRONI):
        from entrypoint.settings import failing_over

        found = failing_over.VARIABLES
    return found


def find(name: str) -> Variable | None:
    """Return our variable of this name; None if it is not ours."""
    return PLAIN.get(name) or next((each for each in _section(name) if each.name == name), None)


def table() -> dict[str, Variable]:
    """Return all variables by name, in the order of the page of variables."""
    every = (
        *(*starting.OFFICIAL, *starting.OURS, *serving.SERVER),
        *(each for section in (*OF_FEW, "UPGRADE_", WATCHING[0], PATRONI) for each in _section(section)),
        *serving.POLICIES,
    )
    return {each.name: each for each in every}


def is_of_archiver(name: str, values: Mapping[str, str]) -> bool:
    """Return whether an archiver with these settings reads this variable, for either archive."""
    return tool_variables.is_own(name.removeprefix(SOURCE_PREFIX), values)


_SECRET_WORDS = ("KEY", "SECRET", "PASS", "TOKEN")
_HIDDEN_WORDS = (*_SECRET_WORDS, "CREDENTIALS", "SSE_C")


def is_withheld(name: str) -> bool:
    """Return whether PID 1 withholds a variable: a declared secret, any of the archivers' or of Patroni's."""
    declared = find(name)
    is_secret = declared is not None and declared.secret
    return is_secret or is_of_archiver(name, {}) or name.startswith(PATRONI)


def is_secret_of_archiver(name: str) -> bool:
    """Return whether an archiver's variable may hold a secret, which must not be stored a second time.

    The name decides, since no archiver declares which of its variables are secret.
    """
    return any(word in name for word in _HIDDEN_WORDS) and not name.endswith("_PATH")


def is_told_when_seen(name: str) -> bool:
    """Return whether doctor warns if others can see a withheld variable (see `is_withheld`).

    Most variables of the archivers are plain settings, so only names that hint at a secret count. If a
    variable is the path of a secret's file, doctor checks who can read that file.
    """
    return find(name) is not None or any(word in name for word in _SECRET_WORDS)
