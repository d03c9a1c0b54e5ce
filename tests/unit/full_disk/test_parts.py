"""The parts of what fills a disk, in words."""

from __future__ import annotations

import pytest

from entrypoint.full_disk import parts
from entrypoint.full_disk.parts import Part, Slot

GIB = 1024**3
ALL = (
    parts.unarchived(GIB, 64, "no space left\non device"),
    parts.unarchived(GIB, 64, None),
    *(parts.slot(Slot("a", 0, active), GIB, 64) for active in (None, True, False)),
    parts.kept(GIB, 64),
    parts.temporary("", GIB, 3),
    parts.temporary("77", GIB, 3),
    *(parts.folder(kind, "/folder", GIB, 9) for kind in ("log", "core", "archive", "drill", "data")),
    parts.database("app", GIB, 9),
    parts.tablespace("fast", "/fast", GIB, 9),
    parts.other(GIB, 9, counted=True),
    parts.other(GIB, 9, counted=False),
)


@pytest.mark.parametrize("part", ALL)
def test_each_part_says_what_to_do(part: Part) -> None:
    """A part without a way out helps nobody; each is one line."""
    assert part.what
    assert part.hint
    assert "\n" not in parts.hint([part])
    assert parts.words([part]).endswith(part.what)


def test_the_reserve_is_nothing_to_remove() -> None:
    """It is given up by itself."""
    assert "" == parts.folder("reserve", "/data/pg_wal/entrypoint.reserve", GIB, 66).hint


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", "SELECT pg_drop_replication_slot('a')"),
        ("'); DROP TABLE x; --", "SELECT pg_drop_replication_slot('''); DROP TABLE x; --')"),
        ("a\nb", "SELECT pg_drop_replication_slot('a\\nb')"),
    ],
)
def test_a_slots_name_stays_a_name(name: str, expected: str) -> None:
    """Without a server, a name is that of a folder, which can be anything."""
    assert expected == parts.drop(name)


def test_only_what_matters_gets_a_line() -> None:
    """At most three lines, nothing that is a fraction of the rest, and the suspects first."""
    found = [parts.database(f"db{number}", (9 - number) * GIB, 1) for number in range(5)]
    assert ["9216 MiB: database db0", "8192 MiB: database db1", "7168 MiB: database db2"] == parts.words(
        found
    ).split("\n")
    found = [*found, parts.temporary("77", GIB, 3)]
    assert "1024 MiB: temporary files of process 77" == parts.words(found).split("\n")[0]
    assert ["100.0 GiB: database big"] == parts.words(
        [parts.database("big", 100 * GIB, 1), parts.folder("log", "/log", 1024**2, 1)]
    ).split("\n")
    assert "" == parts.words([])
    assert "" == parts.hint([])


def test_what_was_not_counted_is_at_least_what_was() -> None:
    """A part that took too long to count says so."""
    assert "at least 1024 MiB: database app" == parts.words([parts.database("app", GIB, 1, counted=False)])


def test_the_largest_comes_first() -> None:
    """The tables of all parts are by size, without empty parts."""
    small, big, none = parts.kept(1, 1), parts.kept(2, 1), parts.kept(0, 0)
    assert (big, small) == parts.ordered([small, none, big])


def test_what_has_files_without_bytes_is_a_part() -> None:
    """On a disk without inodes, it is what fills it."""
    empty, big = parts.other(0, 3000, counted=True), parts.kept(2, 1)
    assert (big, empty) == parts.ordered([empty, big])
    assert "other things on this disk" in parts.words(parts.ordered([empty, big]), inodes=True)
