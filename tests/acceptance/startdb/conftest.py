"""What the tests of every start share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from containers import Container, until


@pytest.fixture(scope="session")
def until_ready() -> Callable[[Container], None]:
    """Wait until all that is done at a start is done; it fails where the container ends before."""

    def wait(container: Container) -> None:
        def over() -> bool:
            assert container.running, container.logs().output
            return container.exec("entrypoint", "ready", check=False).code == 0

        until(over, "ready", 30)

    return wait
