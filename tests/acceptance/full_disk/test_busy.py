"""A server that is only busy: with a healthy archive and enough space, no write is ever refused."""

from __future__ import annotations

import time

import pytest

import archives
import filling
import writers
from disks import MB


@pytest.mark.parametrize(
    ("size", "seconds", "kinds"),
    [
        (2048 * MB, 10, ("small", "bulk", "bulk", "copy")),
        pytest.param(2048 * MB, 120, ("small", "bulk", "bulk", "copy"), marks=pytest.mark.long),
        pytest.param(16384 * MB, 120, ("grow", "grow", "copy", "bulk"), marks=pytest.mark.long),
    ],
)
def test_a_bulk_load_is_never_throttled(size: int, seconds: int, kinds: tuple[str, ...]) -> None:
    """Checkpoints are late and segments wait, but no transaction becomes read-only and no session is ended."""
    with filling.serve("ext4", size, "pgbackrest", storage=65536 * MB) as small:
        with writers.at_full_speed(small.server, kinds) as clients:
            time.sleep(seconds)
        assert not clients.errors, filling.describe(small, clients)
        assert archives.waiting(small.server) >= 0
        assert "transactions are read-only" not in small.server.logs().output
        filling.unharmed(small.server)
