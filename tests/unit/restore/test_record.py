"""The record of a recovery, and the server's settings for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from entrypoint.archivers.terms import Backup
from entrypoint.restore.choose import Choice
from entrypoint.restore.record import record, recorded
from entrypoint.settings.restoring import Request

if TYPE_CHECKING:
    from entrypoint.settings.restoring import Kind


def _choice(request: Request) -> Choice:
    backup = Backup("first", "full", "", "", 1, "0/1", "0/2", permanent=False, system_identifier="1")
    return Choice(
        backup=backup,
        why="",
        timeline=1,
        kind=request.kind,
        value=request.value,
        inclusive=request.inclusive,
        segments=1,
        earliest="",
        latest="",
        hole=None,
        last_segment="",
    )


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("", "", {"recovery_target_timeline": "1"}),
        ("immediate", "immediate", {"recovery_target_timeline": "1", "recovery_target": "immediate"}),
        (
            "xid",
            "745",
            {
                "recovery_target_timeline": "1",
                "recovery_target_xid": "745",
                "recovery_target_inclusive": "off",
            },
        ),
    ],
)
def test_a_record_becomes_the_servers_settings(kind: Kind, value: str, expected: Mapping[str, str]) -> None:
    """A record from before there were targets, which is only a name, means the end of the archive."""
    request = Request("first", kind, value, inclusive=False)
    assert expected == recorded(record(_choice(request), request)).options
    assert {"recovery_target_timeline": "latest"} == recorded("20261122-183502F").options
    assert recorded("20261122-183502F").is_for(request)
    for torn in ("", "{", "{}", '{"else": 1}', "[1]"):
        assert torn == recorded(torn).backup
