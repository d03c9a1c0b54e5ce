"""Where in an archive the backups for a restore are: upgraded clusters have a folder of their own."""

from __future__ import annotations

from datetime import UTC, datetime

from entrypoint import log
from entrypoint.archive import below
from entrypoint.archive.source import source_of
from entrypoint.archivers.terms import Backup
from entrypoint.errors import Failure
from entrypoint.server import programs
from entrypoint.settings import restoring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from entrypoint.archive.opened import OpenedArchive
    from entrypoint.server.context import Context
    from entrypoint.settings.restoring import Request


def settle(context: Context, source: OpenedArchive, request: Request) -> Context:
    """Return the context with the folder of the archive from which to restore; the same one if that is set.

    If the set place itself cannot be read, the plan says what is wrong. Raises Failure if another one cannot:
    the newest backup may be there.
    """
    if source.can.dividing is None:
        return context
    try:
        here = source.list_backups()
    except (Failure, OSError):
        return context
    others = below.backups(source)
    if not others:
        return context
    listed = {source.archive.storage.below: here}
    listed |= {other.archive.storage.below: found for other, found in others}
    chosen = choose(listed, request.backup, programs.binary_major(source.context), _moment(request))
    if chosen is None:
        return context
    everything = [each for found in listed.values() for each in found]
    if not request.kind and not any(each.name == request.backup for each in everything):
        warn_of_newer(listed[chosen], everything)
    if chosen == source.archive.storage.below:
        return context
    log.debug(f"restoring from the folder {chosen or 'of the first major version'}")
    return below.place(context, chosen)


def warn_of_newer(usable: Sequence[Backup], found: Sequence[Backup]) -> None:
    """Warn if backups of another major version are newer than all that are restored from."""
    newest = max(found, key=lambda each: each.finished)
    if newest.finished > max(each.finished for each in usable):
        log.warning(
            f"the newest backup, {newest.name} of {newest.finished}, is of PostgreSQL {newest.major}: what "
            "was written until then is not restored",
            f"after an upgrade that was undone, restore with an image of PostgreSQL {newest.major}",
            "upgrade-to-a-newer-major",
        )


def follow(context: Context, source: OpenedArchive) -> Context:
    """Return the context whose own archive has the folder from which was restored, too."""
    name = source.archive.storage.below
    return below.place(context, name) if name else context


def major_of(context: Context, request: Request) -> int:
    """Return the major version of the backup from which to restore; 0: it is not known.

    Raises Failure as `settle` does.
    """
    source = source_of(context)
    try:
        listed = source.list_backups()
    except (Failure, OSError):
        return 0  # the plan says what is wrong
    listed += [each for _, found in below.backups(source) for each in found]
    return fitting(listed, request.backup, _moment(request))


def _moment(request: Request) -> datetime | None:
    return restoring.moment(request.value, datetime.now(UTC)) if request.kind == "time" else None


def fitting(listed: Sequence[Backup], name: str, moment: datetime | None) -> int:
    """Return the major version of the backup that fits: the named one, or the last one before a moment.

    Without either, it is the newest one's: after an upgrade was undone, that is the older major's.
    """
    found = sorted(listed, key=lambda each: each.finished)
    named = [each for each in found if each.name == name]
    if not named and moment is not None:
        named = [each for each in found if datetime.fromisoformat(each.finished) <= moment]
    fits = named or found
    return fits[-1].major if fits else 0


def choose(
    listed: Mapping[str, Sequence[Backup]], name: str, major: int, moment: datetime | None = None
) -> str | None:
    """Return the place of a named backup, else of the newest that this PostgreSQL runs; None: there is none.

    With a moment, it is the newest from before it: after an upgrade that was undone and repeated, two places
    have backups of one major version.

    >>> old, new = (Backup(name, "full", "", at, 1, "", "", False, "7", major=major)
    ...             for name, at, major in (("base_1", "2026-01-01", 15), ("base_2", "2026-02-01", 17)))
    >>> places = {"": [old], "upgraded-17-7": [new]}
    >>> choose(places, "LATEST", 17), choose(places, "LATEST", 15), choose(places, "base_2", 15)
    ('upgraded-17-7', '', 'upgraded-17-7')
    """
    named = [place for place, found in listed.items() if any(each.name == name for each in found)]
    if len(named) == 1:
        return named[0]
    fits = [
        (each.finished, place)
        for place in named or listed
        for each in listed[place]
        if each.major in (0, major)
    ]
    before = [each for each in fits if moment is None or datetime.fromisoformat(each[0]) <= moment]
    return max(before or fits)[1] if fits else None
