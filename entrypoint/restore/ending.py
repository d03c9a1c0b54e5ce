"""Where a recovery ended that came up before the end of its archive; shims/fetch-segment has refused it.

PostgreSQL takes the first record that it cannot read for the end of the WAL, also in the midst of an archive.
"""

from __future__ import annotations

import os

from entrypoint import exits
from entrypoint.archive import calls
from entrypoint.errors import Failure, Problem
from entrypoint.light import re
from entrypoint.postgres import segments
from entrypoint.postgres.segments import lsn_text
from entrypoint.server import control_file
from entrypoint.server.context import Context, tool_path
from entrypoint.system import files


def early(context: Context, last: str) -> Problem | None:
    """Return where a recovery ended, if too early; `last` was the archive's last segment when it began."""
    if not os.path.exists(f"{context.runtime_folder}/{calls.ENDED_EARLY}"):
        return None
    try:
        # At its end the server has asked again for the segment that holds the last record.
        segment = files.read_text(f"{context.runtime_folder}/{calls.FETCHED}").strip()
    except OSError:
        segment = ""
    lsn = _last_record(context, segment) if segment else ""
    size = control_file.segment_bytes(context)
    end = lsn_text((segments.number(last, size) + 1) * size)
    where = f"at {lsn} in {segment}" if lsn else f"in {segment}" if segment else "before"
    target = f", or restore what comes before it: RESTORE_TARGET_LSN={lsn}" if lsn else ""
    return Problem(
        f"the replay ended {where}, and the archive goes on to {end} ({last})",
        "the server's own words above say what it could not read; put a good copy of that segment into the "
        f"archive (entrypoint backup verify looks for damage){target}",
        exits.UNFINISHED_RESTORE,
    )


def _last_record(context: Context, segment: str) -> str:
    """Return the LSN of the last record that can be read from a segment on; empty where nobody can tell."""
    folder = f"{context.settings.data_folder}/pg_wal"
    size = control_file.segment_bytes(context)
    following = segments.name(int(segment[:8], 16), segments.number(segment, size) + 1, size)
    names = [segment, *([following] if os.path.exists(f"{folder}/{following}") else [])]
    argv = ["pg_waldump", "--quiet", f"--path={folder}", *names]
    environment = {"PATH": tool_path(context), "LC_ALL": "C"}
    try:
        _, words = context.children.output(argv, environment, seconds=60, errors=True)
    except (Failure, TimeoutError):
        return ""
    found = re.search("error in WAL record at ([0-9A-F]+/[0-9A-F]+)", words)
    return found[1] if found else ""
