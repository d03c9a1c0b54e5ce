"""Fixtures for the tests of the steps at every start."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from containers import Container, until


@pytest.fixture(scope="session")
def until_ready() -> Callable[[Container], None]:
    """Wait until all steps of a start have ended; fail if the container ends before."""

    def wait(container: Container) -> None:
        def over() -> bool:
            assert container.running, container.logs().output
            return container.exec("entrypoint", "ready", check=False).code == 0

        until(over, "ready", 30)

    return wait
