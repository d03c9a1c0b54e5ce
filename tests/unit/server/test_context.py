"""The server's environment, and what an archiver must know about the server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from entrypoint import exits
from entrypoint.archive.calls import describe_server
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup
from entrypoint.errors import Failure
from entrypoint.restore import fetch, planning
from entrypoint.restore.choose import Choice
from entrypoint.server import programs
from entrypoint.server.context import Context, helper_environment, server_environment, withheld_variables
from entrypoint.server.data_folder import read_postmaster
from entrypoint.volume.unfinished import Unfinished
from unit import made
from unit.made import NO_CHILDREN, POSTGRES


def _context(
    values: Mapping[str, str] | None = None, arguments: Sequence[str] = (), *, stepped_down: bool = True
) -> Context:
    wanted = made.settings(values, arguments)
    return Context(
        settings=wanted,
        children=NO_CHILDREN,
        who=POSTGRES,
        runtime_folder="/run/entrypoint",
        environment=helper_environment(wanted, POSTGRES, stepped_down=stepped_down),
    )


def test_helpers_see_what_the_official_image_shows_them() -> None:
    """Init files get the official variables, even those that have only a default, and their user's home."""
    environment = _context(
        {"MINE": "1", "ENTRYPOINT_HANDOFF": "3", "HOME": "/root", "PGDATA": "/data/"}
    ).environment
    expected = {
        "PGDATA": "/data",
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": "secret",
        "POSTGRES_DB": "postgres",
        "POSTGRES_INITDB_ARGS": "",
        "POSTGRES_HOST_AUTH_METHOD": "",
        "MINE": "1",
        "HOME": "/var/lib/postgresql",
    }
    assert expected == environment


def test_without_root_home_stays_unchanged() -> None:
    """With --user the environment is the user's own."""
    assert "/mine" == _context({"HOME": "/mine"}, stepped_down=False).environment["HOME"]


def _server_environment(values: Mapping[str, str], arguments: Sequence[str] = ()) -> set[str]:
    context = _context(values, arguments)
    return set(server_environment(context.settings, context.environment)) - {"HOME", "PGDATA"}


def test_variables_that_nobody_here_knows_are_withheld() -> None:
    """They are named, unless no program could have meant them: Docker Compose 1 adds one of these."""
    archive = {"ARCHIVE_URL": "file:///archive", "APP_KEY": "x", "affinity:container": "=7"}
    context = _context(archive)
    assert ["APP_KEY"] == withheld_variables(context.settings, context.environment)


SECRETS = {"PGPASSWORD": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "x", "AWS_ACCESS_KEY_ID": "x"}


@pytest.mark.parametrize(
    ("values", "arguments", "expected"),
    [
        ({"MINE": "1", "PGUSER": "u", "PGPASSWORD": "x"}, [], {"MINE", "PGUSER"}),
        # without an archive these belong to another program
        ({"AWS_REGION": "x", "OS_USERNAME": "x"}, [], {"AWS_REGION", "OS_USERNAME"}),
        ({"ARCHIVE_URL": "s3://bucket", "ARCHIVE_TOOL": "wal-g", "WALG_PGP_KEY": "x", **SECRETS}, [], set()),
        (
            {"ARCHIVE_URL": "s3://bucket", "ARCHIVE_TOOL": "pgbackrest", "PGBACKREST_STANZA": "x", **SECRETS},
            [],
            set(),
        ),
        # the user's own archive_command needs them
        (
            {"WALG_FILE_PREFIX": "/x", "AWS_REGION": "x"},
            ["-c", "archive_command=x"],
            {"WALG_FILE_PREFIX", "AWS_REGION"},
        ),
    ],
)
def test_no_secret_is_in_the_servers_environment(
    values: dict[str, str], arguments: list[str], expected: set[str]
) -> None:
    """The server gets neither POSTGRES_* nor the archiver's secrets; everything else is passed on."""
    assert expected == _server_environment(values, arguments)


@pytest.mark.parametrize(
    ("values", "arguments", "expected"),
    [
        ({}, [], "5432"),
        ({"PGPORT": "6000"}, [], "6000"),
        ({"PGPORT": "6000"}, ["-p", "5433"], "5433"),
        ({}, ["-c", "port=5433"], "5433"),
        ({"PGPORT": "6000", "POSTGRES_CONF_port": "5433"}, [], "5433"),
        ({"POSTGRES_CONF_port": "5433"}, ["--port=5434"], "5434"),
    ],
)
def test_an_archiver_finds_the_servers_port(
    values: dict[str, str], arguments: list[str], expected: str
) -> None:
    """A base backup needs a connection, so the port must be the one that the server will really have."""
    assert expected == describe_server(_context(values, arguments)).port


def test_an_archiver_finds_the_server() -> None:
    """These are the other facts that an archiver needs; without a cluster a segment has the default size."""
    found = describe_server(_context({"POSTGRES_USER": "admin"}))
    assert ("/data", "admin", "/run/entrypoint", 16 * 1024**2) == (
        found.data_folder,
        found.user,
        found.runtime_folder,
        found.segment_bytes,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", None), ("1\n", None), (made.sample("postmaster.pid"), 30736)],
)
def test_postmaster_is_read(tmp_path: Path, text: str, expected: int | None) -> None:
    """A missing or half-written postmaster.pid means that there is no server."""
    assert read_postmaster(str(tmp_path)) is None
    (tmp_path / "postmaster.pid").write_text(text)
    found = read_postmaster(str(tmp_path))
    assert expected == (found.pid if found else None)


def test_an_unfinished_first_start_can_be_replaced_by_a_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With POSTGRES_INIT_UNFINISHED=restart and RESTORE_FROM it is moved aside, and a backup is fetched."""
    from entrypoint.start import startup
    from entrypoint.start.plan import RESTORE, Plan

    folder = str(tmp_path)
    unfinished = Unfinished(folder)
    unfinished.begin()
    unfinished.enter("files")
    (tmp_path / "PG_VERSION").write_text("15\n")
    context = _context({"PGDATA": folder, "ARCHIVE_URL": "file:///archive", "RESTORE_FROM": "LATEST"})
    fetched: list[str] = []

    def fail(_: object, folder: str) -> int:
        fetched.append(folder)
        return 1

    backup = Backup("base_1", "full", "", "", 1, "0/1", "0/2", permanent=False, system_identifier="1")
    choice = Choice(
        backup, "", 1, "", "", inclusive=True, segments=1, earliest="", latest="", hole=None, last_segment=""
    )
    request, source = context.settings.restore, context.settings.source
    assert request is not None
    assert source is not None
    plan = planning.Plan(OpenedArchive(context, source), request, choice, 1, 1)
    monkeypatch.setattr(planning, "look", lambda *_: plan)
    monkeypatch.setattr(fetch, "_fetch", fail)
    context = context._replace(runtime_folder=str(tmp_path / "none"))
    decided = Plan(kind=RESTORE, discard=False, move_aside=True, refusals=(), warnings=())
    with pytest.raises(Failure) as failed:
        startup._make(context, decided, [])
    assert exits.ARCHIVE_REFUSED == failed.value.code
    assert [f"{folder}/entrypoint.unfinished/cluster"] == fetched
    (aside,) = (name for name in os.listdir(folder) if name.startswith("unfinished-"))
    assert "PG_VERSION" in os.listdir(tmp_path / aside)


@pytest.mark.parametrize(
    ("share", "library"),
    [("share/postgresql", "lib"), ("share/postgresql", "lib/postgresql"), ("share", "lib")],
    ids=["nixpkgs", "alpine", "from source"],
)
def test_folders_of_the_server(tmp_path: Path, share: str, library: str) -> None:
    """The folders next to the program's path, which may be a link, come before those next to its target."""
    called, target = tmp_path / "environment", tmp_path / "package"
    for prefix in (called, target):
        for place in ("bin", share, library):
            (prefix / place).mkdir(parents=True)
        (prefix / share / "postgresql.conf.sample").write_text("listen_addresses = '*'\n")
    (target / "bin/postgres").write_text("")
    (target / "bin/postgres").chmod(0o755)
    (target / library / "only_there.so").write_text("")
    (called / "bin/postgres").symlink_to(target / "bin/postgres")
    context = _context({"PATH": f"{called}/bin"})
    assert f"{called}/{share}" == programs.folder_with("postgresql.conf.sample", context)
    assert f"{target}/{library}" == programs.folder_with("only_there.so", context)
    assert "" == programs.folder_with("nowhere.so", context)
    assert "" == programs.folder_with("postgresql.conf.sample", _context({"PATH": "/nowhere"}))
