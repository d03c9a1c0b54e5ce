"""Which processes PID 1 runs next to the server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from entrypoint.pid1 import lifecycle
from entrypoint.pid1.handoff import HelperSpec
from entrypoint.server.context import Context
from entrypoint.start import helpers
from entrypoint.system.children import Children
from entrypoint.system.identity import current
from entrypoint.volume import probe
from unit import made

ARCHIVE = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}


def _specs(folder: Path, values: Mapping[str, str], *, first: bool = False) -> dict[str, HelperSpec]:
    context = Context(
        settings=made.settings({"PGDATA": str(folder), **values}),
        children=cast("Children", None),
        who=current(),
        runtime_folder=str(folder / "run"),
        environment={"PATH": "/usr/bin", "POSTGRES_PASSWORD": "secret"},
    )
    assert helpers.start_watch(context) is None
    found = helpers.specs(context, first=first)
    for helper in found:
        if helper.stdin is not None:
            os.close(helper.stdin)
    assert [] == [helper for helper in found if "secret" in str(helper)]
    return {helper.role: helper for helper in found}


@pytest.mark.parametrize(
    ("values", "first", "expected"),
    [
        ({}, True, []),
        ({}, False, [lifecycle.PASSWORD]),
        ({"POSTGRES_EXTENSIONS": "pg_trgm"}, True, [lifecycle.STARTDB]),
        ({"POSTGRES_CONF_work_mem": "4MB"}, True, [lifecycle.RELOAD]),
        (ARCHIVE, True, [lifecycle.RELOAD, lifecycle.LOOK]),
        (
            {**ARCHIVE, "BACKUP_SCHEDULE": "0 2 * * *", "DRILL_SCHEDULE": "0 4 * * 0"},
            True,
            [lifecycle.RELOAD, lifecycle.LOOK, lifecycle.BACKUPS, lifecycle.DRILLS],
        ),
    ],
)
def test_each_setting_has_its_helper(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    values: Mapping[str, str],
    expected: list[str],
    *,
    first: bool,
) -> None:
    """A normal first start has only the helper for a smart shutdown."""
    monkeypatch.setattr(probe, "STARTDB_FOLDER", str(tmp_path / "none"))
    assert [lifecycle.CHECKPOINT, *expected, lifecycle.FULL_DISK] == list(
        _specs(tmp_path, values, first=first)
    )


def test_a_standby_runs_no_start_helper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The work of every start writes to the database; the log names what was skipped."""
    monkeypatch.setattr(probe, "STARTDB_FOLDER", str(tmp_path / "none"))
    (tmp_path / "standby.signal").touch()
    assert [lifecycle.CHECKPOINT, lifecycle.FULL_DISK] == list(
        _specs(tmp_path, {"POSTGRES_EXTENSIONS": "pg_trgm"})
    )
    assert "skipped on a standby" in capfd.readouterr().err


def test_the_password_helper_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing passwords does not make a start slower."""
    monkeypatch.setattr(probe, "STARTDB_FOLDER", str(tmp_path / "none"))
    assert ["nice", "-n", "19"] == _specs(tmp_path, {})[lifecycle.PASSWORD].argv[:3]
