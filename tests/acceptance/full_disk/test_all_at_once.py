"""
Another program takes all space in one moment: the server finds what it needs until the level has its effect.

A program that takes every block again can still be faster than the server, which then ends with PANIC and
recovers; no acknowledged row is lost, and the long tests count how often it happens.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import containers
import filling
import writers
from containers import until
from disks import MB
from entrypoint import own
from filling import Small
from writers import Clients

_WAL = (
    "SELECT count(pg_logical_emit_message(false, 'test', repeat('x', 1000000))) FROM generate_series(1, {})"
)
"""About that many MB of WAL."""


def _is_ready(small: Small) -> bool:
    """Return whether the next checkpoint has something to free, under both names."""
    return all(Path(small.disk.folder, name).exists() for name in (own.FREED, own.FREED_LATE))


def _fills(kind: str, count: int, seed: int) -> list[str]:
    """
    Take all space under writers, again and again; return the PANICs.

    Whatever happens, no acknowledged row is lost, and writes are accepted again as soon as there is space.
    """
    print(f"SEED={seed}")
    chance = random.Random(seed)
    panics: list[str] = []
    with filling.serve(kind, 512 * MB) as small:
        for number in range(count):
            kinds = ("small", "bulk", "copy")
            with writers.at_full_speed(small.server, kinds, names=f"fill{number}_") as clients:
                time.sleep(chance.random())
                print(f"fill {number}: {small.disk.free // MB} MB are taken at once", flush=True)
                _fill(small, clients)
            assert [] == clients.lost(small.server)
            small.server.sql("DROP TABLE " + ", ".join(each.name for each in clients.writers))
            found = [line for line in small.server.logs().output.splitlines() if "PANIC" in line]
            print(*found[len(panics) :], sep="\n", flush=True)
            panics = found
        assert 0 == small.server.stop(timeout=60)
    print(f"{kind}: {len(panics)} PANICs in {count} fills", flush=True)
    return panics


def _fill(small: Small, clients: Clients) -> None:
    """Take all space until writes are refused and reads answered, then give it back."""
    small.disk.leave(0)
    _until(small, clients, lambda: clients.refused() > 0, "writes are refused")
    answers = clients.reader.answers + 50
    _until(small, clients, lambda: clients.reader.answers >= answers, "reads are answered")
    small.disk.give_back()
    since = time.monotonic()
    _until(small, clients, lambda: clients.all_write(since), "writes are accepted again")


def _until(small: Small, clients: Clients, condition: Callable[[], bool], what: str) -> None:
    """Wait; a container that has ended is started again, as an orchestrator does."""

    def seen() -> bool:
        if not small.server.running:
            print("  the server ended", flush=True)
            small.server.again()
            for each in (*clients.writers, clients.reader):
                each.address = small.server.address
        return condition()

    until(seen, what, 120)


def test_all_space_at_once_under_writers() -> None:
    """No row is lost, reads are answered, and writes are accepted again."""
    _fills("ext4", 3, 1)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs"])
def test_twenty_times_all_space_at_once(kind: str) -> None:
    """The same twenty times; SEED repeats a run."""
    panics = _fills(kind, 20, int(os.environ.get("SEED", time.time())))
    assert len(panics) <= 2, "\n".join(panics)


def test_the_next_segments_are_there_already() -> None:
    """A server writes two more segments, without any help in this moment, when nothing is free any more."""
    with filling.serve("ext4", 512 * MB) as small:
        small.server.sql(
            "SELECT pg_create_physical_replication_slot('forgotten', true)"
        )  # nothing is recycled
        small.server.sql(_WAL.format(40))
        first = int(containers.inspect(small.server.name)["State"]["Pid"])
        ahead = "SELECT count(*) > 1 FROM pg_ls_waldir() WHERE name > pg_walfile_name(pg_current_wal_insert_lsn())"
        until(lambda: small.server.sql(ahead) == "t", "the next segments are there")
        os.kill(first, signal.SIGSTOP)
        try:
            small.disk.fill_up()
            small.server.sql(_WAL.format(24))
        finally:
            os.kill(first, signal.SIGCONT)
        filling.unharmed(small.server)


def test_checkpoints_without_a_free_byte() -> None:
    """Each finds the block that it needs, although another program takes everything again in between."""
    with filling.serve("ext4", 512 * MB) as small:
        for _ in range(3):
            until(lambda: _is_ready(small), "there is something to free")
            small.disk.fill_up()
            small.server.sql("CHECKPOINT")
        filling.unharmed(small.server)
        assert 0 == small.server.stop(timeout=60)
