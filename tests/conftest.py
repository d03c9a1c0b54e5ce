"""What tests on containers share: the image's configuration, a running server, volumes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest

import containers
from containers import Container


@pytest.fixture(scope="session")
def image_config() -> dict[str, Any]:
    """The configuration of the image under test, as docker shows it."""
    found: dict[str, Any] = containers.inspect(containers.IMAGE)["Config"]
    return found


@pytest.fixture(scope="session")
def image_env(image_config: dict[str, Any]) -> dict[str, str]:
    """The environment that the image sets."""
    return dict(entry.split("=", 1) for entry in image_config["Env"])


@pytest.fixture(scope="session")
def server() -> Iterator[Container]:
    """A server of the plainest kind, to be looked at and not to be changed."""
    with containers.serve(options=containers.LOOK_INSIDE) as container:
        yield container


@pytest.fixture(scope="session")
def missing_interpreter() -> int:
    """The exit code of the image's bash for a script whose interpreter is missing: 127, since 5.3 126."""
    files: containers.Files = {"/script": containers.script("#!/no/such/interpreter\n")}
    return containers.run("bash", "-c", "/script; exit $?", files=files).code


@pytest.fixture
def volume() -> Iterator[str]:
    """An empty volume."""
    with containers.volume() as name:
        yield name


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A volume whose folder `data` is a cleanly stopped cluster; copy it before use."""
    with containers.volume() as name:
        with containers.serve(
            env={**containers.FRESH, "PGDATA": "/volume/data"}, volumes={"/volume": name}
        ) as container:
            container.sql("CREATE TABLE kept AS SELECT 42 AS answer")
            assert container.stop() == 0
        yield name


@pytest.fixture
def used_volume(cluster: str) -> Iterator[str]:
    """A volume of its own whose folder `data` is a cleanly stopped cluster, with a table `kept`."""
    with containers.copied_volume(cluster) as name:
        yield name


def pytest_sessionfinish() -> None:
    """Leave nothing behind, whatever failed."""
    containers.clean_up()


@functools.cache
def _image_has_walg() -> bool:
    look = ("run", "--rm", "--entrypoint", "sh", containers.IMAGE, "-c", "command -v wal-g")
    return containers.docker(*look, check=False).code == 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of wal-g where the image under test does not have it."""
    of_walg = [item for item in items if item.get_closest_marker("walg")]
    if of_walg and not _image_has_walg():
        items[:] = [item for item in items if item not in of_walg]
        config.hook.pytest_deselected(items=of_walg)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out, and what to give to have it."""
    if containers.image_exists(containers.IMAGE) and not _image_has_walg():
        terminalreporter.write_line(
            "left out: the tests of wal-g (marker walg), since the image has no wal-g; "
            "give the folder of wal-g and walg-daemon-client: make test WALG=folder"
        )
