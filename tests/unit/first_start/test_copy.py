"""When a start may copy the image's cluster; a folder here stands in for the server's own files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from entrypoint.first_start import copy
from entrypoint.server.context import Context, helper_environment
from layout import layout_of
from repository import REPOSITORY
from unit import made
from unit.made import NO_CHILDREN, POSTGRES


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with programs, files of the server and a template that was made from them."""
    for path in ("bin/initdb", "bin/postgres"):
        program = tmp_path / path
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    for path in ("share/postgres.bki", "share/postgresql.conf.sample", "share/extension/plpgsql.control"):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("as it came\n")
    (tmp_path / "locales").write_text("en_US\n")
    (tmp_path / "template/cluster").mkdir(parents=True)
    (tmp_path / "template/cluster/PG_VERSION").write_text("17\n")
    share, locales = f"{tmp_path}/share", f"{tmp_path}/locales"
    described = copy.describe(_context(tmp_path).environment, share, locales)
    (tmp_path / "template/made-from").write_text(f"{share}\t{locales}\t256\t288\tscram-sha-256\n{described}")
    monkeypatch.setattr(os, "access", lambda *_: True)
    return tmp_path


def _context(image: Path, **values: str) -> Context:
    wanted = made.settings({"PATH": f"{image}/bin", "LANG": "en_US.utf8", **values})
    environment = helper_environment(wanted, POSTGRES, stepped_down=True)
    return Context(wanted, NO_CHILDREN, POSTGRES, "/run/entrypoint", environment)


def _found(image: Path, arguments: Sequence[str] = (), **values: str) -> copy.Template | None:
    return copy.find(_context(image, **values), arguments, f"{image}/template")


def test_a_usual_start_gets_a_copy(image: Path) -> None:
    """A start without special requests gets a copy, with or without data checksums."""
    plain = copy.Template(f"{image}/template/pg_control", 256, 288, "scram-sha-256")
    assert plain == _found(image)
    assert plain == _found(image, ["--no-sync"], POSTGRES_USER="app", POSTGRES_DB="x", LC_ALL="")
    with_checksums = plain._replace(control=f"{image}/template/cluster/global/pg_control")
    assert with_checksums == _found(image, ["--data-checksums"])


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["--locale=C"], {}),
        (["--encoding=UTF8"], {}),
        (["--auth-host=md5"], {}),
        (["--wal-segsize=64"], {}),
        (["--allow-group-access"], {}),
        (["--no-data-checksums"], {}),
        (["-D", "/elsewhere"], {}),
        ([], {"POSTGRES_INITDB_WALDIR": "/wal"}),
        ([], {"POSTGRES_USER": "pg_mine"}),
        ([], {"POSTGRES_USER": 'x"y'}),
        ([], {"LANG": "C.UTF-8"}),
        ([], {"LC_COLLATE": "C"}),
        ([], {"TZ": "Europe/Berlin"}),
    ],
    ids=str,
)
def test_other_starts_get_initdb(image: Path, arguments: list[str], values: dict[str, str]) -> None:
    """A cluster that cannot be a copy is made by initdb."""
    assert _found(image, arguments, **values) is None


@pytest.mark.parametrize("name", ["bin/initdb", "bin/postgres", "share/postgresql.conf.sample", "locales"])
def test_after_a_change_initdb_runs(image: Path, name: str) -> None:
    """A template is not used with another program, sample file or locale archive than it was made from."""
    assert _found(image) is not None
    (image / name).write_text("changed\n")
    assert _found(image) is None


def test_another_initdb_is_not_bypassed(image: Path) -> None:
    """A user who puts another initdb first on PATH wants it to run."""
    (image / "own").mkdir()
    (image / "own/initdb").write_text("#!/bin/sh\n")
    (image / "own/initdb").chmod(0o755)
    assert _found(image, PATH=f"{image}/own:{image}/bin") is None


def test_an_image_without_a_template(image: Path) -> None:
    """There initdb runs."""
    (image / "template/made-from").unlink()
    assert _found(image) is None


def test_the_folder_is_that_of_the_layout() -> None:
    """The program looks where image/layout.json says, and the Dockerfile makes the template there."""
    assert "@template@" == layout_of(17)["store"]["system"][copy.FOLDER]
    assert "RUN entrypoint internal template\n" in (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
