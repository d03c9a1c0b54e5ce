"""A database survives its volume: archive, base backup, restore; for each archiver in the image, in a folder and on S3."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import archives
import containers
from archives import FOLDERS, LATEST, PLACES, TOOLS, Archive
from containers import FRESH

DATA = containers.data_folder()

on_a_folder = pytest.mark.parametrize("source", FOLDERS, indirect=True)
"""For tests that do not depend on the storage."""


class Source(NamedTuple):
    """A cluster that was backed up and stopped, and whose volume is gone."""

    archive: Archive
    backup: str
    system_identifier: str


@pytest.fixture(scope="module", params=PLACES)
def source(request: pytest.FixtureRequest) -> Iterator[Source]:
    """One backed-up cluster for all tests of a tool and a storage; copy its archive before changing it."""
    tool, place = request.param
    with archives.made(tool, request.getfixturevalue("s3_server") if place == "s3" else None) as archive:
        with archive.serve(FRESH) as server:
            server.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i")
            pushed = server.exec("entrypoint", "backup", "push", "--json", timeout=60)
            backup = json.loads(pushed.stdout)[0]["name"]
            server.sql("INSERT INTO kept SELECT generate_series(1001, 2000)")
            identifier = server.sql("SELECT system_identifier FROM pg_control_system()")
            assert 0 == server.stop()
        yield Source(archive, backup, identifier)


@pytest.fixture
def archive(source: Source) -> Iterator[Archive]:
    """A copy of the archive that a test may change."""
    with source.archive.copy() as copy:
        yield copy


def test_every_row_is_back_after_the_volume_is_gone(source: Source, archive: Archive) -> None:
    """Rows from before and after the base backup are back, on a new timeline, and archiving continues."""
    with archive.serve(LATEST) as restored:
        assert "2000|2001000" == restored.sql("SELECT count(*), sum(i) FROM kept")
        assert source.system_identifier == restored.sql("SELECT system_identifier FROM pg_control_system()")
        assert "2" == restored.sql("SELECT timeline_id FROM pg_control_checkpoint()")
        assert "f" == restored.sql("SELECT pg_is_in_recovery()")
        # Nothing of the recovery is left in the folder or in the settings.
        left = restored.shell(f"cd {DATA}; ls -A | grep -E '^[.]entrypoint$|signal' || true")
        assert "" == left
        assert "" == restored.sql("SHOW restore_command")
        restored.sql("INSERT INTO kept VALUES (3000)")
        restored.exec("entrypoint", "backup", "push", timeout=60)
        restored.sql("INSERT INTO kept VALUES (4000)")
        assert 0 == restored.stop()
    with archive.serve(LATEST) as second:
        assert "2002|2008000" == second.sql("SELECT count(*), sum(i) FROM kept")
        assert "3" == second.sql("SELECT timeline_id FROM pg_control_checkpoint()")


@on_a_folder
def test_an_older_backup_by_name_replays_over_the_fork(source: Source, archive: Archive) -> None:
    """A named backup from before a restore is replayed along the newest timeline to its end."""
    with archive.serve(LATEST) as first:
        first.sql("INSERT INTO kept VALUES (3000)")
        assert 0 == first.stop()
    with archive.serve({"RESTORE_FROM": source.backup}) as second:
        assert "2001|2004000" == second.sql("SELECT count(*), sum(i) FROM kept")


@on_a_folder
def test_restore_from_may_stay_set(source: Source, archive: Archive) -> None:
    """A volume that has been restored simply starts, with the rows that were written since."""
    with archive.serve(LATEST) as restored:
        restored.sql("INSERT INTO kept VALUES (3000)")
        assert 0 == restored.stop()
        restored.again()
        assert "2001" == restored.sql("SELECT count(*) FROM kept")
        assert "2" == restored.sql("SELECT timeline_id FROM pg_control_checkpoint()")


def test_an_unknown_backup_is_refused_before_a_byte_is_written(source: Source) -> None:
    """The message names the backups that exist."""
    with containers.volume() as data:
        ended = source.archive.run({"RESTORE_FROM": "nosuch"}, volumes={DATA: data})
        assert 12 == ended.code, ended.output
        assert source.backup in ended.stderr
        assert "" == containers.in_volume(data, "ls -A")


def test_a_new_cluster_is_refused_in_a_used_archive(source: Source) -> None:
    """An empty volume with a used archive is a lost volume: the message says how to restore it."""
    before = source.archive.digest()
    with containers.volume() as data:
        ended = source.archive.run(FRESH, volumes={DATA: data})
        assert 12 == ended.code, ended.output
        assert source.system_identifier in ended.stderr
        assert "RESTORE_FROM=LATEST" in ended.stderr
        assert "" == containers.in_volume(data, "ls -A")
    assert before == source.archive.digest()


def test_the_other_tools_archive_is_refused(source: Source) -> None:
    """One tool does not write to the other tool's archive, and the message says so."""
    other = {"pgbackrest": "wal-g", "wal-g": "pgbackrest"}[source.archive.tool]
    before = source.archive.digest()
    ended = source.archive.run({**FRESH, "ARCHIVE_TOOL": other})
    assert ended.code in (1, 12), ended.output  # 1 if the image lacks the other tool
    if "not in this image" not in ended.stderr:
        assert f"an archive of another tool, {source.archive.tool} (" in ended.stderr
        assert f"set ARCHIVE_TOOL={source.archive.tool}" in ended.stderr
    assert before == source.archive.digest()


def test_an_archive_that_cannot_be_read_is_refused_by_the_plan(source: Source, archive: Archive) -> None:
    """Nothing is fetched while the newest segment exists but is unreadable; after a repair, a start restores.

    pgBackRest notices a segment that was cut short on S3 only when the replay requests it.
    """
    code = 13 if archive.tool == "pgbackrest" and archive.server else 12
    with archive.create(LATEST) as container:
        with archive.unreadable("000000010000000000000004"):
            ended = container.finish(60)
        assert code == ended.code, ended.output
        assert "selected new timeline" not in ended.output
        container.again()
        assert "2000" == container.sql("SELECT count(*) FROM kept")


@on_a_folder
def test_a_killed_restore_continues_or_starts_again(source: Source, archive: Archive) -> None:
    """SIGKILL during fetch, replay and promotion: the next start ends with every row."""
    for sign in (
        "fetching backup",
        "replaying the archive",
        "redo starts",
        "selected new timeline",
        "the restore is",
    ):
        with archive.create(LATEST) as container:
            container.begin()
            container.says(sign)
            container.kill()
            container.wait()
            container.again()
            assert "2000" == container.sql("SELECT count(*) FROM kept"), sign
            # Several processes archive at once, so the archive may have a hole if its server is lost.
            assert 0 == container.stop(), sign


@on_a_folder
def test_a_restored_cluster_has_its_wal_folder(source: Source, archive: Archive) -> None:
    """POSTGRES_INITDB_WALDIR applies to a restored cluster as well."""
    with containers.volume() as wal:
        env = {**LATEST, "POSTGRES_INITDB_WALDIR": "/wal"}
        with archive.serve(env, volumes={"/wal": wal}) as restored:
            assert "/wal" == restored.shell(f"readlink {DATA}/pg_wal")
            assert "2000" == restored.sql("SELECT count(*) FROM kept")


@pytest.mark.parametrize("tool", TOOLS)
def test_an_arbitrary_user_archives_and_restores(tool: str) -> None:
    """With `--user` and an unknown uid, archiving, backups and restores work."""
    own = ("--user", "4321:4321")
    env = {"ARCHIVE_URL": "file:///volume/archive", "ARCHIVE_TOOL": tool, "PGDATA": "/volume/data"}
    with containers.volume() as volume:
        volumes = {"/volume": volume}
        containers.in_volume(volume, "mkdir archive; chown -R 4321:4321 .")
        with containers.serve(env={**FRESH, **env}, volumes=volumes, options=own) as server:
            server.sql("CREATE TABLE kept AS SELECT 42 AS i")
            server.exec("entrypoint", "backup", "push", timeout=60)
            assert 0 == server.stop()
        containers.in_volume(volume, "rm -r data")
        again = {**env, "RESTORE_FROM": "LATEST"}
        with containers.serve(env=again, volumes=volumes, options=own) as restored:
            assert "42" == restored.sql("SELECT i FROM kept")


def test_backups_are_listed_as_json(source: Source) -> None:
    """The fields of `backup list --json` are the same for both tools."""
    listed = source.archive.run({}, "backup", "list", "--json")
    assert 0 == listed.code, listed.output
    (backup,) = json.loads(listed.stdout)
    assert source.backup == backup["name"]
    assert "full" == backup["kind"]
    assert backup["started"] <= backup["finished"]
    assert backup["finished"].endswith("+00:00")
    assert 10_000_000 < backup["size_bytes"]
    assert "0/3000028" == backup["start_lsn"]
    assert source.system_identifier == backup["system_identifier"]


@pytest.mark.parametrize("tool", TOOLS)
def test_no_secret_of_the_archiver_is_in_the_server(tool: str) -> None:
    """Keys and passphrases are in one file of the server's user, but in no environment or argument."""
    secrets = {
        "pgbackrest": {
            "PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc",
            "PGBACKREST_REPO1_CIPHER_PASS": "geheim",
        },
        "wal-g": {"AWS_SECRET_ACCESS_KEY": "geheim"},
    }[tool]
    with containers.volume() as archive:
        env = {**FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": tool, **secrets}
        with containers.serve(
            env=env, volumes={"/archive": archive}, options=containers.LOOK_INSIDE
        ) as server:
            server.sql("SELECT pg_switch_wal()")
            for pid in (1, server.postmaster()):
                assert "geheim" not in json.dumps(server.environ(pid))
            assert "geheim" not in server.sql("SHOW archive_command")
            assert "geheim" not in server.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '", user="0")
            assert "geheim" not in server.logs().output
            assert "711 postgres" == server.shell("stat -c '%a %U' /run/entrypoint", user="0")
            holders = server.shell("grep -rl geheim /run /tmp /etc || true", user="0")
            assert 1 == len(holders.split()), holders
            assert "600 postgres" == server.shell(f"stat -c '%a %U' {holders}", user="0")


def test_the_archive_folder_must_exist() -> None:
    """Without a mount, the archive would be in the container's layer: the start refuses and makes nothing."""
    with containers.volume() as data:
        ended = containers.run(env={**FRESH, "ARCHIVE_URL": "file:///archive"}, volumes={DATA: data})
        assert ended.code in (1, 12)
        assert "/archive does not exist" in ended.stderr
        assert "" == containers.in_volume(data, "ls -A")


def test_archiving_without_bin_sh_is_refused() -> None:
    """Commands would end with exit code 127, so the start refuses and says why."""
    without = 'FROM IMAGE\nRUN ["/bin/bash", "-c", "rm /bin/sh"]\n'
    with containers.build(without) as image, containers.volume() as archive:
        ended = containers.run(
            env={**FRESH, "ARCHIVE_URL": "file:///archive"}, volumes={"/archive": archive}, image=image
        )
    assert 1 == ended.code
    assert "/bin/sh is missing" in ended.stderr
    assert "127" in ended.stderr
    assert "hint: use an image that has /bin/sh" in ended.stderr


def test_doctor_reports_what_is_wrong_and_what_is_right() -> None:
    """The table and the JSON have the same findings, and the exit code follows the worst one."""
    with containers.volume() as archive, containers.volume() as data:
        env = {**FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
        options = ("--shm-size", "128m")
        volumes = {"/archive": archive, DATA: data}
        with containers.serve(env=env, volumes=volumes, options=options) as server:
            first = server.exec("entrypoint", "doctor", "--json", check=False)
            levels = {each["check"]: each["level"] for each in json.loads(first.stdout)}
            assert "warning" == levels.pop("backups")
            assert {"ok"} == set(levels.values())
            assert 1 == first.code
            server.exec("entrypoint", "backup", "push", timeout=60)
            assert 0 == server.exec("entrypoint", "doctor", check=False).code
            server.shell("mv /archive/archive /archive/backup /tmp", user="0")
            server.shell("mkdir /archive/wal_005", user="0")
            last = server.exec("entrypoint", "doctor", check=False)
            assert 2 == last.code
            assert "an archive of another tool" in last.stdout


def test_doctor_works_before_there_is_a_database() -> None:
    """Alone, without a volume or a password, it reports exactly that."""
    ended = containers.run("doctor")
    assert 0 != ended.code
    assert "POSTGRES_PASSWORD" in ended.stdout
    assert "Traceback" not in ended.output
