"""Whether a cluster is what pg_upgrade made of the one that an archive belongs to; pure.

The new cluster has a system identifier of its own, and nothing in it names the old one. What pg_upgrade takes
over from that is the place in the WAL: it runs `pg_resetwal -l` with the segment after the old cluster's last
one. A new cluster of initdb begins at the first segment.
"""

from __future__ import annotations

from entrypoint.archivers.terms import Owner
from entrypoint.light import NamedTuple
from entrypoint.postgres import segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Cluster", "objection"]


class Cluster(NamedTuple):
    """The cluster of the data folder."""

    identifier: str
    """Its system identifier."""
    major: int
    redo_segment: str
    """Name of the segment of the latest checkpoint's REDO location, or empty."""
    segment_bytes: int


def objection(owners: Sequence[Owner], cluster: Cluster, told: str) -> str | None:
    """Return what speaks against a cluster being the upgrade of the archive's owner; None: nothing.

    `owners` are the archive's last ones, one for each place it is kept in (where an earlier upgrade of it was
    killed, some may be this cluster already). `told` is the system identifier that the user says it was
    upgraded from. That alone is no proof, and neither is the place in the WAL: a cluster of initdb gets there
    some day, too.
    """
    others = [each for each in owners if each.identifier != cluster.identifier]
    if not others:
        return "the archive does not say whose it is"
    for owner in others:
        if owner.identifier != told:
            return f"the archive's cluster is {owner.identifier}"
        if owner.major >= cluster.major:
            return (
                f"the archive's cluster is one of PostgreSQL {owner.major}, this one of {cluster.major}, and "
                "pg_upgrade leads to a higher version"
            )
        if not owner.last_segment:
            return "the archive holds no WAL of its cluster that this one could go on from"
        if not cluster.redo_segment or _place(cluster.redo_segment, cluster) <= _place(
            owner.last_segment, cluster
        ):
            return (
                f"the archive's WAL ends with {owner.last_segment}, and this cluster's last checkpoint is in "
                f"{cluster.redo_segment or 'no segment'}, while pg_upgrade goes on behind the end"
            )
    return None


def _place(segment: str, cluster: Cluster) -> int:
    """Return the number of a segment: pg_upgrade begins timeline 1 again, so timelines say nothing."""
    return segments.number(segment, cluster.segment_bytes)
