"""The image for arm64, under qemu if this machine has another architecture."""

from __future__ import annotations

import pytest

import containers
from containers import FRESH

IMAGE = containers.kin("15-bookworm-arm64")
PATIENCE = 300
"""Seconds; emulation is twenty times slower."""


@pytest.mark.long
def test_a_database_survives_its_volume() -> None:
    """The steps are first start, query, backup, stop, and a restore that has every row."""
    env = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    with containers.volume() as archive:
        volumes = {"/archive": archive}
        with containers.start(env={**FRESH, **env}, volumes=volumes, image=IMAGE) as server:
            server.ready(PATIENCE)
            assert "aarch64" == server.shell("uname --machine")
            assert "aarch64" in server.sql("SELECT version()")
            server.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i")
            server.exec("entrypoint", "backup", "push", timeout=PATIENCE)
            server.sql("INSERT INTO kept SELECT generate_series(1001, 2000)")
            findings = server.exec("entrypoint", "doctor", check=False, timeout=PATIENCE)
            assert "Traceback" not in findings.output
            assert "ERROR" not in findings.stdout
            assert 0 == server.stop(timeout=PATIENCE)
        again = {**env, "RESTORE_FROM": "LATEST"}
        with containers.start(env=again, volumes=volumes, image=IMAGE) as restored:
            restored.ready(PATIENCE)
            assert "2000|2001000" == restored.sql("SELECT count(*), sum(i) FROM kept")
            assert 0 == restored.stop(timeout=PATIENCE)
