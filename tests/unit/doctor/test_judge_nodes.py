"""How doctor judges a node under Patroni."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from entrypoint.doctor.judge import nodes
from entrypoint.finding import ERROR, OK, WARNING

NOW = 1_800_000_000.0
GOOD: Mapping[str, Any] = {
    "state": "running",
    "role": "primary",
    "timeline": 3,
    "dcs_last_seen": int(NOW) - 4,
    "patroni": {"scope": "shop", "name": "db1"},
}


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, OK, "db1 leads the cluster shop, on timeline 3"),
        ({"role": "replica"}, OK, "db1 is a standby in the cluster shop"),
        ({"dcs_last_seen": int(NOW) - 31}, ERROR, "has not reached the DCS for 31 seconds"),
        ({"cluster_unlocked": True}, ERROR, "has no leader"),
        ({"cluster_unlocked": True, "failsafe_mode_is_active": True}, WARNING, "failsafe mode"),
        ({"pause": True}, WARNING, "is paused"),
        ({"pending_restart": True}, WARNING, "wait for a restart"),
        ({"state": "creating replica"}, WARNING, "not running: creating replica"),
    ],
)
def test_what_patroni_says(changes: Mapping[str, Any], level: str, words: str) -> None:
    """Each trouble is one finding with what to do; without one, the role is said."""
    (found,) = nodes.patroni({**GOOD, **changes}, "shop", "db1", ttl=30, now=NOW)
    assert level == found.level
    assert words in found.found
    assert (level == OK) == (found.hint == "")


def test_several_troubles() -> None:
    """One does not hide another."""
    changes = {"pause": True, "pending_restart": True, "dcs_last_seen": 0}
    assert 3 == len(nodes.patroni({**GOOD, **changes}, "shop", "db1", ttl=30, now=NOW))


def test_no_answer() -> None:
    """Patroni that hangs or has ended is an error."""
    assert [ERROR] == [each.level for each in nodes.patroni(None, "shop", "db1", ttl=30, now=NOW)]
