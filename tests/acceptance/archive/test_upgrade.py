"""A real pg_upgrade: the cluster continues its archive of pgBackRest, once it is proven to be the same cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

import pytest

import archives
import containers
from archives import LATEST, Archive
from containers import FRESH, Container, Outcome

DATA = "/var/lib/postgresql/data"
OLD = containers.kin("15-bookworm")
NEW = containers.kin("17-trixie")

BOTH = f"""
FROM {OLD} AS old
RUN mkdir /libraries; cd /usr/lib/postgresql/15/bin; \
    ldd postgres pg_dump | awk '$3 ~ "^/" {{ print $3 }}' | sort -u | xargs cp --dereference --target-directory /libraries
FROM {NEW}
COPY --from=old /usr/lib/postgresql/15 /usr/lib/postgresql/15
COPY --from=old /usr/share/postgresql/15 /usr/share/postgresql/15
COPY --from=old /libraries /libraries
RUN for each in /libraries/*; do \
        ldconfig -p | grep -q "${{each##*/}} " || cp "$each" /usr/local/lib; \
    done; ldconfig
"""
"""PostgreSQL 17 with the programs of 15, and with the libraries that the newer suite no longer has."""

PG_UPGRADE = """set -eu
cd /tmp
initdb --username=postgres --no-sync -D /new
pg_upgrade --old-bindir=/usr/lib/postgresql/15/bin --new-bindir=/usr/lib/postgresql/17/bin \
    --old-datadir=/old --new-datadir=/new --username=postgres --no-sync
"""

IDENTIFIER = "SELECT system_identifier FROM pg_control_system()"


class Upgraded(NamedTuple):
    """A cluster after pg_upgrade that was not started since, and the archive of the old cluster."""

    archive: Archive
    """The archive of PostgreSQL 15; tests copy it before they change it."""
    old: str
    """System identifier."""
    backup: str
    """The last backup of PostgreSQL 15."""
    data: str
    """The volume of PostgreSQL 17; tests copy it as well."""
    new: str
    """System identifier."""


@pytest.fixture(scope="module")
def upgraded() -> Iterator[Upgraded]:
    """One pg_upgrade for all tests."""
    with (
        containers.build(BOTH) as both,
        archives.made("pgbackrest", None) as archive,
        containers.volume() as before,
        containers.volume() as after,
    ):
        with _serve(archive, FRESH, before, OLD) as server:
            archives.write(server, 3)
            server.exec("entrypoint", "backup", "push", timeout=60)
            archives.write(server, 3)
            old = server.sql(IDENTIFIER)
            backup = server.exec("entrypoint", "backup", "list").output
            assert 0 == server.stop()
        containers.in_volume(after, "chown 999:999 .")
        done = containers.run(
            "-c",
            PG_UPGRADE,
            volumes={"/old": before, "/new": after},
            options=("--entrypoint", "bash", "--user", "postgres"),
            image=both,
            timeout=120,
        )
        assert 0 == done.code, done.output
        told = containers.run(
            "-c", "pg_controldata /new", volumes={"/new": after}, options=("--entrypoint", "bash"), image=both
        )
        (new,) = re.findall(r"system identifier: +(\d+)", told.stdout)
        (name,) = re.findall(r"\d{8}-\d{6}F", backup)
        yield Upgraded(archive, old, name, after, new)


@pytest.fixture
def archive(upgraded: Upgraded) -> Iterator[Archive]:
    """A copy of the old archive."""
    with upgraded.archive.copy() as copy:
        yield copy


@pytest.fixture
def data(upgraded: Upgraded) -> Iterator[str]:
    """A copy of the upgraded cluster's volume."""
    with containers.copied_volume(upgraded.data) as volume:
        yield volume


def _serve(
    archive: Archive, env: Mapping[str, str], data: str | None = None, image: str = NEW
) -> AbstractContextManager[Container]:
    volumes = {"/archive": archive.volume, **({DATA: data} if data else {})}
    return containers.serve(env={**archive.env(), **env}, volumes=volumes, image=image)


def _run(archive: Archive, env: Mapping[str, str], data: str) -> Outcome:
    volumes = {"/archive": archive.volume, DATA: data}
    return containers.run(env={**archive.env(), **env}, volumes=volumes, image=NEW)


def _owners(archive: Archive) -> list[str]:
    """Return the system identifiers that the archive has had, oldest first."""
    return re.findall(
        r'^\d+=\{.*"db-system-id":(\d+)',
        containers.in_volume(archive.volume, "cat backup/main/backup.info"),
        re.MULTILINE,
    )


def test_an_upgraded_cluster_is_refused_without_the_users_word(
    upgraded: Upgraded, archive: Archive, data: str
) -> None:
    """The message has both system identifiers and the variable to set; nothing in the archive has changed."""
    before = archive.digest()
    ended = _run(archive, {}, data)
    assert 12 == ended.code, ended.output
    assert upgraded.new in ended.stderr
    assert f"set ARCHIVE_UPGRADED_FROM={upgraded.old}" in ended.stderr
    assert before == archive.digest()


def test_a_wrong_identifier_is_refused(upgraded: Upgraded, archive: Archive, data: str) -> None:
    """A system identifier other than the archive's is no proof, and the message says what was found."""
    before = archive.digest()
    ended = _run(archive, {"ARCHIVE_UPGRADED_FROM": "77"}, data)
    assert 12 == ended.code, ended.output
    assert f"ARCHIVE_UPGRADED_FROM=77 does not change that: the archive's cluster is {upgraded.old}" in (
        ended.stderr
    )
    assert before == archive.digest()


def test_a_cluster_that_pg_upgrade_did_not_finish_is_refused(
    upgraded: Upgraded, archive: Archive, data: str
) -> None:
    """A pg_upgrade that fails late leaves its log's folder, and a cluster that starts; the archive does not change."""
    before = archive.digest()
    containers.in_volume(data, "mkdir --parents pg_upgrade_output.d/20261130T101939.121/log")
    ended = _run(archive, {"ARCHIVE_UPGRADED_FROM": upgraded.old}, data)
    assert 12 == ended.code, ended.output
    assert f"it removes {DATA}/pg_upgrade_output.d when it has" in ended.stderr
    assert before == archive.digest()


def test_an_upgraded_cluster_continues_its_archive(upgraded: Upgraded, archive: Archive, data: str) -> None:
    """New WAL and backups can be restored; the variable may stay set; retention keeps the last backup of 15."""
    word = {"ARCHIVE_UPGRADED_FROM": upgraded.old, "BACKUP_RETAIN_FULL": "1"}
    with _serve(archive, word, data) as server:
        said = server.logs().stderr
        assert (
            f"from PostgreSQL 15 and system identifier {upgraded.old} to PostgreSQL 17 and {upgraded.new}"
            in said
        )
        assert "take a full backup now: entrypoint backup push" in said
        assert [upgraded.old, upgraded.new] == _owners(archive)
        assert "6" == server.sql("SELECT count(*) FROM kept")
        archives.write(server, 2)
        for _ in range(2):
            server.exec("entrypoint", "backup", "push", timeout=60)
        archives.write(server, 2)
        assert 0 == server.stop()
        server.again()
        assert 1 == server.logs().stderr.count("was upgraded with the cluster")
        archives.wait_for_archiving(server)
        assert 0 == server.stop()
    with _serve(archive, LATEST) as restored:
        assert "10" == restored.sql("SELECT count(*) FROM kept")
        assert upgraded.new == restored.sql(IDENTIFIER)
        assert 0 == restored.stop()
    there = {f"RESTORE_{name}": value for name, value in archive.env().items()}
    env = {**there, "RESTORE_FROM": upgraded.backup}
    with containers.serve(env=env, volumes={"/archive": f"{archive.volume}:ro"}, image=OLD) as restored:
        assert "6" == restored.sql("SELECT count(*) FROM kept")
        assert upgraded.old == restored.sql(IDENTIFIER)


def test_a_fresh_cluster_is_refused_despite_the_variable(upgraded: Upgraded, archive: Archive) -> None:
    """A cluster of the higher version made by initdb is not the archive's, and the archive does not change."""
    before = archive.digest()
    with containers.volume() as fresh:
        with containers.serve(volumes={DATA: fresh}, image=NEW) as server:
            assert 0 == server.stop()
        for env in ({"ARCHIVE_UPGRADED_FROM": upgraded.old}, {}):
            ended = _run(archive, env, fresh)
            assert 12 == ended.code, ended.output
            assert f"its system identifier is {upgraded.old}" in ended.stderr
            assert bool(env) == ("does not change that: the archive's WAL ends with" in ended.stderr)
            assert "set ARCHIVE_UPGRADED_FROM" not in ended.stderr
    assert before == archive.digest()


def test_a_killed_upgrade_of_the_archive_is_finished(upgraded: Upgraded, archive: Archive, data: str) -> None:
    """The tool writes archive.info, then backup.info; if the second is the old one, the next start continues."""
    word = {"ARCHIVE_UPGRADED_FROM": upgraded.old}
    with archive.copy() as old, _serve(archive, word, data) as server:
        assert 0 == server.stop()
        volumes = {"/old": old.volume, "/new": archive.volume}
        copied = containers.run(
            "-c",
            "cp --archive /old/backup/main/backup.info* /new/backup/main/",
            volumes=volumes,
            options=("--entrypoint", "bash", "--user", "0"),
        )
        assert 0 == copied.code, copied.output
        assert [upgraded.old] == _owners(archive)
        server.again()
        assert [upgraded.old, upgraded.new] == _owners(archive)
        server.exec("entrypoint", "backup", "push", timeout=60)


def test_an_archive_that_is_away_at_the_start_is_upgraded_later(
    upgraded: Upgraded, archive: Archive, data: str
) -> None:
    """The server starts and its WAL waits; the archive is upgraded when it is back, without a restart."""
    env = {"ARCHIVE_UPGRADED_FROM": upgraded.old, "ARCHIVE_TIMEOUT": "1"}
    containers.in_volume(archive.volume, "chown 0:0 .; chmod 700 .")
    with _serve(archive, env, data) as server:
        assert "starting without a working archive" in server.logs().stderr
        archives.write(server, 2)
        server.says("archiving fails, starting with")
        server.shell("chown 999:999 /archive", user="0")
        server.says("was upgraded with the cluster")
        archives.wait_for_archiving(server)
        assert [upgraded.old, upgraded.new] == _owners(archive)
        server.exec("entrypoint", "backup", "push", timeout=60)
