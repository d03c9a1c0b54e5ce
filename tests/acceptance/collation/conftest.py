"""Data of PostgreSQL 15 in Latvian order from glibc 2.36, and images with glibc 2.36 and 2.41."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

import pytest

import containers
from containers import Container
from latvian import DATA, SCHEMA, Images, Serve

_LATVIAN = "FROM IMAGE\nRUN localedef -i lv_LV -c -f UTF-8 lv_LV.UTF-8\n"


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """Both images."""
    with (
        containers.build(_LATVIAN, image=containers.kin("15-bookworm")) as old,
        containers.build(_LATVIAN, image=containers.kin("15-trixie")) as new,
    ):
        yield Images(old, new)


@pytest.fixture(scope="session")
def made(images: Images) -> Iterator[str]:
    """A volume with the data of a cleanly stopped server, to be copied."""
    env = {**containers.FRESH, "POSTGRES_INITDB_ARGS": "--no-sync --locale=lv_LV.UTF-8"}
    with (
        containers.volume() as volume,
        containers.serve(env=env, volumes={DATA: volume}, image=images.old) as server,
    ):
        server.sql(SCHEMA)
        assert server.stop() == 0
        yield volume


@pytest.fixture
def data(made: str) -> Iterator[str]:
    """A copy of that volume."""
    with containers.copied_volume(made) as volume:
        yield volume


@pytest.fixture
def serve(images: Images, data: str) -> Serve:
    """Serve the copy with the new library, or with another image."""

    def begin(
        env: Mapping[str, str] | None = None, image: str = images.new, **options: object
    ) -> AbstractContextManager[Container]:
        return containers.serve(env=env or {}, volumes={DATA: data}, image=image, **options)  # type: ignore[arg-type]

    return begin
