"""How doctor judges a node under Patroni."""

from __future__ import annotations

import pytest

from entrypoint.doctor.judge import nodes
from entrypoint.failover.member import Member
from entrypoint.finding import ERROR, OK, WARNING, Finding

NOW = 1_800_000_000.0
GOOD = Member(
    "shop",
    "db1",
    answers=True,
    role="leader",
    leads=True,
    leader="db1",
    state="running",
    timeline=3,
    dcs_seen=NOW - 4,
)


def _judged(found: Member) -> list[Finding]:
    """Return the findings of all checks."""
    return [
        *nodes.patroni(found),
        *nodes.leader(found, 30, NOW),
        *nodes.dcs(found, 30, NOW),
        *nodes.pause(found, 30, NOW),
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (GOOD, "db1 leads the cluster shop, on timeline 3"),
        (GOOD._replace(role="sync standby"), "db1 is a sync standby in the cluster shop"),
        (GOOD._replace(state="creating replica"), "not up yet: creating replica"),
        (GOOD._replace(role="primary"), "db1 takes writes without the leader key in the cluster shop"),
    ],
)
def test_all_is_well(found: Member, words: str) -> None:
    """Then the role is said, and nothing else."""
    (finding,) = _judged(found)
    assert (OK, "") == (finding.level, finding.hint)
    assert words in finding.found


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (GOOD._replace(dcs_seen=NOW - 31), ERROR, "has not reached the DCS for 31 seconds"),
        (GOOD._replace(dcs_seen=NOW - 31, unlocked=True), ERROR, "has not reached the DCS for 31 seconds"),
        (GOOD._replace(dcs_seen=NOW - 31, failsafe=True), WARNING, "failsafe mode"),
        (GOOD._replace(unlocked=True, failsafe=True), WARNING, "failsafe mode"),
        (GOOD._replace(unlocked=True), ERROR, "has no leader"),
        (GOOD._replace(paused=True), WARNING, "is paused"),
        (GOOD._replace(pending_restart=True), WARNING, "wait for a restart"),
        (GOOD._replace(state="start failed"), WARNING, "not running: start failed"),
    ],
)
def test_one_trouble(found: Member, level: str, words: str) -> None:
    """Each is one finding with what to do. Without the DCS, nobody knows whether there is a leader."""
    (finding,) = [each for each in _judged(found) if each.level != OK]
    assert level == finding.level
    assert words in finding.found
    assert finding.hint


def test_several_troubles() -> None:
    """One does not hide another."""
    found = _judged(GOOD._replace(paused=True, pending_restart=True, dcs_seen=NOW - 100))
    assert [WARNING, ERROR, WARNING] == [each.level for each in found]


def test_no_answer() -> None:
    """Patroni that hangs or has ended is an error, and nothing else is known."""
    assert [ERROR] == [each.level for each in _judged(Member("shop", "db1"))]
