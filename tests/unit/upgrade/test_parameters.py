"""What the new cluster takes over from the old one."""

from __future__ import annotations

import pytest

from entrypoint.upgrade import parameters
from entrypoint.upgrade.parameters import RESERVE, Asked, Old, Room

CONTROL = {
    "Database system identifier": "7714",
    "Data page checksum version": "1",
    "Bytes per WAL segment": str(64 * 1024**2),
    "wal_level setting": "logical",
    "max_prepared_xacts setting": "9",
    "max_locks_per_xact setting": "1000",
}


def test_the_old_cluster_decides_about_the_new_one() -> None:
    """Checksums, the size of segments, the name of the superuser and the group's access are the same."""
    old = parameters.old(15, CONTROL, "app", group=True)
    assert Old(15, "7714", checksums=True, segment_megabytes=64, superuser="app", group=True) == old
    words = parameters.initdb_arguments(old, 18, "/wal/new")
    assert {
        *("--username=app", "--wal-segsize=64", "--data-checksums", "--waldir=/wal/new"),
        "--allow-group-access",
    } <= {*words}


@pytest.mark.parametrize(("major", "said"), [(17, False), (18, True)])
def test_no_checksums_stay_none(major: int, said: bool) -> None:
    """From 18 on, initdb must get an option; older ones do not know the option."""
    words = parameters.initdb_arguments(
        Old(15, "7", checksums=False, segment_megabytes=16, superuser="postgres"), major, None
    )
    assert said == ("--no-data-checksums" in words)
    assert "--data-checksums" not in words


def test_the_old_server_has_exactly_the_values_of_the_control_file() -> None:
    """Another value would go to its WAL, where it can stop standbys; and all WAL stays."""
    asked = Asked(13, "pg_stat_statements")
    control = {**CONTROL, "max_connections setting": "30", "track_commit_timestamp setting": "on"}
    found = parameters.of_old(control, asked)
    assert ("30", "1000", "9") == (
        found["max_connections"],
        found["max_locks_per_transaction"],
        found["max_prepared_transactions"],
    )
    assert ("on", "logical") == (found["track_commit_timestamp"], found["wal_level"])
    assert ("off", "2147483647") == (found["archive_mode"], found["wal_keep_size"])
    assert "pg_stat_statements" == found["shared_preload_libraries"]
    assert "max_worker_processes" not in found
    assert "minimal" == parameters.of_old({"wal_level setting": "minimal"}, asked)["wal_level"]


def test_the_new_server_starts_with_what_the_old_one_needs() -> None:
    """More than 10 origins fit as well: until 17 the slots limit them, from 18 on a setting of its own."""
    found = parameters.of_new(CONTROL, Asked(13, "pg_stat_statements"), 18)
    assert "logical" == found["wal_level"]
    assert ("13", "13") == (found["max_replication_slots"], found["max_active_replication_origins"])
    assert ("1000", "9") == (found["max_locks_per_transaction"], found["max_prepared_transactions"])
    assert "pg_stat_statements" == found["shared_preload_libraries"]
    older = parameters.of_new({}, Asked(10), 17)
    assert ("replica", "256") == (older["wal_level"], older["max_locks_per_transaction"])
    assert not {"shared_preload_libraries", "max_active_replication_origins"} & {*older}


@pytest.mark.parametrize(
    ("asked", "clones", "free", "expected"),
    [
        ("auto", True, 0, "clone"),
        ("auto", False, 100 + RESERVE, "copy"),
        ("auto", False, 99 + RESERVE, None),
        ("copy", True, 99 + RESERVE, None),
        ("copy", True, 100 + RESERVE, "copy"),
        ("clone", False, 2**40, None),
        ("link", False, 0, "link"),
    ],
)
def test_the_mode_is_one_that_works(asked: str, clones: bool, free: int, expected: str | None) -> None:
    """`auto` never links: without a person's word there is a way back."""
    chosen, why = parameters.mode(asked, Room(clones, 100, free))
    assert expected == chosen
    assert bool(why) == (expected is None)


@pytest.mark.parametrize("asked", ["link", "clone", "auto", "swap"])
@pytest.mark.parametrize(("least", "fits"), [(100, True), (101, False)])
def test_every_mode_needs_room_for_the_catalogs(asked: str, least: int, fits: bool) -> None:
    """Many databases take gigabytes, although their tables are not copied."""
    chosen, why = parameters.mode(asked, Room(clones=True, needed=10**9, free=10**12, least=least, here=100))
    assert fits == (chosen is not None)
    assert fits == ("the new cluster's own files take" not in why)


@pytest.mark.parametrize("reason", ["", "the cluster has tablespaces"])
def test_folders_are_swapped_only_if_that_can_be_undone(reason: str) -> None:
    """It is never chosen without a person's word, and the reason against it is given."""
    room = Room(clones=False, needed=2**40, free=0, swaps=reason)
    assert (None if reason else "swap", reason) == parameters.mode("swap", room)
    assert parameters.mode("auto", room)[0] is None
