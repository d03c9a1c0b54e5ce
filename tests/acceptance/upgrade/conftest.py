"""The old cluster that tests of upgrades copy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import upgrades
from upgrades import Home


@pytest.fixture(scope="session")
def old() -> Iterator[Home]:
    """The data of a stopped server of 15, on a filesystem that can share blocks; tests copy it."""
    with upgrades.made() as found:
        yield found


@pytest.fixture
def home(old: Home) -> Iterator[Home]:
    """A copy of the data."""
    with old.copy() as copy:
        yield copy
