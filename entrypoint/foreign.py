"""Whose the variables are: one environment often serves several containers; pure.

Where nothing of an archive, a restore or a standby is asked for, a name or a value of our groups that is none
of ours belongs to somebody else: it is left alone, and the log says so. Where one is, it is a mistake.
"""

from __future__ import annotations

from entrypoint import recovery, variables
from entrypoint.archivers import tool_variables
from entrypoint.archivers.known import TOOLS
from entrypoint.errors import Problem
from entrypoint.light import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FILE_SUFFIX = "_FILE"
STORAGES = frozenset(("ARCHIVE_URL", *(name for places in tool_variables.PLACES.values() for name in places)))
"""Each of them names the place of an archive; with `RESTORE_` before it that of the one to restore from."""
_SOURCE = "RESTORE_"
STRICT_GROUPS = ("ARCHIVE_", *tool_variables.GROUPS.values())
"""Any unknown name of these groups is an error."""
_SWITCHES = (
    *("ARCHIVE_URL", "ARCHIVE_TOOL", "RESTORE_ARCHIVE_URL", "RESTORE_ARCHIVE_TOOL"),
    *("RESTORE_FROM", *recovery.TARGETS, "STANDBY", "STANDBY_PRIMARY_CONNINFO"),
)
"""With these something is asked for, where the value is one of ours."""
_IDLE = ("ARCHIVE_", "BACKUP_", "DRILL_", "RESTORE_", "STANDBY")
"""Nothing of these groups does anything where no archive, no restore and no standby is asked for."""

_SETTINGS = frozenset(
    """
    autovacuum bonjour datestyle fsync geqo intervalstyle jit port role seed ssl timezone xmlbinary xmloption
    include include_dir data_directory log_directory stats_temp_directory config_file hba_file ident_file
    external_pid_file krb_server_keyfile promote_trigger_file ssl_ca_file ssl_cert_file ssl_crl_file
    ssl_crl_dir ssl_dh_params_file ssl_key_file dynamic_library_path extension_control_path search_path
    application_name bonjour_name cluster_name primary_slot_name recovery_target_name
    """.split()
)
"""Settings of PostgreSQL 14 to 18 of one word, and those that end like the name of a place."""
_PLACES = ("dir", "directory", "file", "folder", "mount", "name", "path", "src", "url", "volume")
"""How others name a file, a folder or an address."""
_UNITS = frozenset("ms s sec secs second seconds m min mins minute minutes h hour hours d day days".split())
_LEVELS = frozenset("trace debug verbose info notice warn warning error fatal critical off none".split())
"""What other programs call the levels of their logs."""
_SHORTEST = 3
"""Letters of a name that is taken for one of others, unless the value is a path."""


def has_storage(raw: Mapping[str, str]) -> bool:
    """Tell whether the place of an archive is given, also by a file that is not read yet."""
    names = (name.removeprefix(_SOURCE) for name, value in raw.items() if value)
    return any(name in STORAGES or name.removesuffix(FILE_SUFFIX) in STORAGES for name in names)


def is_asked_for(values: Mapping[str, str]) -> bool:
    """Tell whether anything of an archive, a restore or a standby is asked for, if only by a slip of the pen.

    Whoever means our archive must not go without one for a misspelt name.
    """
    return any(value and _asks(name, value) for name, value in values.items())


def _asks(name: str, value: str) -> bool:
    if name.removeprefix(_SOURCE) in STORAGES:
        return True
    if name in _SWITCHES:
        return _is_our_value(name, value)
    if is_known(name) or not name.startswith(STRICT_GROUPS + variables.OUR_GROUPS):
        return False
    plain = name.removesuffix(FILE_SUFFIX)
    if plain.startswith(tuple(tool_variables.GROUPS.values())):
        near = nearest(plain) or ""
        return near in STORAGES and _is_our_value(near, value)
    if plain.removeprefix(_SOURCE) != "ARCHIVE_URL" and is_slip(plain.removeprefix(_SOURCE), "ARCHIVE_URL"):
        return True
    return any(is_slip(plain, each) and _is_our_value(each, value) for each in _SWITCHES)


def _is_our_value(name: str, value: str) -> bool:
    """Tell whether a value can be meant for this variable of ours, by whatever name it has come."""
    text = value.strip()
    if name in ("ARCHIVE_TOOL", "RESTORE_ARCHIVE_TOOL"):
        return text in TOOLS
    if name == "RESTORE_FROM":
        return recovery.may_be_backup(text)
    if name in recovery.TARGETS:
        # Any word is a good name, so that one alone asks for nothing.
        return name != "RESTORE_TARGET_NAME" and recovery.is_target(name, text)
    if name == "STANDBY":
        return text.lower() == "on"  # as we write it; `true` is what everybody writes
    if name == "STANDBY_PRIMARY_CONNINFO":
        return True
    if name in tool_variables.KINDS:
        return text in tool_variables.KINDS[name]
    return text.startswith("/") or "://" in text


def theirs(values: Mapping[str, str]) -> dict[str, Problem]:
    """Return the variables that have our names and are not for us, each with what is said of it."""
    if not any(value and name.startswith((*_IDLE, "STOP_", "STATUS_")) for name, value in values.items()):
        return {}
    if is_asked_for(values):
        return {}
    found = {}
    for name, value in values.items():
        declared = variables.ALL.get(name)
        if value and declared is not None and (why := _why_theirs(name, value)):
            found[name] = Problem(f"{name} has no effect: {why}", f"here it means: {_meaning(declared)}")
    return found


def _why_theirs(name: str, value: str) -> str:
    if name == "STANDBY" and value.lower() in recovery.FALSE:
        return ""
    if name == "RESTORE_FROM":
        return "no archive is set to restore from, and its value is no backup's name"
    if name == "STANDBY":
        return "neither an archive nor STANDBY_PRIMARY_CONNINFO says what to follow, so this is no standby"
    if name.startswith(_IDLE):
        return "no archive is set (ARCHIVE_URL)"
    if name.startswith("STOP_") and _is_duration(value):
        return (
            f"its value is no whole number of seconds, so the default holds ({variables.ALL[name].default})"
        )
    if name == "STATUS_LOG_LEVEL" and value not in variables.LOG_LEVELS and value.lower() in _LEVELS:
        return f"its value is neither {' nor '.join(variables.LOG_LEVELS)}"
    return ""


def _is_duration(text: str) -> bool:
    """Tell whether others write a time so: what nobody would write is a mistake, and refused.

    >>> [_is_duration(text) for text in ("60s", "1m30s", "1.5 h", "500ms", "60", "5s5", "s", "1e9", "-1s")]
    [True, True, True, True, False, False, False, False, False]
    """
    return re.fullmatch(r"(?:[0-9]+(?:\.[0-9]+)? *[a-z]+ *)+", text.lower()) is not None and not (
        set(re.findall("[a-z]+", text.lower())) - _UNITS
    )


def _meaning(declared: variables.Variable) -> str:
    """Return the first sentence of what is said of a variable."""
    return declared.doc.partition(". ")[0].removesuffix(".")


def unknown(values: Mapping[str, str]) -> tuple[list[Problem], list[Problem]]:
    """Return what is wrong with the names of our groups, and what is only doubtful."""
    names = [name for name in values if _is_unknown(name)]
    if not names:
        return [], []
    asked = is_asked_for(values)
    wrong: list[Problem] = []
    doubtful: list[Problem] = []
    for name in names:
        near = nearest(name)
        mistake = asked and (near is not None or name.startswith(STRICT_GROUPS))
        mend = f"did you mean {near}?" if near else f"remove {name}; the README lists every variable"
        if not mistake:
            declared = variables.ALL.get(near or "")
            meaning = f" {_meaning(declared)}" if declared is not None else ""
            mend = (
                f"nothing is done with it; did you mean {near}?{meaning}"
                if near
                else "nothing is done with it"
            )
        (wrong if mistake else doubtful).append(Problem(f"unknown variable {name}", mend))
    return wrong, doubtful


def _is_unknown(name: str) -> bool:
    ours = name.startswith(STRICT_GROUPS + variables.OUR_GROUPS)
    return ours and not is_known(name) and not variables.INJECTED.fullmatch(name)


def is_known(name: str) -> bool:
    """Tell whether a variable is declared here, or one of an archiver's for either archive."""
    rest = name.removeprefix(_SOURCE)
    return name in variables.ALL or rest in ("ARCHIVE_URL", "ARCHIVE_TOOL") or tool_variables.is_known(rest)


def nearest(name: str) -> str | None:
    """Return the known variable that a misspelt name probably means."""
    import difflib  # only for a mistake: it costs as much as half a start

    known = [*variables.ALL, *tool_variables.all_like(name)]
    found = difflib.get_close_matches(name.removesuffix(FILE_SUFFIX), known, n=1, cutoff=0.8)
    return found[0] if found else None


def is_slip(text: str, meant: str) -> bool:
    """Tell whether one letter is missing, too much or another one, or two are exchanged.

    >>> [is_slip(text, "ab_cd") for text in ("ab_c", "ab_ccd", "xb_cd", "ba_cd", "ab_cd", "b_c")]
    [True, True, True, True, False, False]
    """
    begin = 0
    while begin < min(len(text), len(meant)) and text[begin] == meant[begin]:
        begin += 1
    left, right = text[begin:], meant[begin:]
    if not left and not right:
        return False
    swapped = left[1:2] + left[:1] + left[2:]
    return left[1:] == right or left == right[1:] or left[1:] == right[1:] or swapped == right


def is_whole(text: str, digits: int) -> bool:
    """Tell whether this is a number of at most so many digits, without `re`, which every start would load."""
    return text.isascii() and text.isdigit() and len(text) <= digits


def is_injected(name: str, value: str) -> bool:
    """Tell whether a container engine has given this variable of a service whose name begins like ours.

    >>> is_injected("POSTGRES_CONF_PORT", "tcp://10.0.0.1:5432"), is_injected("POSTGRES_CONF_PORT", "5433")
    (True, False)
    """
    given = name.removeprefix(variables.CONF_PREFIX)
    is_setting = given == "PORT" or "__" in given
    return variables.INJECTED.fullmatch(name) is not None and ("://" in value or not is_setting)


def conf_doubt(name: str, value: str) -> Problem | None:
    """Return what is said of a POSTGRES_CONF_* that is no setting, but somebody's file or folder."""
    given = name.removeprefix(variables.CONF_PREFIX)
    setting, last = given.lower(), given.lower().rpartition("_")[2]
    if given == name or not given.isupper() or "__" in given:
        return None
    if len(given) < _SHORTEST and not value.startswith("/"):
        return None
    if setting in _SETTINGS or is_injected(name, value) or any(is_slip(setting, each) for each in _SETTINGS):
        return None
    if "_" in setting and last not in _PLACES:
        return None
    return Problem(
        f"{name} has no effect: the server has no setting {setting}",
        f"a setting is set by its own name, for example {variables.CONF_PREFIX}work_mem=64MB",
    )
