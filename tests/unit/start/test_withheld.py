"""Messages about PGPASSWORD, and about an archive of the other tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.archive.storage import storage_problem
from entrypoint.archivers.known import adapter
from entrypoint.archivers.terms import Storage
from entrypoint.server.context import Context
from entrypoint.settings.archiving import Archive
from entrypoint.start import withheld
from unit import made

HANDS_ON = "POSTGRES_ENVIRONMENT=PGPASSWORD"


def _context(folder: Path, values: dict[str, str]) -> Context:
    settings = made.settings({"PGDATA": str(folder), **values})
    return Context(settings, None, None, "/nowhere", dict(settings.values))  # type: ignore[arg-type]


def _say(folder: Path, capfd: pytest.CaptureFixture[str], values: dict[str, str] | None = None) -> str:
    (folder / "postgresql.conf").touch()
    withheld.say_password(_context(folder, {"PGPASSWORD": "geheim", **(values or {})}))
    said = capfd.readouterr().err
    assert "geheim" not in said
    return said


def test_a_primary(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line names the variable: nobody can know whether the server makes connections of its own."""
    (line,) = _say(tmp_path, capfd).splitlines()
    assert "entrypoint: info: PGPASSWORD is not in the server's environment" in line
    assert "dblink" in line
    assert HANDS_ON in line


@pytest.mark.parametrize("file", ["postgresql.conf", "postgresql.auto.conf"])
def test_a_standby_without_a_password(tmp_path: Path, capfd: pytest.CaptureFixture[str], file: str) -> None:
    """It would never stream: a warning, wherever its primary is set."""
    (tmp_path / "standby.signal").touch()
    (tmp_path / file).write_text("primary_conninfo = 'host=first user=copier'\n")
    said = _say(tmp_path, capfd)
    assert "entrypoint: warning: " in said
    assert "the connection to the primary" in said
    assert HANDS_ON in said


def test_a_standby_of_variables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The server also makes the connection in STANDBY_PRIMARY_CONNINFO."""
    (tmp_path / "standby.signal").touch()
    values = {"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": "postgres://me@first"}
    assert HANDS_ON in _say(tmp_path, capfd, values)


@pytest.mark.parametrize(
    "conninfo",
    ["host=a password=x", "postgres://me:x@a/", "host=a passfile=/x", ""],
    ids=["word", "uri", "file", "none"],
)
def test_no_message_for_others(tmp_path: Path, capfd: pytest.CaptureFixture[str], conninfo: str) -> None:
    """There is none for a standby that has its password, or only follows the archive."""
    (tmp_path / "standby.signal").touch()
    (tmp_path / "postgresql.auto.conf").write_text(f"primary_conninfo = '{conninfo}'\n")
    assert "" == _say(tmp_path, capfd)


def _archive(values: dict[str, str]) -> Archive:
    found = made.settings(values).archive
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("values", "other"),
    [
        ({"ARCHIVE_URL": "file://FOLDER", "ARCHIVE_TOOL": "pgbackrest"}, "wal-g"),
        ({"ARCHIVE_URL": "file://FOLDER", "ARCHIVE_TOOL": "wal-g"}, "pgbackrest"),
        ({"WALG_FILE_PREFIX": "FOLDER"}, "pgbackrest"),
        ({"PGBACKREST_REPO1_PATH": "FOLDER"}, "wal-g"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "RESTORE_"])
def test_the_other_tools_archive(tmp_path: Path, values: dict[str, str], other: str, prefix: str) -> None:
    """The message names the tool and the variable that chooses it; if the tool's own variables name the storage, the way out."""
    for name in adapter(other, {}).top_folders:
        (tmp_path / name).mkdir()
    wanted = _archive({name: value.replace("FOLDER", str(tmp_path)) for name, value in values.items()})
    problem = storage_problem(wanted, to_write=False, of_source=bool(prefix))
    assert problem is not None
    assert f"an archive of another tool, {other} (" in problem.what
    assert f"set {prefix}ARCHIVE_TOOL={other}" in problem.hint
    own = not wanted.storage.from_url
    assert own == (f"and {prefix}ARCHIVE_URL=file://{tmp_path} in place of the {prefix}" in problem.hint)
    assert Storage(f"file://{tmp_path}", str(tmp_path), from_url=not own) == wanted.storage
