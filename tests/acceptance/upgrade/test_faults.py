"""What goes wrong with an upgrade: it is refused before anything is changed, or the old cluster serves again."""

from __future__ import annotations

from pathlib import Path

import pytest

import containers
import upgrades
from containers import FRESH
from disks import MB, Disk
from upgrades import ALONE, COUNTS, DATA, EXPECTED, LONG, NEW, OLD, Home

EXTENSION = {
    "/usr/share/postgresql/15/extension/elsewhere.control": "default_version = '1'\n",
    "/usr/share/postgresql/15/extension/elsewhere--1.sql": "CREATE FUNCTION f() RETURNS int RETURN 1;\n",
}
SLOTS = (
    "SELECT pg_create_physical_replication_slot('standby', true)",
    "SELECT pg_create_logical_replication_slot('consumer', 'pgoutput')",
)
NOBODY = """\
CREATE FUNCTION nobody() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'nobody logs in'; END $$;
CREATE EVENT TRIGGER nobody ON login EXECUTE FUNCTION nobody();
"""
SERVED = f"15:{EXPECTED}"


def _serve(home: Home, *statements: str, kills: bool = True) -> None:
    """Run statements with the old server, and end it; its rows are as ever at the beginning."""
    command = ("-c", "max_prepared_transactions=2", "-c", "wal_level=logical")
    with containers.start(*command, env={}, files=EXTENSION, volumes=home.volumes, image=OLD) as server:
        server.ready(LONG)
        assert EXPECTED == server.sql(COUNTS)
        for each in statements:
            server.sql(each)
        if kills:
            server.kill()
            server.wait(60)
        else:
            assert 0 == server.stop(timeout=60)


def _known(home: Home) -> str:
    """Return what the control file says of the settings with which a standby must start, and the names of WAL."""
    text = f"/usr/lib/postgresql/15/bin/pg_controldata {DATA} | grep setting; ls {DATA}/pg_wal"
    options = ("--entrypoint", "bash")
    return containers.run("-c", text, volumes=home.volumes, options=options, image=NEW).stdout


def test_check_finds_what_speaks_against_it(home: Home) -> None:
    """All errors at once, each with its hint; the run refuses with them, and the old server serves again."""
    prepared = "BEGIN; DELETE FROM shop.far; PREPARE TRANSACTION 'pending'"
    dropped = "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'latin'"
    _serve(home, *SLOTS, "CREATE EXTENSION elsewhere", dropped, prepared, kills=False)
    looked = home.upgrade("check")
    assert 2 == looked.code, looked.output
    assert "the image does not have the extension elsewhere for PostgreSQL 17" in looked.stdout
    assert "transactions are prepared and not ended: pending" in looked.stdout, looked.output
    assert "by COMMIT PREPARED or ROLLBACK PREPARED: 'pending' in postgres" in looked.stdout
    assert "the database latin cannot be asked for its extensions" in looked.stdout
    assert "the upgrade drops the logical slots consumer" in looked.stdout
    assert "the upgrade drops the physical slots standby" in looked.stdout
    refused = home.upgrade("run")
    assert 1 == refused.code, refused.output
    assert "the image does not have the extension elsewhere" in refused.stderr
    _serve(home, kills=False)


def test_what_pg_upgrade_cannot_name_or_leaves_behind(home: Home) -> None:
    """It would fail half way at a name with a line break; origins that no subscription has are dropped."""
    _serve(home, 'CREATE DATABASE "two\nlines"', "SELECT pg_replication_origin_create('bdr')", kills=False)
    looked = home.upgrade("check")
    assert 2 == looked.code, looked.output
    assert "the name of the database 'two\\nlines' has a line break" in looked.stdout, looked.output
    assert "the upgrade drops the replication origins bdr" in looked.stdout


@pytest.mark.long
@pytest.mark.preview("19-experimental-upgrade")
def test_a_trigger_that_lets_nobody_in_ends_no_upgrade() -> None:
    """From 17 on, triggers run at each login, also at those of pg_upgrade."""
    env = {**ALONE, "PGDATA": DATA}
    with upgrades.home() as home:
        image = containers.kin("18-sid")
        with containers.serve(env={**FRESH, "PGDATA": DATA}, volumes=home.volumes, image=image) as server:
            server.sql(NOBODY)
            assert 0 == server.stop(timeout=60)
        image = containers.kin("19-experimental-upgrade")
        argv = ("entrypoint", "upgrade", "run")
        done = containers.run(*argv, env=env, volumes=home.volumes, image=image, timeout=LONG)
        assert 0 == done.code, done.output


def test_a_library_that_the_new_server_lacks_is_refused(home: Home) -> None:
    """The old server does not start without it either, so nothing is started."""
    conf = Path(home.folder, "data/postgresql.auto.conf")
    text = conf.read_text(encoding="utf-8")
    conf.write_text(f"{text}shared_preload_libraries = 'auto_explain, elsewhere'\n", encoding="utf-8")
    refused = home.upgrade("run")
    assert 1 == refused.code, refused.output
    assert "shared_preload_libraries has elsewhere, which the new server does not have" in refused.stderr
    conf.write_text(text, encoding="utf-8")
    assert SERVED == home.served("15")


def test_what_pg_upgrade_refuses_is_a_finding(home: Home) -> None:
    """A type that changed, and a library of sessions, are found by the check; the run changes nothing."""
    _serve(
        home,
        "CREATE TABLE changed (a aclitem)",
        "ALTER SYSTEM SET session_preload_libraries = 'elsewhere'",
        kills=False,
    )
    looked = home.upgrade("check")
    assert 2 == looked.code, looked.output
    assert "session_preload_libraries has elsewhere, which the new server does not have" in looked.stdout
    conf = Path(home.folder, "data/postgresql.auto.conf")
    rows = conf.read_text(encoding="utf-8").splitlines(keepends=True)
    conf.write_text("".join(row for row in rows if "elsewhere" not in row), encoding="utf-8")
    refused = home.upgrade("run")
    assert 1 == refused.code, refused.output
    assert '"aclitem"' in refused.stderr
    assert not home.unfinished
    assert SERVED == home.served("15")


def test_rules_of_access_that_the_new_server_refuses(home: Home) -> None:
    """It would not start with them after the upgrade, so nothing is changed."""
    rules = Path(home.folder, "data/pg_hba.conf")
    text = rules.read_text(encoding="utf-8")
    rules.write_text(f"{text}host all all samenet nonsense\n", encoding="utf-8")
    refused = home.upgrade("run")
    assert 1 == refused.code, refused.output
    assert 'invalid authentication method "nonsense"' in refused.stderr
    rules.write_text(text, encoding="utf-8")
    assert not home.unfinished
    assert SERVED == home.served("15")


def test_a_crashed_server_is_recovered_first(home: Home) -> None:
    """What its replay changes is the old cluster's own, also the map of the shared catalogs."""
    _serve(
        home, "CHECKPOINT", "VACUUM FULL pg_authid", "CREATE ROLE late", "DELETE FROM shop.far WHERE i > 400"
    )
    looked = home.upgrade("check")
    assert "so pg_upgrade --check and the questions to the old server were left out" in looked.stdout
    assert "in production" in looked.stdout
    done = home.upgrade("run")
    assert 0 == done.code, done.output
    with containers.start(env={}, volumes=home.volumes, image=NEW) as server:
        server.ready(LONG)
        assert "1" == server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'late'")
        assert 0 == server.stop(timeout=60)
    assert "17:1800,400" == home.served()


def test_what_only_the_old_server_knows_is_left_alone(home: Home) -> None:
    """Neither check nor undo removes commit timestamps, or writes settings to the WAL that stop standbys."""
    options = ("-c", "track_commit_timestamp=on", "-c", "max_connections=30")
    asked = "SELECT pg_xact_commit_timestamp(xmin) FROM stamped"
    with containers.start(*options, env={}, volumes=home.volumes, image=OLD) as server:
        server.ready(LONG)
        server.sql("CREATE TABLE stamped AS SELECT 1 AS i")
        stamp = server.sql(asked)
        assert 0 == server.stop(timeout=60)
    before = _known(home)
    looked = home.upgrade("check")
    assert before == _known(home)
    assert "track_commit_timestamp is on" in looked.stdout, looked.output
    for word in ("run", "undo"):
        done = home.upgrade(word)
        assert 0 == done.code, done.output
    assert before == _known(home)
    with containers.start(*options, env={}, volumes=home.volumes, image=OLD) as server:
        server.ready(LONG)
        assert stamp == server.sql(asked)
        assert 0 == server.stop(timeout=60)


def test_another_programs_server_is_noticed(home: Home) -> None:
    """The official image holds no lock, and its process is not seen in another container."""
    command = f"exec gosu postgres /usr/lib/postgresql/15/bin/postgres -D {DATA} -c listen_addresses="
    options = ("--entrypoint", "bash")
    with containers.start("-c", command, volumes=home.volumes, options=options, image=OLD) as server:
        server.says("ready to accept connections", LONG)
        looked = home.upgrade("check")
        assert 1 == looked.code, looked.output
        assert "a server uses the volume, or was not shut down cleanly" in looked.stdout
        refused = home.upgrade("run")
        assert 1 == refused.code, refused.output
        assert "a server in another container uses" in refused.stderr
        assert (
            "1800"
            == server.exec("psql", "-U", "postgres", "-Atc", "SELECT count(*) FROM shop.items").stdout.strip()
        )
        server.kill()
        server.wait(60)
    done = home.upgrade("run")
    assert 0 == done.code, done.output
    assert f"17:{EXPECTED}" == home.served()


def test_on_a_full_disk_the_old_server_serves_again(home: Home) -> None:
    """A copy is refused before it begins, and links without room for the catalogs; what fills later rolls back."""
    disk = Disk(Path(home.folder).parents[1])
    disk.leave(20 * MB)
    refused = [home.upgrade("run", mode) for mode in ("copy", "link")]
    disk.give_back()
    assert [1, 1] == [each.code for each in refused]
    assert "UPGRADE_MODE=copy is impossible: a copy takes" in refused[0].stderr
    assert "UPGRADE_MODE=link is impossible: the new cluster's own files take" in refused[1].stderr
    assert not home.unfinished
    env = {**ALONE, "POSTGRES_UPGRADE": "on", "UPGRADE_MODE": "copy"}
    with containers.start(env=env, volumes=home.volumes, image=NEW) as server:
        server.says("upgrading from PostgreSQL 15 to 17", LONG)
        disk.leave(1 * MB)
        server.wait(LONG)
        disk.give_back()
        said = server.logs().stderr
    assert "No space left on device" in said, said
    assert not home.unfinished
    assert SERVED == home.served()


@pytest.mark.long
def test_a_stop_rolls_back(home: Home) -> None:
    """`docker stop` while pg_upgrade runs: the old cluster is as it was, and nothing is left."""
    env = {**ALONE, "POSTGRES_UPGRADE": "on", "UPGRADE_MODE": "copy"}
    with containers.start(env=env, volumes=home.volumes, image=NEW) as server:
        server.says("upgrading from PostgreSQL 15 to 17", LONG)
        server.stop(timeout=60)
    assert ("15", False) == (home.major, home.unfinished)
    assert SERVED == home.served()


@pytest.mark.parametrize(
    ("policy", "words"), [("refuse", "would not let the new server start"), ("reindex", "")]
)
def test_text_that_sorts_differently(home: Home, policy: str, words: str) -> None:
    """It is found before anything is changed; `refuse` refuses then, and `reindex` rebuilds before clients connect."""
    looked = home.upgrade("check")
    assert "a library that sorts text has changed" in looked.stdout, looked.output
    env = {**ALONE, "POSTGRES_UPGRADE": "on", "COLLATION_POLICY": policy}
    with containers.start(env=env, volumes=home.volumes, image=NEW) as server:
        if words:
            assert 1 == server.wait(LONG)
            assert words in server.logs().stderr
            assert ("15", False) == (home.major, home.unfinished)
            return
        server.ready(LONG)
        assert "before clients can connect (COLLATION_POLICY=reindex)" in server.logs().stderr
        shown = server.exec("entrypoint", "collation", "show").stdout
        assert "all collations match" in shown, shown
        assert 0 == server.stop(timeout=60)


def _extensions(major: str, version: int, broken: str) -> dict[str, str]:
    """Return the files of two extensions for a major version; `broken` is the update of one of them."""
    texts = {".control": f"default_version = '{version}'\n", "--1.sql": "SELECT 1;\n"}
    updates = {"broken": broken, "whole": "SELECT 1;\n"}
    return {
        f"/usr/share/postgresql/{major}/extension/{name}{file}": text
        for name, update in updates.items()
        for file, text in {**texts, "--1--2.sql": update}.items()
    }


def test_one_extension_that_cannot_be_updated_stops_no_other(home: Home) -> None:
    """The log names it, and each start tries it again until it works."""
    with containers.start(env={}, files=_extensions("15", 1, ""), volumes=home.volumes, image=OLD) as server:
        server.ready(LONG)
        server.sql("CREATE EXTENSION broken; CREATE EXTENSION whole")
        assert 0 == server.stop(timeout=60)
    env = {**ALONE, "POSTGRES_UPGRADE": "on"}
    with containers.start(
        env=env, files=_extensions("17", 2, "SELECT 1 / 0;\n"), volumes=home.volumes, image=NEW
    ) as server:
        server.says("updated the extension whole in postgres from 1 to 2", LONG)
        server.says("the planner has its statistics", LONG)
        assert "division by zero" in server.logs().stderr
        assert 0 == server.stop(timeout=60)
    mended = _extensions("17", 2, "SELECT 1;\n")
    with containers.start(env=env, files=mended, volumes=home.volumes, image=NEW) as server:
        server.says("updated the extension broken in postgres from 1 to 2", LONG)
        assert 0 == server.stop(timeout=60)


@pytest.mark.long
@pytest.mark.parametrize("megabytes", [24, 40, 64])
def test_without_memory_the_old_server_serves_again(home: Home, megabytes: int) -> None:
    """The kernel kills what needs more memory than there is: the old or the new cluster serves."""
    env = {**ALONE, "POSTGRES_UPGRADE": "on"}
    limits = (f"--memory={megabytes}m", f"--memory-swap={megabytes}m")
    with containers.start(env=env, volumes=home.volumes, image=NEW, options=limits) as server:
        containers.until(
            lambda: (
                not server.running
                or "late" in server.logs().output
                or "ready to accept" in server.logs().output
            ),
            "its end",
            LONG,
        )
        containers.docker("kill", server.name, check=False)
    assert home.served() in {SERVED, f"17:{EXPECTED}", "" if home.unfinished else SERVED}
