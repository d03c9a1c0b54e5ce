"""Whatever fills the disk: writes are refused before it is full, reads are answered, and nothing ends the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import pytest

import filling
import writers
from disks import MB
from filling import Small

_HUGE_SORT = (
    "SELECT count(*) FROM (SELECT repeat(md5(i::text), 30) t FROM generate_series(1, 5000000) i ORDER BY t) s"
)


@contextmanager
def _repeated(work: Callable[[], object], pause: float) -> Iterator[None]:
    """Do something again and again for the time of the block."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(pause):
            work()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)


@contextmanager
def _other_files(small: Small) -> Iterator[None]:
    """Another program writes to the same disk, until no byte is free."""
    with _repeated(small.disk.grow, 0.1):
        yield
    small.disk.give_back()


@contextmanager
def _other_inodes(small: Small) -> Iterator[None]:
    """Another program creates files on the same disk, until there are no inodes."""

    def create() -> None:
        small.disk.take_files(max(0, small.disk.free_files - 50))

    with _repeated(create, 0.1):
        yield
    small.disk.give_back("others")


@contextmanager
def _slot(small: Small) -> Iterator[None]:
    """A replication slot that nobody reads keeps all WAL."""
    small.server.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
    yield
    small.server.sql("SELECT pg_drop_replication_slot('forgotten')")


@contextmanager
def _table(small: Small) -> Iterator[None]:
    """A table grows; a person drops it to make room."""
    with writers.growing(small.server):
        yield
    small.server.sql("BEGIN READ WRITE; DROP TABLE growing; COMMIT")


@contextmanager
def _temporary_files(small: Small) -> Iterator[None]:
    """A query that only reads sorts more than there is space for, and is repeated."""
    with writers.asking(small.server, _HUGE_SORT):
        yield


@contextmanager
def _log(small: Small) -> Iterator[None]:
    """The server writes its log into the data folder, with every statement."""
    with writers.asking(small.server, f"SELECT length('{'x' * MB}')"):
        yield
    assert "" == small.server.shell('grep -h PANIC "$PGDATA"/log/* || :')
    small.server.sql("SELECT pg_rotate_logfile()")
    small.server.shell('sleep 1; rm "$PGDATA"/log/*')


class _Case(NamedTuple):
    """Something that fills the disk."""

    fill: Callable[[Small], AbstractContextManager[None]]
    kind: str = "ext4"
    arguments: Sequence[str] = ()
    options: Sequence[str] = ()
    to_the_end: bool = False
    """It does not stop when transactions are read-only, so that the disk does become full."""


_LOGGING = ("-c", "logging_collector=on", "-c", "log_statement=all", "-c", "log_rotation_size=10MB")
_CASES = {
    "other-files": _Case(_other_files, to_the_end=True),
    "other-files-xfs": _Case(_other_files, "xfs", to_the_end=True),
    "other-files-reserved": _Case(_other_files, "ext4-reserved", to_the_end=True),
    "other-files-tmpfs": _Case(_other_files, "tmpfs", to_the_end=True),
    "inodes": _Case(_other_inodes, options=("-N", "3000")),
    "slot": _Case(_slot),
    "slot-btrfs": _Case(_slot, "btrfs"),
    "table": _Case(_table),
    "temporary-files": _Case(_temporary_files),
    "log": _Case(_log, arguments=_LOGGING, to_the_end=True),
}


_LONG = ("other-files-reserved", "slot-btrfs")
"""The same on further filesystems."""


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.long] if each in _LONG else []) for each in _CASES]
)
def test_nothing_ends_the_server(name: str) -> None:
    """Writers get errors until there is space again, and readers never do."""
    case = _CASES[name]
    with filling.serve(case.kind, 512 * MB, arguments=case.arguments, options=case.options) as small:
        with writers.at_full_speed(small.server, ("small", "bulk")) as clients:
            with case.fill(small):
                filling.refused(small, clients)
                if case.to_the_end:
                    filling.until_free(small, clients)
                filling.proceed(small, clients, 200)
            filling.write_again(small, clients, time.monotonic())
        assert not clients.reader.errors
        filling.unharmed(small.server)
        assert [] == clients.lost(small.server)
        assert 0 == small.server.stop(timeout=60)
