"""The other majors and suites, and the tree of the Nix image, work and restore like 15 on bookworm."""

import pytest

import containers
from containers import FRESH

VOLUMES = {
    "15-nix": "/var/lib/postgresql/data",
    "17-trixie": "/var/lib/postgresql/data",
    "18-sid": "/var/lib/postgresql",
}


@pytest.mark.parametrize("version", VOLUMES)
def test_a_database_survives_its_volume(version: str) -> None:
    """The steps are first start, backup, drill, standby, restore, and doctor with this suite's versions."""
    image = containers.kin(version)
    env = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    with containers.volume() as archive, containers.volume() as data:
        volumes = {"/archive": archive, VOLUMES[version]: data}
        with containers.serve(env={**FRESH, **env}, volumes=volumes, image=image) as server:
            assert version.split("-", maxsplit=1)[0] == server.sql("SHOW server_version").split(".")[0]
            assert "t" == server.sql("SELECT pg_jit_available()")
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
            assert 0 == server.stop()
        again = {**env, "RESTORE_FROM": "LATEST"}
        with containers.serve(env=again, volumes={"/archive": archive}, image=image) as restored:
            assert "2000|2001000" == restored.sql("SELECT count(*), sum(i) FROM kept")
            assert 0 == restored.stop()
            restored.again()
            assert "2000" == restored.sql("SELECT count(*) FROM kept")


def test_data_of_17_is_found_by_18() -> None:
    """A volume of the older layout, mounted in the old place, is refused; the message names the way out."""
    with containers.volume() as data:
        with containers.serve(
            volumes={VOLUMES["17-trixie"]: data}, image=containers.kin("17-trixie")
        ) as server:
            assert 0 == server.stop()
        ended = containers.run(
            env=FRESH, volumes={"/var/lib/postgresql/data": data}, image=containers.kin("18-sid")
        )
    assert 1 == ended.code
    assert "/var/lib/postgresql/data" in ended.stderr
    assert "pg_upgrade" in ended.stderr
