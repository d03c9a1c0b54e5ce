"""The user's own archive_command: one rule for all places, reported at the start, in status and in doctor."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import pytest

import containers
from containers import FRESH, Container, Files

DATA = containers.data_folder()
TOOLS = (
    pytest.param({"PGBACKREST_REPO1_PATH": "/archive"}, id="pgbackrest"),
    pytest.param({"WALG_FILE_PREFIX": "/archive"}, id="wal-g", marks=pytest.mark.walg),
)
"""Settings by a tool's own variables."""
URL = {"ARCHIVE_URL": "file:///archive"}
OWN = 'cp %p "${PGBACKREST_REPO1_PATH:-$WALG_FILE_PREFIX}/mine-%f"'
"""It fails without the tool's variables."""
LINES = f"archive_mode = on\narchive_command = '{OWN}'\n"
HOOKS = "/docker-entrypoint-initdb.d"
CONF = "/etc/own/archive.conf"


class Place(NamedTuple):
    """A place in which the user can set a command."""

    files: Files
    where: str
    """The name of the place in messages."""
    env: Mapping[str, str] = {}
    command: tuple[str, ...] = ()


def _sql(lines: str) -> str:
    pairs = (line.split(" = ", 1) for line in lines.splitlines())
    return "".join(
        f"ALTER SYSTEM SET {name} = {value if value[0] == chr(39) else chr(39) + value + chr(39)};\n"
        for name, value in pairs
    )


def _places(lines: str) -> dict[str, Place]:
    """Return the same lines in each place, except for variables and the command line."""
    append = f"cat {CONF} >>$PGDATA/postgresql.conf\n"
    include = f"echo \"include_dir = '{CONF.rpartition('/')[0]}'\" >>$PGDATA/postgresql.conf\n"
    base = "listen_addresses = '*'\nbasic_archive.archive_directory = '/archive'\n"
    return {
        "ALTER SYSTEM": Place({f"{HOOKS}/a.sql": _sql(lines)}, f"{DATA}/postgresql.auto.conf:"),
        "init file": Place({f"{HOOKS}/a.sh": append, CONF: lines}, f"{DATA}/postgresql.conf:"),
        "include": Place({f"{HOOKS}/a.sh": include, CONF: lines}, f"{CONF}:"),
        "conf folder": Place(
            {"/docker-entrypoint-conf.d/a.conf": lines}, "/docker-entrypoint-conf.d/a.conf:"
        ),
        "config_file": Place({CONF: base + lines}, f"{CONF}:", command=("-c", f"config_file={CONF}")),
    }


PLACES = {
    **_places(LINES),
    "variables": Place(
        {},
        "POSTGRES_CONF_archive_command",
        {"POSTGRES_CONF_archive_mode": "on", "POSTGRES_CONF_archive_command": OWN},
    ),
    "command line": Place(
        {}, "-c archive_command", command=("-c", "archive_mode=on", "-c", f"archive_command={OWN}")
    ),
}


@contextmanager
def _serve(
    env: Mapping[str, str], place: Place, *, data: str | None = None, archive: str | None = None
) -> Iterator[Container]:
    with containers.volume() as other:
        volumes = {"/archive": archive or other, **({DATA: data} if data else {})}
        with containers.create(
            *place.command, env={**FRESH, **env, **place.env}, files=place.files, volumes=volumes
        ) as server:
            server.begin()
            server.ready()
            yield server


def _switch(server: Container) -> None:
    server.sql("SELECT pg_create_restore_point('a')")
    server.sql("SELECT pg_switch_wal()")
    containers.until(
        lambda: server.sql("SELECT archived_count > 0 FROM pg_stat_archiver") == "t", "a segment is archived"
    )


def _told(server: Container) -> str:
    """Return what status says about the user's own command, in both forms."""
    state = json.loads(server.exec("entrypoint", "archive", "status", "--json").stdout)
    words = server.exec("entrypoint", "archive", "status").stdout
    found = state["own_command"] or ""
    assert all(line in words for line in found.splitlines()), words
    assert bool(found) == bool(state["own_command_hint"]) == ("own command" in words)
    whole = json.loads(server.exec("entrypoint", "status", "--json").stdout)
    assert state["own_command"] == whole["archive"]["own_command"]
    return str(found)


def _found(server: Container) -> list[tuple[str, str]]:
    outcome = server.exec("entrypoint", "doctor", "--json", "archiving", check=False, timeout=60)
    found = json.loads(outcome.stdout)
    rows = found["findings"] if isinstance(found, dict) else found
    return [(each["level"], each["found"]) for each in rows if each["level"] != "ok"]


def _mine(server: Container) -> bool:
    return bool(server.shell("ls /archive/mine-* 2>/dev/null || true", user="0"))


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("place", PLACES)
def test_with_a_tools_own_variables_it_is_in_charge(tool: dict[str, str], place: str) -> None:
    """As in every guide, the user's command archives with the tool's variables; reports say who is in charge."""
    with _serve(tool, PLACES[place]) as server:
        _switch(server)
        assert _mine(server)
        log = server.logs().output
        for told in (log, _told(server), *(found for _, found in _found(server))):
            assert "your own command archives" in told, told
            assert PLACES[place].where in told, told
        assert ["warning"] == [level for level, _ in _found(server)]
        assert 0 == server.stop()


@pytest.mark.parametrize("place", _places(LINES))
def test_with_our_variable_the_entrypoint_archives(place: str) -> None:
    """ARCHIVE_URL turns that on; a command elsewhere is reported with its line, and has no effect."""
    with _serve(URL, PLACES[place]) as server:
        _switch(server)
        assert not _mine(server)
        assert "on" == server.sql("SHOW archive_mode")
        log = server.logs().output
        for told in (log, _told(server), *(found for _, found in _found(server))):
            assert "the entrypoint archives, since ARCHIVE_URL is set" in told, told
            assert PLACES[place].where in told, told
        assert ["warning"] == [level for level, _ in _found(server)]
        assert "ERROR" not in server.logs().output
        assert 0 == server.stop()


def test_the_variable_in_the_message_turns_archiving_on(volume: str) -> None:
    """With this variable, the entrypoint archives, although the user's command is still in its place."""
    env = {"PGBACKREST_REPO1_PATH": "/archive"}
    with containers.volume() as archive:
        with _serve(env, PLACES["ALTER SYSTEM"], data=volume, archive=archive) as server:
            told = json.loads(server.exec("entrypoint", "archive", "status", "--json").stdout)[
                "own_command_hint"
            ]
            (word,) = re.findall(r"or set (\S+=[^;\s]+);", told)
            assert 0 == server.stop()
        asked = dict([word.split("=")])
        with _serve({**env, **asked}, Place({}, ""), data=volume, archive=archive) as server:
            _switch(server)
            assert f"the entrypoint archives, since {next(iter(asked))} is set" in _told(server)
            assert "no setting changes\n" == server.exec("entrypoint", "config", "diff").stdout


def test_two_variables_against_each_other_are_refused() -> None:
    """No existing volume causes both, so the user has just set both by mistake."""
    env = {**FRESH, **URL, **PLACES["variables"].env}
    with containers.volume() as archive:
        outcome = containers.run(env=env, volumes={"/archive": archive})
    assert (1, 1) == (outcome.code, len(containers.complaints(outcome))), outcome.output
    assert "remove it, or remove ARCHIVE_URL" in outcome.stderr


@pytest.mark.parametrize(
    "lines",
    [
        "archive_mode = on\narchive_command = '/bin/true'\n",
        "archive_mode = off\narchive_command = 'cp %p /archive/mine-%f'\n",
        "archive_command = 'cp %p /archive/mine-%f'\n",
        "archive_mode = on\narchive_command = ''\n",
        "archive_mode = off\n",
        "archive_mode = 'off'\nwal_level = 'minimal'\nmax_wal_senders = 0\n",
    ],
)
@pytest.mark.parametrize("tool", [*TOOLS, pytest.param(URL, id="ours")])
def test_a_placeholder_command_is_not_in_charge(lines: str, tool: dict[str, str]) -> None:
    """With a command that archives nothing, PostgreSQL would recycle WAL that is stored nowhere."""
    with _serve(tool, _places(lines)["ALTER SYSTEM"]) as server:
        _switch(server)
        assert not _mine(server)
        assert "the entrypoint archives, since" in _told(server)
        assert "the entrypoint archives, since" in server.logs().output
        assert "on" == server.sql("SHOW archive_mode")


@pytest.mark.parametrize("place", _places(""))
@pytest.mark.parametrize("env", [URL, {"PGBACKREST_REPO1_PATH": "/archive"}])
def test_a_library_counts_as_a_command(place: str, env: dict[str, str]) -> None:
    """An archive_library is the other way to archive, and PostgreSQL takes only one of the two."""
    if int(containers.image_env()["PG_MAJOR"]) < 15:
        return
    folder = "echo \"basic_archive.archive_directory = '/archive'\" >>$PGDATA/postgresql.conf\n"
    found = _places("archive_mode = on\narchive_library = 'basic_archive'\n")[place]
    with _serve(env, found._replace(files={**found.files, f"{HOOKS}/b.sh": folder})) as server:
        _switch(server)
        theirs = env != URL
        assert ("basic_archive" if theirs else "") == server.sql("SHOW archive_library")
        assert ("your own command archives" in _told(server)) == theirs
        assert "archive_library = basic_archive" in _told(server)
        assert "archive_library = basic_archive" in server.logs().output


@pytest.mark.walg
def test_wal_g_works_as_in_its_guide(volume: str) -> None:
    """ALTER SYSTEM sets `wal-g wal-push %p` on an existing volume, with WALG_* in the environment."""
    env = {"WALG_FILE_PREFIX": "/archive"}
    lines = "archive_mode = on\narchive_command = 'wal-g wal-push %p'\n"
    with containers.volume() as archive:
        with _serve({}, Place({}, ""), data=volume) as server:
            for line in _sql(lines).splitlines():
                server.sql(line)
            assert 0 == server.stop()
        with _serve(env, Place({}, ""), data=volume, archive=archive) as server:
            _switch(server)
            assert "your own command archives" in server.logs().output
            assert "wal_005" in server.shell("ls /archive", user="0")


@pytest.mark.parametrize("env", [URL, {"PGBACKREST_REPO1_PATH": "/archive"}])
def test_a_change_while_the_server_runs_is_reported(env: dict[str, str]) -> None:
    """ALTER SYSTEM then wins, as always in PostgreSQL, and the command lacks the tool's variables."""
    often = {"ARCHIVE_FORK_INTERVAL": "1"} if env == URL else {}
    with _serve({**env, **often}, Place({}, "")) as server:
        _switch(server)
        assert ("", []) == (_told(server), _found(server))
        for line in _sql(LINES).splitlines():
            server.sql(line)
        server.sql("SELECT pg_reload_conf()")
        if often:
            server.says("the entrypoint no longer archives")
        told = _told(server)
        assert f"the entrypoint no longer archives: {DATA}/postgresql.auto.conf:" in told
        assert ("error", True) == (_found(server)[0][0], "auto.conf" in _found(server)[0][1])
        server.sql("ALTER SYSTEM RESET ALL")
        server.sql("SELECT pg_reload_conf()")
        if often:
            server.says("the entrypoint archives again")
        assert ("", []) == (_told(server), _found(server))


@pytest.mark.parametrize("signal", ["recovery.signal", "standby.signal"])
@pytest.mark.parametrize("env", [URL, {"PGBACKREST_REPO1_PATH": "/archive"}], ids=["ours", "pgbackrest"])
def test_a_manual_recovery_fetches_with_its_own_command(env: dict[str, str], signal: str) -> None:
    """Without its variables the command would find nothing, which PostgreSQL takes for the archive's end."""
    folder = {"OWN_FOLDER": "/own"}
    copy = 'cp "$OWN_FOLDER/%f" %p'
    with containers.volume() as own, containers.volume() as data, containers.volume() as archive:
        keeps = ("-c", "archive_mode=on", "-c", "archive_command=cp %p /own/%f")
        prepare = {f"{HOOKS}/a.sh": "echo host replication all all trust >>$PGDATA/pg_hba.conf\n"}
        for path in own, data:
            containers.in_volume(path, "chown postgres:postgres .")
        with containers.create(
            *keeps, env=FRESH, files=prepare, volumes={"/own": own, "/copy": data}
        ) as first:
            first.begin()
            first.ready()
            first.sql("CREATE TABLE kept (i int)")
            backup = "pg_basebackup --username=postgres --pgdata=/copy --wal-method=none --no-sync"
            first.exec(*backup.split(), user="postgres", timeout=60)
            first.sql("INSERT INTO kept VALUES (1)")
            assert 0 == first.stop()
            line = f"restore_command = '{copy}'"
        containers.in_volume(
            data, f"touch {signal} && echo {shlex.quote(line)} >>postgresql.auto.conf && chown -R 999:999 ."
        )
        with containers.create(
            env={**env, **folder}, volumes={DATA: data, "/own": own, "/archive": archive}
        ) as second:
            second.begin()
            ready = "read-only connections" if signal == "standby.signal" else containers.READY
            second.says(ready)
            containers.until(lambda: second.sql("SELECT count(*) FROM kept") == "1", "the last row")
            told = f"this recovery uses your own command: {DATA}/postgresql.auto.conf:"
            assert told in second.logs().output


def test_a_reload_reports_a_change() -> None:
    """SIGHUP makes the entrypoint check all files and say who archives."""
    with _serve(URL, Place({}, "")) as server:
        for line in _sql(LINES).splitlines():
            server.sql(line)
        containers.docker("kill", "--signal", "HUP", server.name)
        server.says("the entrypoint no longer archives")


def test_removing_the_own_command_after_a_start_is_reported() -> None:
    """Nobody archives then until the next start, and status says so."""
    with _serve({"PGBACKREST_REPO1_PATH": "/archive"}, PLACES["ALTER SYSTEM"]) as server:
        server.sql("ALTER SYSTEM RESET archive_command")
        server.sql("SELECT pg_reload_conf()")
        assert "nothing is archived" in _told(server)
        assert ["error"] == [level for level, _ in _found(server)]
