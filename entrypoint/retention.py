"""Which backups go, which stay and why; pure.

Ages are told by the end of a backup, never by its name (wal-g/wal-g#636). A backup "restores" when all that
it builds on is there and none of it was found broken.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from entrypoint.archivers import Backup

__all__ = ["Decision", "chain", "decide", "restores", "roots"]


class Decision(NamedTuple):
    """What retention does."""

    remove: tuple[Backup, ...]
    """Oldest first."""
    keep: tuple[tuple[Backup, str], ...]
    """Each with the reason, oldest first."""
    root: Backup | None
    """The full backup from which on all WAL is kept; older ones are kept for themselves alone."""


def chain(backup: Backup, backups: Sequence[Backup]) -> list[Backup] | None:
    """Return what a backup needs to be restored, itself first; None where something is missing."""
    by_name = {each.name: each for each in backups}
    found = [backup]
    while found[-1].kind != "full":
        parent = by_name.get(found[-1].parent or "")
        if parent is None or parent in found:
            return None
        found.append(parent)
    return found


def restores(backup: Backup, backups: Sequence[Backup], broken: Collection[str] = ()) -> bool:
    """Tell whether a backup is known to restore, as far as anything is known."""
    needed = chain(backup, backups)
    return needed is not None and not any(each.name in broken or each.damaged for each in needed)


def decide(
    backups: Sequence[Backup],
    *,
    full: int | None,
    days: int | None,
    now: datetime,
    broken: Collection[str] = (),
) -> Decision:
    """Return what goes and what stays.

    `full`: so many full backups that restore are kept, with all that build on them. `days`: what restores
    any moment since then is kept. What either keeps is kept; with neither nothing goes.
    """
    ordered = sorted(backups, key=_age)
    good = [each for each in ordered if restores(each, ordered, broken)]
    reasons: dict[str, str] = {}
    if full is None and days is None:
        reasons = {each.name: "nothing is ever removed" for each in ordered}
    if full is not None:
        fulls = [each for each in good if each.kind == "full"]
        cut = fulls[-full] if len(fulls) >= full else None
        _keep_since(cut, ordered, f"one of the last {full} full backups, or newer", reasons)
    if days is not None:
        begin = now - timedelta(days=days)
        before = [each for each in good if _age(each) <= begin]
        _keep_since(
            _root(before[-1], ordered) if before else None,
            ordered,
            f"needed to restore any moment of the last {days} days",
            reasons,
        )
    for each, reason in [
        *((each, "the newest") for each in ordered[-1:]),
        *((each, "the newest that restores") for each in good[-1:]),
    ]:
        reasons.setdefault(each.name, reason)
    _keep_needed(ordered, reasons)
    held = [each for each in ordered if each.name in reasons and chain(each, ordered)]
    root = min((_root(each, ordered) for each in held), key=_age, default=None)
    for each in ordered:
        if each.permanent:
            reasons.setdefault(each.name, "permanent")
    _keep_needed(ordered, reasons)
    return Decision(
        remove=tuple(each for each in ordered if each.name not in reasons),
        keep=tuple((each, reasons[each.name]) for each in ordered if each.name in reasons),
        root=root,
    )


def roots(chosen: Sequence[Backup]) -> list[Backup]:
    """Return those of the chosen ones that build on none of them: removing these removes all."""
    names = {each.name for each in chosen}
    return [each for each in chosen if each.parent not in names]


def _age(backup: Backup) -> datetime:
    return datetime.fromisoformat(backup.finished)


def _root(backup: Backup, backups: Sequence[Backup]) -> Backup:
    """Return the full backup that a backup builds on; itself where that is missing."""
    needed = chain(backup, backups)
    return needed[-1] if needed else backup


def _keep_since(cut: Backup | None, backups: Sequence[Backup], reason: str, reasons: dict[str, str]) -> None:
    """Keep every set whose full backup is not older than `cut`; all of them without one."""
    for each in backups:
        if cut is None or _age(_root(each, backups)) >= _age(cut):
            reasons.setdefault(each.name, reason)


def _keep_needed(backups: Sequence[Backup], reasons: dict[str, str]) -> None:
    """Keep what a kept backup builds on."""
    by_name = {each.name: each for each in backups}
    for name in list(reasons):
        each = by_name[name]
        while each.parent in by_name:
            each = by_name[each.parent]
            if each.name in reasons:
                break
            reasons[each.name] = f"{name} builds on it"
