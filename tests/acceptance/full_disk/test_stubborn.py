"""Sessions that make their own transactions read-write: they do not fill the disk."""

from __future__ import annotations

import time

import pytest

import filling
import writers
from disks import MB
from writers import STUBBORN, Clients, Reader, Writer


@pytest.mark.parametrize("role", ["stubborn", pytest.param("postgres", id="superuser")])
def test_stubborn_writers_do_not_fill_the_disk(role: str) -> None:
    """Sessions that are read-write in every known way are ended, also a superuser's over TCP, until there is space again."""
    with filling.serve("ext4", 512 * MB) as small:
        address = small.server.address
        small.server.sql("CREATE ROLE stubborn LOGIN; GRANT plain TO stubborn")
        clients = Clients(
            [
                Writer(f"{way}_{kind}", address, role, kind, way)
                for way in STUBBORN
                for kind in ("small", "bulk")
            ],
            Reader("reader", address, "plain"),
        )
        small.server.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
        with writers.working(clients):
            filling.ended(small, clients)
            assert filling.lowest(small, clients, 400) > MB
            back = time.monotonic()
            small.server.sql("SELECT pg_drop_replication_slot('forgotten')")
            filling.write_again(small, clients, back)
        assert not clients.reader.errors
        filling.unharmed(small.server)
        assert [] == clients.lost(small.server)
        assert 0 == small.server.stop(timeout=60)
