"""How doctor judges full filesystems."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from entrypoint.doctor.judge import databases, disk
from entrypoint.doctor.judge.databases import Slot
from entrypoint.doctor.judge.disk import Disk
from entrypoint.finding import ERROR, OK, WARNING, Finding
from entrypoint.full_disk import parts
from entrypoint.volume import room
from entrypoint.volume.facts import Volume

MIB, GIB = 1024**2, 1024**3
VOLUME = Volume("data", "/data", 1000, 900, None)
HALF = Volume("data", "/data", 10 * GIB, 5 * GIB, None, 1000, 500)
DISK = Disk(room.NORMAL, 1_900_000_000, HALF, 16 * MIB, "readonly")
HELD = (
    parts.slot(parts.Slot("idle", 0, active=False), GIB, 64),
    parts.database("app", 8 * GIB, 300),
    parts.kept(64 * MIB, 4),
    parts.folder("data", "/data", 32 * MIB, 900_000),
)


def _levels(found: Sequence[Finding]) -> list[str]:
    """Return the levels; every finding has a text, and exactly the warnings and errors have a hint."""
    assert [] == [each for each in found if not each.found or (each.level != OK) != bool(each.hint)]
    return [each.level for each in found]


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (VOLUME._replace(free=151), OK),
        (VOLUME._replace(free=150), WARNING),
        (VOLUME._replace(free=50), ERROR),
        (VOLUME._replace(full_seconds=86400), OK),
        (VOLUME._replace(full_seconds=86399), WARNING),
        (VOLUME._replace(full_seconds=21599), ERROR),
        (VOLUME._replace(files=1000, free_files=151), OK),
        (VOLUME._replace(files=1000, free_files=150), WARNING),
        (VOLUME._replace(files=1000, free_files=0), ERROR),
    ],
)
def test_how_full_a_filesystem_is(volume: Volume, expected: str) -> None:
    """Bytes and inodes are judged by the same shares, and by the time that is left; each one for itself."""
    assert [expected] == _levels(disk.space([volume]))
    other = VOLUME._replace(name="archive", folder="/archive")
    assert [expected, OK] == _levels(disk.space([volume, other]))
    assert (expected != OK) == disk.is_filling(volume)


def test_what_fills_a_filesystem_is_named() -> None:
    """What should be small comes first, the data only after it; the hint has the exact command."""
    (found,) = disk.space([VOLUME._replace(free=10)], {"/data": HELD})
    lines = found.found.split("\n")
    assert ["1024 MiB: WAL that slot idle holds, which nobody reads", "8192 MiB: database app"] == lines[1:]
    assert "SELECT pg_drop_replication_slot('idle')" in found.hint
    assert "never delete files in pg_wal" in found.hint


def test_without_inodes_the_files_are_counted() -> None:
    """The part with the most files is the reason, however small it is."""
    lacking = HALF._replace(free_files=5)
    (found,) = disk.space([lacking], {"/data": HELD})
    assert "100 % of its inodes are used, 5 are free" in found.found
    assert "900000 files: other files in /data" == found.found.split("\n")[1]
    (level,) = disk.full_disk(DISK._replace(level=room.FULL, volume=lacking, filling=HELD))
    assert "5 inodes are free on the disk of /data" in level.found
    assert "900000 files: other files in /data" in level.found


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (DISK, [OK]),
        (DISK._replace(reserve="soon"), [OK]),
        (DISK._replace(reserve="none"), [WARNING]),
        (DISK._replace(level=room.TIGHT), [WARNING]),
        (DISK._replace(level=room.TIGHT, reserve="none"), [WARNING]),
        (DISK._replace(level=room.FULL), [ERROR]),
        (DISK._replace(level=room.FULL, when_full="wait"), [ERROR]),
        (DISK._replace(level=room.TIGHT, when_full="wait"), [WARNING]),
        (DISK._replace(level=room.FULL, when_full="drop", since=None), [ERROR]),
    ],
)
def test_how_near_a_full_disk_is(found: Disk, expected: list[str]) -> None:
    """The level of PID 1 decides, not the percentages."""
    assert expected == _levels(disk.full_disk(found))


def test_a_full_disk_says_since_when_why_and_what_to_do() -> None:
    """The one line that people read at night."""
    (found,) = disk.full_disk(DISK._replace(level=room.FULL, filling=HELD))
    first, second, *_ = found.found.split("\n")
    assert first == (
        "transactions are read-only since 2030-03-17T17:46:40+00:00, because the disk is nearly full: "
        "5120 MiB are free on the disk of /data"
    )
    assert "1024 MiB: WAL that slot idle holds, which nobody reads" == second
    assert "pg_drop_replication_slot('idle')" in found.hint
    assert "writes are accepted again as soon as there is room" in found.hint


@pytest.mark.parametrize("level", [room.TIGHT, room.FULL])
def test_who_waits_hears_of_the_panic(level: room.Level) -> None:
    """With ARCHIVE_WHEN_FULL=wait nothing is done."""
    (found,) = disk.full_disk(DISK._replace(level=level, when_full="wait"))
    assert "PostgreSQL ends with a PANIC when no WAL fits (ARCHIVE_WHEN_FULL=wait)" in found.found
    assert "read-only" not in found.found


def test_a_slot_on_a_small_disk() -> None:
    """A quarter of the disk is much WAL, also for a slot that is read."""
    slot = Slot("b", active=True, status="reserved", held=129 * MIB, still_since=1_900_000_000)
    assert [OK] == _levels(databases.slots([slot], -1, 99 * MIB, GIB))
    (found,) = databases.slots([slot], -1, 99 * MIB, 512 * MIB)
    assert ERROR == found.level
    assert (
        "129 MiB of WAL are kept for slot b and has not moved since 2030-03-17T17:46:40+00:00" in found.found
    )
    (lost,) = databases.slots([slot._replace(status="lost")], 128 * MIB, 99 * MIB, 512 * MIB)
    assert (
        "slot b has lost WAL that its reader needs: it was further behind than max_slot_wal_keep_size (128 MiB)"
        == (lost.found)
    )


def test_a_limit_that_does_not_protect_the_disk() -> None:
    """More than half of the disk for slots leaves too little for anything else."""
    assert [OK] == _levels(databases.slots([], 256 * MIB, 99 * MIB, 512 * MIB))
    (found,) = databases.slots([], 257 * MIB, 99 * MIB, 512 * MIB)
    assert WARNING == found.level
    assert "SLOT_WAL_LIMIT=256MB" in found.hint
