"""Whether pg_upgrade made a cluster from the one that an archive belongs to; pure.

The new cluster has its own system identifier, and nothing in it names the old one. But pg_upgrade takes over
the position in the WAL: it runs `pg_resetwal -l` with the segment after the old cluster's last one. A new
cluster made by initdb starts at the first segment.
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


def objection(owners: Sequence[Owner], cluster: Cluster, claimed: str) -> str | None:
    """Return what speaks against a cluster being the upgrade of the archive's owner; None if nothing does.

    `owners` are the archive's last owners, one for each repository (if an earlier upgrade of the archive was
    killed, some may already be this cluster). `claimed` is the system identifier from which the cluster was
    upgraded, according to the user. That alone is no proof, and neither is the position in the WAL: a cluster
    made by initdb gets there some day, too.
    """
    others = [each for each in owners if each.identifier != cluster.identifier]
    if not others:
        return "the archive does not say which cluster it belongs to"
    for owner in others:
        if owner.identifier != claimed:
            return f"the archive's cluster is {owner.identifier}"
        if owner.major >= cluster.major:
            return (
                f"the archive's cluster has PostgreSQL {owner.major} and this one has {cluster.major}, but "
                "pg_upgrade only leads to a higher version"
            )
        if not owner.last_segment:
            return "the archive holds no WAL of its cluster that this one could continue"
        if not cluster.redo_segment or _place(cluster.redo_segment, cluster) <= _place(
            owner.last_segment, cluster
        ):
            return (
                f"the archive's WAL ends with {owner.last_segment} and this cluster's last checkpoint is in "
                f"{cluster.redo_segment or 'no segment'}, but pg_upgrade continues after the end"
            )
    return None


def _place(segment: str, cluster: Cluster) -> int:
    """Return a segment's number without its timeline: pg_upgrade starts again with timeline 1."""
    return segments.number(segment, cluster.segment_bytes)
