"""Writers at full speed while the archive is away: the disk is never full, and no acknowledged row is lost."""

from __future__ import annotations

import time

import pytest

import filling
import writers
from archives import TOOLS
from disks import MB


def _until_the_end_of_space(kind: str, size: int, tool: str) -> None:
    with filling.serve(kind, size, tool) as small:
        assert small.archive is not None
        filling.push(small.server)
        with writers.at_full_speed(small.server) as clients:
            small.away()
            filling.refused(small, clients)
            filling.proceed(small, clients, 200)
            assert small.disk.free > 0
            back = time.monotonic()
            small.back()
            filling.write_again(small, clients, back)
        assert clients.reader.waited < filling.LONGEST
        filling.unharmed(small.server)
        assert [] == clients.lost(small.server)
        filling.archive_all(small)
        assert 0 == small.server.stop(timeout=60)
        filling.restores(small.archive, clients)


@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_is_lost_until_the_end_of_space(tool: str) -> None:
    """Writes are refused before the disk is full, and accepted again once the archive has caught up."""
    _until_the_end_of_space("ext4", 512 * MB, tool)


@pytest.mark.long
@pytest.mark.parametrize("size", [512 * MB, 2048 * MB])
@pytest.mark.parametrize("kind", ["ext4", "ext4-reserved", "xfs", "tmpfs"])
@pytest.mark.parametrize("tool", TOOLS)
def test_on_every_filesystem(tool: str, kind: str, size: int) -> None:
    """The same on other filesystems and sizes."""
    _until_the_end_of_space(kind, size, tool)
