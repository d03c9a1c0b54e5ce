"""The gaps in an archive, as they are known next to the data without a question to the storage.

A note has the gaps; what shims/archive-segment has recorded since makes further ones.
"""

from __future__ import annotations

import os
import time

from entrypoint import own
from entrypoint.archive import calls, given_up
from entrypoint.archive.given_up import Gap, Record
from entrypoint.light import NamedTuple
from entrypoint.postgres import segments
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.shown import iso
from entrypoint.system import guest, small
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entrypoint.volume.facts import ArchiveState

MOST = 64 * 1024**2
"""Bytes of the record that are read: enough for 40 TB of WAL."""


class Known(NamedTuple):
    """The note in the data folder."""

    gaps: tuple[Gap, ...] = ()
    read: int = 0
    """How many bytes of the shim's record are in these gaps; it is removed only while no server runs."""


def read(data_folder: str) -> Known:
    """Return the note; an empty one if it cannot be parsed."""
    try:
        text = notes.read_text(data_folder, own.GAPS, most=MOST)
        with guest.Reading(own.GAPS):
            return Known(tuple(given_up.parse(text)), int(guest.parse_json(text).get("read", 0)))
    except (OSError, ValueError):
        return Known()


def write(data_folder: str, known: Known) -> None:
    """Write the note; raises OSError."""
    notes.write(data_folder, own.GAPS, given_up.write(known.gaps, read=known.read))


class Since(NamedTuple):
    """What the shim has recorded since the note was written."""

    record: Record = Record()
    size: int = 0
    """How many bytes of its record are read then."""
    changed: float = 0
    """When it was changed last."""


def recorded_since(data_folder: str, begin: int) -> Since:
    """Return what the shim has recorded behind this byte."""
    path = notes.path(data_folder, own.GIVEN_UP)
    try:
        data = small.read(path, most=MOST)
        changed = os.stat(path).st_mtime
    except OSError:
        return Since()
    # What is shorter than what was read is another one.
    text = data[begin if begin <= len(data) else 0 :].decode("utf-8", "replace")
    size, last = len(data), text.rpartition("\n")[2]
    if not given_up.is_whole(last):
        size -= len(last.encode())  # it may still be written
    return Since(given_up.parse_record(text), size, changed)


def known(context: Context, url: str) -> list[Gap]:
    """Return the gaps in an archive, as far as they are known next to the data, oldest first."""
    data = context.settings.data_folder
    noted = read(data)
    since = recorded_since(data, noted.read)
    gaps: Sequence[Gap] = noted.gaps
    if since.record.ranges:
        gaps = given_up.merged(gaps, new_gaps(context, url, since))
    return [each for each in gaps if each.url == url]


def new_gaps(context: Context, url: str, since: Since) -> list[Gap]:
    """Return the gaps that a record makes."""
    cluster = control_file.system_identifier(context)
    record = since.record._replace(why=since.record.why.removeprefix(calls.OURS))
    return given_up.gaps_of(record, url, cluster, control_file.segment_bytes(context), since.changed)


def here(context: Context, url: str) -> list[Gap]:
    """Return the gaps in this cluster's own history, as far as they are known next to the data."""
    if not _is_touched(context.settings.data_folder):
        return []
    return own_gaps(context, known(context, url))


def owed(context: Context, url: str) -> list[Gap]:
    """Return the gaps in this cluster's own history behind which there is no full backup yet."""
    return [each for each in here(context, url) if each.is_open]


def tell(state: ArchiveState, context: Context) -> ArchiveState:
    """Return the state of archiving with what is known about gaps."""
    gaps = here(context, state.url)
    if not gaps:
        return state
    return state._replace(
        gaps=len(gaps),
        gap=given_up.in_words(gaps[-1]),
        gap_at=iso(gaps[-1].ended),
        gap_open=any(each.is_open for each in gaps),
        dropping=os.path.exists(f"{context.runtime_folder}/{calls.DROPPING}"),
    )


def lost_segments(data_folder: str) -> Callable[[str], bool]:
    """Return a function that says whether a segment was given up, whatever PostgreSQL says about it."""
    if not _is_touched(data_folder):
        return lambda _: False
    noted = read(data_folder)
    record = recorded_since(data_folder, noted.read).record
    return lambda name: record.holds(name) or any(gap.holds(name) for gap in noted.gaps)


def _is_touched(data_folder: str) -> bool:
    """Return whether anything was ever given up; nearly always, this is all that is looked at."""
    return any(os.path.exists(f"{data_folder}/{name}") for name in (own.GAPS, own.GIVEN_UP))


def own_gaps(context: Context, gaps: Sequence[Gap]) -> list[Gap]:
    """Return the gaps in this cluster's own history."""
    timeline = control_file.timeline(context)
    forks = segments.parse_history(control_file.history(context, timeline))
    identifier = control_file.system_identifier(context)
    ours = [each for each in gaps if each.cluster == identifier]
    return given_up.on_the_way(ours, timeline, forks, control_file.segment_bytes(context))


def is_unstored(context: Context, url: str) -> bool:
    """Return whether the archive lacks something that is known here about its gaps."""
    return _is_touched(context.settings.data_folder) and any(not each.stored for each in known(context, url))


def tidy(data_folder: str) -> None:
    """Remove the shim's record if it has been read whole; no server runs that could add to it."""
    noted = read(data_folder)
    since = recorded_since(data_folder, noted.read)
    if not since.size or noted.read < since.size or since.record.ranges or since.record.later:
        return
    write(data_folder, noted._replace(read=0))  # first, so that a new record is never taken for a read one
    notes.remove(data_folder, own.GIVEN_UP)


def owed_since(context: Context, url: str) -> float | None:
    """Return since when a full backup is owed, in seconds since 1970; None: none is."""
    found = owed(context, url)
    return min((each.begun or time.time() for each in found), default=None)
