"""Where the data is that an upgrade finds, if the image's own folder is another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.postgres import cluster
from entrypoint.volume import elsewhere


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /var/lib/postgresql."""
    monkeypatch.setattr(cluster, "HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["data/PG_VERSION"], "data"),
        (["17/docker/PG_VERSION"], "17/docker"),
        (["PG_VERSION"], "."),
        ([], "18/docker"),
        (["data/other"], "18/docker"),
        (["data/PG_VERSION", "17/docker/PG_VERSION"], "18/docker"),
        (["data/PG_VERSION", "18/docker/PG_VERSION"], "18/docker"),
        (["data/PG_VERSION", "18/docker/entrypoint.unfinished"], "18/docker"),
    ],
)
def test_the_only_data_there_is(home: Path, there: list[str], expected: str) -> None:
    """Two clusters are no reason to choose, and a folder that is in use is never left."""
    for name in there:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("15\n")
    environ = {"PGDATA": f"{home}/18/docker", "PG_MAJOR": "18", "POSTGRES_UPGRADE": "on"}
    elsewhere.follow(environ)
    assert home / expected == Path(environ["PGDATA"])


@pytest.mark.parametrize(
    "change", [{"POSTGRES_UPGRADE": "off"}, {"PG_MAJOR": "17"}, {"PGDATA": "/elsewhere"}]
)
def test_a_folder_that_somebody_chose_stays(home: Path, change: dict[str, str]) -> None:
    """Without the request to upgrade, a start refuses and names the folder."""
    (home / "data").mkdir()
    (home / "data/PG_VERSION").write_text("15\n")
    environ = {"PGDATA": f"{home}/18/docker", "PG_MAJOR": "18", "POSTGRES_UPGRADE": "on", **change}
    before = dict(environ)
    elsewhere.follow(environ)
    assert before == environ
