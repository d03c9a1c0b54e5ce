"""Present settings control our recovery; settings in the files of a backup are only reported.

Present settings are those in a variable, an argument, the user's conf folder, or another file outside the
data folder. The files in the data folder came with the backup; they stay as they are.
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
    """Return all settings of a restore; logs those without effect.

    Raises Failure if anything except RESTORE_TARGET_* sets a target.
    """
    refuse_targets(context)
    neutral = ruled.neutral(data_major(context.settings.data_folder))
    now, left, _ = _said(context, neutral)
    found = {**neutral, **{name: each.value for name, each in now.items()}, ruled.DELAY: "0", **ours}
    others = (each for each in [*left.values(), *now.values()] if each.name != "hot_standby")
    tell("this restore", _idle(others, found, neutral))
    return found


class Ruling(NamedTuple):
    """The settings that override the files of a standby."""

    options: dict[str, str]
    """The settings on its command line."""
    idle: list[Source]
    """The settings without effect because of them."""
    conninfo: str
    """The value for primary_conninfo; if it contains a secret, it is only in the file."""


def for_standby(context: Context, ours: Mapping[str, str], *, follows_ours: bool) -> Ruling:
    """Return the settings that override the files of a standby.

    `ours` is in its configuration file already, but ALTER SYSTEM is stronger. A present setting is repeated
    only if a setting from the backup would win. A secret must not be where `ps` shows it, see
    `forget_conninfo`. Without `follows_ours`, the standby follows as its own files say.
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
    """Raise Failure if anything except RESTORE_TARGET_* sets a target."""
    now, *_ = _said(context, ruled.TARGETS)
    problems = [
        Problem(
            f"{each.where} sets {ruled.shown(each.name, each.value)}, but only RESTORE_TARGET_* may do that",
            f"remove it; to restore up to this target, set {_VARIABLES[each.name]}; a standby stops at no "
            "target",
            docs="restore-to-a-moment",
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
    """Log the settings without effect in a recovery, in one warning."""
    if idle:
        lines = "".join(f"\n{each.where}: {ruled.shown(each.name, each.value)}" for each in idle)
        log.warning(
            f"old recovery settings have no effect in {where}; they stay in the files, where a primary "
            f"ignores them:{lines}",
            "remove them (ALTER SYSTEM RESET), and use RESTORE_*, STANDBY_* and POSTGRES_CONF_* variables",
        )


def forget_conninfo(context: Context, conninfo: str) -> None:
    """Remove primary_conninfo from postgresql.auto.conf if it would override ours.

    Ours contains a secret, so it is in a file, and ALTER SYSTEM is stronger than every file.
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
        f"{found[-1].where} set primary_conninfo, which would override the present setting: removed, as by "
        "ALTER SYSTEM RESET"
    )


def _is_secret(name: str, value: str) -> bool:
    return name == "primary_conninfo" and hide_secrets(value, name) != value


def _said(context: Context, names: Iterable[str]) -> tuple[dict[str, Source], ...]:
    """Return the present values of these settings, those in the data folder, and the winners of both."""
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
    """Return the file that contains a setting; empty if it is not from a file."""
    return os.path.realpath(source.where.rpartition(":")[0]) if source.where.startswith("/") else ""


def _idle(found: Iterable[Source], effective: Mapping[str, str], neutral: Mapping[str, str]) -> list[Source]:
    """Return the settings whose value differs from the one in effect."""
    return [each for each in found if each.value not in ("", effective[each.name], neutral.get(each.name))]
