"""What the container leaves on its volume and in its runtime folder is on the page of files."""

from __future__ import annotations

import fnmatch
import re

import pytest

from containers import FRESH, in_volume, serve
from repository import REPOSITORY

PAGE = (REPOSITORY / "docs/reference/files.md").read_text(encoding="utf-8")
ROWS = [name.rstrip("/") for cell in re.findall(r"(?m)^\| `([^`]+)`", PAGE) for name in cell.split(", ")]
PATTERNS = [re.sub(r"\b(TIME|PID|LEVEL)\b", "*", name) for name in ROWS]


@pytest.mark.better
def test_every_file_is_on_the_page(volume: str) -> None:
    """After backups, a drill, checks and a restart, no name in PGDATA or in /run/entrypoint is missing on the page."""
    env = {
        **FRESH,
        "ARCHIVE_URL": "file:///volume/archive",
        "BACKUP_SCHEDULE": "0 3 * * *",
        "BACKUP_VERIFY": "content",
        "DRILL_SCHEDULE": "0 4 * * 0",
        "POSTGRES_TUNE": "auto",
        "POSTGRES_CONF_work_mem": "8MB",
        "POSTGRES_HOST_AUTH_METHOD": "scram-sha-256",
    }
    in_volume(volume, "install --directory --owner=postgres archive")
    with serve(env=env, volumes={"/volume": volume}) as container:
        for command in ("backup push", "backup drill", "archive check", "collation check", "config diff"):
            container.exec("entrypoint", *command.split(), timeout=120)
        assert 0 == container.stop()
        container.again()
        # a file is written under its name with .new, and renamed
        names = [
            name.removesuffix(".new")
            for name in container.shell('ls -A /run/entrypoint; cd "$PGDATA"; ls -d entrypoint*').split()
        ]
    assert {"status", "settings.json", "entrypoint.backups", "entrypoint.stops"} <= set(names)
    assert [] == [name for name in names if not any(fnmatch.fnmatch(name, row) for row in PATTERNS)]
