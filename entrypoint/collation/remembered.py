"""Whether text still sorts as when it was indexed: remembered, so that a warm start asks nobody.

`$PGDATA/entrypoint.collation` says what was found last, and for which libraries, cluster and program. Where
that holds, a start reads it and pg_control, and no more. A restored cluster has another timeline, an upgraded
one another catalog, and another image other libraries: then `policy.gate` looks. It looks also when another
image's server has run meanwhile.

While a cluster is served although something has changed, the file says so. Going back to the old libraries
then does not make all well, though the versions match again: what was written meanwhile was sorted by others.
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
    """Of what was found last; empty: nothing is remembered, or in words that are not ours."""

MATCHED: Literal["matched"] = "matched"
CHANGED: Literal["changed"] = "changed"
"""It is served, or was mended in part, while versions did not match."""
_STATES: dict[str, State] = {MATCHED: MATCHED, CHANGED: CHANGED}
"""The states by the words in the file."""

_HEAD = 52
"""Bytes of pg_control up to the end of the timeline, as it is laid out since PostgreSQL 11."""
_MOST = 64 * 1024**2
"""Bytes: it may name each index of a large cluster."""
_START = 60
"""Seconds that a server may take, with much shared memory, until it writes postmaster.opts."""


class Memory(NamedTuple):
    """What the file says: a state and a fingerprint, then lines `rebuilt OID FILENODE DATABASE`."""

    state: State = ""
    fingerprint: str = ""
    rebuilt: frozenset[tuple[str, int, int]] = frozenset()
    """Database, oid and file node of the indexes that were built anew with these libraries."""

    @property
    def libraries(self) -> str:
        """The libraries that it is about."""
        return self.fingerprint.partition("; ")[0]

    def mixed(self, fingerprint: str) -> str:
        """Return the other libraries by which some of the data may be sorted, or nothing."""
        ours = fingerprint.partition("; ")[0]
        return self.libraries if self.state == CHANGED and self.libraries != ours else ""


def fingerprint(context: Context) -> str:
    """Return the libraries, the cluster and the server's program, in this order; empty without a cluster."""
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


def libraries() -> str:
    """Return what sorts text here: the C library, and ICU where it is."""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or "a C library"
    except (OSError, ValueError):
        libc = "a C library"
    names: set[str] = set()
    for folder in ("/usr/lib", f"/usr/lib/{getattr(sys.implementation, '_multiarch', '')}"):
        try:
            names.update(name for name in os.listdir(folder) if name.startswith("libicui18n.so."))
        except OSError:
            continue
    return ", ".join([libc, *sorted(names)])


def read(data_folder: str) -> Memory:
    """Return what is remembered; nothing where it cannot be understood."""
    try:
        # What stands behind the last line feed was not written to its end.
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
    """Remember."""
    lines = [f"{memory.state} {memory.fingerprint}\n", *(_line(row) for row in sorted(memory.rebuilt))]
    try:
        notes.write(data_folder, own.COLLATION, "".join(lines))
    except OSError as error:
        what = f"{data_folder}/{own.COLLATION} cannot be written: {error.strerror}"
        log.warning(what, "the next start looks again")


def remember_rebuilt(data_folder: str, row: tuple[str, int, int]) -> None:
    """Remember one more index that was built anew; writing all of them each time would take ever longer."""
    try:
        notes.append(data_folder, own.COLLATION, _line(row), only_durably=True)
    except OSError as error:
        what = f"{data_folder}/{own.COLLATION} cannot be written: {error.strerror}"
        log.warning(what, "it may be rebuilt once more")


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
    """Remember that all versions match here and now."""
    mark = fingerprint(context)
    if mark:
        write(context.settings.data_folder, Memory(MATCHED, mark))


def is_settled(context: Context) -> bool:
    """Tell whether nothing is to be looked at before clients come in, which takes a server of our own.

    It is known that nothing has changed, or there is nothing that could be done here: there is no cluster, or
    it is in recovery, of which is said if other libraries have sorted it.
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
        # A server would change it, and only the primary can rebuild its indexes.
        if memory.libraries and memory.libraries != mark.partition("; ")[0]:
            log.warning(
                elsewhere(memory, mark), "run the primary's image here, or ask: entrypoint collation show"
            )
        return True
    return False


def _ran_elsewhere(data: str) -> bool:
    """Tell whether another image's server was the last one on the data, which may have other libraries.

    Each server writes postmaster.opts when it starts, and each start of ours touches the memory right before.
    """
    try:
        noted = os.stat(notes.path(data, own.COLLATION)).st_mtime
        return os.stat(f"{data}/postmaster.opts").st_mtime - noted > _START
    except OSError:
        return False


def same_libraries(data_folder: str, memory: Memory, mark: str) -> bool:
    """Tell whether only the server's program is another one than when all matched on this very cluster.

    What does not match then has not changed with a library, but was made up.
    """
    head = mark.rpartition("; ")[0]
    known = memory.state == MATCHED and memory.fingerprint.rpartition("; ")[0] == head
    return known and not _ran_elsewhere(data_folder)


def elsewhere(memory: Memory, mark: str) -> str:
    """Return that other libraries have sorted it, for people."""
    here = mark.partition("; ")[0]
    return (
        f"this database was last served with {memory.libraries}, and here is {here}: text may sort otherwise"
    )
