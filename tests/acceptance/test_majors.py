"""The other majors and suites, and the tree of the Nix image, work and restore like the default, which the whole suite tests."""

from __future__ import annotations

import base64

import pytest

import containers
from containers import FRESH, Container
from entrypoint import exits
from entrypoint.postgres import cluster
from majors import DEFAULT, NIX, OTHERS, TAGS

OLD_DATA = "/var/lib/postgresql/data"


def _reads_pg_control(standby: Container) -> bool:
    """Compare what we read from the file pg_control with what this major's pg_controldata prints."""
    shown, _, encoded = standby.shell(
        'LC_ALL=C pg_controldata; echo ====; base64 "$PGDATA/global/pg_control"'
    ).partition("====")
    control = base64.b64decode(encoded)
    assert cluster.is_in_recovery(control)
    found = cluster.minimum_recovery(control)
    assert found is not None, "add this version of pg_control to entrypoint/postgres/cluster.py"
    printed = cluster.parse_control(shown)
    high, _, low = printed["Minimum recovery ending location"].partition("/")
    timeline = int(printed["Min recovery ending loc's timeline"])
    return found == ((int(high, 16) << 32) + int(low, 16), timeline) and timeline > 0


@pytest.mark.parametrize("version", [NIX, *OTHERS])
def test_a_database_survives_its_volume(version: str) -> None:
    """The steps are first start, backup, drill, standby, restore, and doctor with this suite's versions."""
    image = containers.kin(version)
    (mount,) = containers.inspect(image)["Config"]["Volumes"]
    env = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    with containers.volume() as archive, containers.volume() as data:
        volumes = {"/archive": archive, mount: data}
        with containers.serve(env={**FRESH, **env}, volumes=volumes, image=image) as server:
            assert version.split("-", maxsplit=1)[0] == server.sql("SHOW server_version_num")[:-4]
            assert "t" == server.sql("SET jit = on; SELECT pg_jit_available()")
            server.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i")
            server.exec("entrypoint", "backup", "push", timeout=60)
            server.sql("INSERT INTO kept SELECT generate_series(1001, 2000)")
            server.exec("entrypoint", "backup", "drill", timeout=120)
            findings = server.exec("entrypoint", "doctor", check=False)
            assert "Traceback" not in findings.output
            assert "ERROR" not in findings.stdout
            with containers.create(
                env={**env, "STANDBY": "on"}, volumes={"/archive": archive}, image=image
            ) as standby:
                standby.begin()
                standby.says("ready to accept read-only connections", 60)
                server.sql("SELECT pg_switch_wal()")
                containers.until(
                    lambda: standby.sql("SELECT count(*) FROM kept") == "2000", "the rows at the standby", 60
                )
                containers.until(lambda: _reads_pg_control(standby), "pg_control is read like its program")
            assert 0 == server.stop()
        again = {**env, "RESTORE_FROM": "LATEST"}
        with containers.serve(env=again, volumes={"/archive": archive}, image=image) as restored:
            assert "2000|2001000" == restored.sql("SELECT count(*), sum(i) FROM kept")
            assert 0 == restored.stop()
            restored.again()
            assert "2000" == restored.sql("SELECT count(*) FROM kept")


OLD_TOOL = f"""FROM {containers.kin("15-bookworm")} AS old
FROM IMAGE
COPY --from=old /usr/bin/pgbackrest /usr/bin/
"""


def test_an_archiver_that_does_not_know_the_major() -> None:
    """A first start is refused, says why, and leaves no database; data that is there is served, and is not archived."""
    env = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    told = (
        "the image's pgBackRest does not know this major version of PostgreSQL",
        "2.59 is the first one for PostgreSQL 19",
    )
    with (
        containers.build(OLD_TOOL, image=containers.kin(TAGS[DEFAULT])) as image,
        containers.volume() as data,
        containers.volume() as archive,
    ):
        volumes = {OLD_DATA: data, "/archive": archive}
        refused = containers.run(env={**FRESH, **env}, volumes=volumes, image=image)
        assert exits.ARCHIVE_REFUSED == refused.code
        assert [] == [words for words in told if words not in refused.stderr]
        with containers.serve(volumes=volumes, image=image) as server:
            assert 0 == server.stop()
        with containers.serve(env=env, volumes=volumes, image=image) as server:
            assert [] == [words for words in told if words not in server.logs().stderr]
            assert "starting without a working archive" in server.logs().stderr


def test_data_of_17_is_found_by_18() -> None:
    """A volume of the older layout, mounted in the old place, is refused; the message names the way out."""
    with containers.volume() as data:
        with containers.serve(volumes={OLD_DATA: data}, image=containers.kin("17-trixie")) as server:
            assert 0 == server.stop()
        ended = containers.run(env=FRESH, volumes={OLD_DATA: data}, image=containers.kin("18-sid"))
    assert 1 == ended.code
    assert "/var/lib/postgresql/data" in ended.stderr
    assert "pg_upgrade" in ended.stderr
