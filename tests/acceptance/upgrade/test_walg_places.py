"""Upgrades with wal-g: the new major version has a folder of its own below the archive, and nothing is to be set."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import archives
import containers
from archives import Archive
from containers import FRESH, Container
from upgrades import DATA, NEW, OLD

PLAIN = containers.kin("17-trixie")
_LONG = 240

pytestmark = pytest.mark.walg


class Upgraded(NamedTuple):
    """An archive of wal-g whose cluster was upgraded, and moments before and after."""

    archive: Archive
    data: str
    """The volume of the upgraded cluster, whose server is stopped."""
    before: str
    after: str


@pytest.fixture(scope="module")
def upgraded() -> Iterator[Upgraded]:
    """One upgrade for all tests; they change only copies."""
    with archives.made("wal-g", None) as archive, containers.volume() as data:
        volumes = {DATA: data, "/archive": archive.volume}
        env = archive.env()
        with containers.serve(env={**FRESH, **env}, volumes=volumes, image=OLD) as server:
            archives.write(server, 2)
            server.exec("entrypoint", "backup", "push", timeout=60)
            archives.write(server, 2)
            before = _now(server)
            archives.write(server, 1)
            assert 0 == server.stop(timeout=60)
        started = {**env, "POSTGRES_UPGRADE": "on"}
        with containers.start(env=started, volumes=volumes, image=NEW) as server:
            server.ready(_LONG)
            assert "5" == server.sql("SELECT count(*) FROM kept")
            containers.until(lambda: " ok " in _listed(server), "the full backup", 120)
            archives.write(server, 2)
            after = _now(server)
            archives.write(server, 1)
            assert 0 == server.stop(timeout=60)
        yield Upgraded(archive, data, before, after)


def _listed(server: Container) -> str:
    return server.exec("entrypoint", "backup", "list").stdout


def _now(server: Container) -> str:
    return server.sql(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'"
    )


def _restored(archive: Archive, target: str, image: str) -> str:
    """Restore to a moment onto an empty volume; return the rows and the version that the server has then."""
    env = {**archive.env(), "RESTORE_FROM": "LATEST", "RESTORE_TARGET_TIME": target}
    with containers.start(env=env, volumes={"/archive": archive.volume}, image=image) as server:
        server.ready(120)
        return server.sql(
            "SELECT count(*) || ' of ' || split_part(current_setting('server_version'), '.', 1) FROM kept"
        )


def test_a_moment_after_the_upgrade_is_restored(upgraded: Upgraded) -> None:
    """The image needs no programs of the old major, and the archive's address is as ever."""
    with upgraded.archive.copy() as archive:
        assert "7 of 17" == _restored(archive, upgraded.after, PLAIN)


@pytest.mark.long
def test_a_standby_is_built_again_from_the_new_folder(upgraded: Upgraded) -> None:
    """On an empty volume it takes the new major's backup, and replays what came after; on the old volume it is refused."""
    with upgraded.archive.copy() as archive:
        env = {**archive.env(), "STANDBY": "on"}
        with containers.start(env=env, volumes={"/archive": archive.volume}, image=PLAIN) as server:
            containers.until(lambda: _rows(server) == "8", "what the primary has archived", 120)
            assert "t" == server.sql("SELECT pg_is_in_recovery()")


def _rows(server: Container) -> str:
    found = server.exec("psql", "-U", "postgres", "-Atc", "SELECT count(*) FROM kept", check=False)
    return found.stdout.strip()


def test_a_moment_before_the_upgrade_is_restored(upgraded: Upgraded) -> None:
    """The image of the old major finds its backups where they always were."""
    with upgraded.archive.copy() as archive:
        assert "4 of 15" == _restored(archive, upgraded.before, OLD)


def test_the_upgrade_image_alone_restores_the_old_major(upgraded: Upgraded) -> None:
    """The restored cluster is of the old major, whole, and is upgraded again by the next start."""
    with upgraded.archive.copy() as archive, containers.volume() as data:
        # The variable may stay in a Compose file; it is about starts.
        env = {**archive.env(), "POSTGRES_UPGRADE": "on"}
        volumes = {DATA: data, "/archive": archive.volume}
        options = ("--from", "LATEST", "--target-time", upgraded.before)
        done = containers.run(
            "entrypoint", "restore", *options, env=env, volumes=volumes, image=NEW, timeout=_LONG
        )
        assert 0 == done.code, done.output
        assert "restoring with the programs of PostgreSQL 15" in done.stderr
        assert "15" == containers.in_volume(data, "cat PG_VERSION")
        again = {"POSTGRES_UPGRADE": "on", "UPGRADE_WITHOUT_BACKUP": "on"}
        with containers.start(env=again, volumes=volumes, image=NEW) as server:
            server.ready(_LONG)
            assert "4" == server.sql("SELECT count(*) FROM kept")


def test_a_folder_that_cannot_be_read_is_not_left_out(upgraded: Upgraded) -> None:
    """The newest backup may be there: restoring an older one in its place would lose what came after it."""
    with upgraded.archive.copy() as archive, containers.volume() as data:
        volumes = {DATA: data, "/archive": archive.volume}
        containers.in_volume(archive.volume, "chown -R 0:0 upgraded-*; chmod 000 upgraded-*")
        done = containers.run(
            *("entrypoint", "restore", "--from", "LATEST"),
            env=archive.env(),
            volumes=volumes,
            image=NEW,
            timeout=_LONG,
        )
        assert 12 == done.code, done.output
        assert "cannot be listed" in done.stderr
        assert "" == containers.in_volume(data, "ls PG_VERSION 2>/dev/null || true")


def test_the_new_major_has_a_folder_of_its_own_and_both_are_listed(upgraded: Upgraded) -> None:
    """The next start archives there again, and the list has the backups of both."""
    with upgraded.archive.copy() as archive, containers.copied_volume(upgraded.data) as data:
        (place,) = {name.split("/")[0] for name in archive.digest() if name.startswith("upgraded-")}
        assert re.fullmatch(r"upgraded-17-\d+", place)
        volumes = {DATA: data, "/archive": archive.volume}
        with containers.start(env=archive.env(), volumes=volumes, image=PLAIN) as server:
            server.ready(120)
            before = {name for name in archive.digest() if "wal_005" in name}
            archives.write(server, 1)
            archives.wait_for_archiving(server)
            made = {name for name in archive.digest() if "wal_005" in name} - before
            assert made
            assert all(name.startswith(f"{place}/wal_005/") for name in made)
            said = _listed(server)
            assert 2 == len(re.findall(r"^base_", said, re.MULTILINE)), said
            assert "PostgreSQL 15" in said
            assert 0 == server.stop(timeout=60)
