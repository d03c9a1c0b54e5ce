"""Decides which variables are meant for us: one environment often serves several containers; pure.

Names in our groups that we do not know, and values that we cannot use, are mistakes if the environment
requests an archive, a restore or a standby. Otherwise they belong to another program: they are ignored, and
the log says so.
"""

from __future__ import annotations

from entrypoint.archivers import tool_variables
from entrypoint.archivers.known import TOOLS
from entrypoint.archivers.tool_variables import SOURCE_PREFIX, STORAGES
from entrypoint.errors import Problem
from entrypoint.light import re
from entrypoint.settings import variables
from entrypoint.settings.fields import FALSE, FILE_SUFFIX, INJECTED, OF_FEW, is_slip
from entrypoint.settings.serving import LOG_LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.settings.fields import Variable

STRICT_GROUPS = ("ARCHIVE_", *tool_variables.GROUPS.values())
"""Any unknown name of these groups is an error."""
OUR_GROUPS = (
    "BACKUP_",
    "RESTORE_",
    "STANDBY_",
    "STOP_",
    "SLOT_",
    "COLLATION_",
    "STATUS_",
    "DRILL_",
    "WATCH_",
    "NOTIFY_",
    "UPGRADE_",
)
"""A name of these groups that nearly is one of our names is an error; others belong to another program."""
_SWITCHES = (
    *("ARCHIVE_URL", "ARCHIVE_TOOL", "RESTORE_ARCHIVE_URL", "RESTORE_ARCHIVE_TOOL"),
    *("RESTORE_TARGET_TIME", "RESTORE_TARGET_NAME", "RESTORE_TARGET_LSN", "RESTORE_TARGET_XID"),
    *("RESTORE_TARGET", "RESTORE_FROM", "STANDBY", "STANDBY_PRIMARY_CONNINFO"),
)
"""These variables request an archive, a restore or a standby, if their value is one that we accept."""

_UNITS = frozenset("ms s sec secs second seconds m min mins minute minutes h hour hours d day days".split())
_LEVELS = frozenset("trace debug verbose info notice warn warning error fatal critical off none".split())
"""The log levels of other programs."""


def has_storage(raw: Mapping[str, str]) -> bool:
    """Return whether the place of an archive is set; a file that is not read yet counts as well."""
    names = (name.removeprefix(SOURCE_PREFIX) for name, value in raw.items() if value)
    return any(name in STORAGES or name.removesuffix(FILE_SUFFIX) in STORAGES for name in names)


def is_asked_for(values: Mapping[str, str]) -> bool:
    """Return whether the environment requests an archive, a restore or a standby; a misspelt name counts.

    A user who wants an archive must not end up without one because of a misspelt name.
    """
    return any(value and _asks(name, value) for name, value in values.items())


def _asks(name: str, value: str) -> bool:
    if name.removeprefix(SOURCE_PREFIX) in STORAGES:
        return True
    if name in _SWITCHES:
        return _is_our_value(name, value)
    if is_known(name) or not name.startswith(STRICT_GROUPS + OUR_GROUPS):
        return False
    plain = name.removesuffix(FILE_SUFFIX)
    if plain.startswith(tuple(tool_variables.GROUPS.values())):
        near = nearest(plain) or ""
        return near in STORAGES and _is_our_value(near, value)
    if (rest := plain.removeprefix(SOURCE_PREFIX)) != "ARCHIVE_URL" and is_slip(rest, "ARCHIVE_URL"):
        return True
    return any(is_slip(plain, each) and _is_our_value(each, value) for each in _SWITCHES)


def _is_our_value(name: str, value: str) -> bool:
    """Return whether a value can be meant for this variable, even if the given name was misspelt."""
    from entrypoint.settings import restoring

    text = value.strip()
    if name in ("ARCHIVE_TOOL", "RESTORE_ARCHIVE_TOOL"):
        return text in TOOLS
    if name == "RESTORE_FROM":
        return restoring.may_be_backup(text)
    if name in restoring.TARGETS:
        # Any word is a valid name, so a name alone requests nothing.
        return name != "RESTORE_TARGET_NAME" and restoring.is_target(name, text)
    if name == "STANDBY":
        return text.lower() == "on"  # our spelling; `true` is common in other programs
    if name == "STANDBY_PRIMARY_CONNINFO":
        return True
    if name in tool_variables.KINDS:
        return text in tool_variables.KINDS[name]
    return text.startswith("/") or "://" in text


_WITHOUT_ARCHIVE = (("ARCHIVE_WHEN_FULL", "readonly"), ("ARCHIVE_WHEN_FULL", "wait"))
"""What has an effect without an archive as well."""


def theirs(values: Mapping[str, str]) -> dict[str, Problem]:
    """Return the variables that have our names but are not meant for us, each with its warning."""
    if not any(
        value and name.startswith((*OF_FEW, "STOP_", "STATUS_", "UPGRADE_")) for name, value in values.items()
    ):
        return {}
    if is_asked_for(values):
        return {}
    found = {}
    for name, value in values.items():
        declared = variables.find(name)
        if values.get("POSTGRES_UPGRADE") and _is_of_upgrades(name, value):
            continue
        if value and declared is not None and (why := _why_theirs(declared, value)):
            found[name] = Problem(
                f"{name} has no effect: {why}", f"in this image it means: {_meaning(declared)}"
            )
    return found


def _is_of_upgrades(name: str, value: str) -> bool:
    """Return whether a variable has an effect on an upgrade or its rehearsal, which needs no archive."""
    return name.startswith("UPGRADE_") or (name == "DRILL_FOLDER" and value.startswith("/"))


def _why_theirs(declared: Variable, value: str) -> str:
    name = declared.name
    if name == "STANDBY" and value.lower() in FALSE:
        return ""
    if name == "RESTORE_FROM":
        return "there is no archive to restore from, and its value is not the name of a backup"
    if name == "STANDBY":
        return "neither an archive nor STANDBY_PRIMARY_CONNINFO is set, so this is not a standby"
    if name.startswith(OF_FEW) and (name, value) not in _WITHOUT_ARCHIVE:
        return "no archive is set (ARCHIVE_URL)"
    if name.startswith("UPGRADE_"):
        return "POSTGRES_UPGRADE is not set"
    if name.startswith("STOP_") and _is_duration(value):
        return f"its value is not a whole number of seconds, so the default applies ({declared.default})"
    if name == "STATUS_LOG_LEVEL" and value not in LOG_LEVELS and value.lower() in _LEVELS:
        return f"its value is neither {' nor '.join(LOG_LEVELS)}"
    return ""


def _is_duration(text: str) -> bool:
    """Return whether another program would accept the text as a time; any other text is a mistake to refuse.

    >>> [_is_duration(text) for text in ("60s", "1m30s", "1.5 h", "500ms", "60", "5s5", "s", "1e9", "-1s")]
    [True, True, True, True, False, False, False, False, False]
    """
    return re.fullmatch(r"(?:[0-9]+(?:\.[0-9]+)? *[a-z]+ *)+", text.lower()) is not None and not (
        set(re.findall("[a-z]+", text.lower())) - _UNITS
    )


def _meaning(declared: Variable) -> str:
    """Return the first sentence of a variable's description."""
    return declared.doc.partition(". ")[0].removesuffix(".")


def unknown(values: Mapping[str, str]) -> tuple[list[Problem], list[Problem]]:
    """Return the mistakes among the names of our groups, and the names that are only doubtful."""
    names = [name for name in values if _is_unknown(name)]
    if not names:
        return [], []
    asked = is_asked_for(values)
    wrong: list[Problem] = []
    doubtful: list[Problem] = []
    for name in names:
        near = nearest(name)
        mistake = asked and (near is not None or name.startswith(STRICT_GROUPS))
        others = "docs/reference/variables.md lists every variable"
        hint = f"did you mean {near}?" if near else f"remove {name}; {others}"
        if not mistake:
            declared = variables.find(near or "")
            meaning = f" {_meaning(declared)}" if declared is not None else ""
            hint = f"it is ignored; did you mean {near}?{meaning}" if near else "it is ignored"
        (wrong if mistake else doubtful).append(Problem(f"unknown variable {name}", hint))
    return wrong, doubtful


def _is_unknown(name: str) -> bool:
    ours = name.startswith(STRICT_GROUPS + OUR_GROUPS)
    return ours and not is_known(name) and not INJECTED.fullmatch(name)


def is_known(name: str) -> bool:
    """Return whether a variable is declared by us, or is an archiver's own variable for either archive."""
    rest = name.removeprefix(SOURCE_PREFIX)
    return (
        variables.find(name) is not None
        or rest in ("ARCHIVE_URL", "ARCHIVE_TOOL")
        or tool_variables.is_known(rest)
    )


def nearest(name: str) -> str | None:
    """Return the known variable that a misspelt name probably means; None if there is none."""
    import difflib  # loaded only for a mistake: it takes half as long as a start

    known = [*variables.table(), *tool_variables.all_like(name)]
    found = difflib.get_close_matches(name.removesuffix(FILE_SUFFIX), known, n=1, cutoff=0.8)
    return found[0] if found else None
