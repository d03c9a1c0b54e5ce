"""Remembers whether text still sorts as it did when it was indexed, so that a warm start needs no queries.

`$PGDATA/entrypoint.collation` holds the last result, with the libraries, cluster and program for which it
holds. As long as these are the same, a start reads only this file and pg_control. A restored cluster has
another timeline, an upgraded one another catalog version, and another image has other libraries: then
`policy.gate` looks. It also looks if the server of another image has run in the meantime.

The file also says if a cluster is served although a version has changed. A return to the old libraries then
does not make everything right, although the versions match again: other libraries have sorted what was
written in the meantime.
"""

from __future__ import annotations

import os
import sys

from entrypoint import log, own
from entrypoint.errors import Failure
from entrypoint.light import NamedTuple
from entrypoint.pid1 import status
from entrypoint.server.context import Context
from entrypoint.system import small
from entrypoint.system.children import find_program
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    State = Literal["", "matched", "changed"]
    """The last result; empty: nothing is remembered, or the file has an unknown state."""

MATCHED: Literal["matched"] = "matched"
CHANGED: Literal["changed"] = "changed"
"""The cluster is served, or was repaired in part, while versions did not match."""
_STATES: dict[str, State] = {MATCHED: MATCHED, CHANGED: CHANGED}
"""The states by their names in the file."""

_HEAD = 52
"""Bytes of pg_control up to the end of the timeline, in the layout since PostgreSQL 11."""
_MOST = 64 * 1024**2
"""Bytes: the file may name each index of a large cluster."""
_START = 60
"""Seconds that a server with much shared memory may take until it writes postmaster.opts."""


class Memory(NamedTuple):
    """The content of the file: a state and a fingerprint, then lines `rebuilt OID FILENODE DATABASE`."""

    state: State = ""
    fingerprint: str = ""
    rebuilt: frozenset[tuple[str, int, int]] = frozenset()
    """The database, oid and file node of each index that was rebuilt with these libraries."""

    @property
    def libraries(self) -> str:
        """The libraries in the fingerprint."""
        return self.fingerprint.partition("; ")[0]

    def mixed(self, fingerprint: str) -> str:
        """Return the other libraries that may have sorted some of the data, or an empty string."""
        ours = fingerprint.partition("; ")[0]
        return self.libraries if self.state == CHANGED and self.libraries != ours else ""


def fingerprint(context: Context) -> str:
    """Return the libraries, the cluster and the server's program, in this order, or "" without a cluster."""
    try:
        head = small.read(f"{context.settings.data_folder}/global/pg_control")[:_HEAD]
        program = os.path.realpath(find_program("postgres", context.environment))
        found = os.stat(program)
    except (OSError, Failure):
        return ""
    identifier, catalog, timeline = (
        int.from_bytes(head[first:last], sys.byteorder) for first, last in ((0, 8), (12, 16), (48, _HEAD))
    )
    return (
        f"{libraries()}; cluster {identifier}, catalog {catalog}, timeline {timeline}; "
        f"{program} {found.st_size} {found.st_mtime_ns}"
    )


def libraries(icu: str = "") -> str:
    """Return the libraries that sort text here: the C library, and ICU if it is there, or in this folder."""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or "a C library"
    except (OSError, ValueError):
        libc = "a C library"
    names: set[str] = set()
    usual = ("/usr/lib", f"/usr/lib/{getattr(sys.implementation, '_multiarch', '')}")
    for folder in (icu,) if icu else usual:
        try:
            names.update(name for name in os.listdir(folder) if name.startswith("libicui18n.so."))
        except OSError:
            continue
    return ", ".join([libc, *sorted(names)])


def read(data_folder: str) -> Memory:
    """Return the content of the file; an empty memory if it cannot be understood."""
    try:
        # Text after the last line feed was not completely written.
        first, *rest = notes.read_text(data_folder, own.COLLATION, most=_MOST).split("\n")[:-1]
        state, _, mark = first.partition(" ")
        rows = [line.split(" ", 3) for line in rest]
        return Memory(
            _STATES.get(state, ""),
            mark,
            frozenset((_plain(row[3]), int(row[1]), int(row[2])) for row in rows),
        )
    except (OSError, ValueError, IndexError):
        return Memory()


def write(data_folder: str, memory: Memory) -> None:
    """Write the file; a failure is only logged."""
    lines = [f"{memory.state} {memory.fingerprint}\n", *(_line(row) for row in sorted(memory.rebuilt))]
    try:
        notes.write(data_folder, own.COLLATION, "".join(lines))
    except OSError as error:
        what = f"{data_folder}/{own.COLLATION} cannot be written: {error.strerror}"
        log.warning(what, "resolve this error; until then, each start checks the collations again")


def remember_rebuilt(data_folder: str, row: tuple[str, int, int]) -> None:
    """Append one more rebuilt index to the file; writing the whole file each time would get ever slower."""
    try:
        notes.append(data_folder, own.COLLATION, _line(row), only_durably=True)
    except OSError as error:
        what = f"{data_folder}/{own.COLLATION} cannot be written: {error.strerror}"
        log.warning(what, "resolve this error; otherwise the index may be rebuilt once more")


def _line(row: tuple[str, int, int]) -> str:
    name, oid, filenode = row
    return f"rebuilt {oid} {filenode} {_escaped(name)}\n"


def _escaped(name: str) -> str:
    r"""Return a name on one line, whatever it holds.

    >>> print(_escaped("a\n\u2028b"))
    a\n\u2028b
    """
    return name.encode("unicode_escape").decode()


def _plain(text: str) -> str:
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")


def remember_match(context: Context) -> None:
    """Remember that all versions match now."""
    mark = fingerprint(context)
    if mark:
        write(context.settings.data_folder, Memory(MATCHED, mark))


def is_settled(context: Context) -> bool:
    """Return whether a start can skip the look at the collations, which takes a private server.

    It can if nothing has changed, and if nothing could be done: without a cluster, and in recovery. In
    recovery, a warning says if other libraries have sorted the data.
    """
    data = context.settings.data_folder
    mark = fingerprint(context)
    memory = read(data)
    if not mark:
        return True
    if (memory.state, memory.fingerprint) == (MATCHED, mark) and not _ran_elsewhere(data):
        os.utime(notes.path(data, own.COLLATION))
        return True
    if status.in_recovery(data):
        # A private server would change the data, and only the primary can rebuild the indexes.
        if memory.libraries and memory.libraries != mark.partition("; ")[0]:
            log.warning(
                elsewhere(memory, mark),
                "run the primary's image here, or look: entrypoint collation show",
                "fix-collations",
            )
        return True
    return False


def _ran_elsewhere(data: str) -> bool:
    """Return whether the server of another image, maybe with other libraries, was the last one on the data.

    Each server writes postmaster.opts when it starts, and the entrypoint touches its file just before that.
    """
    try:
        noted = os.stat(notes.path(data, own.COLLATION)).st_mtime
        return os.stat(f"{data}/postmaster.opts").st_mtime - noted > _START
    except OSError:
        return False


def same_libraries(data_folder: str, memory: Memory, mark: str) -> bool:
    """Return whether only the server's program has changed since all versions matched on this cluster.

    A version that does not match in that case was not changed by a library, but is made up.
    """
    head = mark.rpartition("; ")[0]
    known = memory.state == MATCHED and memory.fingerprint.rpartition("; ")[0] == head
    return known and not _ran_elsewhere(data_folder)


def elsewhere(memory: Memory, mark: str) -> str:
    """Return a message that other libraries have sorted the data."""
    here = mark.partition("; ")[0]
    libraries = f"last served with {memory.libraries}, but here is {here}"
    return f"this database was {libraries}: text may sort differently"
