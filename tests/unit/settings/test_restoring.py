"""What to restore, and up to where."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from entrypoint.settings import restoring
from entrypoint.settings.restoring import Request


def _parse(values: Mapping[str, str]) -> tuple[Request | None, list[str]]:
    found, problems = restoring.parse(values, None, source=True)
    return found, [problem.what for problem in problems]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Request("LATEST")),
        ({"RESTORE_TARGET_TIME": "2026-11-22 14:02"}, Request("LATEST", "time", "2026-11-22 14:02")),
        ({"RESTORE_TARGET_TIME": " 3 minutes ago"}, Request("LATEST", "time", "3 minutes ago")),
        ({"RESTORE_TARGET_NAME": "before the drop"}, Request("LATEST", "name", "before the drop")),
        ({"RESTORE_TARGET_LSN": "0/3000060"}, Request("LATEST", "lsn", "0/3000060")),
        ({"RESTORE_TARGET_XID": "745"}, Request("LATEST", "xid", "745")),
        ({"RESTORE_TARGET": "immediate"}, Request("LATEST", "immediate", "immediate")),
        (
            {
                "RESTORE_TARGET_INCLUSIVE": "off",
                "RESTORE_TARGET_TIMELINE": "3",
                "RESTORE_TARGET_ACTION": "pause",
            },
            Request("LATEST", inclusive=False, timeline="3", action="pause"),
        ),
    ],
)
def test_every_kind_of_target(values: Mapping[str, str], expected: Request) -> None:
    """Each kind of target is parsed."""
    assert (expected, []) == _parse({"RESTORE_FROM": "LATEST", **values})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RESTORE_TARGET_TIME", "yesterday"),
        ("RESTORE_TARGET_TIME", "2026-13-01"),
        ("RESTORE_TARGET_TIME", "99999999 days ago"),
        ("RESTORE_TARGET_NAME", "x" * 64),
        ("RESTORE_TARGET_NAME", "a\nb"),
        ("RESTORE_TARGET_LSN", "3000060"),
        ("RESTORE_TARGET_LSN", "0/123456789"),
        ("RESTORE_TARGET_XID", "2"),
        ("RESTORE_TARGET_XID", "4294967296"),
        ("RESTORE_TARGET", "now"),
        ("RESTORE_TARGET_INCLUSIVE", "maybe"),
        ("RESTORE_TARGET_TIMELINE", "0"),
        ("RESTORE_TARGET_ACTION", "stop"),
    ],
)
def test_malformed_targets(name: str, value: str) -> None:
    """Each problem names the variable and its value."""
    (problem,) = _parse({"RESTORE_FROM": "LATEST", name: value})[1]
    assert problem.startswith(f"{name}={value} is ")


def test_a_restore_has_one_target() -> None:
    """A restore has only one target, and a target needs a restore."""
    two = {"RESTORE_TARGET_XID": "745", "RESTORE_TARGET_LSN": "0/1"}
    assert [
        "several targets are set: RESTORE_TARGET_LSN, RESTORE_TARGET_XID; a restore has only one"
    ] == _parse({"RESTORE_FROM": "LATEST", **two})[1]
    (problem,) = _parse(two)[1]
    assert "RESTORE_FROM is not set" in problem
    assert (None, []) == _parse({})
