"""Decides which backups are removed, which are kept, and why; pure.

A backup's age is the time since its end; its name never counts (wal-g/wal-g#636). A backup "restores" if
every backup that it builds on exists, and if neither it nor any of them was found broken.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from entrypoint.archivers.terms import Backup
from entrypoint.light import NamedTuple
from entrypoint.system import guest

__all__ = ["AHEAD", "Decision", "chain", "decide", "roots", "unsound", "whole"]

AHEAD = "it is dated in the future: a clock was wrong"


class Decision(NamedTuple):
    """The decision of retention."""

    remove: tuple[Backup, ...]
    """Oldest first."""
    keep: tuple[tuple[Backup, str], ...]
    """Each backup with the reason, oldest first."""
    root: Backup | None
    """The full backup since whose start all WAL is kept; older backups are kept with their own WAL only."""
    ahead: tuple[Backup, ...] = ()
    """Backups that are kept because they are dated in the future."""


def chain(backup: Backup, backups: Sequence[Backup]) -> list[Backup] | None:
    """Return the backups needed to restore a backup, itself first; None if one of them is missing."""
    by_name = {each.name: each for each in backups}
    found = {backup.name: backup}
    while backup.kind != "full":
        parent = by_name.get(backup.parent or "")
        if parent is None or parent.name in found:
            return None
        backup = found[parent.name] = parent
    return list(found.values())


def unsound(backups: Sequence[Backup], broken: Collection[str] = ()) -> set[str]:
    """Return the names of the backups that are not known to restore."""
    return {name for name, (_, sound) in _lines(backups, broken).items() if not sound}


def whole(backups: Sequence[Backup]) -> set[str]:
    """Return the names of the backups for which every backup that they build on exists."""
    return {name for name, (root, _) in _lines(backups, ()).items() if root is not None}


def _lines(backups: Sequence[Backup], broken: Collection[str]) -> dict[str, tuple[Backup | None, bool]]:
    """Return, by name, a backup's full backup if the whole chain exists, and whether the backup restores."""
    by_name = {each.name: each for each in backups}
    known: dict[str, tuple[Backup | None, bool]] = {}
    for each in backups:
        way: list[Backup] = []
        here: Backup | None = each
        while here is not None and here.name not in known:
            known[here.name] = (None, False)  # a chain that returns here is a circle
            way.append(here)
            here = None if here.kind == "full" else by_name.get(here.parent or "")
        root, sound = (None, False) if here is None else known[here.name]
        for step in reversed(way):
            if step.kind == "full":
                root, sound = step, True
            sound = sound and root is not None and step.name not in broken and not step.damaged
            known[step.name] = (root, sound)
    return known


def decide(
    backups: Sequence[Backup],
    *,
    full: int | None,
    days: int | None,
    now: datetime,
    broken: Collection[str] = (),
) -> Decision:
    """Return what is removed and what is kept.

    `full`: keep this many full backups that restore, and all backups that build on them. `days`: keep
    everything needed to restore any moment of this many days. A backup is kept if either rule keeps it. With
    neither rule, nothing is removed.
    """
    ordered = sorted(backups, key=_age)
    lines = _lines(ordered, broken)
    # A date in the future is a wrong clock's: that backup would count as the newest until then.
    latest = now + timedelta(seconds=guest.AHEAD)
    dated = [each for each in ordered if _age(each) <= latest]
    good = [each for each in dated if lines[each.name][1]]
    reasons = {each.name: AHEAD for each in ordered[len(dated) :]}
    if full is None and days is None:
        reasons = {each.name: "no retention is set" for each in ordered}
    if full is not None:
        fulls = [each for each in good if each.kind == "full"]
        cut = fulls[-full] if len(fulls) >= full else None
        _keep_since(cut, dated, f"one of the last {full} full backups, or newer", reasons)
    if days is not None:
        begin = now - timedelta(days=days)
        before = [each for each in good if _age(each) <= begin]
        _keep_since(
            lines[before[-1].name][0] if before else None,
            dated,
            f"needed to restore any moment of the last {days} days",
            reasons,
        )
    for each, reason in [
        *((each, "the newest") for each in dated[-1:]),
        *((each, "the newest that can be restored") for each in good[-1:]),
    ]:
        reasons.setdefault(each.name, reason)
    _keep_needed(ordered, reasons)
    held = [root for each in ordered if each.name in reasons and (root := lines[each.name][0]) is not None]
    root = min(held, key=_age, default=None)
    for each in ordered:
        if each.permanent:
            reasons.setdefault(each.name, "permanent")
    _keep_needed(ordered, reasons)
    return Decision(
        remove=tuple(each for each in ordered if each.name not in reasons),
        keep=tuple((each, reasons[each.name]) for each in ordered if each.name in reasons),
        root=root,
        ahead=() if full is None and days is None else tuple(ordered[len(dated) :]),
    )


def roots(chosen: Sequence[Backup]) -> list[Backup]:
    """Return the chosen backups that build on no other chosen one: removing these removes all of them."""
    names = {each.name for each in chosen}
    return [each for each in chosen if each.parent not in names]


def _age(backup: Backup) -> datetime:
    return datetime.fromisoformat(backup.finished)


def _keep_since(cut: Backup | None, backups: Sequence[Backup], reason: str, reasons: dict[str, str]) -> None:
    """Keep every backup that is not older than `cut`; without `cut`, keep all backups."""
    for each in backups:
        if cut is None or _age(each) >= _age(cut):
            reasons.setdefault(each.name, reason)


def _keep_needed(backups: Sequence[Backup], reasons: dict[str, str]) -> None:
    """Keep the backups that a kept backup builds on."""
    by_name = {each.name: each for each in backups}
    for name in list(reasons):
        each = by_name[name]
        while each.parent in by_name:
            each = by_name[each.parent]
            if each.name in reasons:
                break
            reasons[each.name] = f"{name} builds on it"
