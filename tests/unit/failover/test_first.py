"""The first start that Patroni runs: when it refuses, and what it leaves for PID 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrypoint import exits
from entrypoint.errors import Failure
from entrypoint.failover import first
from entrypoint.pid1 import status
from entrypoint.server import opening
from entrypoint.server.context import SETTINGS_VARIABLE, Context
from entrypoint.system.identity import current
from unit import made


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder of a start that has prepared a first start of a folder `data`."""
    folder, data = tmp_path / "run", tmp_path / "data"
    folder.mkdir()
    data.mkdir()
    # The test keeps its rights, which the real one gives up.
    context = Context(made.settings({"PGDATA": str(data)}), made.NO_CHILDREN, current(), str(folder), {})
    monkeypatch.setattr(opening, "command_context", lambda _: context)
    monkeypatch.setenv(SETTINGS_VARIABLE, f"{folder}/settings.json")
    values = {**made.PLAIN, "PGDATA": str(data)}
    kept = {"values": values, "environment": values, "arguments": []}
    (folder / f"{status.FIRST_START}.json").write_text(json.dumps(kept))
    return folder


def test_only_patroni_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the folder of a start there is nothing to do."""
    monkeypatch.delenv(SETTINGS_VARIABLE, raising=False)
    with pytest.raises(Failure, match="for Patroni only"):
        first.run([])


def test_another_folder(run: Path) -> None:
    """If Patroni has another data folder, nothing is begun."""
    with pytest.raises(Failure, match="Patroni's data folder is not"):
        first.run(["--scope=shop", "--datadir=/other"])
    assert not (run / status.FIRST_START).exists()


def test_a_database_is_never_replaced(run: Path) -> None:
    """What is in the folder stays, and PID 1 learns that the result must not be served."""
    data = made.cluster(run.parent / "data")
    with pytest.raises(Failure, match="holds a database"):
        first.run([f"--datadir={data}"])
    assert f"{exits.UNFINISHED_FIRST_START}\n" == (run / status.FIRST_START).read_text()
    assert (data / "PG_VERSION").exists()


def test_a_node_with_a_database_creates_none(run: Path) -> None:
    """Its start has prepared no first start; Patroni asks for one if the folder was emptied meanwhile."""
    (run / f"{status.FIRST_START}.json").unlink()
    with pytest.raises(Failure, match="so it makes none"):
        first.run([f"--datadir={run.parent}/data"])
