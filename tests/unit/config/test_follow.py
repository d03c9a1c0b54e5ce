"""How a standby is created, how it follows, and when it cannot be promoted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from entrypoint.archive import fetching
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup
from entrypoint.backup import history
from entrypoint.backup.expire import expire
from entrypoint.backup.runs import Run
from entrypoint.config import follow
from entrypoint.errors import Failure, Problem
from entrypoint.restore import fetch, planning
from entrypoint.restore.choose import Choice
from entrypoint.server import control_file, sessions
from entrypoint.server.context import Context
from entrypoint.standby import promotion
from entrypoint.system.children import Children
from entrypoint.system.identity import current
from entrypoint.volume.facts import Following
from unit import made

STANDBY = {"STANDBY": "on", "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "wal-g"}


class _Children:
    """Gives the answers of the server's programs, one after the other, and keeps the command lines."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []

    def output(self, argv: list[str], *_: object, **__: object) -> tuple[int, str]:
        """Return the next answer."""
        self.asked.append(argv)
        return self.answers.pop(0)


def _context(folder: Path, values: Mapping[str, str], *answers: tuple[int, str]) -> Context:
    return Context(
        settings=made.settings({"PGDATA": str(folder), **values}),
        children=cast("Children", _Children(*answers)),
        who=current(),
        runtime_folder=str(folder / "run"),
        environment={"PATH": "/usr/bin"},
    )


def test_a_standby_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has one signal file, whatever the archiver or the backup adds, and none of our old records."""
    data = tmp_path / "data"
    data.mkdir()
    context = _context(data, STANDBY)
    backup = Backup("base_1", "full", "", "", 1, "0/1", "0/2", permanent=False, system_identifier="1")
    choice = Choice(
        backup, "", 1, "", "", inclusive=True, segments=1, earliest="", latest="", hole=None, last_segment=""
    )
    running = Run(kind="full", started="2026-11-23T02:00:00+00:00", why="schedule", url="file:///archive")

    def fetched(_: object, folder: str) -> int:
        made.cluster(Path(folder))
        for name in ("recovery.signal", "postmaster.pid"):
            Path(folder, name).write_text("15\n")
        Path(folder, ".entrypoint.archive").write_text("{}")  # from a backup of an earlier version
        history.RUNS.write(folder, [running._replace(outcome="ok", name="base_0"), running])
        return 0

    monkeypatch.setattr(fetch, "_fetch", fetched)
    request, source = context.settings.restore, context.settings.source
    assert request is not None
    assert source is not None
    plan = planning.Plan(OpenedArchive(context, source), request, choice, 1, 1)
    assert [] == fetch.restore(context, plan, [])
    names = ["PG_VERSION", "entrypoint.archive", "entrypoint.backups", "entrypoint.fork", "global"]
    assert [*names, "pg_wal", "standby.signal"] == sorted(os.listdir(data))
    assert ["base_0"] == [run.name for run in history.RUNS.read(str(data))]


def test_sources_of_a_standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With STANDBY=on it follows the archive and the primary; without it, only the archive, if there is one."""
    monkeypatch.setattr(OpenedArchive, "render", lambda *_: None)
    monkeypatch.setattr("entrypoint.archive.source.write_down_settings", lambda *_: None)
    monkeypatch.setattr(fetching, "prepare", lambda *_: None)
    monkeypatch.setattr(OpenedArchive, "server", made.SERVER)
    streams = {"STANDBY_PRIMARY_CONNINFO": "host=db", "STANDBY_SLOT": "a"}
    of_archive = ["recovery_target_timeline", "restore_command"]
    of_primary = ["primary_conninfo", "primary_slot_name"]
    archive = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "wal-g"}
    cases: tuple[tuple[Mapping[str, str], list[str]], ...] = (
        (STANDBY, ["hot_standby", *of_archive]),
        ({**STANDBY, **streams}, ["hot_standby", *of_primary, *of_archive]),
        ({"STANDBY": "on", **streams}, ["hot_standby", *of_primary, of_archive[0]]),
        (archive, of_archive),
        ({}, []),
    )
    for values, expected in cases:
        assert expected == sorted(follow.settings(_context(tmp_path, values)))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("0/3000060|12.5|t", Following("0/3000060", 12.5, "streaming")),
        ("0/3000060||f", Following("0/3000060", None, "archive")),
        ("something else", None),
        (None, None),
    ],
)
def test_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None, expected: Following | None
) -> None:
    """The server reports it; before the first transaction there is no time, and without an answer no result."""

    def query(*_: object, **__: object) -> str:
        if answer is None:
            raise sessions.Unreachable(Problem("no server", "start it"))
        return answer

    monkeypatch.setattr(sessions, "query", query)
    assert expected == promotion.look(_context(tmp_path, {}))


def _server(data: Path, word: str) -> None:
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n/run\n*\n0\n{word}\n")


@pytest.mark.parametrize(
    ("word", "signal", "expected"),
    [
        ("", "standby.signal", "no server runs"),
        ("ready", "", "is already a primary"),
        ("starting", "standby.signal", "cannot be promoted yet"),
    ],
)
def test_refused_promotions(tmp_path: Path, word: str, signal: str, expected: str) -> None:
    """Without a server, on a primary, and before a standby is consistent, when a promotion would end it."""
    if word:
        _server(tmp_path, word)
    if signal:
        (tmp_path / signal).touch()
    with pytest.raises(Failure) as refused:
        promotion.promote(_context(tmp_path, {}), 60)
    assert expected in refused.value.problems[0].what
    assert refused.value.problems[0].hint


def test_a_promotion_is_waited_for(tmp_path: Path) -> None:
    """It is waited for as long as requested; a promotion that is late may still happen."""
    _server(tmp_path, "ready")
    (tmp_path / "standby.signal").touch()
    context = _context(tmp_path, {}, (0, ""), (1, "pg_ctl: server did not promote in time\n"))
    promotion.promote(context, 7)
    with pytest.raises(Failure) as late:
        promotion.promote(context, 7)
    assert "not promoted within 7 seconds: pg_ctl: server did not" in late.value.problems[0].what
    argv = cast("_Children", context.children).asked[0]
    assert ["pg_ctl", "promote"] == argv[:2]
    assert "7" == argv[argv.index("--timeout") + 1]


def test_a_standby_removes_nothing_from_the_archive(tmp_path: Path) -> None:
    """The archive belongs to the primary, which may need files that seem too old here."""
    (tmp_path / "standby.signal").touch()
    context = _context(tmp_path, {**STANDBY, "BACKUP_RETAIN_FULL": "1"})
    archive = context.settings.archive
    assert archive is not None
    with pytest.raises(Failure) as refused:
        expire(OpenedArchive(context, archive), dry_run=False)
    assert "nothing is removed" in refused.value.problems[0].what


def test_there_must_be_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive without a backup is refused, and the hint is to take one, not to create a new database."""
    monkeypatch.setattr(OpenedArchive, "list_backups", lambda *_: [])
    context = _context(tmp_path, STANDBY)
    request, source = context.settings.restore, context.settings.source
    assert request is not None
    assert source is not None
    with pytest.raises(Failure) as refused:
        planning._candidates(OpenedArchive(context, source), request)
    assert "no backup to build the standby from" in refused.value.problems[0].what
    assert "entrypoint backup push" in refused.value.problems[0].hint


@pytest.mark.parametrize(
    ("state", "signal", "expected"),
    [
        ("in archive recovery", "", True),
        ("shut down in recovery", "", True),
        ("shut down in recovery", "standby.signal", False),
        ("in archive recovery", "recovery.signal", False),
        ("in production", "", False),
        ("shut down", "", False),
    ],
)
def test_an_interrupted_promotion_is_recognized(
    tmp_path: Path, state: str, signal: str, *, expected: bool
) -> None:
    """The signal file is gone, but the server was not a primary yet; a primary is never mistaken for this."""
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "pg_control").touch()
    if signal:
        (tmp_path / signal).touch()
    context = _context(tmp_path, STANDBY, (0, f"Database cluster state:               {state}\n"))
    assert expected == control_file.is_half_promoted(context)
