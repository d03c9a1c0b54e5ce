"""With a full /run, archiving continues, and messages about failures name the path."""

from __future__ import annotations

import json
from typing import Any

import pytest

import archives
from containers import FRESH, Container, serve, until, volume


def _status(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(container.exec("entrypoint", "archive", "status", "--json").stdout)
    return found


def _findings(container: Container, *checks: str) -> dict[str, str]:
    outcome = container.exec("entrypoint", "doctor", "--json", *checks, check=False, timeout=60)
    return {f"{each['check']} {each['level']}": each["found"] for each in json.loads(outcome.stdout)}


def _waits(container: Container) -> int:
    return int(_status(container)["backlog_segments"])


@pytest.mark.parametrize("tool", archives.TOOLS)
def test_a_full_run_folder(tool: str) -> None:
    """Segments are archived and can be read back; an outage is recorded, reported and ends; messages are clear."""
    env = {**FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": tool}
    with (
        volume() as archive,
        serve(
            env=env, volumes={"/archive": archive}, options=("--tmpfs", "/run:size=1m,mode=755")
        ) as container,
    ):
        until(lambda: _waits(container) == 0, "nothing waits")
        container.shell("head -c 2m /dev/zero >/run/full; true", user="0")
        container.sql("CREATE TABLE a AS SELECT 1; SELECT pg_switch_wal()")
        until(lambda: _waits(container) == 0, "a segment is archived")
        proof = json.loads(container.exec("entrypoint", "archive", "check", "--json", timeout=60).stdout)
        assert proof["compared"]
        container.shell("chmod -R a-w /archive", user="postgres")
        container.sql("CREATE TABLE b AS SELECT 1; SELECT pg_switch_wal()")
        until(lambda: _status(container)["failing_since"] is not None, "the outage is recorded")
        found = _findings(container, "archive backlog", "run folder")
        assert "archiving has failed since" in found["archive backlog error"]
        assert "/run/entrypoint has room for" in found["run folder error"]
        pushed = container.exec("entrypoint", "backup", "push", check=False)
        assert "archiving to file:///archive fails" in pushed.output
        container.shell("chmod -R u+w /archive", user="postgres")
        until(
            lambda: _waits(container) == 0 and _status(container)["failing_since"] is None,
            "everything is archived",
        )
        assert 0 == container.stop()
