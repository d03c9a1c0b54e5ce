"""Rounds of random filling and freeing, with writers at full speed all the time: no row is lost."""

from __future__ import annotations

import os
import random
import time

import pytest

import filling
import writers
from archives import TOOLS
from disks import MB
from filling import Small
from writers import Clients


def _other_program(small: Small, clients: Clients, chance: random.Random) -> None:
    """Another program takes some or all of the space, and gives it back."""
    small.disk.grow_until(chance.randrange(0, 200) * MB)
    filling.proceed(small, clients, chance.randrange(100))
    small.disk.give_back()


def _archive_away(small: Small, clients: Clients, chance: random.Random) -> None:
    """The archive is away for some time, or until writes are refused."""
    small.away()
    if chance.random() < 0.5:
        filling.refused(small, clients)
    filling.proceed(small, clients, chance.randrange(200))
    small.back()


def _table(small: Small, clients: Clients, chance: random.Random) -> None:
    """A table grows for some time, or until writes are refused; then it is dropped."""
    with writers.growing(small.server):
        if chance.random() < 0.5:
            filling.refused(small, clients)
        filling.proceed(small, clients, chance.randrange(100))
    small.server.sql("BEGIN READ WRITE; DROP TABLE IF EXISTS growing; COMMIT")


def _rounds(kind: str, tool: str, count: int, seed: int) -> None:
    print(f"SEED={seed}")
    chance = random.Random(seed)
    with filling.serve(kind, 512 * MB, tool) as small:
        assert small.archive is not None
        filling.push(small.server)
        with writers.at_full_speed(small.server, ("small", "bulk", "copy")) as clients:
            for number in range(count):
                work = chance.choice((_other_program, _archive_away, _table))
                print(f"round {number}: {work.__doc__} {small.disk.free // MB} MB are free")
                work(small, clients, chance)
                if chance.random() < 0.5:
                    filling.write_again(small, clients, time.monotonic())
            filling.write_again(small, clients, time.monotonic())
        assert not clients.reader.errors
        filling.unharmed(small.server)
        assert [] == clients.lost(small.server)
        filling.archive_all(small)
        assert 0 == small.server.stop(timeout=60)
        filling.restores(small.archive, clients, 60 + 60 * count)


def test_two_rounds() -> None:
    """The archive is away, then another program takes all space."""
    _rounds("xfs", "pgbackrest", 2, 3)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "btrfs"])
@pytest.mark.parametrize("tool", TOOLS)
def test_ten_rounds(tool: str, kind: str) -> None:
    """The same ten times; SEED repeats a run."""
    _rounds(kind, tool, 10, int(os.environ.get("SEED", time.time())))
