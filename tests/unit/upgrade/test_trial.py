"""Whether the archiver knows the new cluster's major version."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrypoint.server.context import Context
from entrypoint.system.children import Children
from entrypoint.system.identity import current
from entrypoint.upgrade import trial, underway
from unit import made


@pytest.mark.parametrize(
    ("code", "level", "words"),
    [
        (0, "ok", "pgbackrest archives PostgreSQL 19"),
        (46, "error", "pgBackRest does not know this major version"),
        (41, "error", "cannot archive the new cluster (exit code 41):\nsaid"),
    ],
)
def test_a_new_archive_is_tried(
    tmp_path: Path, children: Children, code: int, level: str, words: str
) -> None:
    """It is made of the new cluster, next to it, and nothing of it stays; the real archive is not touched."""
    data, new = made.cluster(tmp_path / "data"), made.cluster(tmp_path / "new", 8)
    Path(underway.work(str(data))).mkdir(parents=True)
    program, seen = tmp_path / "bin/pgbackrest", tmp_path / "seen"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >{seen}\necho said >&2\nexit {code}\n')
    program.chmod(0o755)
    wanted = made.settings(
        {"PGDATA": str(data), "ARCHIVE_URL": "file:///nowhere"}, programs={"pgbackrest": True, "wal-g": False}
    )
    path = f"{program.parent}:{os.environ['PATH']}"
    context = Context(wanted, children, current(), str(tmp_path), {"PATH": path, "PG_MAJOR": "19"})
    (finding,) = trial.archiver(context, str(new))
    assert level == finding.level
    assert words in finding.found
    said = seen.read_text()
    assert f"--pg1-path={new} --repo1-path={underway.work(str(data))}/archive/repo" in said
    assert "/nowhere" not in said
    assert [] == os.listdir(underway.work(str(data)))


def test_a_tool_that_asks_no_version(tmp_path: Path, children: Children) -> None:
    """wal-g copies files of any major version; without an archive there is nothing to ask."""
    wanted = made.settings({"ARCHIVE_URL": "file:///nowhere", "ARCHIVE_TOOL": "wal-g"})
    context = Context(wanted, children, current(), str(tmp_path), {"PG_MAJOR": "19"})
    assert ["ok"] == [each.level for each in trial.archiver(context, "/new")]
    assert [] == trial.archiver(context._replace(settings=made.settings()), "/new")
