"""A recovery of ours is ruled by what was asked for now; what a backup's files say of it is only told.

Asked for now is what stands in a variable, among the arguments, in the user's conf folder, or in another file
outside of the data folder. The files in the data folder came with the backup; they stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from entrypoint import log
from entrypoint.config import collect, sources
from entrypoint.config.sources import Source
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.postgres import configfile, ruled
from entrypoint.server.context import Context
from entrypoint.server.data_folder import data_major
from entrypoint.settings.hiding import hide_secrets
from entrypoint.system import files

AUTO_CONF = "postgresql.auto.conf"


def for_restore(context: Context, ours: Mapping[str, str]) -> dict[str, str]:
    """Return all settings of a recovery that ends; tells what has no effect in it.

    Raises Failure where another target than that of RESTORE_TARGET_* is asked for.
    """
    refuse_targets(context)
    neutral = ruled.neutral(data_major(context.settings.data_folder))
    now, left, _ = _said(context, neutral)
    found = {**neutral, **{name: each.value for name, each in now.items()}, ruled.DELAY: "0", **ours}
    others = (each for each in [*left.values(), *now.values()] if each.name != "hot_standby")
    tell("this restore", _idle(others, found, neutral))
    return found


class Ruling(NamedTuple):
    """What rules a standby beside its configuration file."""

    options: dict[str, str]
    """On its command line."""
    idle: list[Source]
    """What has no effect because of them."""
    conninfo: str
    """What primary_conninfo is to be; where it holds a secret it is only in the file."""


def for_standby(context: Context, ours: Mapping[str, str], *, follows_ours: bool) -> Ruling:
    """Return what rules a standby.

    `ours` is in its configuration file already, but ALTER SYSTEM is stronger. What was asked for now is
    repeated only where something left over would win. A secret is not put where `ps` shows it, see
    `forget_conninfo`. Without `follows_ours` it follows by what its own files say.
    """
    neutral = ruled.neutral(data_major(context.settings.data_folder))
    if not follows_ours:
        neutral = {name: value for name, value in neutral.items() if name not in ruled.CONNECTION}
    now, left, wins = _said(context, {**neutral, **ours})
    now = {name: each for name, each in now.items() if name not in ours or each.origin != sources.FILE}
    found = {}
    for name, value in {**neutral, **ours}.items():
        wanted = now.get(name)
        if wanted is not None and wins[name] == wanted:
            continue
        said = value if wanted is None else wanted.value
        if not _is_secret(name, said):
            found[name] = said
    effective = {**neutral, **ours, **{name: each.value for name, each in now.items()}}
    idle = _idle(left.values(), effective, neutral)
    return Ruling(found, idle, effective.get("primary_conninfo", ""))


def refuse_targets(context: Context) -> None:
    """Raise Failure where a target is asked for by another name than RESTORE_TARGET_*."""
    now, *_ = _said(context, ruled.TARGETS)
    problems = [
        Problem(
            f"{each.where} sets {ruled.shown(each.name, each.value)}, which nobody but RESTORE_TARGET_* may",
            f"remove it; a restore up to there is asked for with {_VARIABLES[each.name]}, and a standby "
            "stops at no target",
        )
        for each in now.values()
        if each.value
    ]
    if problems:
        raise Failure(*problems)


_VARIABLES = {
    "recovery_target": "RESTORE_TARGET=immediate",
    **{
        f"recovery_target_{kind}": f"RESTORE_TARGET_{kind.upper()}" for kind in ("lsn", "name", "time", "xid")
    },
}


def tell(where: str, idle: Sequence[Source]) -> None:
    """Say what has no effect in a recovery, in one warning."""
    if idle:
        lines = "".join(f"\n{each.where}: {ruled.shown(each.name, each.value)}" for each in idle)
        log.warning(
            f"settings of recovery that were left over have no effect in {where}; they stay where a primary "
            f"does not read them:{lines}",
            "remove them (ALTER SYSTEM RESET); what is wanted now is told by RESTORE_*, STANDBY_* and "
            "POSTGRES_CONF_* variables",
        )


def forget_conninfo(context: Context, conninfo: str) -> None:
    """Remove primary_conninfo from postgresql.auto.conf where ours cannot win otherwise.

    It holds a secret, so it is in a file, and ALTER SYSTEM is stronger than every file.
    """
    if not _is_secret("primary_conninfo", conninfo):
        return
    path = f"{context.settings.data_folder}/{AUTO_CONF}"
    try:
        text = files.read_text(path)
    except OSError:
        return
    lines = text.split("\n")
    found = [each for each in configfile.parse(text, path)[0] if each.name == "primary_conninfo"]
    if not found or found[-1].value == conninfo:
        return
    gone = {each.line for each in found}
    kept = [line for number, line in enumerate(lines, start=1) if number not in gone]
    files.write_atomically(path, "\n".join(kept))
    log.warning(
        f"{found[-1].where} has set primary_conninfo, which would win over what is asked for now: "
        "removed, as ALTER SYSTEM RESET does"
    )


def _is_secret(name: str, value: str) -> bool:
    return name == "primary_conninfo" and hide_secrets(value, name) != value


def _said(context: Context, names: Iterable[str]) -> tuple[dict[str, Source], ...]:
    """Return what is said of these settings: now, in the data folder, and what of both would win."""
    wanted = frozenset(names)
    base = [each._replace(origin=sources.FILE) for each in collect.base(context)]
    every = [each for each in [*base, *collect.overriding(context)] if each.name in wanted]
    inside = os.path.realpath(context.settings.data_folder)
    left = [each for each in every if _file(each).startswith(f"{inside}/")]
    return (
        sources.winners(each for each in every if each not in left),
        sources.winners(left),
        sources.winners(every),
    )


def _file(source: Source) -> str:
    """Return the file in which a setting stands; empty where it is no file."""
    return os.path.realpath(source.where.rpartition(":")[0]) if source.where.startswith("/") else ""


def _idle(found: Iterable[Source], effective: Mapping[str, str], neutral: Mapping[str, str]) -> list[Source]:
    """Return what says another thing than what is in force."""
    return [each for each in found if each.value not in ("", effective[each.name], neutral.get(each.name))]
