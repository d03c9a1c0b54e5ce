"""How a standby follows its primary; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re
from entrypoint.settings.fields import FALSE, TRUE, Variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = (
    Variable(
        "STANDBY",
        "off",
        "`on`: run as a standby. On an empty volume the standby is built from the newest base backup in the "
        "archive (`RESTORE_FROM` may name another one). May stay set: a promoted cluster stays a primary.",
    ),
    Variable(
        "STANDBY_PRIMARY_CONNINFO",
        "",
        "Connection string of the primary to stream from, for example `host=db1 user=replicator "
        "password=…`. Without it, the standby follows by the archive alone.",
        secret=True,
        from_file=True,
    ),
    Variable("STANDBY_SLOT", "", "Replication slot on the primary to stream from. It must exist."),
)


class Standby(NamedTuple):
    """How a standby follows, in addition to the archive."""

    conninfo: str
    """Of the primary to stream from; empty: follow by the archive alone. May hold a password."""
    slot: str


def parse(values: Mapping[str, str], *, archive: bool) -> tuple[Standby | None, list[Problem]]:
    """Return how a standby follows, and the problems with that; None if this is not a standby.

    `archive`: there is one to follow.
    """
    problems: list[Problem] = []
    switch = (values.get("STANDBY") or "off").lower()
    conninfo, slot = values.get("STANDBY_PRIMARY_CONNINFO", ""), values.get("STANDBY_SLOT", "")
    if switch not in TRUE + FALSE:
        problems.append(Problem(f"STANDBY={switch} is not a valid value", "set STANDBY to on or off"))
    if switch not in TRUE:
        given = [name for name in ("STANDBY_PRIMARY_CONNINFO", "STANDBY_SLOT") if values.get(name)]
        if given and switch in FALSE:
            names, verb = ", ".join(given), "is" if len(given) == 1 else "are"
            problems.append(
                Problem(
                    f"{names} {verb} set, but STANDBY is off",
                    f"set STANDBY=on, or remove {names}",
                    docs="run-a-standby",
                )
            )
        return None, problems
    targets = [name for name in values if name.startswith("RESTORE_TARGET") and values[name]]
    if targets:
        names = ", ".join(sorted(targets))
        problems.append(
            Problem(
                f"STANDBY=on contradicts {names}: a standby never stops at a target",
                f"remove {names} for a standby, or remove STANDBY to restore up to that target",
                docs="restore-to-a-moment",
            )
        )
    if not archive and not conninfo:
        problems.append(
            Problem(
                "STANDBY=on is set, but neither an archive nor a primary to follow",
                "set ARCHIVE_URL to the primary's archive, or STANDBY_PRIMARY_CONNINFO to stream from the "
                "primary",
                docs="run-a-standby",
            )
        )
    wrong = conninfo_problem("STANDBY_PRIMARY_CONNINFO", conninfo)
    problems += [wrong] if wrong is not None else []
    if slot and not conninfo:
        problems.append(
            Problem(
                "STANDBY_SLOT is for streaming, but STANDBY_PRIMARY_CONNINFO is not set",
                "set STANDBY_PRIMARY_CONNINFO, or remove STANDBY_SLOT",
                docs="run-a-standby",
            )
        )
    if slot and not re.fullmatch(r"[a-z0-9_]{1,63}", slot):
        problems.append(
            Problem(
                f"STANDBY_SLOT={slot} is not the name of a replication slot",
                "give at most 63 lower-case letters, digits and underscores",
            )
        )
    return Standby(conninfo, slot), problems


def conninfo_problem(name: str, text: str) -> Problem | None:
    """Return what is wrong with a connection string, without quoting any of it.

    The server parses the string only when it connects; it then logs what it cannot parse every few seconds.
    """
    if "\n" in text or "\r" in text:
        return Problem(f"{name} contains a line break", "give it on one line: host=… user=…")
    if not text:
        return None
    from entrypoint.postgres import conninfo

    try:
        conninfo.parse(text)
    except ValueError as error:
        hint = "give it as libpq expects it, for example host=db1 user=replicator password='…'"
        return Problem(f"{name} is not a connection string: {error}", hint)
    return None
