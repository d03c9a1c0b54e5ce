"""The archivers as people type them: `docker exec db wal-g …` and `docker run … pgbackrest …`, for each user."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping

import pytest

import archives
import containers
import s3
from archives import FOLDERS, TOOLS, Archive
from containers import FRESH, Container, File, script, until
from s3 import S3

SERVERS_USER = "999"
USERS = ("root", "postgres")
OTHERS_SECRET = "what-an-application-knows"

REAL: Mapping[str, str] = {"wal-g": "/usr/local/bin/wal-g", "pgbackrest": "/usr/bin/pgbackrest"}
SPY = """#!/bin/bash
case $1 in
spy)
	cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'
	echo ENVIRONMENT
	tr '\\0' '\\n' </proc/$$/environ
	echo "ran as $(id -u), of $PPID, with a $([ -t 2 ] && echo terminal || echo pipe)"
	echo words >&2
	exit "${2:-0}"
	;;
exec) shift && exec "$@" ;;
esac
exec REAL "$@"
"""
"""A program in the archiver's place that prints how it was called."""


def _spied(tool: str) -> tuple[dict[str, str], dict[str, File]]:
    """Return the environment and files that put the spy on PATH before the archiver and after our wrapper."""
    path = f"/usr/local/sbin:/opt/spy:{containers.image_env()['PATH']}"
    return {"PATH": path}, {f"/opt/spy/{tool}": script(SPY.replace("REAL", REAL[tool]))}


@pytest.fixture(scope="module", params=TOOLS)
def archive(request: pytest.FixtureRequest, s3_server: S3) -> Iterator[Archive]:
    """An empty archive on S3."""
    with archives.made(request.param, s3_server) as made:
        yield made


@pytest.fixture(scope="module")
def server(archive: Archive) -> Iterator[Container]:
    """A server with a key in a file that only root may read, and with a backup in its archive."""
    path, spy = _spied(archive.tool)
    env = {
        **archive.env(),
        **FRESH,
        **path,
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_SECRET_ACCESS_KEY_FILE": "/secret-of-root",
        "OTHERS_SECRET": OTHERS_SECRET,
        "PGHOST": "nowhere.invalid",
    }
    assert archive.server is not None
    files = {**archive.server.files, **spy, "/secret-of-root": File(s3.SECRET, 0o400)}
    with containers.start(env=env, files=files, options=archive.server.options) as container:
        container.ready()
        container.exec("entrypoint", "backup", "push", timeout=60)
        yield container


def _backup(server: Container) -> str:
    """Return the name of the newest backup."""
    listed = json.loads(server.exec("entrypoint", "backup", "list", "--json").stdout)
    return str(listed[-1]["name"])


TYPED: Mapping[str, Mapping[str, str]] = {
    "wal-g": {
        "backup-list --detail --pretty": "BACKUP",
        "backup-list --json": '"backup_name":"BACKUP"',
        "wal-show": "",
        "wal-verify integrity timeline": "integrity check status: OK",
        "backup-mark BACKUP": "",
        "backup-mark --impermanent BACKUP": "",
        "st ls": "cluster.json",
        "st cat cluster.json": "system_identifier",
        "delete retain FULL 1": "",
        "--version": "wal-g version",
        "--help": "backup-list",
    },
    "pgbackrest": {
        "info": "full backup: BACKUP",
        "--stanza=main info --output=json": '"label":"BACKUP"',
        "check": "",
        "--stanza=main --log-level-console=info check": "successfully archived",
        "repo-ls backup/main": "BACKUP",
        "repo-get archive/main/archive.info": "db-system-id",
        "expire --dry-run": "",
        "stanza-create": "",
        "version": "pgBackRest 2",
        "help": "repo-get",
    },
}
"""Command lines of both archivers, and what they print on stdout."""


@pytest.mark.parametrize("user", USERS)
def test_what_people_type_works(server: Container, archive: Archive, user: str) -> None:
    """It works as root and as the server's user, although only root may read the file with the key."""
    name = _backup(server)
    for command, expected in TYPED[archive.tool].items():
        words = command.replace("BACKUP", name).split()
        asked = server.exec(archive.tool, *words, user=user, check=False, timeout=90)
        assert asked.code == 0, (command, asked.output)
        assert expected.replace("BACKUP", name) in asked.stdout, (command, asked.output)
        assert s3.SECRET not in asked.output


@pytest.mark.parametrize("user", USERS)
def test_no_secret_is_visible(server: Container, archive: Archive, user: str) -> None:
    """The process belongs to the server's user. No command line has a secret; its environment has only its own."""
    asked = server.exec(archive.tool, "spy", user=user).stdout
    lines, _, environment = asked.partition("ENVIRONMENT\n")
    assert f"ran as {SERVERS_USER}," in environment
    for secret in (s3.SECRET, FRESH["POSTGRES_PASSWORD"], OTHERS_SECRET):
        assert secret not in lines
    assert OTHERS_SECRET not in environment
    assert "POSTGRES_PASSWORD" not in environment
    assert "nowhere.invalid" not in environment, "the settings file says where the server is"


@pytest.mark.parametrize("user", USERS)
def test_streams_and_codes_are_the_programs_own(server: Container, archive: Archive, user: str) -> None:
    """Exit code, streams, terminal and parent are the same as without our wrapper."""
    asked = server.exec(archive.tool, "spy", "7", user=user, check=False)
    assert asked.code == 7
    assert asked.stderr == "words\n"
    assert "of 0, with a pipe" in asked.stdout
    seen = containers.docker("exec", "--tty", "--user", user, server.name, archive.tool, "spy")
    assert "of 0, with a terminal" in seen.stdout
    odd = "a \"b\"\n'c' $d \\e\u00e9"
    assert odd == server.exec(archive.tool, "exec", "cat", user=user, stdin=odd).stdout
    assert odd == server.exec(archive.tool, "exec", "printf", "%s", odd, user=user).stdout
    missing = server.exec(archive.tool, *MISSING[archive.tool], user=user, check=False)
    assert (missing.code != 0, missing.stdout) == (True, "")
    assert "nosuch" in missing.stderr
    assert "entrypoint" not in missing.stderr.replace("/run/entrypoint", "")


MISSING: Mapping[str, tuple[str, ...]] = {
    "wal-g": ("st", "cat", "nosuch"),
    "pgbackrest": ("repo-get", "nosuch"),
}
"""Calls that fail, with the message of the tool itself."""


@pytest.mark.parametrize("user", USERS)
def test_a_signal_ends_it(server: Container, archive: Archive, user: str) -> None:
    """No process of the entrypoint is between the caller and the program."""
    command = ("docker", "exec", "--user", user, server.name, archive.tool, "exec", "sleep", "3217")
    with subprocess.Popen(command) as caller:
        find = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -qx 'sleep 3217 ' && echo ${p#/proc/}; done; true"
        until(lambda: server.shell(find) != "", "the program runs")
        server.shell(f"kill -TERM {server.shell(find)}", user="root")
        assert caller.wait(20) == 128 + 15


@pytest.mark.parametrize("user", USERS)
def test_what_the_caller_sets_wins(server: Container, archive: Archive, user: str) -> None:
    """A variable or an option of this call wins, even if it names another storage of a weaker kind."""
    if archive.tool == "wal-g":
        other = {"WALG_FILE_PREFIX": "/usr/share/zoneinfo"}
        assert "Europe" in server.exec("wal-g", "st", "ls", user=user, env=other).stdout
        assert (
            "Europe"
            in server.exec("wal-g", "st", "ls", "--walg-file-prefix=/usr/share/zoneinfo", user=user).stdout
        )
        spied = server.exec(
            "wal-g", "spy", user=user, env={"WALG_LOG_LEVEL": "DEVEL", "PGHOST": "there"}
        ).stdout
        assert {"WALG_LOG_LEVEL=DEVEL", "PGHOST=there"} <= set(spied.splitlines())
    else:
        asked = server.exec("pgbackrest", "info", user=user, env={"PGBACKREST_STANZA": "another"}).stdout
        assert "another" in asked
        assert "another" in server.exec("pgbackrest", "--stanza=another", "info", user=user).stdout
        other = {"PGBACKREST_REPO1_TYPE": "posix", "PGBACKREST_REPO1_PATH": "/usr/share/zoneinfo"}
        assert "Europe" in server.exec("pgbackrest", "repo-ls", user=user, env=other).stdout


def test_another_user_gets_a_hint(server: Container, archive: Archive) -> None:
    """A user other than root and the server's user learns as which user to call; nothing changes."""
    asked = server.exec(archive.tool, "spy", user="4321", check=False)
    assert f"docker exec --user {SERVERS_USER}" in asked.stderr
    assert "Traceback" not in asked.stderr
    assert "ran as 4321," in asked.stdout


@pytest.mark.parametrize("user", ["0", SERVERS_USER, "4321"])
def test_a_container_without_a_server_can_look(server: Container, archive: Archive, user: str) -> None:
    """It needs only the archive's variables: no server, no data folder."""
    command = {"wal-g": ("backup-list", "--json"), "pgbackrest": ("info", "--output=json")}[archive.tool]
    assert archive.server is not None
    path, spy = _spied(archive.tool)
    env = {name: value for name, value in archive.env().items() if name != "ARCHIVE_TOOL"}
    options = (*archive.server.options, "--user", user)
    found = containers.run(archive.tool, *command, env=env, files=archive.server.files, options=options)
    assert found.code == 0, found.output
    assert _backup(server) in json.dumps(json.loads(found.stdout))
    files = {**archive.server.files, **spy, "/key": File(s3.SECRET, 0o444 if user != "0" else 0o400)}
    named = {**env, **path, "AWS_SECRET_ACCESS_KEY": "", "AWS_SECRET_ACCESS_KEY_FILE": "/key"}
    seen = containers.run(archive.tool, "spy", "3", env=named, files=files, options=options)
    assert seen.code == 3, seen.output
    lines, _, environment = seen.stdout.partition("ENVIRONMENT\n")
    assert s3.SECRET not in lines
    assert s3.SECRET in environment, "there is no settings file"
    assert f"ran as {user if user != '0' else SERVERS_USER}," in environment


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """An empty archive in a folder."""
    with archives.made(request.param[0], None) as made:
        yield made


LIST: Mapping[str, tuple[str, ...]] = {"wal-g": ("st", "ls"), "pgbackrest": ("repo-ls",)}


def test_without_an_archive_the_tool_runs_unchanged(folder: Archive) -> None:
    """It runs as the user who has called it."""
    path, spy = _spied(folder.tool)
    with containers.serve(env={**FRESH, **path}, files=spy) as container:
        assert "ran as 0," in container.exec(folder.tool, "spy").stdout
        assert "ran as 4321," in container.exec(folder.tool, "spy", user="4321").stdout
        given = {"ARCHIVE_URL": "file:///usr/share/zoneinfo"}
        for user in USERS:
            found = container.exec(folder.tool, *LIST[folder.tool], user=user, env=given)
            assert "Europe" in found.stdout
        assert "walg.json" not in container.shell("ls /run/entrypoint", user="root")
        assert "pgbackrest.conf" not in container.shell("ls /run/entrypoint", user="root")
    assert "ran as 0," in containers.run(folder.tool, "spy", env=path, files=spy).stdout


def test_root_becomes_the_user_of_the_server(folder: Archive) -> None:
    """With `--user 1000`, root becomes that user, to whom the archive belongs."""
    with containers.volume() as volume:
        for each in (volume, folder.volume):
            containers.in_volume(each, "chown 1000:1000 .")
        env = {**FRESH, "PGDATA": "/own/data"}
        with folder.serve(env, options=("--user", "1000:1000"), volumes={"/own": volume}) as container:
            for user in ("root", "1000:1000"):
                assert container.exec(folder.tool, *LIST[folder.tool], user=user).stdout
            container.exec("entrypoint", "backup", "push", user="root", timeout=60)
    assert "1000" == containers.in_volume(folder.volume, "find . -printf '%U\\n' | sort -u")


def test_another_program_on_path_takes_precedence(folder: Archive) -> None:
    """A program that somebody has put on PATH runs for people and for the server."""
    spy = script(
        SPY.replace("REAL", REAL[folder.tool]).replace("case $1 in", "echo $* >>/tmp/calls\ncase $1 in")
    )
    mine = {f"/usr/local/sbin/{folder.tool}": spy}
    with folder.create(FRESH, files=mine) as container:
        container.begin()
        container.ready()
        assert "ran as 0," in container.exec(folder.tool, "spy").stdout
        container.exec("entrypoint", "backup", "push", timeout=60)
        assert "backup" in container.shell("cat /tmp/calls")


def test_our_own_calls_go_to_the_program(folder: Archive) -> None:
    """Nothing that the server or PID 1 starts goes through the wrapper, which is for people."""
    with folder.serve(FRESH) as container:
        rendered = container.shell("cat /run/entrypoint/postgresql.conf", user="root")
        path = rendered.partition(" PATH=")[2].partition(" ")[0]
        assert REAL[folder.tool] == container.shell(f"PATH={path} command -v {folder.tool}")
        assert f"/usr/local/sbin/{folder.tool}" == container.shell(f"command -v {folder.tool}")


CONSEQUENCES: Mapping[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "wal-g": ((("delete", "everything", "--confirm"), "afterwards: entrypoint backup push"),),
    "pgbackrest": (
        (("stop",), "archiving fails until you run pgbackrest start"),
        (("stanza-delete",), "afterwards: entrypoint backup push"),
        (("start",), ""),
    ),
}


def test_a_command_that_breaks_something_gets_a_warning(folder: Archive) -> None:
    """The tool runs the command anyway; the warning about the loss comes first."""
    with folder.serve(FRESH) as container:
        for words, expected in CONSEQUENCES[folder.tool]:
            assert expected in container.exec(folder.tool, *words, check=False).stderr
        fetch = {
            "wal-g": ("backup-fetch", containers.data_folder(), "LATEST"),
            "pgbackrest": ("restore",),
        }
        assert container.exec(folder.tool, *fetch[folder.tool], check=False).code != 0
        assert container.sql("SELECT 1") == "1"


@pytest.mark.walg
def test_a_wal_g_that_another_image_adds_is_used() -> None:
    """If our image has no wal-g, a copy in /usr/local/bin finds its settings after a start."""
    bare = "FROM IMAGE\nRUN rm /usr/local/sbin/wal-g"
    with containers.build(bare) as image, archives.made("wal-g", None) as archive:
        volumes = {"/archive": archive.volume}
        with containers.serve(env={**FRESH, **archive.env()}, volumes=volumes, image=image) as container:
            for user in USERS:
                assert "cluster.json" in container.exec("wal-g", "st", "ls", user=user).stdout


@pytest.mark.parametrize("user", USERS)
def test_our_commands_use_the_same_settings(server: Container, user: str) -> None:
    """`entrypoint backup` works as either user, although only root may read the key; a retention can be given."""
    assert _backup(server) in server.exec("entrypoint", "backup", "list", user=user).stdout
    asked = ("entrypoint", "backup", "expire", "--dry-run", "--json")
    told = server.exec(*asked, user=user, env={"BACKUP_RETAIN_FULL": "1"}).stdout
    assert [_backup(server)] == list(json.loads(told)["kept"])


def test_no_call_changes_where_the_server_archives(server: Container, archive: Archive) -> None:
    """A command next to the server may not name another archive; it reports other settings without effect."""
    config = {"wal-g": "walg.json", "pgbackrest": "pgbackrest.conf"}[archive.tool]
    look = f"cat /run/entrypoint/{config}"
    before = server.shell(look, user="root")
    for user in USERS:
        other = {"ARCHIVE_URL": "file:///tmp/other"}
        refused = server.exec("entrypoint", "backup", "list", user=user, env=other, check=False)
        assert refused.code == 12
        (told,) = containers.complaints(refused)
        assert "file:///tmp/other" in told
        name = {"wal-g": "WALG_UPLOAD_CONCURRENCY", "pgbackrest": "PGBACKREST_PROCESS_MAX"}[archive.tool]
        asked = server.exec("entrypoint", "backup", "list", user=user, env={name: "3"})
        assert f"the settings of the running server apply: {name}" in asked.stderr
    assert before == server.shell(look, user="root")
