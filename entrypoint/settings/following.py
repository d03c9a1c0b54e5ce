"""How a standby follows; pure."""

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
        "`on`: be a standby. On an empty volume it is built from the newest base backup of the archive "
        "(`RESTORE_FROM` may name another). May stay set: a cluster that was promoted stays a primary.",
    ),
    Variable(
        "STANDBY_PRIMARY_CONNINFO",
        "",
        "The standby also follows by streaming from this primary, in libpq's form, for example "
        "`host=db1 user=replicator password=…`; without it by the archive alone.",
        secret=True,
        from_file=True,
    ),
    Variable("STANDBY_SLOT", "", "Replication slot on the primary, which must exist there."),
)


class Standby(NamedTuple):
    """How a standby follows, beside the archive."""

    conninfo: str
    """Of the primary to stream from; empty: by the archive alone. May hold a password."""
    slot: str


def parse(values: Mapping[str, str], *, archive: bool) -> tuple[Standby | None, list[Problem]]:
    """Return how a standby follows, and what is wrong with that; None: this is to be none.

    `archive`: there is one to follow.
    """
    problems: list[Problem] = []
    switch = (values.get("STANDBY") or "off").lower()
    conninfo, slot = values.get("STANDBY_PRIMARY_CONNINFO", ""), values.get("STANDBY_SLOT", "")
    if switch not in TRUE + FALSE:
        problems.append(Problem(f"STANDBY={switch} is not known", "set STANDBY to on or off"))
    if switch not in TRUE:
        given = [name for name in ("STANDBY_PRIMARY_CONNINFO", "STANDBY_SLOT") if values.get(name)]
        if given and switch in FALSE:
            names = ", ".join(given)
            problems.append(
                Problem(f"{names} is for a standby, but STANDBY is off", f"set STANDBY=on, or remove {names}")
            )
        return None, problems
    targets = [name for name in values if name.startswith("RESTORE_TARGET") and values[name]]
    if targets:
        names = ", ".join(sorted(targets))
        problems.append(
            Problem(
                f"STANDBY=on contradicts {names}: a standby follows without end and stops at no target",
                f"remove {names} for a standby, or STANDBY to restore up to there",
            )
        )
    if not archive and not conninfo:
        problems.append(
            Problem(
                "STANDBY=on, but nothing says what to follow",
                "set ARCHIVE_URL to the primary's archive, or STANDBY_PRIMARY_CONNINFO to stream from it",
            )
        )
    wrong = conninfo_problem("STANDBY_PRIMARY_CONNINFO", conninfo)
    problems += [wrong] if wrong is not None else []
    if slot and not conninfo:
        problems.append(
            Problem(
                "STANDBY_SLOT is for streaming, but STANDBY_PRIMARY_CONNINFO is not set",
                "set STANDBY_PRIMARY_CONNINFO, or remove STANDBY_SLOT",
            )
        )
    if slot and not re.fullmatch(r"[a-z0-9_]{1,63}", slot):
        problems.append(
            Problem(
                f"STANDBY_SLOT={slot} is no name of a slot",
                "give lower case letters, digits and underscores, at most 63",
            )
        )
    return Standby(conninfo, slot), problems


def conninfo_problem(name: str, text: str) -> Problem | None:
    """Return what is wrong with a connection string, without a word of it.

    The server looks at it when it connects, and then logs what it could not read, every few seconds.
    """
    if "\n" in text or "\r" in text:
        return Problem(f"{name} holds a line break", "give it in one line: host=… user=…")
    if not text:
        return None
    from entrypoint.postgres import conninfo

    try:
        conninfo.parse(text)
    except ValueError as error:
        hint = "give it as libpq takes it, for example host=db1 user=replicator password='…'"
        return Problem(f"{name} is no connection string: {error}", hint)
    return None
