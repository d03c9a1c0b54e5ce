"""The note about a finished upgrade: what the cluster was upgraded from, and where the old one is kept."""

from __future__ import annotations

from entrypoint import log, own
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.system import guest
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_PLACE = "upgraded-"
_LONGEST = 40
"""Characters: no name of a folder is longer."""


class Past(NamedTuple):
    """A finished upgrade, or one that was undone."""

    before: str
    """The older major version."""
    after: str
    identifier: str
    """The older cluster's system identifier; empty: it was a copy, whose archive is that of its original."""
    mode: str
    at: str
    """When, in ISO 8601."""
    kept: str = ""
    """The folder of the cluster that is not served, until `finish`; empty: none is kept."""
    folders: tuple[str, ...] = ()
    """Its folders in tablespaces, and of WAL outside the data folder."""
    wal: str = ""
    """Its folder of WAL outside the data folder; empty: the WAL is inside."""
    successor: str = ""
    """The newer cluster's system identifier, once the upgrade is undone."""
    newest: str = ""
    """The newer cluster's last segment, once the upgrade is undone."""
    undone: bool = False
    """The upgrade was undone: the older cluster is served, and the newer one is kept."""
    place: str = ""
    """The folder of the newer cluster below the archive's place; empty: it needs none."""
    place_before: str = ""
    """The folder of the older cluster there, which an earlier upgrade has made; empty: it has none."""
    statistics: bool = True
    """The planner has its statistics."""
    backup: bool = True
    """There is a full backup of it, or no archive."""
    extensions: bool = True
    """The extensions are updated to the versions of the image."""


def text(past: Past) -> str:
    """Return the text of the note."""
    import json

    return json.dumps(past._asdict()) + "\n"


def note(data: str, done: Callable[[Past], Past]) -> None:
    """Note what is done, in the note as it is now, if there is one: the old cluster may be gone meanwhile."""
    known = read(data)
    if known is not None:
        notes.write(data, own.UPGRADED, text(done(known)))


def read(data: str) -> Past | None:
    """Return the note; None: the cluster was not upgraded here. Raises Failure if it cannot be read."""
    try:
        text = notes.read_text(data, own.UPGRADED)
        with guest.Reading("the note"):
            return _parsed(guest.parse_json(text))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Failure(
            Problem(
                f"cannot read {data}/{own.UPGRADED}, the note about the upgrade: {error}",
                "make it readable, or remove it if the old cluster is not needed any more",
                docs="upgrade-to-a-newer-major",
            )
        ) from error


def is_due(data: str, *, archives: bool) -> bool:
    """Return whether anything remains to do after an upgrade; without an archive, no backup is owed."""
    try:
        known = read(data)
    except Failure as failure:
        log.warning(failure.problems[0].what, failure.problems[0].hint, failure.problems[0].docs)
        return False  # the note keeps no server down
    if known is None:
        return False
    owed = archives and not known.backup
    return owed or not (known.statistics and known.extensions)


def _parsed(noted: Mapping[str, Any]) -> Past:
    # A later version may know more.
    found: dict[str, Any] = {name: noted[name] for name in Past._fields if name in noted}
    made: Past = guest.typed(Past(**{**found, "folders": tuple(found.get("folders", ()))}))
    if not all(isinstance(each, str) for each in made.folders):
        raise ValueError("folders has an unexpected value")
    if not (made.before.isdigit() and made.after.isdigit()):
        raise ValueError("before or after is no major version")
    return made


def place_of(major: str, identifier: str) -> str:
    """Return the folder of an upgraded cluster below the archive's place.

    >>> place_of("17", "7579")
    'upgraded-17-7579'
    """
    return f"{_PLACE}{major}-{identifier}"


def is_place(name: str) -> bool:
    """Return whether a name is one that `place_of` returns.

    >>> is_place("upgraded-17-7579"), is_place("upgraded-17-7579/.."), is_place("wal_005")
    (True, False, False)
    """
    major, _, identifier = name.removeprefix(_PLACE).partition("-")
    numbers = name.startswith(_PLACE) and name.isascii() and major.isdigit() and identifier.isdigit()
    return numbers and len(name) < _LONGEST


def place(data: str) -> str:
    """Return the folder of a cluster below the archive's place; empty: it has none, or it is not known."""
    try:
        known = read(data)
    except Failure:
        return ""
    if known is None:
        return ""
    found = known.place_before if known.undone else known.place
    return found if is_place(found) else ""


def predecessor(data: str) -> str:
    """Return the system identifier of the cluster that this one was upgraded from; empty: it is not known."""
    known = _known(data)
    return "" if known is None or known.undone else known.identifier


def undone(data: str) -> tuple[str, str]:
    """Return the newer cluster that this one took the place of again, and its last segment; or nothing.

    The cluster is its system identifier.
    """
    known = _known(data)
    return (known.successor, known.newest) if known is not None and known.undone else ("", "")


def _known(data: str) -> Past | None:
    try:
        return read(data)
    except Failure:
        return None
