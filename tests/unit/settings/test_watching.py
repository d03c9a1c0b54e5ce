"""What makes the watch run."""

from __future__ import annotations

import pytest

from unit import made

ARCHIVE = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
HOW = {
    "NOTIFY_HEARTBEAT_INTERVAL": "60",
    "NOTIFY_LEVEL": "info",
    "STATUS_LOG_FORMAT": "json",
    "STATUS_TOKEN": "secret",
    "WATCH_INTERVAL": "1",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKUP_PING_URL", "https://hc-ping.com/uuid"),
        ("DRILL_PING_URL", "https://hc-ping.com/uuid"),
        ("NOTIFY_HEARTBEAT_URL", "https://hc-ping.com/uuid"),
        ("NOTIFY_URLS", "ntfy://ntfy.sh/topic"),
        ("STATUS_LISTEN", ":9187"),
    ],
)
def test_each_variable_starts_it(name: str, value: str) -> None:
    """Each of these variables alone starts it."""
    assert made.settings({**ARCHIVE, name: value}).watching is not None


@pytest.mark.parametrize("values", [{}, HOW])
def test_it_is_off(values: dict[str, str]) -> None:
    """Without any of them it does not run, and so costs nothing, whatever is set about how it would."""
    assert made.settings({**ARCHIVE, **values}).watching is None
