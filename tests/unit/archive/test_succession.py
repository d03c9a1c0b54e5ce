"""When a cluster may continue an archive after pg_upgrade."""

from __future__ import annotations

import pytest

from entrypoint.archive import succession
from entrypoint.archive.succession import Cluster
from entrypoint.archivers.terms import Owner

OLD = Owner("71", 15, "0000000500000001000000FE")
NEW = Cluster("72", 17, "0000000100000001000000FF", 16 * 1024**2)


def _objection(
    owner: Owner = OLD, cluster: Cluster = NEW, claimed: str = "71", others: tuple[Owner, ...] = ()
) -> str:
    return succession.objection([owner, *others], cluster, claimed) or ""


def test_the_upgraded_cluster_continues_the_archive() -> None:
    """The user says so, the archive's version is lower, and the WAL continues after its end on any timeline."""
    assert "" == _objection()


@pytest.mark.parametrize("claimed", ["", "72", "711"])
def test_the_users_word_is_needed(claimed: str) -> None:
    """Without the archive's own identifier no archive is taken over, even if everything else fits."""
    assert "the archive's cluster is 71" == _objection(claimed=claimed)


@pytest.mark.parametrize("major", [17, 18])
def test_the_version_must_be_lower(major: int) -> None:
    """pg_upgrade never leads to the same or a lower major."""
    assert f"the archive's cluster has PostgreSQL {major} and this one has 17" in _objection(
        OLD._replace(major=major)
    )


@pytest.mark.parametrize(
    ("segment", "taken"),
    [
        ("000000010000000000000001", False),  # the first one of a new cluster
        ("0000000100000001000000FD", False),
        ("0000000100000001000000FE", False),  # pg_resetwal -l starts after the old cluster's last one
        ("0000000100000001000000FF", True),
        ("000000010000000200000000", True),
        ("000000090000000000000001", False),  # the timeline does not matter
        ("", False),
    ],
)
def test_the_wal_must_continue_after_the_end(segment: str, *, taken: bool) -> None:
    """The upgraded cluster's last checkpoint is after the archive's last segment."""
    found = _objection(cluster=NEW._replace(redo_segment=segment))
    assert taken == (not found)
    assert taken or "the archive's WAL ends with 0000000500000001000000FE" in found


@pytest.mark.parametrize("megabytes", [1, 16, 64, 1024])
def test_positions_are_counted_in_the_clusters_segments(megabytes: int) -> None:
    """With any segment size, the first segment of the next 4 GB comes after the last one before it."""
    size = megabytes * 1024**2
    last = f"0000000100000000{2**32 // size - 1:08X}"
    ahead = "000000010000000100000000"
    assert "" == _objection(Owner("71", 15, last), Cluster("72", 17, ahead, size))
    assert "" != _objection(Owner("71", 15, ahead), Cluster("72", 17, last, size))


def test_an_archive_without_wal_proves_nothing() -> None:
    """If nothing was archived, nobody knows where the old cluster ended."""
    assert "the archive holds no WAL" in _objection(OLD._replace(last_segment=None))


def test_every_repository_must_agree() -> None:
    """A repository may already be this cluster's, after a killed upgrade; another cluster's is refused."""
    ours = Owner("72", 17, None)
    assert "" == _objection(others=(ours,))
    assert "the archive's cluster is 99" == _objection(others=(Owner("99", 15, "0" * 24),))
    for owners in ([], [ours]):
        assert "the archive does not say which cluster it belongs to" == succession.objection(
            owners, NEW, "71"
        )
