"""Fixtures that the tests of PID 1 share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import containers
from containers import FRESH, serve


@pytest.fixture(scope="module")
def archive() -> Iterator[str]:
    """A volume with a pgBackRest archive that contains one base backup."""
    with containers.volume() as name:
        env = {**FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
        with serve(env=env, volumes={"/archive": name}) as container:
            container.exec("entrypoint", "backup", "push", timeout=60)
            assert 0 == container.stop()
        yield name
