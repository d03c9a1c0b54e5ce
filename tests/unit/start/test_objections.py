"""What a start makes of the facts before it decides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrypoint import exits
from entrypoint.archive import fork
from entrypoint.errors import Failure
from entrypoint.server import programs
from entrypoint.server.context import Context
from entrypoint.start import objections, plan
from entrypoint.system.children import Children
from unit import made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.archive.fork import State


@pytest.mark.parametrize(
    ("state", "standby"), [(None, True), (fork.STANDBY, True), (fork.SUPERSEDED, True), (fork.READING, False)]
)
def test_an_old_primary_that_was_read_is_no_standby(
    tmp_path: Path, state: State | None, *, standby: bool
) -> None:
    """After ARCHIVE_FORK=readonly, standby.signal is ours, and a start does not warn about a standby."""
    made.cluster(tmp_path)
    if state is not None:
        fork.write(str(tmp_path), fork.Fork(state))
    found = made.facts(made.data_folder(path=str(tmp_path), has_cluster=True, standby=True))
    assert standby == objections.without_ours(found).data_folder.standby


_ARCHIVE = {"ARCHIVE_URL": "file:///archive"}


@pytest.mark.parametrize("env", [{}, {"RESTORE_ARCHIVE_URL": "file:///archive"}, _ARCHIVE])
@pytest.mark.parametrize("state", [fork.SUPERSEDED, fork.READING, fork.TAKING])
def test_an_old_primary_needs_its_archive(tmp_path: Path, state: State, env: dict[str, str]) -> None:
    """Without it, nobody would keep it from taking writes; nothing is changed."""
    made.cluster(tmp_path)
    noted = fork.Fork(state, what="another server was promoted", hint="choose one")
    fork.write(str(tmp_path), noted)
    signal = tmp_path / "standby.signal"
    if state == fork.READING:
        signal.touch()
    wanted = made.settings({**env, "PGDATA": str(tmp_path)})
    if env == _ARCHIVE:
        assert objections.gives_way(wanted)
        assert not signal.exists()
        return
    with pytest.raises(Failure) as refused:
        objections.gives_way(wanted)
    (problem,) = refused.value.problems
    assert (exits.SUPERSEDED, True) == (problem.code, "choose one; or," in problem.hint)
    assert noted == fork.read(str(tmp_path))
    assert (state == fork.READING) == signal.exists()


def test_an_old_primary_that_somebody_made_a_standby_serves_as_one(tmp_path: Path) -> None:
    """It takes no writes, so it needs no archive."""
    made.cluster(tmp_path)
    fork.write(str(tmp_path), fork.Fork(fork.SUPERSEDED, what="another server was promoted"))
    (tmp_path / "standby.signal").touch()
    assert objections.gives_way(made.settings({"PGDATA": str(tmp_path)}))
    known = fork.read(str(tmp_path))
    assert (fork.STANDBY, True) == (known and known.state, (tmp_path / "standby.signal").exists())


def test_a_cluster_without_a_rival_is_left_alone(tmp_path: Path) -> None:
    """No archive is needed to serve it."""
    made.cluster(tmp_path)
    assert not objections.gives_way(made.settings({"PGDATA": str(tmp_path)}))


@pytest.mark.parametrize("asked", ["off", "on"])
def test_an_unfinished_restore_of_an_older_major(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Children, asked: str
) -> None:
    """Only `entrypoint restore` continues it, by its own major's programs; a start names that command."""
    data = made.cluster(tmp_path / "data")
    for path, text in (("15/bin/postgres", "15.1"), ("17/bin/postgres", "17.1")):
        program = tmp_path / "home" / path
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {text}'\n")
        program.chmod(0o755)
    monkeypatch.setattr(programs, "HOME", str(tmp_path / "home"))
    wanted = made.settings({"PGDATA": str(data), "POSTGRES_UPGRADE": asked})
    path = f"{tmp_path}/home/17/bin:{os.environ['PATH']}"
    context = Context(wanted, children, made.POSTGRES, str(tmp_path), {"PATH": path, "PG_MAJOR": "17"})
    decided = plan.Plan(plan.RECOVER, discard=False, move_aside=False, refusals=(), warnings=())
    assert [] == objections.objections(context, decided, restore_only=True)
    (problem,) = objections.objections(context, decided)
    assert exits.UNFINISHED_RESTORE == problem.code
    assert "restore of a cluster of PostgreSQL 15 is not finished" in problem.what
    assert "entrypoint restore" in problem.hint


@pytest.mark.parametrize("kind", [plan.START, plan.RECOVER])
@pytest.mark.parametrize("restore_only", [True, False])
def test_an_image_without_a_server(
    tmp_path: Path, children: Children, kind: plan.Kind, *, restore_only: bool
) -> None:
    """It is one objection among others, so that all are named at once."""
    data = made.cluster(tmp_path / "data")
    wanted = made.settings({"PGDATA": str(data)})
    context = Context(wanted, children, made.POSTGRES, str(tmp_path), {"PATH": str(tmp_path)})
    decided = plan.Plan(kind, discard=False, move_aside=False, refusals=(), warnings=())
    (problem,) = objections.objections(context, decided, restore_only=restore_only)
    assert "postgres: command not found" == problem.what
