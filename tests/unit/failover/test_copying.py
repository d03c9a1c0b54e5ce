"""Whether a standby from the archive could follow the leader."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint.errors import Failure
from entrypoint.failover import copying, interrupted


def _plan(owner: str | None, timeline: int) -> Any:
    return SimpleNamespace(
        choice=SimpleNamespace(backup=SimpleNamespace(system_identifier=owner), timeline=timeline)
    )


@pytest.mark.parametrize(
    ("owner", "timeline", "leader", "why"),
    [
        ("7", 2, 2, ""),
        (None, 2, 2, ""),
        ("7", 2, None, ""),
        ("8", 2, 2, "that of another cluster"),
        ("7", 1, 2, "leads to timeline 1, and the leader is on timeline 2"),
        ("7", 3, 2, "leads to timeline 3"),
    ],
)
def test_what_is_copied(owner: str | None, timeline: int, leader: int | None, why: str) -> None:
    """The archive must be this cluster's, and must have the leader's timeline, if there is a leader."""
    if not why:
        copying._check(_plan(owner, timeline), "7", leader)
        return
    with pytest.raises(Failure, match=why):
        copying._check(_plan(owner, timeline), "7", leader)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "+ Cluster: shop (initializing) ---+"),
        (0, "+ Cluster: shop (uninitialized) ---+"),
        (1, "+ Cluster: shop (7) ---+"),
    ],
)
def test_a_cluster_that_is_being_created(monkeypatch: pytest.MonkeyPatch, code: int, text: str) -> None:
    """Another node restores it just now: the archive shows what was before."""
    monkeypatch.setattr(interrupted, "patronictl", lambda *_: (code, text))
    nothing: Any = None
    with pytest.raises(Failure, match="is being created"):
        copying._cluster(nothing, nothing)


def test_a_known_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its identity is what the archive's must be."""
    monkeypatch.setattr(interrupted, "patronictl", lambda *_: (0, "+ Cluster: shop (7421935286318256171) -+"))
    nothing: Any = None
    assert "7421935286318256171" == copying._cluster(nothing, nothing)
