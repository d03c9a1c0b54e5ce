"""A segment that the entrypoint has made or lent has any content: the server overwrites it, and recovers from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import containers
import filling
import writers
from disks import MB
from filling import Small
from writers import Clients

_CURRENT = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())"


def _next_segments(small: Small) -> list[Path]:
    """The segments beyond the one that the server writes to."""
    current = small.server.sql(_CURRENT)
    folder = Path(small.disk.folder, "pg_wal")
    return sorted(path for path in folder.iterdir() if len(path.name) == 24 and path.name > current)


def _spoil(small: Small) -> None:
    """Fill the next segments as the reserve is filled where blocks cannot be allocated."""
    containers.until(lambda: len(_next_segments(small)) >= 2, "the next segments are there")
    for path in _next_segments(small):
        known, filled = path.stat(), path.with_suffix(".filled")
        filled.write_bytes(os.urandom(known.st_size))
        os.chown(filled, known.st_uid, known.st_gid)
        filled.chmod(0o600)
        os.utime(filled, ns=(0, known.st_mtime_ns))
        filled.replace(path)


def _kill_after_the_switch(small: Small, clients: Clients) -> None:
    """Kill the server when a few transactions are in the next segment."""
    small.server.sql("SELECT pg_switch_wal()")
    before = clients.count
    containers.until(lambda: clients.count > before + 5, "transactions are acknowledged")
    small.server.kill()
    small.server.wait()


@pytest.mark.parametrize(
    "setting", ["on", pytest.param("off", marks=pytest.mark.long, id="neither zeroed nor recycled")]
)
def test_what_is_in_a_segment_does_not_matter(setting: str) -> None:
    """The server is killed right after it has begun a segment of random bytes, again and again: no row is lost."""
    arguments = ("-c", f"wal_init_zero={setting}", "-c", f"wal_recycle={setting}")
    with filling.serve("ext4", 512 * MB, arguments=arguments) as small:
        for number in range(3):
            _spoil(small)
            with writers.at_full_speed(small.server, ("small", "small"), names=f"round{number}_") as clients:
                _kill_after_the_switch(small, clients)
            small.server.begin()
            small.server.ready(60)
            assert [] == clients.lost(small.server)
        filling.unharmed(small.server)
        assert 0 == small.server.stop(timeout=60)
