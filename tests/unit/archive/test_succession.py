"""When an archive is gone on with after pg_upgrade."""

from __future__ import annotations

import pytest

from entrypoint.archive import succession
from entrypoint.archive.succession import Cluster
from entrypoint.archivers.terms import Owner

OLD = Owner("71", 15, "0000000500000001000000FE")
NEW = Cluster("72", 17, "0000000100000001000000FF", 16 * 1024**2)


def _objection(
    owner: Owner = OLD, cluster: Cluster = NEW, told: str = "71", others: tuple[Owner, ...] = ()
) -> str:
    return succession.objection([owner, *others], cluster, told) or ""


def test_the_upgraded_cluster_is_the_archives() -> None:
    """The user's word, a lower version, and WAL that goes on behind the end, on whatever timeline."""
    assert "" == _objection()


@pytest.mark.parametrize("told", ["", "72", "711"])
def test_the_users_word_is_needed(told: str) -> None:
    """Everything else may hold: without the archive's own identifier nothing is taken."""
    assert "the archive's cluster is 71" == _objection(told=told)


@pytest.mark.parametrize("major", [17, 18])
def test_the_version_must_be_lower(major: int) -> None:
    """pg_upgrade never leads to the same or a lower major."""
    assert f"the archive's cluster is one of PostgreSQL {major}, this one of 17" in _objection(
        OLD._replace(major=major)
    )


@pytest.mark.parametrize(
    ("segment", "taken"),
    [
        ("000000010000000000000001", False),  # a fresh cluster's first
        ("0000000100000001000000FD", False),
        ("0000000100000001000000FE", False),  # pg_resetwal -l begins behind the old cluster's last one
        ("0000000100000001000000FF", True),
        ("000000010000000200000000", True),
        ("000000090000000000000001", False),  # the timeline says nothing
        ("", False),
    ],
)
def test_the_wal_must_go_on_behind_the_end(segment: str, *, taken: bool) -> None:
    """A cluster whose last checkpoint is not behind the archive's last segment is not made of its cluster."""
    found = _objection(cluster=NEW._replace(redo_segment=segment))
    assert taken == (not found)
    assert taken or "the archive's WAL ends with 0000000500000001000000FE" in found


@pytest.mark.parametrize("megabytes", [1, 16, 64, 1024])
def test_places_are_counted_in_the_clusters_segments(megabytes: int) -> None:
    """Whatever their size, the first segment of the next 4 GB is behind the last one before it."""
    size = megabytes * 1024**2
    last = f"0000000100000000{2**32 // size - 1:08X}"
    ahead = "000000010000000100000000"
    assert "" == _objection(Owner("71", 15, last), Cluster("72", 17, ahead, size))
    assert "" != _objection(Owner("71", 15, ahead), Cluster("72", 17, last, size))


def test_an_archive_without_wal_proves_nothing() -> None:
    """Where nothing was archived, nothing says where the old cluster ended."""
    assert "the archive holds no WAL" in _objection(OLD._replace(last_segment=None))


def test_every_repository_must_agree() -> None:
    """One that is this cluster's already is left from an upgrade that was killed; a stranger's is refused."""
    ours = Owner("72", 17, None)
    assert "" == _objection(others=(ours,))
    assert "the archive's cluster is 99" == _objection(others=(Owner("99", 15, "0" * 24),))
    for owners in ([], [ours]):
        assert "the archive does not say whose it is" == succession.objection(owners, NEW, "71")
