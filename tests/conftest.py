"""Fixtures that tests on containers share: the image's configuration, a running server, volumes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest

import containers
import disks
from containers import Container
from majors import PREVIEWS, TAGS


@pytest.fixture(scope="session")
def image_config() -> dict[str, Any]:
    """The configuration of the image under test, as docker shows it."""
    found: dict[str, Any] = containers.inspect(containers.IMAGE)["Config"]
    return found


@pytest.fixture(scope="session")
def image_env() -> dict[str, str]:
    """The environment that the image sets."""
    return dict(containers.image_env())


@pytest.fixture(scope="session")
def server() -> Iterator[Container]:
    """A server with the least configuration, which tests may look at but not change."""
    with containers.serve(options=containers.LOOK_INSIDE) as container:
        yield container


@pytest.fixture(scope="session")
def missing_interpreter() -> int:
    """The exit code of the image's bash for a script whose interpreter is missing: 127, or 126 since bash 5.3."""
    files: containers.Files = {"/script": containers.script("#!/no/such/interpreter\n")}
    return containers.run("bash", "-c", "/script; exit $?", files=files).code


@pytest.fixture
def volume() -> Iterator[str]:
    """An empty volume."""
    with containers.volume() as name:
        yield name


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A volume whose folder `data` contains a cleanly stopped cluster; copy it before use."""
    with containers.volume() as name:
        with containers.serve(
            env={**containers.FRESH, "PGDATA": "/volume/data"}, volumes={"/volume": name}
        ) as container:
            container.sql("CREATE TABLE kept AS SELECT 42 AS answer")
            assert container.stop() == 0
        yield name


@pytest.fixture
def used_volume(cluster: str) -> Iterator[str]:
    """A volume of its own whose folder `data` contains a cleanly stopped cluster, with a table `kept`."""
    with containers.copied_volume(cluster) as name:
        yield name


def pytest_sessionfinish() -> None:
    """Remove everything, whatever failed."""
    containers.clean_up()


NEEDED = {
    "walg": ("wal-g", "give the folder of wal-g and walg-daemon-client: make test WALG=folder"),
    "debian": ("dpkg", "it is not made of Debian's packages"),
}
"""By marker: the program that the image under test must have, and the message if it does not."""


@functools.cache
def _image_has(program: str) -> bool:
    look = ("run", "--rm", "--entrypoint", "sh", containers.IMAGE, "-c", f"command -v {program}")
    return containers.docker(*look, check=False).code == 0


@functools.cache
def _has_image(tag: str) -> bool:
    return containers.image_exists(containers.kin(tag))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of programs that the image under test does not have, and of previews that this machine does not have."""
    for marker, (program, _) in NEEDED.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and not _image_has(program):
            items[:] = [item for item in items if item not in marked]
            config.hook.pytest_deselected(items=marked)
    lacking = [
        item
        for item in items
        if (preview := item.get_closest_marker("preview")) and not _has_image(preview.args[0])
    ]
    if lacking:
        items[:] = [item for item in items if item not in lacking]
        config.hook.pytest_deselected(items=lacking)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report in one line each what was left out, and why."""
    seen = (getattr(each, "nodeid", "") for reports in terminalreporter.stats.values() for each in reports)
    for line in disks.lacking() if any("full_disk" in each for each in seen) else ():
        terminalreporter.write_line(line)
    if containers.image_exists(containers.IMAGE):
        for marker, (program, why) in NEEDED.items():
            if not _image_has(program):
                terminalreporter.write_line(
                    f"left out: the tests with the marker {marker}, since the image has no {program}; {why}"
                )
        for tag in (TAGS[major] for major in PREVIEWS if not _has_image(TAGS[major])):
            terminalreporter.write_line(
                f"left out: the tests of {tag}, a preview; image/build.sh {tag.replace('-', ' ')} says why it cannot be built"
            )
