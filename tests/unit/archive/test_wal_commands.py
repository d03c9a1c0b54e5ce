"""The rendered settings files and commands."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jinja2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entrypoint import templates
from entrypoint.archive import wal_commands
from entrypoint.config import render
from entrypoint.postgres.sql import conf_value
from entrypoint.settings.archiving import Archive
from unit import made
from unit.made import SERVER

PATH = "/usr/local/bin:/usr/bin:/bin"
# Characters that a path or a value may contain and that the shell, PostgreSQL's lexer or placeholders treat
# specially.
NASTY = st.text(st.sampled_from("ab'\"\\%pf$`;#&|<>*?~! \t=/ü"), min_size=1, max_size=12)


def _archive(**values: str) -> Archive:
    archive = made.settings({"ARCHIVE_URL": "file:///archive", **values}).archive
    assert archive is not None
    return archive


def _read_conf_value(text: str) -> str:
    """Read a quoted value as PostgreSQL does (postgres/postgres:src/backend/utils/misc/guc-file.l)."""
    assert text[0] == text[-1] == "'"
    found, rest = "", text[1:-1]
    while rest:
        if rest[0] == "\\":
            assert rest[1] not in "bfnrt01234567"
            found, rest = found + rest[1], rest[2:]
        elif rest[0] == "'":
            assert rest[1] == "'"
            found, rest = found + "'", rest[2:]
        else:
            found, rest = found + rest[0], rest[1:]
    return found


@given(st.text())
def test_a_quoted_value_is_read_back(text: str) -> None:
    """PostgreSQL reads exactly the value that was quoted."""
    assert text == _read_conf_value(conf_value(text))


def test_an_unknown_name_in_a_template_is_an_error() -> None:
    """A typo in a template must not become an empty setting."""
    with pytest.raises(jinja2.UndefinedError):
        templates.render("pgbackrest.conf", options={}, server=SERVER)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_postgresql_conf_has_the_variables() -> None:
    """The cluster's own file is included first, so that the variables override it."""
    wanted = made.settings(
        {"POSTGRES_CONF_work_mem": "4MB", "POSTGRES_CONF_a.b": "it's", "POSTGRES_CONF_Z": ""}
    )
    expected = [
        "include '/var/lib/postgresql/data/postgresql.conf'",
        "a.b = 'it''s'",
        "work_mem = '4MB'",
        "z = ''",
    ]
    assert expected == _lines(render.postgresql_conf(wanted, None, SERVER, PATH, None))


def test_postgresql_conf_has_everything_in_order() -> None:
    """Base file, archiving, variables, the user's folder: in this order, later lines override earlier ones."""
    wanted = made.settings(
        {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TIMEOUT": "5min", "POSTGRES_CONF_wal_level": "logical"},
        ["-c", "config_file=/etc/my.conf"],
    )
    text = render.postgresql_conf(
        wanted, wanted.archive, SERVER, PATH, "/docker-entrypoint-conf.d", chosen="/run/chosen.conf"
    )
    names = [line.split(" ")[0] for line in _lines(text)]
    expected = [
        "include",
        "include",
        "wal_level",
        "archive_mode",
        "archive_command",
        "archive_timeout",
        "wal_level",
    ]
    assert [*expected, "include_dir"] == names
    assert ["include '/etc/my.conf'", "include '/run/chosen.conf'"] == _lines(text)[:2]
    assert "archive_timeout = '5min'" == _lines(text)[5]
    assert "include_dir '/docker-entrypoint-conf.d'" == _lines(text)[-1]
    assert "# WAL archiving to file:///archive" in text.splitlines()


def test_the_user_overrides_the_settings_of_a_standby() -> None:
    """The settings for following come before the user's variables."""
    wanted = made.settings({"POSTGRES_CONF_hot_standby": "off"})
    following = {"hot_standby": "on", "primary_conninfo": "host=db password='a b'"}
    expected = [
        "include '/var/lib/postgresql/data/postgresql.conf'",
        "hot_standby = 'on'",
        "primary_conninfo = 'host=db password=''a b'''",
        "hot_standby = 'off'",
    ]
    assert expected == _lines(render.postgresql_conf(wanted, None, SERVER, PATH, None, following=following))


def test_no_secret_is_rendered_for_the_server() -> None:
    """Every superuser of the database can read postgresql.conf, so the archiver's secrets are not in it."""
    values = {"ARCHIVE_URL": "s3://bucket", "ARCHIVE_TOOL": "wal-g", "AWS_SECRET_ACCESS_KEY": "hidden"}
    wanted = made.settings(values)
    assert "hidden" not in render.postgresql_conf(wanted, wanted.archive, SERVER, PATH, None)


def test_walg_json_has_the_settings() -> None:
    """wal-g's file is valid JSON with any characters in the values."""
    values = {
        "ARCHIVE_URL": "file:///archive",
        "ARCHIVE_TOOL": "wal-g",
        "WALG_SENTINEL_USER_DATA": '{"a": "ü\'<&>"}',
    }
    wanted = made.settings(values)
    assert wanted.archive is not None
    found = json.loads(wal_commands.archiver_conf(wanted, wanted.archive, SERVER))
    assert ('{"a": "ü\'<&>"}', "/archive") == (found["WALG_SENTINEL_USER_DATA"], found["WALG_FILE_PREFIX"])


def _pgbackrest_conf(**values: str) -> list[str]:
    wanted = made.settings({"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest", **values})
    assert wanted.archive is not None
    return _lines(wal_commands.archiver_conf(wanted, wanted.archive, SERVER))


def test_pgbackrest_conf_has_the_server_in_its_stanza() -> None:
    """The options of all stanzas are in the global section, the server in the section of our stanza."""
    found = _pgbackrest_conf(PGBACKREST_STANZA="mine", PGBACKREST_REPO1_CIPHER_PASS="a b=c#d")
    assert "[global]" == found[0]
    assert "repo1-cipher-pass=a b=c#d" in found
    assert "repo1-path=/archive" in found
    expected = [
        "[mine]",
        "pg1-path=/var/lib/postgresql/data",
        "pg1-socket-path=/var/run/postgresql",
        "pg1-port=5432",
        "pg1-user=postgres",
    ]
    assert expected == found[-5:]


_RESERVE = ("exclude=pg_wal/entrypoint.reserve", "exclude=pg_stat_tmp/entrypoint.reserve")
"""Always left out."""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("EXCLUDE", "log:base/2", ["exclude=log", "exclude=base/2", *_RESERVE]),
        ("DB_INCLUDE", "a:b", ["db-include=a", "db-include=b"]),
        ("ANNOTATION", "a=b:c=d", ["annotation=a=b", "annotation=c=d"]),
        ("TABLESPACE_MAP", "1=/b:2=/c", ["tablespace-map=1=/b", "tablespace-map=2=/c"]),
        ("REPO1_S3_ENDPOINT", "https://host:9000", ["repo1-s3-endpoint=https://host:9000"]),
    ],
)
def test_a_list_of_pgbackrest_becomes_one_line_for_each_value(
    name: str, value: str, expected: list[str]
) -> None:
    """In a variable, colons separate the values of a list; in a file, pgBackRest wants one line each (2.45)."""
    found = _pgbackrest_conf(**{f"PGBACKREST_{name}": value})
    assert expected == [line for line in found if line.startswith(expected[0].split("=")[0] + "=")]


RECORDER = """\
#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done
printf -- '--\\0'
env -0
"""


@pytest.fixture(scope="module")
def recorders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with programs that replace the archivers and print their arguments and environment."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("wal-g", "pgbackrest"):
        (folder / name).write_text(RECORDER)
        (folder / name).chmod(0o755)
    return folder


def _as_postgresql_does(command: str, **names: str) -> subprocess.CompletedProcess[bytes]:
    """Replace the placeholders by the names, and run the command in a shell whose environment has secrets."""
    parts = command.split("%%")
    for placeholder, value in names.items():
        parts = [part.replace(f"%{placeholder}", value) for part in parts]
    environment = {"PATH": PATH, "PGPASSWORD": "of the server"}
    argv = ["/bin/sh", "-c", "%".join(parts)]
    with tempfile.TemporaryDirectory() as data_folder:
        return subprocess.run(argv, env=environment, capture_output=True, check=False, cwd=data_folder)


def _recorded(output: bytes) -> tuple[list[str], set[str]]:
    words = output.decode().split("\0")
    end = words.index("--")
    names = {entry.partition("=")[0] for entry in words[end + 1 : -1]}
    return words[:end], names - {"PWD", "_", "SHLVL", "OLDPWD"}


@pytest.mark.parametrize(
    ("tool", "expected", "names"),
    [
        (
            "wal-g",
            ["wal-push", "pg_wal/0001"],
            {"PATH", "WALG_CONFIG_PATH", "HOME", "WALG_S3_MAX_RETRIES", "WALG_LOG_LEVEL", "GOMEMLIMIT"},
        ),
        (
            "pgbackrest",
            ["--stanza=main", "--log-level-stderr=warn", "archive-push", "pg_wal/0001"],
            {"PATH", "PGBACKREST_CONFIG"},
        ),
    ],
)
def test_archive_command_runs_the_tool(
    recorders: Path, tmp_path: Path, tool: str, expected: Sequence[str], names: set[str]
) -> None:
    """The tool gets its arguments and nothing else, through PostgreSQL's placeholders, the shell and the shim."""
    server = SERVER._replace(runtime_folder=str(tmp_path))
    command = wal_commands.archive_command(_archive(ARCHIVE_TOOL=tool), server, f"{recorders}:{PATH}")
    done = _as_postgresql_does(command, p="pg_wal/0001")
    assert (0, b"") == (done.returncode, done.stderr)
    words, found = _recorded(done.stdout)
    assert sorted(expected) == sorted(words)
    assert names == found
    assert command.endswith(f"# {tool}")


def test_restore_command_runs_the_tool(recorders: Path) -> None:
    """The tool gets the segment and its destination in this order."""
    command = wal_commands.restore_command(_archive(ARCHIVE_TOOL="wal-g"), SERVER, f"{recorders}:{PATH}")
    done = _as_postgresql_does(command, p="pg_wal/RECOVERYXLOG", f="0002")
    assert ["wal-fetch", "0002", "pg_wal/RECOVERYXLOG"] == _recorded(done.stdout)[0]


@pytest.mark.parametrize("text", [None, "case x in\nfoo(\n"], ids=["away", "torn"])
def test_a_lost_shim_does_not_end_a_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    """Exit code 126 stops the recovery; the 2 of a shell without its script would promote the server."""
    if text is not None:
        (tmp_path / "shims").mkdir()
        (tmp_path / "shims/fetch-segment").write_text(text)
    monkeypatch.setattr(templates, "HERE", tmp_path)
    command = wal_commands.restore_command(_archive(ARCHIVE_TOOL="wal-g"), SERVER, PATH)
    assert 126 == _as_postgresql_does(command, p="pg_wal/0001").returncode


@settings(max_examples=30)
@given(name=NASTY)
@example(name="%p")
@example(name="%%f 100%")
@example(name="it's \\ $HOME")
def test_any_folder_is_quoted(recorders: Path, name: str) -> None:
    """The tool gets the name of our folder unchanged, with any characters in it."""
    server = SERVER._replace(runtime_folder=f"/run/{name}")
    command = wal_commands.restore_command(_archive(ARCHIVE_TOOL="wal-g"), server, f"{recorders}:{PATH}")
    done = _as_postgresql_does(command, p="pg_wal/0001")
    assert f"WALG_CONFIG_PATH=/run/{name}/walg.json\0".encode() in done.stdout
    command = wal_commands.archive_command(_archive(ARCHIVE_TOOL="wal-g"), server, f"{recorders}:{PATH}")
    done = _as_postgresql_does(command, p="pg_wal/0001")
    assert f"WALG_CONFIG_PATH=/run/{name}/walg.json\0".encode() in done.stdout
