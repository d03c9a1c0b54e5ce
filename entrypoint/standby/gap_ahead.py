"""A standby that follows the archive and stands before a gap, which it can never get past, says so once."""

from __future__ import annotations

from entrypoint import log
from entrypoint.archive import calls, gap, given_up
from entrypoint.archive.opened import OpenedArchive
from entrypoint.errors import Failure
from entrypoint.server import control_file
from entrypoint.system import files

_ASKED = "fetch-asked"
"""The note of shims/fetch-segment about the segment that it did not find."""
_WAITS = "standby-waits"
"""In the runtime folder: that segment at the last look, and whether its gap was reported."""
_REPORTED = "reported"


def tell(opened: OpenedArchive) -> None:
    """Report the gap that a standby stands before.

    PostgreSQL asks for the next segment all the time, and nearly always that one is just not written yet. So
    the archive is only asked if the standby has waited for it since the last look.
    """
    asked = [line.split(" ")[0] for line in calls.lines(f"{opened.runtime_folder}/{_ASKED}")][:1]
    before = calls.lines(f"{opened.runtime_folder}/{_WAITS}")
    if not asked or before == [*asked, _REPORTED]:
        return
    if before != asked:
        files.write_atomically(f"{opened.runtime_folder}/{_WAITS}", f"{asked[0]}\n")
        return
    cluster = control_file.system_identifier(opened.context)
    try:
        found = [each for each in gap.stored(opened) if each.cluster == cluster and each.holds(asked[0])]
    except Failure as failure:
        log.debug(failure.problems[0].what)
        return
    for each in found:
        log.warning(
            f"this standby waits for {asked[0]}, which is in a gap of {opened.url}: "
            f"{given_up.in_words(each)}; it cannot get past the gap, and shows the state before it",
            "build it again from the full backup behind the gap: remove this container and its volume, and "
            "start it with the same variables",
            docs="run-a-standby",
        )
        files.write_atomically(f"{opened.runtime_folder}/{_WAITS}", f"{asked[0]}\n{_REPORTED}\n")
