"""A server that is killed or stopped while its disk fills: the next start is right, and nothing is lost."""

from __future__ import annotations

import os
import random
import time

import pytest

import containers
import filling
import writers
from disks import MB
from entrypoint.volume import room
from filling import Small
from writers import Clients

_SEGMENT = 16 * MB


def _stopped_cleanly(small: Small) -> bool:
    """Return whether the cluster was shut down with a checkpoint."""
    text = containers.in_volume(small.disk.folder, "pg_controldata . | grep 'cluster state'")
    return text.endswith(" shut down")


def _start_again(small: Small, clients: Clients) -> None:
    """Start it on the same disk: it has every acknowledged row, and is read-only if it must be."""
    small.server.begin()
    small.server.ready(60)
    assert [] == clients.lost(small.server)
    mark, free = room.marks(small.disk.size, _SEGMENT), small.disk.free
    state = small.server.sql("SHOW default_transaction_read_only")
    if free < mark.full or free > mark.normal:
        assert ("on" if free < mark.full else "off") == state, f"{free // MB} MB are free"


def _fill(small: Small, clients: Clients, left: int) -> None:
    """Let the writers fill the disk until this much is free; what they may not take, another program does."""

    def low() -> bool:
        return clients.refused() > 0 or small.disk.free <= left

    containers.until(low, "the disk fills", 60)
    small.disk.grow_until(left)


def _make_room(small: Small) -> None:
    """Undo everything that fills the disk, and wait until transactions may write."""
    small.disk.give_back()
    small.server.sql("SELECT pg_drop_replication_slot('forgotten')")
    small.server.sql("CHECKPOINT")

    def writes() -> bool:
        return small.server.sql("SHOW default_transaction_read_only") == "off"

    containers.until(writes, "transactions may write", filling.WITHIN)


def _kill_at(lefts: list[int], chance: random.Random) -> None:
    with filling.serve("ext4", 512 * MB) as small:
        for number, left in enumerate(lefts):
            small.server.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
            small.disk.leave(max(left, 280 * MB), "before")
            with writers.at_full_speed(small.server, ("small", "bulk"), names=f"round{number}_") as clients:
                _fill(small, clients, left)
                time.sleep(chance.random() / 2)
                small.server.kill()
                small.server.wait()
            print(f"killed when {left // MB} MB were to be left, {small.disk.free // MB} MB are free")
            _start_again(small, clients)
            small.disk.give_back("before")
            _make_room(small)
            small.server.sql("DROP TABLE " + ", ".join(each.name for each in clients.writers))
        filling.unharmed(small.server)
        assert 0 == small.server.stop(timeout=60)


def test_killed_on_the_way() -> None:
    """The server comes up after SIGKILL with much, little and no free space."""
    _kill_at([200 * MB, 90 * MB, 40 * MB, 0], random.Random(1))


@pytest.mark.long
def test_killed_at_thirty_points() -> None:
    """The same at thirty points from a disk that is half empty to a full one."""
    seed = int(os.environ.get("SEED", time.time()))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    # Each kill may leave the files of a transaction, which PostgreSQL never removes: 30 would fill the disk.
    for _ in range(3):
        _kill_at([chance.randrange(0, 250) * MB for _ in range(10)], chance)


def test_a_stop_on_a_full_disk_is_clean() -> None:
    """With no free byte the shutdown has its checkpoint, and the next start comes up read-only, then takes writes."""
    with filling.serve("ext4", 512 * MB) as small:
        with writers.at_full_speed(small.server, ("small", "bulk")) as clients:
            small.server.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
            _fill(small, clients, MB)
        small.disk.leave(0, "rest")
        assert 0 == small.server.stop(timeout=60)
        assert _stopped_cleanly(small)
        _start_again(small, clients)
        assert 0 == small.server.stop(timeout=60)
        assert _stopped_cleanly(small)
        small.disk.give_back("rest")
        _start_again(small, clients)
        _make_room(small)
        small.server.sql("CREATE TABLE now ()")
        filling.unharmed(small.server)
        assert 0 == small.server.stop(timeout=60)
